//! `--max-incoming-bytes`: the limit on the bytes in Incoming, with those of the transfers under
//! way.
//!
//! The bytes are counted by a walk through Incoming, only when the limit seems to be reached.
//! Between two walks the sizes of placed files are added. So removals by the user are noticed when
//! they matter, and the count is too low only if other programs add files.

use crate::proto::name::Name;
use crate::store::error::StoreError;
use crate::store::tree::folder::Folder;
use crate::store::tree::meta::FileKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Minimum interval between two walks, which is also at least ten times the duration of one.
const REFRESH_INTERVAL: Duration = Duration::from_millis(500);

/// The limit, and the present count of the bytes.
#[derive(Debug)]
pub(crate) struct Quota {
    limit: u64,
    count: Mutex<Count>,
    /// Bytes that were placed, or left in the stage, since the start.
    grown: AtomicU64,
}

/// The result of the last walk.
#[derive(Debug, Default)]
struct Count {
    bytes: u64,
    /// [`Quota::grown`] when the walk began.
    grown: u64,
    /// The end of the walk, and its duration.
    walked: Option<(Instant, Duration)>,
}

/// The check for one transfer. It holds a lock, so transfers are checked one after the other.
pub(crate) struct QuotaCheck<'a> {
    quota: &'a Quota,
    count: MutexGuard<'a, Count>,
}

impl Quota {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, count: Mutex::default(), grown: AtomicU64::new(0) }
    }

    /// Adds bytes to the count of the last walk.
    pub(crate) fn grew(&self, bytes: u64) {
        self.grown.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn admission(&self) -> QuotaCheck<'_> {
        QuotaCheck { quota: self, count: self.count.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

impl QuotaCheck<'_> {
    /// Checks that `wanted` bytes fit beside the present ones. `left` returns the bytes in the
    /// stage that belong to no transfer under way.
    ///
    /// # Errors
    /// [`StoreError::Full`] if they do not fit; others if Incoming cannot be listed.
    pub(crate) fn check(
        &mut self,
        incoming: &Folder,
        left: impl Fn() -> Result<u64, StoreError>,
        wanted: u64,
    ) -> Result<(), StoreError> {
        if self.count.walked.is_some() && self.used().saturating_add(wanted) <= self.quota.limit {
            return Ok(());
        }
        if self
            .count
            .walked
            .is_none_or(|(end, cost)| end.elapsed() >= REFRESH_INTERVAL.max(cost * 10))
        {
            let (begin, grown) = (Instant::now(), self.quota.grown.load(Ordering::Relaxed));
            let bytes = bytes_in(incoming)?.saturating_add(left()?);
            *self.count = Count { bytes, grown, walked: Some((Instant::now(), begin.elapsed())) };
        }
        if self.used().saturating_add(wanted) <= self.quota.limit {
            return Ok(());
        }
        let path = incoming.path().display().to_string();
        Err(StoreError::Full { path, used: self.used(), limit: self.quota.limit })
    }

    fn used(&self) -> u64 {
        let since = self.quota.grown.load(Ordering::Relaxed).saturating_sub(self.count.grown);
        self.count.bytes.saturating_add(since)
    }
}

/// Bytes of all files in a folder, at any depth. A subfolder that cannot be listed counts as empty:
/// this program placed nothing in it.
fn bytes_in(folder: &Folder) -> Result<u64, StoreError> {
    let mut bytes = 0u64;
    let mut folders: Vec<Option<Name>> = vec![None];
    while let Some(name) = folders.pop() {
        let listed = match folder.list(name.as_ref()) {
            Err(error) if name.is_none() => return Err(error),
            listed => listed.unwrap_or_default(),
        };
        for one in listed {
            match one.meta.kind {
                FileKind::File => bytes = bytes.saturating_add(one.meta.size),
                FileKind::Folder => {
                    let Ok(leaf) = one.leaf else { continue };
                    let below =
                        name.as_ref().map_or_else(|| Name::parse(&leaf), |name| name.join(&leaf));
                    // An invalid name is the program's own folder, which is counted separately, or
                    // a folder that no peer can have sent.
                    folders.extend(below.ok().map(Some));
                }
                FileKind::Link | FileKind::Other => {}
            }
        }
    }
    Ok(bytes)
}
