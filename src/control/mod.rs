//! The control socket: commands of the same user to a running process (docs/control.md).
//!
//! A process binds a [`ControlSocket`] in its state folder and serves it with its
//! [`Handle`](crate::Handle). A [`Client`] finds it by the folder. Requests and replies are JSON, an
//! object a line. A new command is a variant of [`Request`], one of [`Answer`], and an arm in
//! `server.rs`.

mod client;
mod error;
mod programs;
mod reply;
mod request;
mod server;
mod socket;

pub use client::Client;
pub use error::ControlError;
pub use programs::name_programs;
pub use reply::{Answer, CancelledReply};
pub use request::Request;
pub use server::ControlSocket;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;

/// The version of requests and replies.
const VERSION: u32 = 1;
