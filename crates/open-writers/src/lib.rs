//! Asks the kernel whether any process has a file open for writing.
//!
//! Linux grants a read lease (`fcntl(2)`, "Leases") only while no open file description of the file
//! is writable. This covers every process of any user and mount namespace, and writable shared
//! memory mappings whose descriptor is closed. The lease is given back at once: it is the question
//! and not a lock.
//!
//! This is a crate of its own because no maintained crate has a safe form of the call, and rft
//! itself forbids `unsafe`. Here is the only `unsafe` block.

/// The kernel's answer about the writers of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// No process has it open for writing.
    None,
    /// At least one process has it open for writing.
    Some,
    /// The kernel does not say: the file belongs to another user and this process lacks
    /// `CAP_LEASE`, its file system has no leases, or the system has none.
    Unknown,
}

/// Asks about the file behind a descriptor, which must be open for reading only.
#[cfg(target_os = "linux")]
pub fn writers(file: &std::fs::File) -> Writers {
    use std::os::fd::AsRawFd;

    // asm-generic/fcntl.h; the libc crate does not have it.
    const F_SETSIG: libc::c_int = 10;

    let fd = file.as_raw_fd();
    let fcntl = |command: libc::c_int, argument: libc::c_int| {
        // SAFETY: `fd` is open as long as `file` is borrowed. The three commands used below take an
        // integer and no pointer, so the call touches no memory of this process.
        unsafe { libc::fcntl(fd, command, argument) }
    };
    // A process that opens the file for writing before the lease is given back makes the kernel
    // send the holder a signal: SIGIO by default, which ends a process that does not handle it.
    // SIGURG is ignored by default.
    if fcntl(F_SETSIG, libc::SIGURG) == -1 {
        return Writers::Unknown;
    }
    if fcntl(libc::F_SETLEASE, libc::F_RDLCK) == 0 {
        // The kernel also drops the lease when the descriptor is closed, should this fail.
        fcntl(libc::F_SETLEASE, libc::F_UNLCK);
        return Writers::None;
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => Writers::Some,
        _ => Writers::Unknown,
    }
}

/// Other systems have no such call.
#[cfg(not(target_os = "linux"))]
pub fn writers(_file: &std::fs::File) -> Writers {
    Writers::Unknown
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{Writers, writers};
    use std::fs::{self, File, OpenOptions};
    use std::path::PathBuf;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("open-writers-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_writer_is_seen_until_its_last_descriptor_is_closed() {
        let path = path("file");
        fs::write(&path, "x").expect("a file");
        let file = File::open(&path).expect("it opens");
        assert_eq!(writers(&file), Writers::None);
        let first = OpenOptions::new().append(true).open(&path).expect("a writer");
        let second = first.try_clone().expect("the same description");
        let third = OpenOptions::new().write(true).open(&path).expect("another writer");
        assert_eq!(writers(&file), Writers::Some);
        drop(first);
        drop(third);
        assert_eq!(writers(&file), Writers::Some);
        drop(second);
        // The lease was given back: a writer is not kept waiting.
        assert_eq!(writers(&file), Writers::None);
        drop(OpenOptions::new().write(true).open(&path).expect("no lease is held"));
        fs::remove_file(path).expect("it goes");
    }

    #[test]
    fn what_has_no_leases_is_unknown() {
        let file = File::open("/dev/null").expect("it opens");
        assert_eq!(writers(&file), Writers::Unknown);
    }
}
