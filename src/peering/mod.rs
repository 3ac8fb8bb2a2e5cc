//! Peering: dialling and accepting until there is one session with the peer.
//!
//! In the order of a connection's life:
//!
//! | file | step |
//! | --- | --- |
//! | `resolve`, `backoff`, `dial` | addresses of the peer's name, when to dial, dialling |
//! | `admission`, `attempts` | incoming connections: limits for each kind of source |
//! | `adopt`, [`tie_break`] | which authenticated connection becomes the session |
//! | `liveness` | whether the session's path still works |
//! | `diagnose`, `findings` | why there is no session |
//! | `waiting` | when the user is told of it |
//! | `trial` | a handshake for `rft check` |
//! | `state`, [`connector`] | the state of these steps, and the task that runs them |
//! | `reports` | how often the user is told of strangers |

mod admission;
mod adopt;
mod attempts;
mod backoff;
pub mod connector;
mod diagnose;
mod dial;
mod error;
mod findings;
mod liveness;
mod reports;
mod resolve;
mod state;
pub(crate) mod tie_break;
mod trial;
mod waiting;

pub use error::Fatal;
pub(crate) use resolve::check as check_peer;
pub(crate) use trial::try_handshake;
