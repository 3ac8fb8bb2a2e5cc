//! Private parts of the library for the project's own tests. The module exists with the feature
//! `internals` only, which no release has, and may change at any time.

pub use crate::store::internals as store;
