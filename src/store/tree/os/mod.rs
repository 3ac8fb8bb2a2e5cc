//! System calls, which differ between Unix and Windows. Each concerns one entry of one open folder.
//!
//! Every function takes the folder by handle and a single component of a name, and follows no
//! symbolic link. Without a `/` in the name and without links, no call can leave the folder, even
//! if another program renames entries meanwhile. Both systems have the same functions. All calls
//! pass through this module, where a test can make them fail (the literals are names of
//! failpoints).

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

/// Calls that identify files, or that affect the state after a power loss. With the feature
/// `internals` a test can replace them, in order to record them.
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

        /// The calls of this module that a test can replace. Each is the system's own by default.
        #[cfg(feature = "internals")]
        pub trait Calls {
            $($(#[$doc])*
            ///
            /// # Errors
            /// The system's error.
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
    /// Opens a folder that the user named. Only here and in `stat_root` are links followed.
    "os.open_root": open_root(path: &Path) -> Dir;
    /// Opens a folder in a folder.
    "os.open_dir": open_dir(dir: &Dir, leaf: &OsStr) -> Dir;
    /// The names of all entries of a folder.
    "os.list": entries(dir: &Dir) -> Vec<OsString>;
    /// Reads some bytes from an offset.
    "os.read": read_at(file: &File, buffer: &mut [u8], offset: u64) -> usize;
    /// Whether any program has this file open for writing; here it is open for reading.
    "os.writers": writers(file: &File) -> Writers;
    /// The same for programs of this host only, which needs one system call less.
    "os.writers": has_writer(file: &File) -> bool;
    /// The target of a symbolic link, `/`-separated.
    "os.read_link": read_link(dir: &Dir, leaf: &OsStr) -> Vec<u8>;
    /// The volume of a folder, as a rename sees it: two mounts of one volume count as two.
    "os.mount": mount_of(dir: &Dir) -> (u64, u64);
    /// Bytes that this user may still write on the folder's volume.
    "os.free_space": free_space(dir: &Dir, path: &Path) -> u64;
}

recorded! {
    /// The metadata of the folder to which a path of the user leads now.
    "os.stat": stat_root(path: &Path) -> Meta;
    /// The metadata of an entry; a link is not followed.
    "os.stat": stat(dir: &Dir, leaf: &OsStr) -> Meta;
    /// The metadata of an open file.
    "os.stat": stat_file(file: &File) -> Meta;
    /// The metadata of an open folder.
    "os.stat": stat_dir(dir: &Dir) -> Meta;
    /// Opens a regular file for reading.
    "os.open": open_read(dir: &Dir, leaf: &OsStr) -> (File, Meta);
    /// Opens a regular file for reading and writing.
    "os.open": open_edit(dir: &Dir, leaf: &OsStr) -> (File, Meta);
    /// Creates a folder.
    "os.make_dir": make_dir(dir: &Dir, leaf: &OsStr, private: bool) -> ();
    /// Removes an empty folder.
    "os.remove_dir": remove_dir(dir: &Dir, leaf: &OsStr) -> ();
    /// Creates a file, for reading and writing.
    "os.create": create_new(dir: &Dir, leaf: &OsStr) -> File;
    /// Writes all of the bytes at an offset.
    "os.write": write_at(file: &File, data: &[u8], offset: u64) -> ();
    /// Truncates or extends a file.
    "os.set_len": set_len(file: &File, length: u64) -> ();
    /// Creates a symbolic link; the target is `/`-separated.
    "os.make_link": make_link(dir: &Dir, leaf: &OsStr, target: &[u8]) -> ();
    /// Sets the permission bits (`None`: unchanged) and the modification time of an open file.
    "os.set_meta": set_file(file: &File, mode: Option<u32>, modified: Timestamp) -> ();
    /// The same for a folder.
    "os.set_meta": set_dir(dir: &Dir, mode: Option<u32>, modified: Timestamp) -> ();
    /// Sets the time of a link itself.
    "os.set_meta": set_link(dir: &Dir, leaf: &OsStr, modified: Timestamp) -> ();
    /// A rename that fails with [`std::io::ErrorKind::AlreadyExists`] if the new name is taken.
    "os.rename": rename_new(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> ();
    /// A second name of a file, in a folder of the program's own.
    "os.link": link(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> ();
    /// A rename to a free name in a folder of the program's own, where no other program creates
    /// names. The file keeps its inode number. With [`rename_new`] it may not: that falls back to a
    /// second hard link, for which some file systems (sshfs) report another number.
    "os.rename": rename_own(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> ();
    /// A rename that atomically replaces the entry at the new name.
    "os.rename": rename_over(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> ();
    /// Removes the name of a file or a link.
    "os.unlink": unlink(dir: &Dir, leaf: &OsStr) -> ();
    /// Syncs a file with its metadata.
    "os.sync_file": sync_file(file: &File) -> ();
    /// Syncs a file's bytes and length.
    "os.sync_data": sync_data(file: &File) -> ();
    /// Syncs the names in a folder.
    "os.sync_dir": sync_dir(dir: &Dir) -> ();
    /// Syncs the whole volume; `false` if this system cannot.
    "os.sync_volume": sync_volume(dir: &Dir) -> bool;
}
