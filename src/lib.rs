//! rft
