//! rft, Reactive File Transfer: what is dropped into one host's `Outgoing` lands in the other's
//! `Incoming`, both ways.
//!
//! The way of one file is the map of this crate:
//!
//! ```text
//! outbox: watch -> settle -> queue -> deliver | offer, read, seal, stream ==>
//! inbox:  ==> receive | open, stage -> commit -> receipt
//! outbox: receipt -> remove
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`config`], [`event`] | what goes into a peer, and all that comes out of it |
//! | [`proto`] | pure: names, messages and their bytes |
//! | [`crypto`] | pure given an rng: password, PAKE, key schedule, sealed records |
//! | [`compress`] | pure: chunks compressed, each by itself |
//! | [`peering`] | QUIC: endpoint, election of roles, sessions, congestion control |
//! | [`store`] | folders held by handle, staging, the ledger: all that syncs and renames |
//! | [`outbox`], [`inbox`] | the two directions |
//! | [`daemon`] | one peer, whole |
//!
//! A program embeds a peer with [`daemon::run`]; `examples/embed.rs` shows how.

#![forbid(unsafe_code)]

pub mod session;
pub mod transport;

#[doc(hidden)]
pub mod cause;
pub mod compress;
pub mod config;
pub mod crypto;
pub mod daemon;
pub mod event;
#[doc(hidden)]
pub mod failpoint;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod inbox;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
pub mod outbox;
pub mod peering;
pub mod proto;
pub mod store;
