//! Congestion control: BBR (draft-ietf-ccwg-bbr) for paths that lose packets without being full.
//! docs/congestion.md has the model and the constants.
//!
//! Acknowledgements pass through these modules in order: `sampler` turns them into delivery rates,
//! `dispersion` estimates the path's rate from packet trains, and `model` keeps the path's rate,
//! RTT and loss. `phase` is the table of phases, and `state` runs them, with `startup` and `cubic`
//! for two of them. `ack_headroom` widens the window where acknowledgements would stop otherwise.
//! `controller` implements quinn's trait. `window` derives quinn's send buffer from the result.

use std::any::Any;
use std::sync::Arc;

use quinn_proto::congestion::{ControllerFactory, CubicConfig};

mod ack_headroom;
mod controller;
mod cubic;
mod dispersion;
mod model;
mod phase;
mod sampler;
mod startup;
mod state;
mod window;

pub use controller::{Bbr, BbrFactory, PathEstimate};
pub(crate) use startup::first_window;
pub use window::{UPDATE_INTERVAL, limited_send_window, send_window};

pub use crate::config::Congestion;

/// The factory for `quinn::TransportConfig::congestion_controller_factory`.
pub fn factory(kind: Congestion) -> Arc<dyn ControllerFactory + Send + Sync> {
    match kind {
        Congestion::Bbr => Arc::new(BbrFactory),
        Congestion::Cubic => Arc::new(CubicConfig::default()),
    }
}

/// The estimate of a connection's path, from `connection.congestion_state().into_any()`. Reading
/// the state copies the controller, so callers keep the estimate, which stays current, and take a
/// new one when the connection's remote address changes. `None` under CUBIC.
pub fn estimate(state: Box<dyn Any>) -> Option<Arc<PathEstimate>> {
    state.downcast::<Bbr>().ok().map(|bbr| bbr.estimate())
}

/// One line on the controller's state, for logs: empty under CUBIC.
pub fn describe(state: Box<dyn Any>) -> String {
    let Ok(bbr) = state.downcast::<Bbr>() else {
        return String::new();
    };
    let model = &bbr.core().model;
    format!(
        "{:?} rate {:.2} MB/s loss {:.3} excess {:.3} queue {:.1} ms min {:.1} ms spread {:.1} ms",
        bbr.core().phase(),
        model.rate() / 1e6,
        model.path_loss(),
        model.excess_loss(),
        model.queue * 1e3,
        model.min_rtt * 1e3,
        model.spread * 1e3,
    )
}
