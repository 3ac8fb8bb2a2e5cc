//! Keeps the counts of the peers for the next process.

use super::Daemon;
use super::activity::PeerActivity;
use super::peer::Peer;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::task::JoinSet;

/// Time from a change to its record: a crash loses at most the counts of this time.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);

/// Records the counts of all peers as they change, until the tasks are aborted.
pub(super) fn keep(daemon: &Daemon) -> JoinSet<()> {
    let task = |peer: &Arc<Peer>| keep_one(peer.activity.clone(), Arc::downgrade(peer));
    daemon.peers.values().map(task).collect()
}

/// Does not hold the peer while it waits: a task that is aborted goes a moment later, and the peer
/// has the ledger and the session, whose port a new process may want at once.
async fn keep_one(activity: Arc<PeerActivity>, peer: Weak<Peer>) {
    loop {
        activity.done().await;
        tokio::time::sleep(SAVE_INTERVAL).await;
        let Some(saved) = peer.upgrade() else { return };
        // The write syncs the database.
        let _ = tokio::task::spawn_blocking(move || saved.save_totals()).await;
    }
}

/// Records the counts of all peers now.
pub(super) fn save(daemon: &Daemon) {
    daemon.peers.values().for_each(|peer| peer.save_totals());
}
