//! The network: the only place that names quinn.

pub mod congestion;
