//! What the project's own tests use and a program does not. It exists with the feature `internals`
//! only, which no release has, and may change at any time.

pub use crate::store::internals as store;
