//! The folders and files that all peers of a process share.

use super::history::ProcessHistory;
use super::hooks::{self, ProcessHooks};
use crate::config::{Config, Folders};
use crate::error::RunError;
use crate::event::EventSink;
use crate::failpoint::fail_point;
use crate::hooks::HookHelper;
use crate::inbox::Committer;
use crate::meter::Meter;
use crate::proto::message::InstallationId;
use crate::store::{Incoming, Ledger, StateDir, StoreError};
use std::path::Path;
use std::sync::Arc;

/// The folders of a process, created, and locked until this is dropped or the process that takes it
/// has ended ([`super::Daemon::lock`]).
#[derive(Debug)]
pub struct LockedFolders(StateDir);

impl LockedFolders {
    pub(super) fn open(folders: &Folders) -> Result<Self, StoreError> {
        StateDir::open(folders).map(Self)
    }

    /// The state folder.
    pub fn state(&self) -> &Path {
        self.0.path()
    }
}

/// The state folder with the ledger, and Incoming with the thread that commits to it.
pub(super) struct Storage {
    /// Holds the lock of the folder to the end of the process.
    pub(super) state: StateDir,
    /// Identifies the state folder.
    pub(super) installation: InstallationId,
    pub(super) ledger: Arc<Ledger>,
    pub(super) incoming: Arc<Incoming>,
    pub(super) committer: Committer,
    pub(super) history: Arc<ProcessHistory>,
    /// `None` without `--on-received`.
    pub(super) hooks: Option<Arc<ProcessHooks>>,
    /// Measures the committing thread.
    pub(super) commits: Arc<Meter>,
}

impl Storage {
    /// Opens the folders and completes the commits that a crash interrupted.
    pub(super) fn open(
        locked: LockedFolders,
        config: &Config,
        helper: Option<HookHelper>,
        events: &EventSink,
    ) -> Result<Self, RunError> {
        let LockedFolders(state) = locked;
        fail_point("start.locked");
        let ledger = open_ledger(&state, events)?;
        let incoming =
            Incoming::open(&config.folders.incoming, &state)?.limited(config.max_incoming_bytes);
        let quarantine = config.hooks.as_ref().is_some_and(|hooks| hooks.quarantine);
        let incoming = Arc::new(incoming.with_quarantine(&state, quarantine)?);
        incoming.recover(&ledger, config.on_conflict)?;
        fail_point("start.recovered");
        let (rule, commits) = (config.on_conflict, Arc::new(Meter::new()));
        let committer = Committer::start(incoming.clone(), ledger.clone(), rule, commits.clone())?;
        let hooks = hooks::open(config, helper, &ledger, &incoming, events)?;
        let installation = ledger.installation();
        let (as_of, keep) = (ledger.as_of(), config.history);
        let history = Arc::new(ProcessHistory::new(&state, installation, as_of, keep));
        Ok(Self { state, installation, ledger, incoming, committer, history, hooks, commits })
    }
}

/// Opens the ledger, and warns if a damaged one was set aside.
fn open_ledger(state: &StateDir, events: &EventSink) -> Result<Arc<Ledger>, StoreError> {
    let ledger = Ledger::open(state)?;
    if let Some(aside) = ledger.moved_aside() {
        let text = format!(
            "the ledger was damaged and a new one is begun (the old one is kept as {}); files whose receipts \
             were lost may arrive twice",
            aside.display()
        );
        events.warn(None, text);
    }
    Ok(Arc::new(ledger))
}
