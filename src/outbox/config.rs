//! Plain values: the configuration of an outbox, and its errors.

use crate::cause;
use crate::config::{AfterSend, TempNames, Waits};
use crate::proto::name::Name;
use crate::store::{CancelledFiles, Folder, Ledger, Remover, UrgentMarks};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The folders of an outbox, and its settings.
#[derive(Debug)]
pub(crate) struct OutboxConfig {
    /// The folder whose entries are sent.
    pub outgoing: Arc<Folder>,
    /// Removes or archives delivered entries. Not needed with [`AfterSend::Keep`].
    pub remover: Option<Remover>,
    /// Takes cancelled entries out of the folder. Not needed with [`AfterSend::Keep`].
    pub cancelled: Option<CancelledFiles>,
    /// Remembers the urgent names.
    pub urgent: Arc<UrgentMarks>,
    /// Holds the origin of transfer ids, and remembers kept entries that were delivered.
    pub ledger: Arc<Ledger>,
    /// The entries at its top that are sent; `None` sends all.
    pub only: Option<Vec<Name>>,
    /// Each entry is sent once to one receiver, whatever happens to it afterwards. A new receiver
    /// gets all of them. Needs [`AfterSend::Keep`].
    pub once: bool,
    /// The fate of an entry once the peer holds it.
    pub after_send: AfterSend,
    /// How long entries settle, and how long folders stay.
    pub waits: Waits,
    /// Whether files with the names of unfinished files are left alone.
    pub temp_names: TempNames,
    /// How long a file that a program keeps open must be quiet before a snapshot of it is sent.
    /// `None`: open files are not sent.
    pub send_open: Option<Duration>,
    /// How long a file is set aside before its removal, where the system cannot tell whether a
    /// program writes it.
    pub grace: Duration,
    /// Use the system's file events. Without them the folder is scanned every second or two.
    pub watch: bool,
    /// For `--drain`: scan the whole folder once more before the backlog is reported as empty, and
    /// do not wait for the users of folders that exist at the start. Costs a scan each time the
    /// last entry leaves.
    pub drain: bool,
}

/// Why an outbox cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The system refuses another thread.
    #[error("no thread could be started for Outgoing ({}); free memory or raise the limit of processes", cause::of(.0))]
    Thread(#[source] io::Error),
}
