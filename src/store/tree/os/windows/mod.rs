//! Windows.
//!
//! Files are opened by folder handle and component (`NtCreateFile` relative to a folder). The calls
//! that change names take no folder handle, so they use the present path of the handle, in the
//! verbatim form (`\\?\`), which has no limit of 260 characters and is not normalized.

mod handle;
mod volume;

use crate::proto::message::Timestamp;
use crate::store::tree::meta::{FileIdentity, FileKind, Meta, system_time_of, timestamp_of};
use cap_fs_ext::MetadataExt;
use cap_std::fs::{Dir, Metadata, OpenOptions, OpenOptionsExt};
use handle::{
    FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, FILE_READ_ATTRIBUTES,
    FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_WRITE_ATTRIBUTES, open, open_meta, path_of,
    path_of_dir, retry, with_kind,
};
use open_writers::Writers;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes};
use std::io;
use std::os::windows::fs::FileExt;
use std::path::Path;

pub(crate) use volume::{
    SYNC_VOLUME_FROM, can_sync_volume, file_size_limit, free_space, is_confined_out, is_mount_root,
    is_remote, mount_of, sync_volume,
};

pub(crate) fn open_root(path: &Path) -> io::Result<Dir> {
    use std::os::windows::fs::OpenOptionsExt as _;
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
        .open(path)
        .map_err(with_kind)?;
    if file.metadata()?.is_dir() {
        Ok(Dir::from_std_file(file))
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

pub(crate) fn stat_root(path: &Path) -> io::Result<Meta> {
    stat_dir(&open_root(path)?)
}

pub(crate) fn open_dir(dir: &Dir, leaf: &OsStr) -> io::Result<Dir> {
    let file =
        open(dir, leaf, OpenOptions::new().read(true).custom_flags(FILE_FLAG_BACKUP_SEMANTICS))?;
    if meta_of(&file)?.kind == FileKind::Folder {
        Ok(Dir::from_std_file(file))
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

pub(crate) fn make_dir(dir: &Dir, leaf: &OsStr, _private: bool) -> io::Result<()> {
    // Access rights are inherited: beneath a user's profile only that user has access.
    fs::create_dir(path_of(dir, leaf)?).map_err(with_kind)
}

pub(crate) fn remove_dir(dir: &Dir, leaf: &OsStr) -> io::Result<()> {
    // The system call would remove a junction as well.
    if stat(dir, leaf)?.kind != FileKind::Folder {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    fs::remove_dir(path_of(dir, leaf)?).map_err(with_kind)
}

pub(crate) fn entries(dir: &Dir) -> io::Result<Vec<OsString>> {
    fs::read_dir(path_of_dir(dir)?)
        .map_err(with_kind)?
        .map(|entry| Ok(entry?.file_name()))
        .collect()
}

/// The bytes of a component in the protocol. Invalid Unicode has none.
pub(crate) fn leaf_bytes(leaf: OsString) -> Result<Vec<u8>, OsString> {
    leaf.into_string().map(String::into_bytes)
}

pub(crate) fn stat(dir: &Dir, leaf: &OsStr) -> io::Result<Meta> {
    meta_of(&open_meta(dir, leaf, FILE_READ_ATTRIBUTES)?)
}

pub(crate) fn stat_file(file: &File) -> io::Result<Meta> {
    meta_of(file)
}

pub(crate) fn stat_dir(dir: &Dir) -> io::Result<Meta> {
    meta_of(&dir.try_clone()?.into_std_file())
}

fn meta_of(file: &File) -> io::Result<Meta> {
    let meta = Metadata::from_file(file)?;
    let kind = if meta.is_symlink() {
        FileKind::Link
    } else if meta.is_dir() {
        FileKind::Folder
    } else if meta.is_file() {
        FileKind::File
    } else {
        FileKind::Other
    };
    Ok(Meta {
        kind,
        size: meta.len(),
        modified: timestamp_of(meta.modified()?.into_std()),
        mode: None,
        identity: FileIdentity {
            device: meta.dev(),
            inode: meta.ino(),
            changed: timestamp_of(meta.created()?.into_std()),
        },
    })
}

/// Opens a regular file for reading. The file is busy while another program has it open for
/// writing.
pub(crate) fn open_read(dir: &Dir, leaf: &OsStr) -> io::Result<(File, Meta)> {
    let options = &mut OpenOptions::new();
    open_regular(dir, leaf, options.read(true).share_mode(FILE_SHARE_READ | FILE_SHARE_DELETE))
}

/// Opens a regular file for reading and writing.
pub(crate) fn open_edit(dir: &Dir, leaf: &OsStr) -> io::Result<(File, Meta)> {
    let options = &mut OpenOptions::new();
    options.read(true).write(true);
    match open_regular(dir, leaf, options) {
        // The file got its read-only attribute before its transfer was interrupted.
        Err(error)
            if error.kind() == io::ErrorKind::PermissionDenied && make_writable(dir, leaf)? =>
        {
            open_regular(dir, leaf, options)
        }
        opened => opened,
    }
}

fn open_regular(dir: &Dir, leaf: &OsStr, options: &mut OpenOptions) -> io::Result<(File, Meta)> {
    if stat(dir, leaf)?.kind != FileKind::File {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    // If another entry is renamed to this name after the check, the check below catches it.
    let file = open(dir, leaf, options)?;
    let meta = meta_of(&file)?;
    if meta.kind == FileKind::File {
        Ok((file, meta))
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

/// [`open_read`] shares the file with readers only. It fails while a program has the file open for
/// writing, and no program can open it for writing while this handle is open.
pub(crate) fn writers(_file: &File) -> io::Result<Writers> {
    Ok(Writers::None)
}

pub(crate) fn has_writer(_file: &File) -> io::Result<bool> {
    Ok(false)
}

pub(crate) fn create_new(dir: &Dir, leaf: &OsStr) -> io::Result<File> {
    open(dir, leaf, OpenOptions::new().read(true).write(true).create_new(true))
}

pub(crate) fn write_at(file: &File, mut data: &[u8], mut offset: u64) -> io::Result<()> {
    while !data.is_empty() {
        let written = file.seek_write(data, offset).map_err(with_kind)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        data = &data[written..];
        offset += written as u64;
    }
    Ok(())
}

pub(crate) fn set_len(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length).map_err(with_kind)
}

pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.seek_read(buffer, offset).map_err(with_kind)
}

pub(crate) fn read_link(dir: &Dir, leaf: &OsStr) -> io::Result<Vec<u8>> {
    let target = fs::read_link(path_of(dir, leaf)?)?;
    let target = target.to_str().ok_or(io::ErrorKind::InvalidData)?;
    Ok(target.replace('\\', "/").into_bytes())
}

/// Creates a link to a file, or to a folder if the target ends in `/`. Windows needs the kind, and
/// the target cannot be examined from the stage. Requires developer mode or the right to create
/// links.
pub(crate) fn make_link(dir: &Dir, leaf: &OsStr, target: &[u8]) -> io::Result<()> {
    let target =
        std::str::from_utf8(target).map_err(|_| io::ErrorKind::InvalidData)?.replace('/', "\\");
    let path = path_of(dir, leaf)?;
    match target.strip_suffix('\\') {
        Some(folder) => std::os::windows::fs::symlink_dir(folder, path),
        None => std::os::windows::fs::symlink_file(&target, path),
    }
}

/// A rename that fails with [`io::ErrorKind::AlreadyExists`] if the new name is taken.
pub(crate) fn rename_new(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    let (old, new) = (path_of(from, old)?, path_of(to, new)?);
    retry(|| renamore::rename_exclusive(&old, &new))
}

pub(crate) fn link(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    from.hard_link(old, to, new)
}

/// A rename to a free name that no other program creates.
pub(crate) fn rename_own(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    rename_new(from, old, to, new)
}

/// A rename that atomically replaces the entry at the new name.
pub(crate) fn rename_over(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    let (source, target) = (path_of(from, old)?, path_of(to, new)?);
    retry(|| match fs::rename(&source, &target) {
        // Windows refuses to replace a read-only file.
        Err(error)
            if error.kind() == io::ErrorKind::PermissionDenied
                && make_writable(to, new).unwrap_or(false) =>
        {
            fs::rename(&source, &target)
        }
        renamed => renamed,
    })
}

pub(crate) fn unlink(dir: &Dir, leaf: &OsStr) -> io::Result<()> {
    let path = path_of(dir, leaf)?;
    retry(|| match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            if make_writable(dir, leaf)? {
                fs::remove_file(&path)
            } else if stat(dir, leaf)?.kind == FileKind::Link {
                // A link to a folder is removed like a folder.
                fs::remove_dir(&path)
            } else {
                Err(error)
            }
        }
        removed => removed,
    })
}

/// Removes the read-only attribute; `false` if it is not set.
// The lint concerns permissions of other users on Unix, not this attribute.
#[allow(clippy::permissions_set_readonly_false)]
fn make_writable(dir: &Dir, leaf: &OsStr) -> io::Result<bool> {
    let file = open_meta(dir, leaf, FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES)?;
    let mut permissions = file.metadata()?.permissions();
    if !permissions.readonly() {
        return Ok(false);
    }
    permissions.set_readonly(false);
    file.set_permissions(permissions)?;
    Ok(true)
}

/// Sets the permission bits (`None`: unchanged) and the time of an open file. Windows has one such
/// bit: without the owner's write permission the file becomes read-only.
pub(crate) fn set_file(file: &File, mode: Option<u32>, modified: Timestamp) -> io::Result<()> {
    set_time(file, modified)?;
    if mode.is_some_and(|mode| mode & 0o200 == 0) {
        let mut permissions = file.metadata()?.permissions();
        permissions.set_readonly(true);
        file.set_permissions(permissions)?;
    }
    Ok(())
}

/// Sets the time of a folder. Its mode is ignored: the read-only attribute of a folder has another
/// meaning.
pub(crate) fn set_dir(dir: &Dir, _mode: Option<u32>, modified: Timestamp) -> io::Result<()> {
    use std::os::windows::fs::OpenOptionsExt as _;
    let file = fs::OpenOptions::new()
        .access_mode(FILE_WRITE_ATTRIBUTES)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
        .open(path_of_dir(dir)?)?;
    set_time(&file, modified)
}

/// Sets the time of a link itself.
pub(crate) fn set_link(dir: &Dir, leaf: &OsStr, modified: Timestamp) -> io::Result<()> {
    set_time(&open_meta(dir, leaf, FILE_WRITE_ATTRIBUTES)?, modified)
}

fn set_time(file: &File, modified: Timestamp) -> io::Result<()> {
    file.set_times(FileTimes::new().set_modified(system_time_of(modified)))
}

pub(crate) fn sync_file(file: &File) -> io::Result<()> {
    file.sync_all()
}

pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// Does nothing: NTFS records names in its journal, in order, and cannot flush a single folder.
// The signature is the same on every system.
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn sync_dir(_dir: &Dir) -> io::Result<()> {
    Ok(())
}

/// Windows has no such mark.
pub(crate) fn is_marked(_dir: &Dir, _leaf: &OsStr) -> bool {
    false
}

#[cfg(test)]
mod tests;
