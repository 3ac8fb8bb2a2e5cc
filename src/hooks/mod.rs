//! `--on-received`: a program of the operator is run for each received file.
//!
//! A sandboxed process cannot execute programs. So a helper process, which is rft itself started
//! again with a hidden command, is started before the sandbox begins and runs them (`helper`,
//! `process`). Its program, arguments and time limit are fixed at its start. The pipe to it carries
//! only facts about files (`wire`), from which it builds the environment (`environment`).
//! [`HookRunner`] is the other end of the pipe.

mod environment;
mod helper;
mod output;
mod process;
mod runner;
mod wire;

pub(crate) use environment::HookFacts;
pub use helper::{HELPER_COMMAND, run_helper};
pub use runner::{HookError, HookHelper};
pub(crate) use runner::{HookRunner, Judgement, absolute};
