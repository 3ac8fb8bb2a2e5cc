//! The system around rft: limits, clock, UDP sockets, the own port.

use super::{Found, PortState, Subject};
use crate::cause;
use crate::config::{Config, Folders};
use crate::transport::port::Port;
use crate::transport::socket;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// Folders of Outgoing that are counted.
const MAX_COUNTED: u64 = 2_000_000;

pub(super) fn look(folders: &Folders) -> Vec<Found> {
    let mut found = Vec::new();
    found.extend(open_files());
    found.extend(watches(&folders.outgoing));
    found.push(clock(folders));
    match socket::abilities() {
        Ok(able) => found.extend([
            Found::Buffers {
                receive: able.receive_buffer,
                send: able.send_buffer,
                wanted: socket::KERNEL_BUFFER,
            },
            Found::Offload { gso: able.gso, gro: able.gro },
        ]),
        Err(error) => tracing::info!(%error, "the UDP socket cannot be looked at"),
    }
    found
}

#[cfg(unix)]
fn open_files() -> Option<Found> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    Some(Found::OpenFiles { limit })
}

#[cfg(not(unix))]
fn open_files() -> Option<Found> {
    None
}

/// The limits of inotify; `None` on other systems.
fn watches(outgoing: &Path) -> Option<Found> {
    let limit = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(Path::new("/proc/sys/fs/inotify").join(name)).ok()?;
        text.trim().parse().ok()
    };
    let (max_watches, max_instances) = (limit("max_user_watches")?, limit("max_user_instances")?);
    Some(Found::Watches { folders: count_folders(outgoing), max_watches, max_instances })
}

/// Links are not followed.
fn count_folders(root: &Path) -> u64 {
    let (mut count, mut left) = (0, vec![root.to_owned()]);
    while let Some(folder) = left.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        count += 1;
        let inner =
            entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        left.extend(inner.map(|entry| entry.path()));
        if count >= MAX_COUNTED {
            break;
        }
    }
    count
}

/// A clock that was set back shows in files of `.rft` that are in the future.
fn clock(folders: &Folders) -> Found {
    let now = SystemTime::now();
    let times = fs::read_dir(&folders.state).into_iter().flatten().flatten();
    let newest = times.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max();
    let ahead = newest.and_then(|time| time.duration_since(now).ok());
    Found::Clock { ahead, synchronised: synchronised() }
}

/// What systemd-timesyncd says; unknown under other programs.
fn synchronised() -> Option<bool> {
    let folder = Path::new("/run/systemd/timesync");
    folder.is_dir().then(|| folder.join("synchronized").exists())
}

/// Whether the own port can be bound. It is released at once.
pub(super) fn port(subject: &Subject, port: u16, running: bool) -> Found {
    // Without a peer no other port is chosen.
    let mut config = Config::new(None, port, "unused");
    config.bind = subject.bind;
    let port = subject.bind.and_then(|bind| bind.port).unwrap_or(port);
    let state = match Port::bind(&config) {
        Ok(_) => PortState::Free,
        Err(error) if error.is_taken() && running => PortState::Running,
        Err(error) if error.is_taken() => PortState::Taken,
        Err(error) => PortState::Refused(cause::without_number(&error.to_string())),
    };
    Found::Port { port, state }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Level;
    use crate::config::Bind;

    #[test]
    fn a_port_is_free_taken_or_that_of_the_running_rft() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let number = taken.local_addr().unwrap().port();
        let bind = Some(Bind { addr: [127, 0, 0, 1].into(), port: None });
        let subject = Subject {
            folders: Folders::in_dir("unused"),
            min_free: 0,
            port: Some(number),
            bind,
            peer: None,
        };
        let found = port(&subject, number, false);
        assert_eq!(found, Found::Port { port: number, state: PortState::Taken });
        assert_eq!(port(&subject, number, true).level(), Level::Pass);
        drop(taken);
        let found = port(&subject, number, false);
        assert_eq!(found, Found::Port { port: number, state: PortState::Free });
    }

    #[test]
    fn folders_are_counted_and_a_clock_that_went_back_shows() {
        let base = tempfile::tempdir().unwrap();
        let folders = Folders::in_dir(base.path());
        fs::create_dir_all(folders.outgoing.join("a/b")).unwrap();
        assert_eq!(count_folders(&folders.outgoing), 3);
        fs::create_dir_all(&folders.state).unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(7200);
        let file = fs::File::create(folders.state.join("lock")).unwrap();
        file.set_modified(later).unwrap();
        let Found::Clock { ahead, .. } = clock(&folders) else { panic!() };
        assert!(ahead.is_some_and(|ahead| ahead.as_secs() > 7000), "{ahead:?}");
    }
}
