//! The facts of a running process over HTTP, to read and nothing else (docs/metrics.md): for
//! Prometheus at `/metrics`, for programs at `/status.json`, for people at `/`.
//!
//! A process binds a [`MetricsServer`] before its sandbox begins and serves it with its
//! [`Handle`](crate::Handle). Every answer shows one snapshot, the same that commands get through
//! the control socket.

mod client;
mod exposition;
mod host;
mod page;
mod server;
mod site;

pub use server::{MetricsError, MetricsServer};
