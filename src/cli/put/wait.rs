//! `rft put --wait`: asks the running rft until the peer has everything durably.

use super::code_of;
use super::report::Report;
use crate::cli::exit::{self, Failure};
use crate::cli::output::state;
use crate::cli::shutdown::Signals;
use crate::cli::status;
use rft::control::{Answer, Client, ControlError, Request};
use rft::event::Direction;
use rft::history::{HistoryEntry, HistoryKind, HistoryQuery};
use rft::put::PutDone;
use rft::status::{WaitKind, WaitingEntries};
use std::path::Path;
use std::time::{Duration, Instant};

/// Time between two questions about a file.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long a file may be unknown to the rft: it scans a folder without file events every second or
/// two.
const MAX_UNKNOWN: Duration = Duration::from_secs(10);

/// Waits for all of them.
///
/// # Errors
/// As [`super::run`].
pub(super) async fn until_sent(
    dir: &Path,
    client: &mut Client,
    outgoing: &Path,
    files: Vec<PutDone>,
    signals: &mut Signals,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut failed = Vec::new();
    for file in &files {
        let mut wait = Wait { client, outgoing, file, report, unknown_since: None, told: None };
        let fate = loop {
            tokio::select! {
                fate = wait.until_known() => break fate.map_err(|error| lost(dir, &error))?,
                signal = signals.next() => if let Some(code) = code_of(signal) {
                    let text = "stopped; what is not sent yet stays in Outgoing, and is sent as usual";
                    return Err(Failure::new(code, text));
                },
            }
        };
        match fate {
            Fate::Sent(entry) => report.sent(&entry)?,
            Fate::Failed(reason) => {
                report.failed(&file.name, &reason)?;
                failed.push(format!("{}: {reason}", file.name));
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(exit::UNKNOWN, failed.join("; ")))
}

/// The running rft does not answer any more.
fn lost(dir: &Path, error: &ControlError) -> Failure {
    let mut failure = status::failed(dir, error);
    if matches!(error, ControlError::NotRunning) {
        failure.reason = format!(
            "the rft in {} has ended; what is not sent yet stays in Outgoing, and is sent when it runs again",
            dir.display()
        );
    }
    failure
}

/// What became of a file.
enum Fate {
    Sent(Box<HistoryEntry>),
    Failed(String),
}

/// The wait for one file.
struct Wait<'a> {
    client: &'a mut Client,
    outgoing: &'a Path,
    file: &'a PutDone,
    report: &'a Report,
    unknown_since: Option<Instant>,
    /// The delay that the user was told.
    told: Option<WaitKind>,
}

impl Wait<'_> {
    async fn until_known(&mut self) -> Result<Fate, ControlError> {
        loop {
            // The history second: an entry that was sent in between is found there.
            let waiting = self.waiting().await?;
            let ended = self.ended().await?;
            if let Some(fate) = self.fate(&waiting, ended) {
                return Ok(fate);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// The entries that the peer does not have yet.
    async fn waiting(&mut self) -> Result<WaitingEntries, ControlError> {
        let request = Request::Waiting { path: self.file.name.clone() };
        match self.client.ask(&request).await? {
            Answer::Waiting(waiting) => Ok(waiting),
            _ => Err(ControlError::Unreadable),
        }
    }

    /// The receipt, or that it was cancelled.
    async fn ended(&mut self) -> Result<Option<HistoryEntry>, ControlError> {
        let mut query = HistoryQuery::default();
        query.since = Some(self.file.since);
        query.name = Some(self.file.name.clone());
        let Answer::History(page) = self.client.ask(&Request::History(query)).await? else {
            return Err(ControlError::Unreadable);
        };
        Ok(page.entries.into_iter().find(|entry| {
            matches!(entry.kind, HistoryKind::Sent | HistoryKind::Cancelled)
                && entry.direction == Direction::Send
                && entry.path == self.file.name
        }))
    }

    fn fate(&mut self, waiting: &WaitingEntries, entry: Option<HistoryEntry>) -> Option<Fate> {
        let is_cancelled = |entry: &HistoryEntry| entry.kind == HistoryKind::Cancelled;
        if entry.as_ref().is_some_and(is_cancelled) {
            return Some(Fate::Failed("it was cancelled, and is not sent".to_owned()));
        }
        let count = |wanted: &[WaitKind]| -> u64 {
            waiting.by_reason.iter().filter(|(kind, _)| wanted.contains(kind)).map(|(_, n)| n).sum()
        };
        let all: u64 = waiting.by_reason.values().sum();
        let held = count(&[WaitKind::CleaningUp, WaitKind::DeliveredOpen, WaitKind::Lingering]);
        let stuck = count(&[WaitKind::Refused, WaitKind::Occupied, WaitKind::LeftAlone]);
        // A folder follows its contents.
        let folders = count(&[WaitKind::Folder, WaitKind::Unfinished]);
        if let Some(entry) = entry
            && held == all
        {
            return Some(Fate::Sent(Box::new(entry)));
        }
        if stuck > 0 && stuck + folders + held == all {
            return Some(Fate::Failed(self.reason(waiting, stuck)));
        }
        if all == 0 {
            let since = *self.unknown_since.get_or_insert_with(Instant::now);
            return (since.elapsed() > MAX_UNKNOWN).then(|| Fate::Failed(self.unknown()));
        }
        self.unknown_since = None;
        self.tell_delay(waiting);
        None
    }

    /// Why it is not sent.
    fn reason(&self, waiting: &WaitingEntries, stuck: u64) -> String {
        let is_stuck = |kind: WaitKind| {
            matches!(kind, WaitKind::Refused | WaitKind::Occupied | WaitKind::LeftAlone)
        };
        let Some(entry) = waiting.entries.iter().find(|entry| is_stuck(entry.reason.kind())) else {
            return format!("{stuck} entries in it are not sent; see `rft status`");
        };
        let why = state::why(entry);
        let name = &entry.path;
        match stuck {
            1 if *name == self.file.name => format!("{why}; it stays in Outgoing"),
            1 => format!("{name} in it: {why}; it stays in Outgoing"),
            more => format!("{name} in it and {} more: {why}; they stay in Outgoing", more - 1),
        }
    }

    /// Why the rft knows neither that it waits nor that it was sent.
    fn unknown(&self) -> String {
        let path = self.file.name.to_path().map(|name| self.outgoing.join(name));
        if path.is_ok_and(|path| path.symlink_metadata().is_ok()) {
            "rft does not send it: a line of Outgoing/.rftignore matches it, or it keeps no history (--history 0)"
                .to_owned()
        } else {
            "it has left Outgoing without a receipt: it was moved or removed, or rft keeps no history (--history 0)"
                .to_owned()
        }
    }

    /// Tells what delays it, once for each reason.
    fn tell_delay(&mut self, waiting: &WaitingEntries) {
        let delays = |kind: WaitKind| {
            matches!(kind, WaitKind::Backoff | WaitKind::Open | WaitKind::Unreadable)
        };
        let entry = waiting.entries.iter().find(|entry| delays(entry.reason.kind()));
        if let Some(entry) = entry
            && self.told != Some(entry.reason.kind())
        {
            self.told = Some(entry.reason.kind());
            self.report.delayed(&entry.path, &state::why(entry));
        }
    }
}
