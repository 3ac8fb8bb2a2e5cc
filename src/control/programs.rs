//! The programs that have waiting files open.

use crate::status::{Status, WaitReason};
use crate::store::{Folder, writer_of};
use std::path::Path;

/// Files whose program is looked for: each takes a look at all processes.
const MAX_FILES: usize = 3;

/// Adds the programs that have the first waiting files open for writing, as far as this user may
/// see them. The process that runs cannot look itself: its sandbox hides other processes.
pub fn name_programs(status: &mut Status) {
    for peer in &mut status.peers {
        let is_open = |reason| matches!(reason, WaitReason::Open | WaitReason::DeliveredOpen);
        let mut open =
            peer.waiting.iter_mut().filter(|waiting| is_open(waiting.reason)).take(MAX_FILES);
        let Some(first) = open.next() else { continue };
        let Ok(folder) = Folder::open(Path::new(&peer.outgoing), false) else { continue };
        for waiting in std::iter::once(first).chain(open) {
            let meta = folder.stat(&waiting.path).ok();
            waiting.program = meta.and_then(|meta| writer_of(&meta)).map(|program| program.name);
        }
    }
}
