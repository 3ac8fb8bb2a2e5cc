//! A running process: one socket, one state folder, and its peers.
//!
//! [`Daemon`] owns what all peers share. A [`peer::Peer`] owns the rest: Outgoing, sessions,
//! counters, refusals. Today's configuration has one peer, so the map of peers has one entry.

mod activity;
mod bottleneck;
mod drain;
mod events;
mod exchange;
mod handle;
mod history;
mod hooks;
mod incomplete;
mod lanes;
mod lock;
mod peer;
mod pulse;
mod rate;
mod scheduled_limit;
mod session;
mod setbacks;
mod snapshots;
mod steering;
mod storage;
#[cfg(test)]
pub(crate) mod tests;
mod totals;

pub use events::EventReceiver;
pub use handle::Handle;
pub use history::HistoryAtRest;
pub(crate) use snapshots::SNAPSHOT_INTERVAL;
pub use steering::{CancelledEntries, SteerError};
pub use storage::LockedFolders;

use crate::config::{Config, Folders, PeerName};
use crate::crypto::handshake::PeerId;
use crate::crypto::password::PasswordKey;
use crate::error::{Finished, RunError};
use crate::event::{Event, EventSink, PeerEvent};
use crate::failpoint::fail_point;
use crate::hooks::HookHelper;
use crate::peering;
use crate::peering::connector::{self, Sessions};
use crate::session::Session;
use crate::session::installation::Identity;
use crate::status::Status;
use crate::store::StoreError;
use crate::transport::endpoint::{Endpoint, EndpointError};
use crate::transport::port::Port;
use crate::transport::ticks::Ticks;
use events::Events;
use peer::Peer;
use pulse::{Pulse, PulseRequests};
use rand::rngs::SysRng;
use scheduled_limit::ScheduledLimit;
use snapshots::Snapshots;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};
use storage::Storage;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Waiting entries of a peer that a [`Status`] names.
const MAX_NAMED: usize = 20;
/// Maximum time for the last packets to leave.
const LINGER: Duration = Duration::from_millis(500);
/// Time between two checks that the folders still exist.
const FOLDERS_INTERVAL: Duration = Duration::from_secs(2);

/// A running process. [`Daemon::start`] returns its [`Handle`].
pub struct Daemon {
    begun: Instant,
    /// The address of the UDP socket.
    local: SocketAddr,
    limit: ScheduledLimit,
    peers: BTreeMap<PeerName, Arc<Peer>>,
    storage: Storage,
}

impl Daemon {
    /// Creates the missing folders and locks them. [`Daemon::start`] does it too; a process that is
    /// sandboxed to the folders needs them before it starts its threads.
    ///
    /// # Errors
    /// [`RunError::Store`] if one cannot be created, or another process uses it.
    pub fn lock(folders: &Folders) -> Result<LockedFolders, RunError> {
        Ok(LockedFolders::open(folders)?)
    }

    /// The history of a folder that no process uses ([`Handle::history`] is that of a running one).
    ///
    /// # Errors
    /// [`RunError::Store`] if a process uses it, or the file cannot be read.
    pub fn history(folders: &Folders) -> Result<HistoryAtRest, RunError> {
        Ok(HistoryAtRest::read(folders)?)
    }

    /// Checks that the configured address can be bound and the peer's name resolves, before any
    /// folder is created. [`Daemon::start_on`] takes the port, so that no other program can bind it
    /// in between.
    ///
    /// # Errors
    /// [`RunError::Endpoint`] or [`RunError::Net`].
    pub fn check(config: &Config) -> Result<Port, RunError> {
        let port = Port::bind(config).map_err(EndpointError::from)?;
        if let Some(peer) = &config.peer {
            peering::check_peer(peer, port.local().map_err(EndpointError::Drive)?)?;
        }
        Ok(port)
    }

    /// Opens the folders and the socket, and starts to exchange files. `observer` gets every event
    /// from the first on, from any thread; the engine waits while it runs. Blocks while the folders
    /// are opened, and needs the context of a multi-threaded tokio runtime.
    ///
    /// # Errors
    /// [`RunError`] if the process cannot start.
    pub fn start(
        config: Config,
        key: PasswordKey,
        observer: impl Fn(PeerEvent) + Send + Sync + 'static,
    ) -> Result<Handle, RunError> {
        let folders = Self::lock(&config.folders)?;
        Self::open(None, folders, None, config, key, observer)
    }

    /// As [`Daemon::start`], on the port of [`Daemon::check`], with the folders of
    /// [`Daemon::lock`], and with the helper that [`Config::hooks`] needs.
    ///
    /// # Errors
    /// [`RunError`] if the process cannot start.
    pub fn start_on(
        port: Port,
        folders: LockedFolders,
        helper: Option<HookHelper>,
        config: Config,
        key: PasswordKey,
        observer: impl Fn(PeerEvent) + Send + Sync + 'static,
    ) -> Result<Handle, RunError> {
        Self::open(Some(port), folders, helper, config, key, observer)
    }

    fn open(
        port: Option<Port>,
        folders: LockedFolders,
        helper: Option<HookHelper>,
        config: Config,
        key: PasswordKey,
        observer: impl Fn(PeerEvent) + Send + Sync + 'static,
    ) -> Result<Handle, RunError> {
        let begun = Instant::now();
        let events = Events::new(observer);
        let own_events = events.sink(None, |_| {});
        let storage = Storage::open(folders, &config, helper, &own_events)?;
        let (failures, failed) = mpsc::unbounded_channel();
        let peer = Arc::new(Peer::open(&config, &storage, &events, failures)?);
        let endpoint = match port {
            Some(port) => Endpoint::on(port, &config)?,
            None => Endpoint::open(&config)?,
        };
        report_endpoint(&endpoint, &config, &own_events);
        let process = PeerId::random(&mut SysRng).map_err(|_| RunError::Rng)?;
        let own = Identity { process, installation: storage.installation };
        let peers = BTreeMap::from([(peer.name.clone(), peer)]);
        let daemon = Arc::new(Self {
            begun,
            local: endpoint.local,
            limit: ScheduledLimit::new(endpoint.limit.clone(), config.limit_rate.clone()),
            peers,
            storage,
        });
        let (stop, stopped) = watch::channel(false);
        let (ended, outcome) = watch::channel(None);
        let (pulse, pulse_requests) = Pulse::of(&endpoint);
        let handle = Handle {
            daemon: Arc::downgrade(&daemon),
            last: Arc::new(Mutex::new(daemon.status(MAX_NAMED))),
            recent: Snapshots::default(),
            events: events.clone(),
            pulse: Some(pulse),
            stop,
            outcome,
        };
        let sinks = daemon.peers.values().map(|peer| (peer.name.clone(), peer.events.clone()));
        let hooks = daemon.storage.hooks.as_ref();
        let hooks = hooks.map(|hooks| hooks::keep(hooks, sinks.collect(), own_events.clone()));
        let run = Run {
            hooks,
            daemon,
            endpoint,
            config,
            key,
            own,
            events: own_events,
            failed,
            pulse_requests,
            stopped,
        };
        let last = handle.last.clone();
        tokio::spawn(async move {
            let result = run.run_to_end(&last).await;
            events.close();
            ended.send_replace(Some(result.map_err(Arc::new)));
        });
        Ok(handle)
    }

    /// A snapshot, with at most `max_named` waiting entries of each peer by name.
    fn status(&self, max_named: usize) -> Status {
        let peers = self.peers.values().map(|peer| peer.status(max_named)).collect();
        let (limit, limit_schedule) = self.limit.get();
        Status {
            time: SystemTime::now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: self.begun.elapsed(),
            local: self.local,
            limit_rate: limit.rate.map(NonZeroU64::get),
            limit_until: limit.until,
            limit_schedule,
            hooks: self.storage.hooks.as_ref().map(|hooks| hooks.status()),
            peers,
        }
    }

    /// The peer of a session. The connector has refused every other peer.
    fn peer_of(&self, _session: &Session) -> Option<&Arc<Peer>> {
        self.peers.values().next()
    }

    /// Completes when `.rft`, which has the lock and the ledger, is gone, or another folder stands
    /// in the place of Incoming or Outgoing, which a sandboxed process may not use.
    async fn folder_lost(&self, ticks: Ticks) -> StoreError {
        loop {
            tokio::time::sleep_until(ticks.next(FOLDERS_INTERVAL, Instant::now()).into()).await;
            let storage = &self.storage;
            let shared =
                storage.state.is_there().and_then(|()| storage.incoming.folder().can_go_on());
            let mut outgoing = self.peers.values().map(|peer| peer.delivery.folder().can_go_on());
            if let Err(error) = shared.and_then(|()| outgoing.try_for_each(|usable| usable)) {
                return error;
            }
        }
    }
}

/// Emits the events about a new socket.
fn report_endpoint(endpoint: &Endpoint, config: &Config, events: &EventSink) {
    events.emit(Event::Listening { local: endpoint.local });
    fail_point("start.listening");
    for note in &endpoint.notes {
        events.warn(None, note.clone());
    }
    if endpoint.ephemeral {
        let text = format!(
            "port {} is taken on this host; dialling from port {} instead, so the peer cannot dial us",
            config.port,
            endpoint.local.port()
        );
        events.warn(None, text);
    }
}

/// The task of a process.
struct Run {
    /// The tasks that run the programs of `--on-received`.
    hooks: Option<JoinSet<()>>,
    daemon: Arc<Daemon>,
    endpoint: Endpoint,
    config: Config,
    key: PasswordKey,
    own: Identity,
    events: EventSink,
    /// Errors of peers that end the process.
    failed: mpsc::UnboundedReceiver<RunError>,
    pulse_requests: PulseRequests,
    /// Becomes true, or loses its sender, when the process is to stop.
    stopped: watch::Receiver<bool>,
}

impl Run {
    /// Runs the process, and leaves its last state in `last`.
    async fn run_to_end(self, last: &Mutex<Status>) -> Result<Finished, RunError> {
        let Self { hooks, daemon, endpoint, config, key, own, events, .. } = self;
        let (mut failed, requests, stopped) = (self.failed, self.pulse_requests, self.stopped);
        let (adopted, sessions) = mpsc::channel(1);
        let connector_events = noted(Arc::downgrade(&daemon), events);
        let connector = connector::run(&endpoint, &config, key, own, connector_events, adopted);
        let mut keepers = [totals::keep(&daemon), history::keep(&daemon.storage.history)];
        let mut running = JoinSet::new();
        let serving = serve(
            &daemon,
            (sessions, &mut running),
            &config,
            endpoint.ticks,
            &mut failed,
            requests,
            stopped,
        );
        // The connector ends first: it would dial again as soon as a session is over.
        let result = tokio::select! {
            result = connector => result.map(|()| Finished::Stopped).map_err(RunError::from),
            result = serving => result,
        };
        take_leave(&daemon, running).await;
        for keeper in &mut keepers {
            keeper.shutdown().await;
        }
        endpoint.close(LINGER).await;
        if let (Some(hooks), Some(mut tasks)) = (&daemon.storage.hooks, hooks) {
            hooks.close().await;
            let ended = async { while tasks.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(LINGER, ended).await;
        }
        let result = result.and_then(|finished| match failed.try_recv() {
            Ok(error) => Err(error),
            Err(_) => Ok(finished),
        });
        let result = drain::conclude(&daemon, result);
        totals::save(&daemon);
        daemon.storage.history.close();
        *last.lock().unwrap_or_else(PoisonError::into_inner) = daemon.status(MAX_NAMED);
        result
    }
}

/// The connector's events are about no peer in particular. Those about a session's path change its
/// peer's state.
fn noted(daemon: Weak<Daemon>, events: EventSink) -> EventSink {
    EventSink::new(move |event| {
        if matches!(event, Event::Waiting { .. } | Event::Silent { .. } | Event::Heard { .. })
            && let Some(daemon) = daemon.upgrade()
        {
            for peer in daemon.peers.values() {
                peer.activity.note(&event, Instant::now());
            }
        }
        events.emit(event);
    })
}

/// Serves each session that the connector adopts, until the process is to end. The tasks of the
/// sessions are in `running`.
async fn serve(
    daemon: &Daemon,
    (mut adopted, running): (Sessions, &mut JoinSet<()>),
    config: &Config,
    ticks: Ticks,
    failed: &mut mpsc::UnboundedReceiver<RunError>,
    mut pulse_requests: PulseRequests,
    mut stopped: watch::Receiver<bool>,
) -> Result<Finished, RunError> {
    let drained = drain::ended(daemon, config.wait, config.drain_reminder);
    tokio::pin!(drained);
    let limits = daemon.limit.follow(ticks);
    tokio::pin!(limits);
    loop {
        tokio::select! {
            Some((session, control)) = adopted.recv() => {
                let session = Arc::new(session);
                if let Some(peer) = daemon.peer_of(&session) {
                    peer.adopt(session.clone());
                    running.spawn(session::run(peer.clone(), session, control));
                }
            }
            Some(_) = running.join_next() => {}
            () = &mut limits => {}
            Some(error) = failed.recv() => return Err(error),
            Some(answer) = pulse_requests.recv() => drop(answer.send(())),
            error = daemon.folder_lost(ticks) => return Err(error.into()),
            result = &mut drained => return result,
            _ = stopped.wait_for(|&stop| stop) => return drain::stopped(daemon),
        }
    }
}

/// Ends the sessions in order.
async fn take_leave(daemon: &Daemon, mut running: JoinSet<()>) {
    let mut farewells = JoinSet::new();
    for peer in daemon.peers.values() {
        farewells.spawn(session::leave(peer.clone()));
    }
    farewells.join_all().await;
    while running.join_next().await.is_some() {}
    daemon.peers.values().for_each(|peer| peer.let_go());
}
