//! The folders and the ledger: every sync, rename and removal.
//!
//! No other module names the database or changes a file. A peer's data reaches a file only through
//! a [`Name`](crate::proto::name::Name) and a [`Folder`], which is held by handle.

mod outgoing;
mod tree;

mod error;
mod incoming;
#[cfg(feature = "internals")]
pub mod internals;
mod state;
mod trial;

pub use error::StoreError;
pub use incoming::publish::{Arrived, ArrivedHook, Content, publish};
pub use incoming::quarantine::{NotReleased, QuarantinedFile};
pub use incoming::stage::Staged;
pub use incoming::{Incoming, Reservation};
pub use open_writers::Writers;
pub use outgoing::cancelled::CancelledFiles;
pub use outgoing::put::{Copied, PutArea, PutError, Skipped, clear_put_area};
pub use outgoing::remove::{Hold, REMOVING, Removed, Remover, Sent};
pub use outgoing::urgent_marks::UrgentMarks;
pub use state::history::{HISTORY, History, HistoryCopy, HistoryRange};
pub use state::ledger::{
    Delivered, LEDGER, Ledger, PendingHook, Received, SavedTotals, verify_ledger,
};
pub use state::{LOCK, PROBE_PREFIX, StateDir, read_at_rest};
pub(crate) use tree::cursor::DirCursor;
pub use tree::folder::Folder;
pub use tree::meta::{FileIdentity, FileKind, Meta};
pub use tree::obstacle::Obstacle;
pub use tree::os::Program;
pub use tree::read::Listed;
pub use trial::{DiskSpeed, try_file, try_speed};

/// Bytes that this user may write on the volume of a folder.
///
/// # Errors
/// The system's error.
pub fn free_space(folder: &std::path::Path) -> std::io::Result<u64> {
    tree::os::free_space(&tree::os::open_root(folder)?, folder)
}

/// The metadata of an open file.
///
/// # Errors
/// The system's error.
pub fn meta_of(file: &std::fs::File) -> std::io::Result<Meta> {
    tree::os::stat_file(file)
}

/// The program that has a file open for writing, if the system lets this user see it.
pub fn writer_of(file: &Meta) -> Option<Program> {
    tree::os::writer_of(file)
}

/// Whether a program of this host is known to have the file open for writing; `file` is open for
/// reading.
pub fn has_writer(file: &std::fs::File) -> bool {
    tree::os::has_writer(file).unwrap_or(false)
}

/// Whether any program has the file open for writing; `file` is open for reading.
pub fn writers_of(file: &std::fs::File) -> Writers {
    tree::os::writers(file).unwrap_or(Writers::Unknown)
}
