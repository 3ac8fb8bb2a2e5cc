//! `--max-incoming-bytes`: how much Incoming may hold, with what is being received.
//!
//! What stands there is counted by walking through it, which is done when the limit seems to be
//! reached and no earlier; in between, what is placed is added. So files that the user takes away
//! are noticed when it matters, and the count is never too small but for what other programs put
//! there.

use crate::proto::name::Name;
use crate::store::error::StoreError;
use crate::store::tree::folder::Folder;
use crate::store::tree::meta::FileKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two walks at least, and at least ten times as long as one takes.
const REFRESH_INTERVAL: Duration = Duration::from_millis(500);

/// The limit, and what is known of how far it is used.
#[derive(Debug)]
pub(crate) struct Quota {
    most: u64,
    count: Mutex<Count>,
    /// Bytes that were placed or left in the stage since the start.
    grown: AtomicU64,
}

/// What the last walk found.
#[derive(Debug, Default)]
struct Count {
    bytes: u64,
    /// [`Quota::grown`] when it began.
    grown: u64,
    /// When it ended, and how long it took.
    walked: Option<(Instant, Duration)>,
}

/// The right to admit one transfer at a time.
pub(crate) struct QuotaCheck<'a> {
    quota: &'a Quota,
    count: MutexGuard<'a, Count>,
}

impl Quota {
    pub(crate) fn new(most: u64) -> Self {
        Self { most, count: Mutex::default(), grown: AtomicU64::new(0) }
    }

    /// These bytes are there now, whatever the last walk found.
    pub(crate) fn grew(&self, bytes: u64) {
        self.grown.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn admission(&self) -> QuotaCheck<'_> {
        QuotaCheck { quota: self, count: self.count.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

impl QuotaCheck<'_> {
    /// Whether `wanted` bytes fit besides what is there. `left` gives the bytes in the stage that
    /// no transfer under way accounts for.
    ///
    /// # Errors
    /// [`StoreError::Full`] when they do not; others when Incoming cannot be walked through.
    pub(crate) fn check(
        &mut self,
        incoming: &Folder,
        left: impl Fn() -> Result<u64, StoreError>,
        wanted: u64,
    ) -> Result<(), StoreError> {
        if self.count.walked.is_some() && self.used().saturating_add(wanted) <= self.quota.most {
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
        if self.used().saturating_add(wanted) <= self.quota.most {
            return Ok(());
        }
        let path = incoming.path().display().to_string();
        Err(StoreError::Full { path, used: self.used(), most: self.quota.most })
    }

    fn used(&self) -> u64 {
        let since = self.quota.grown.load(Ordering::Relaxed).saturating_sub(self.count.grown);
        self.count.bytes.saturating_add(since)
    }
}

/// Bytes of all files in a folder at any depth. A folder in it that cannot be listed counts as
/// empty: nothing in it is ours.
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
                    // The program's own is counted apart, and the rest can have come from nobody.
                    folders.extend(below.ok().map(Some));
                }
                FileKind::Link | FileKind::Other => {}
            }
        }
    }
    Ok(bytes)
}
