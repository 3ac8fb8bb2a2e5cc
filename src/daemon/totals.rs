//! Keeps the counts of the peers for the next process.

use super::Daemon;
use super::peer::Peer;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Time from a change to its record: a crash loses at most the counts of this time.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);

/// Records the counts of all peers as they change, until this is dropped.
pub(super) async fn keep(daemon: &Daemon) {
    let mut peers: JoinSet<()> = daemon.peers.values().cloned().map(keep_one).collect();
    while peers.join_next().await.is_some() {}
    std::future::pending().await
}

async fn keep_one(peer: Arc<Peer>) {
    loop {
        peer.activity.done().await;
        tokio::time::sleep(SAVE_INTERVAL).await;
        let saved = peer.clone();
        // The write syncs the database.
        let _ = tokio::task::spawn_blocking(move || saved.save_totals()).await;
    }
}

/// Records the counts of all peers now.
pub(super) fn save(daemon: &Daemon) {
    daemon.peers.values().for_each(|peer| peer.save_totals());
}
