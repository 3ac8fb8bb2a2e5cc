//! What differs between systems, one entry of one held folder at a time.
//!
//! Every function takes the folder by handle and a single component of a name, and follows no
//! symbolic link: with no `/` to walk through and no link to follow, nothing beneath a handle can
//! lead out of it, whatever is renamed meanwhile. Both systems have the same functions, and all
//! calls pass through here, where a test may let them fail (the names are those of the failpoints).

#[cfg(unix)]
#[path = "unix/mod.rs"]
mod system;
#[cfg(windows)]
#[path = "windows/mod.rs"]
mod system;

mod programs;
#[cfg(feature = "internals")]
mod replace;

use super::meta::Meta;
use crate::failpoint;
use crate::proto::message::Timestamp;
use cap_std::fs::Dir;
use open_writers::Writers;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Result;
use std::path::Path;

pub use programs::Program;
pub(crate) use programs::writer_of;
#[cfg(feature = "internals")]
pub use replace::replace_calls;
pub(crate) use system::{
    SYNC_VOLUME_FROM, can_sync_volume, file_size_limit, is_confined_out, is_marked, is_mount_root,
    is_remote, leaf_bytes,
};

macro_rules! calls {
    ($($(#[$doc:meta])* $point:literal: $name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        $($(#[$doc])* pub(crate) fn $name($($arg: $type),*) -> Result<$result> {
            failpoint::io($point)?;
            system::$name($($arg),*)
        })*
    };
}

/// Calls that tell files apart, or that change what a loss of power leaves. With the feature
/// `internals` a test may replace them, to record them.
macro_rules! recorded {
    ($($(#[$doc:meta])* $point:literal: $name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        $($(#[$doc])* pub(crate) fn $name($($arg: $type),*) -> Result<$result> {
            failpoint::io($point)?;
            #[cfg(feature = "internals")]
            if let Some(calls) = replace::replaced() {
                return calls.$name($($arg),*);
            }
            system::$name($($arg),*)
        })*

        /// The calls of this module that a test may replace. Each is the system's own by default.
        #[cfg(feature = "internals")]
        pub trait Calls {
            $($(#[$doc])*
            ///
            /// # Errors
            /// What the system says.
            fn $name(&self, $($arg: $type),*) -> Result<$result> {
                system::$name($($arg),*)
            })*
        }
    };
}

/// The system's own calls.
#[cfg(feature = "internals")]
#[derive(Clone, Copy, Debug)]
pub struct System;

#[cfg(feature = "internals")]
impl Calls for System {}

calls! {
    /// A folder that the user named; links are followed here, and nowhere else but in the next one.
    "os.open_root": open_root(path: &Path) -> Dir;
    /// A folder in a folder.
    "os.open_dir": open_dir(dir: &Dir, leaf: &OsStr) -> Dir;
    /// All that stands in a folder.
    "os.list": entries(dir: &Dir) -> Vec<OsString>;
    /// Reads some bytes from an offset.
    "os.read": read_at(file: &File, buffer: &mut [u8], offset: u64) -> usize;
    /// Whether a program has a file open for writing that is open here for reading.
    "os.writers": writers(file: &File) -> Writers;
    /// The same, of this host's programs alone: a question less.
    "os.writers": has_writer(file: &File) -> bool;
    /// The target of a symbolic link, `/`-separated.
    "os.read_link": read_link(dir: &Dir, leaf: &OsStr) -> Vec<u8>;
    /// Which volume a folder is on, as a rename sees it: two mounts of one are two.
    "os.mount": mount_of(dir: &Dir) -> (u64, u64);
    /// Bytes that this user may still write on the folder's volume.
    "os.free_space": free_space(dir: &Dir, path: &Path) -> u64;
}

recorded! {
    /// Which folder a path that the user named leads to now.
    "os.stat": stat_root(path: &Path) -> Meta;
    /// The metadata of an entry, of a link itself.
    "os.stat": stat(dir: &Dir, leaf: &OsStr) -> Meta;
    /// The metadata of an open file.
    "os.stat": stat_file(file: &File) -> Meta;
    /// The metadata of an open folder.
    "os.stat": stat_dir(dir: &Dir) -> Meta;
    /// A regular file, for reading.
    "os.open": open_read(dir: &Dir, leaf: &OsStr) -> (File, Meta);
    /// A regular file, for reading and writing.
    "os.open": open_edit(dir: &Dir, leaf: &OsStr) -> (File, Meta);
    /// A new folder.
    "os.make_dir": make_dir(dir: &Dir, leaf: &OsStr, private: bool) -> ();
    /// Removes an empty folder.
    "os.remove_dir": remove_dir(dir: &Dir, leaf: &OsStr) -> ();
    /// A new file, for reading and writing.
    "os.create": create_new(dir: &Dir, leaf: &OsStr) -> File;
    /// Writes all of the bytes at an offset.
    "os.write": write_at(file: &File, data: &[u8], offset: u64) -> ();
    /// Cuts or extends a file.
    "os.set_len": set_len(file: &File, length: u64) -> ();
    /// A symbolic link, its target `/`-separated.
    "os.make_link": make_link(dir: &Dir, leaf: &OsStr, target: &[u8]) -> ();
    /// Permission bits (none: left alone) and modification time of an open file.
    "os.set_meta": set_file(file: &File, mode: Option<u32>, modified: Timestamp) -> ();
    /// The same of a folder.
    "os.set_meta": set_dir(dir: &Dir, mode: Option<u32>, modified: Timestamp) -> ();
    /// The time of a link itself.
    "os.set_meta": set_link(dir: &Dir, leaf: &OsStr, modified: Timestamp) -> ();
    /// A rename that fails with [`std::io::ErrorKind::AlreadyExists`] when anything stands at the
    /// new name.
    "os.rename": rename_new(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> ();
    /// A rename to a name that is free, and that nobody but this program gives: in a folder of its
    /// own. The file keeps its number, also where [`rename_new`] has to go by a second hard link
    /// and the file system (sshfs) then makes up another.
    "os.rename": rename_own(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> ();
    /// A rename that atomically replaces what stands at the new name.
    "os.rename": rename_over(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> ();
    /// Removes the name of a file or a link.
    "os.unlink": unlink(dir: &Dir, leaf: &OsStr) -> ();
    /// A file to stable storage, its metadata included.
    "os.sync_file": sync_file(file: &File) -> ();
    /// A file's bytes and length to stable storage.
    "os.sync_data": sync_data(file: &File) -> ();
    /// The names in a folder to stable storage.
    "os.sync_dir": sync_dir(dir: &Dir) -> ();
    /// Everything on the volume at once; `false` when this system cannot.
    "os.sync_volume": sync_volume(dir: &Dir) -> bool;
}
