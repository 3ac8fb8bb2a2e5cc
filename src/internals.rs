//! Parts of the engine for the project's own tests and benchmarks. They exist with the feature
//! `internals` only, which no release has, and may change at any time.

/// [`crate::compress`].
pub mod compress {
    pub use crate::compress::*;
}

/// [`crate::crypto`].
pub mod crypto {
    pub use crate::crypto::*;
}

/// [`crate::failpoint`].
pub mod failpoint {
    pub use crate::failpoint::*;
}

/// [`crate::peering`].
pub mod peering {
    pub use crate::peering::{Fatal, connector};
}

/// [`crate::proto`].
pub mod proto {
    pub use crate::proto::*;
}

/// [`crate::session`].
pub mod session {
    pub use crate::session::*;
}

/// [`crate::store`].
pub mod store {
    pub use crate::store::internals::*;
    pub use crate::store::*;
}

/// [`crate::transport`].
pub mod transport {
    pub use crate::transport::*;
}
