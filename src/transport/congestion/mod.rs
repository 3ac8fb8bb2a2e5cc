//! Congestion control of our own: BBR (draft-ietf-ccwg-bbr) for paths that lose packets without
//! being full. docs/congestion.md has the model, the constants and what was measured.
//!
//! Data flows: `sampler` turns acknowledgements into delivery rates, `model` keeps what they say of
//! the path, `state` decides what to do about it, `compete` is what it does beside loss-based
//! senders, `ack_headroom` keeps acknowledgements flowing, `controller` is quinn's view of it.
//! `window` follows it: how much is handed to quinn ahead of the link.

use std::any::Any;
use std::sync::Arc;

use quinn_proto::congestion::{ControllerFactory, CubicConfig};

mod ack_headroom;
mod controller;
mod cubic;
mod dispersion;
mod model;
mod sampler;
mod startup;
mod state;
mod window;

pub use controller::{Bbr, BbrFactory, PathEstimate};
pub(crate) use startup::first_window;
pub use window::{UPDATE_INTERVAL, send_window};

pub use crate::config::Congestion;

/// The factory to give to `quinn::TransportConfig::congestion_controller_factory`.
pub fn factory(kind: Congestion) -> Arc<dyn ControllerFactory + Send + Sync> {
    match kind {
        Congestion::Bbr => Arc::new(BbrFactory),
        Congestion::Cubic => Arc::new(CubicConfig::default()),
    }
}

/// The estimate of a connection's path: give it `connection.congestion_state().into_any()`. Reading
/// the state copies the controller, so keep the handle and read that; take a new one when the
/// connection's remote address changes. `None` under CUBIC.
pub fn estimate(state: Box<dyn Any>) -> Option<Arc<PathEstimate>> {
    state.downcast::<Bbr>().ok().map(|bbr| bbr.estimate())
}

/// One line on what the controller is doing, for logs: empty under CUBIC.
pub fn describe(state: Box<dyn Any>) -> String {
    let Ok(bbr) = state.downcast::<Bbr>() else {
        return String::new();
    };
    let model = &bbr.core().model;
    format!(
        "{:.40} rate {:.2} MB/s loss {:.3} excess {:.3} queue {:.1} ms min {:.1} ms spread {:.1} ms",
        format!("{:?}", bbr.core().phase()),
        model.rate() / 1e6,
        model.path_loss(),
        model.excess_loss(),
        model.queue * 1e3,
        model.min_rtt * 1e3,
        model.spread * 1e3,
    )
}
