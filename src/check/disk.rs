//! The volume of Incoming: space, inodes, speed.

use super::{Found, Subject};
use crate::cause;
use crate::store;
use std::path::Path;

/// On a disk with less free space than this in bytes the speed is not measured.
const SPARED: u64 = 256 << 20;

pub(super) fn look(subject: &Subject) -> Vec<Found> {
    let incoming = &subject.folders.incoming;
    let absolute = std::path::absolute(incoming).unwrap_or_else(|_| incoming.clone());
    let Some(folder) = absolute.ancestors().find(|path| path.is_dir()) else { return Vec::new() };
    let mut found = Vec::new();
    let free = store::free_space(folder);
    if let Ok(free) = free {
        found.push(Found::Space { free, needed: subject.min_free });
    }
    found.extend(inodes(folder));
    if free.is_ok_and(|free| free >= SPARED) {
        found.push(match store::try_speed(folder) {
            Ok(speed) => Found::Disk { write_rate: speed.write_rate, sync: speed.sync },
            Err(error) => Found::DiskFailed(cause::of(&error)),
        });
    }
    found
}

/// File systems without a fixed number of inodes report none.
#[cfg(unix)]
fn inodes(folder: &Path) -> Option<Found> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    (stat.f_files > 0).then_some(Found::Inodes { free: stat.f_favail, total: stat.f_files })
}

#[cfg(not(unix))]
fn inodes(_folder: &Path) -> Option<Found> {
    None
}
