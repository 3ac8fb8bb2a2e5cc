//! The program that has a file open for writing, as far as this user may see it; for messages.

use crate::store::tree::meta::Meta;

/// A running program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its name, as the system reports it. It may contain control characters.
    pub name: String,
    /// Its process id.
    pub pid: u32,
}

/// The first program found that has this file open for writing or mapped as writable.
#[cfg(target_os = "linux")]
pub(crate) fn writer_of(file: &Meta) -> Option<Program> {
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse::<u32>().ok()?;
        let path = entry.path();
        if !(has_open(&path, file) || has_mapped(&path, file)) {
            return None;
        }
        let name = std::fs::read(path.join("comm")).ok()?;
        Some(Program { name: String::from_utf8_lossy(name.trim_ascii_end()).into_owned(), pid })
    })
}

/// Other systems report this to administrators only, or not at all.
#[cfg(not(target_os = "linux"))]
pub(crate) fn writer_of(_file: &Meta) -> Option<Program> {
    None
}

/// proc(5): `fd` has a link for each descriptor, `fdinfo` the flags that it was opened with.
#[cfg(target_os = "linux")]
fn has_open(process: &std::path::Path, file: &Meta) -> bool {
    use std::os::unix::fs::MetadataExt;

    let Ok(descriptors) = std::fs::read_dir(process.join("fd")) else { return false };
    descriptors.flatten().any(|descriptor| {
        // This follows the link to the open file, and opens nothing.
        let same = std::fs::metadata(descriptor.path()).is_ok_and(|found| {
            (found.dev(), found.ino()) == (file.identity.device, file.identity.inode)
        });
        same && std::fs::read_to_string(process.join("fdinfo").join(descriptor.file_name()))
            .is_ok_and(|info| is_writable(&info))
    })
}

/// The access mode is in the last two bits; 0 means read-only.
#[cfg(target_os = "linux")]
fn is_writable(fdinfo: &str) -> bool {
    let flags = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & 0b11 != 0)
}

/// proc(5), `maps`: `address perms offset major:minor inode path`, the device in hexadecimal.
#[cfg(target_os = "linux")]
fn has_mapped(process: &std::path::Path, file: &Meta) -> bool {
    let Ok(maps) = std::fs::read(process.join("maps")) else { return false };
    let (device, inode) = (file.identity.device, file.identity.inode);
    let device = format!("{:02x}:{:02x}", rustix::fs::major(device), rustix::fs::minor(device));
    String::from_utf8_lossy(&maps).lines().any(|line| {
        let mut fields = line.split_ascii_whitespace();
        let shared = fields.nth(1).is_some_and(|perms| perms.contains('w') && perms.contains('s'));
        shared
            && fields.nth(1) == Some(&device)
            && fields.next().is_some_and(|field| field.parse() == Ok(inode))
    })
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn a_writer_is_named_and_a_reader_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut writer = std::fs::File::create(&path).unwrap();
        std::io::Write::write_all(&mut writer, b"x").unwrap();
        let meta = crate::store::meta_of(&writer).unwrap();
        let own = super::writer_of(&meta).unwrap();
        assert_eq!(own.pid, std::process::id());
        assert!(!own.name.is_empty());
        drop(writer);
        let _reader = std::fs::File::open(&path).unwrap();
        assert_eq!(super::writer_of(&meta), None);
    }
}
