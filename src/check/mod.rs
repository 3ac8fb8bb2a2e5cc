//! `rft check`: looks at everything that an exchange needs, step by step, and changes nothing.
//!
//! The steps are values without sentences; the command line has those, and the remedies.

mod disk;
mod folders;
mod found;
mod level;
mod peer;
mod system;

pub use found::{FolderKind, Found, Inbound, LedgerState, PathSample, PortState, Usable};
pub use level::Level;

use crate::config::{Bind, Folders, PeerAddress};

/// What to look at.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The folders of the rft.
    pub folders: Folders,
    /// Free space that must remain, in bytes.
    pub min_free: u64,
    /// The UDP port; `None` checks the local steps alone.
    pub port: Option<u16>,
    /// The local address to bind.
    pub bind: Option<Bind>,
    /// The peer to look at.
    pub peer: Option<PeerAddress>,
}

/// Looks at everything, and hands over each result when it is there. The local steps block the
/// calling thread; the others need the context of a tokio runtime.
pub async fn run(subject: &Subject, mut tell: impl FnMut(Found)) {
    let running = folders::is_running(&subject.folders);
    for found in folders::look(&subject.folders, running) {
        tell(found);
    }
    for found in disk::look(subject) {
        tell(found);
    }
    for found in system::look(&subject.folders) {
        tell(found);
    }
    let Some(port) = subject.port else { return };
    tell(system::port(subject, port, running));
    let Some(peer) = &subject.peer else { return };
    peer::look(subject, peer, port, &mut tell).await;
}
