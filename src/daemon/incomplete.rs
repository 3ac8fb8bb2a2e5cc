//! What the peer offered in one exchange (`rft receive`) and did not arrive.

use super::lock::locked;
use crate::event::{Direction, Event};
use crate::proto::name::Name;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Files of the peer that are remembered by name.
const MAX_FAILED: usize = 1000;

/// The files that the peer offered and that did not arrive.
#[derive(Debug, Default)]
pub(super) struct Incomplete {
    failed: Mutex<BTreeMap<Name, String>>,
    /// File streams that the peer has opened.
    offers: AtomicU64,
}

impl Incomplete {
    /// Takes notice of the end of a transfer from the peer.
    pub(super) fn note(&self, event: &Event) {
        match event {
            Event::FileFailed { direction: Direction::Receive, path, error, .. } => {
                let mut failed = locked(&self.failed);
                if failed.len() < MAX_FAILED {
                    failed.insert(path.clone(), error.clone());
                }
            }
            Event::FileDone { direction: Direction::Receive, path, .. } => {
                locked(&self.failed).remove(path);
            }
            _ => {}
        }
    }

    /// The peer has opened a file stream.
    pub(super) fn offered(&self) {
        self.offers.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it has opened none.
    pub(super) fn offered_nothing(&self) -> bool {
        self.offers.load(Ordering::Relaxed) == 0
    }

    /// The files, each with the reason.
    pub(super) fn failed(&self) -> Vec<(String, String)> {
        locked(&self.failed).iter().map(|(name, why)| (name.to_string(), why.clone())).collect()
    }
}
