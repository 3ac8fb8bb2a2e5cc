//! Opens a peer: its folders, its outbox and its inbox.

use super::{Peer, PeerSessions};
use crate::config::{AfterSend, Compress, Config, OnConflict};
use crate::daemon::activity::PeerActivity;
use crate::daemon::bottleneck::Bottlenecks;
use crate::daemon::events::Events;
use crate::daemon::history::PeerHistory;
use crate::daemon::incomplete::Incomplete;
use crate::daemon::setbacks::Setbacks;
use crate::daemon::storage::Storage;
use crate::error::RunError;
use crate::inbox::{self, Inbox};
use crate::meter::Meter;
use crate::outbox::{Delivery, Outbox, OutboxConfig};
use crate::store::{CancelledFiles, Folder, Remover, StoreError, UrgentMarks, clear_put_area};
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::{Notify, mpsc, watch};

impl Peer {
    /// Opens Outgoing and starts to watch it.
    pub(in crate::daemon) fn open(
        config: &Config,
        storage: &Storage,
        events: &Events,
        failures: mpsc::UnboundedSender<RunError>,
    ) -> Result<Self, RunError> {
        let name = config.peer_name();
        let saved = storage.ledger.totals(name.as_str())?;
        let activity = Arc::new(PeerActivity::new(saved, Instant::now()));
        let noted = activity.clone();
        let history = PeerHistory::new(&storage.history, name.clone());
        let incomplete = Arc::new(Incomplete::default());
        let failed = config.exchange.is_once().then(|| incomplete.clone());
        let events = events.sink(Some(name.clone()), move |event| {
            noted.note(event, Instant::now());
            failed.iter().for_each(|failed| failed.note(event));
            history.note(event);
        });
        let outgoing =
            Arc::new(Folder::open(&config.folders.outgoing, !config.folders.reads_outgoing)?);
        if !config.folders.reads_outgoing
            && let Err(error) = clear_put_area(&outgoing)
        {
            tracing::info!(%error, "copies of a killed `rft put` stay in Outgoing, and are not sent");
        }
        let outbox = Outbox::start(outbox_config(config, &outgoing, storage)?, events.clone())?;
        let in_flight = outbox.in_flight();
        let (incoming, ledger) = (storage.incoming.clone(), storage.ledger.clone());
        let committer = storage.committer.clone();
        let meter = Arc::new(Meter::new());
        let hooks = storage.hooks.as_ref().map(|hooks| hooks.of_peer(name.clone()));
        Ok(Self {
            name,
            outbox,
            delivery: Delivery::new(outgoing, events.clone(), meter.clone(), in_flight),
            inbox: Inbox::new(
                incoming,
                ledger,
                committer,
                events.clone(),
                limits(config),
                meter.clone(),
                hooks,
            ),
            inbox_changed: Notify::new(),
            events,
            in_flight: config.in_flight.max(1),
            compress: config.compress == Compress::Auto,
            drain: config.drain,
            exchange: config.exchange.clone(),
            incomplete,
            peer_backlog: watch::Sender::new(None),
            activity,
            setbacks: Setbacks::default(),
            bottlenecks: Bottlenecks::new(meter, storage.commits.clone()),
            ledger: storage.ledger.clone(),
            outgoing: absolute(&config.folders.outgoing),
            sessions: Mutex::new(PeerSessions::default()),
            undelivered: Mutex::default(),
            refusals: Mutex::default(),
            unopened: AtomicU32::new(0),
            failures,
        })
    }
}

/// What the outbox of this peer is started with.
fn outbox_config(
    config: &Config,
    outgoing: &Arc<Folder>,
    storage: &Storage,
) -> Result<OutboxConfig, StoreError> {
    Ok(OutboxConfig {
        outgoing: outgoing.clone(),
        remover: open_remover(config, outgoing, storage)?,
        cancelled: Some(CancelledFiles::of(outgoing.clone(), &storage.state)),
        urgent: Arc::new(UrgentMarks::of(&storage.state)),
        ledger: storage.ledger.clone(),
        only: config.exchange.only().map(<[_]>::to_vec),
        once: config.exchange.is_once(),
        after_send: config.after_send,
        waits: config.waits,
        temp_names: config.temp_names,
        send_open: config.send_open,
        grace: config.grace,
        // The folder is the user's, and may be a large home.
        watch: !config.exchange.is_once(),
        drain: config.drain,
    })
}

/// Opens the folder through which sent files are removed. With `--after-send keep` it may be
/// missing, since Outgoing may be read-only then.
fn open_remover(
    config: &Config,
    outgoing: &Arc<Folder>,
    storage: &Storage,
) -> Result<Option<Remover>, StoreError> {
    if config.folders.reads_outgoing && config.after_send == AfterSend::Keep {
        return Ok(None);
    }
    match Remover::open(outgoing.clone(), &storage.state) {
        Ok(remover) => Ok(Some(remover)),
        Err(error) if config.after_send == AfterSend::Keep => {
            tracing::info!(%error, "Outgoing cannot be changed, and --after-send keep needs no change");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A path as text, from the root of the file system.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// The limits for files from the peer.
fn limits(config: &Config) -> inbox::Limits {
    inbox::Limits {
        max_file_size: config.max_file_size,
        max_incoming: config.max_incoming_bytes,
        min_free: config.min_free,
        partial: usize::try_from(config.memory / 2).unwrap_or(usize::MAX),
        keep_existing: config.on_conflict == OnConflict::Skip,
        renames: config.on_conflict == OnConflict::Rename,
    }
}
