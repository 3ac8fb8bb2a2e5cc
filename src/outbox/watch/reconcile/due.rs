//! The wait of entries is over: they are examined once more, and the system is asked about open
//! files.

use super::{CHUNK, Reconcile};
use crate::event::{Direction, Event};
use crate::outbox::queue::open_files::{
    ASK_INTERVAL, ASK_INTERVAL_WITHOUT_EVENTS, OpenNotice, STAYS_AFTER,
};
use crate::outbox::queue::table::Now;
use crate::outbox::queue::timers::DueEntry;
use crate::outbox::watch::events::TELLS_CLOSES;
use crate::outbox::watch::scan::{Examined, FoundEntry, is_gone};
use crate::outbox::watch::settle::Moment;
use crate::proto::name::{Name, escape};
use crate::status::OpenFileWait;
use crate::store::{Meta, Writers, writer_of};
use std::time::Duration;

/// The share of each open file in the interval between two questions about one, so that many open
/// files do not cost much time. A question takes some microseconds.
const ASK_INTERVAL_PER_FILE: Duration = Duration::from_millis(1);

impl Reconcile {
    /// Examines everything that is due.
    pub(super) fn timers(&mut self) {
        self.due_entries();
        let now = self.now();
        let news = self.state.table().unfinished.take_news(now.mono);
        for (name, reason) in news {
            self.scanner.warn_once(Some(&name), &reason.message());
        }
        let folders = self.state.table().maybe_complete();
        for name in folders {
            match self.folder.stat(&name) {
                Ok(meta) => self.state.table().folder_checked(&name, meta, now),
                Err(error) if is_gone(&error) => self.state.table().gone(&name),
                Err(error) => {
                    self.scanner.warn_unreadable(&name, &error);
                    self.state.table().postpone(&name, now.mono);
                }
            }
        }
    }

    fn due_entries(&mut self) {
        let now = self.now();
        let due = self.state.table().expire(now.mono, CHUNK);
        let ask_at = self.next_question(now.mono);
        for due in due {
            match due {
                DueEntry::Settled(name) => match self.scanner.examine(&name) {
                    Examined::Found(found) => self.settled(found, now, ask_at),
                    Examined::Gone | Examined::Skipped => self.state.table().gone(&name),
                },
                DueEntry::Open(name) => self.ask(&name, now, ask_at),
            }
        }
    }

    /// When the system is asked about an open file again.
    fn next_question(&self, now: Moment) -> Moment {
        let events = TELLS_CLOSES && !self.polling;
        let open = self.state.table().count_open();
        let cost = ASK_INTERVAL_PER_FILE * u32::try_from(open).unwrap_or(u32::MAX);
        now.after(if events { ASK_INTERVAL } else { ASK_INTERVAL_WITHOUT_EVENTS }.max(cost))
    }

    /// A file was quiet for long enough. It is ready, unless a program has it open.
    fn settled(&mut self, found: FoundEntry, now: Now, ask_at: Moment) {
        let name = &found.name;
        let must_ask = self.state.table().must_ask(name);
        if must_ask && self.folder.writers(name).is_ok_and(|writers| writers == Writers::Some) {
            let mut table = self.state.table();
            table.found_open(name, now.mono, ask_at);
            table.changed_while_open(name, found.meta, now.mono);
            return;
        }
        let mut table = self.state.table();
        if !self.scanner.leaves_alone()
            || !table.leave_alone(name, &found.meta, found.unfinished, now.mono, 0)
        {
            table.checked(name, found.meta, now);
        }
    }

    /// Asks whether a program still has an open file open.
    fn ask(&mut self, name: &Name, now: Now, ask_at: Moment) {
        let meta = match self.folder.stat(name) {
            Ok(meta) => meta,
            Err(error) if is_gone(&error) => return self.state.table().found_gone(name),
            // It is due again later.
            Err(error) => return self.scanner.warn_unreadable(name, &error),
        };
        // If the file cannot be opened for the question, reading it fails too, with a message.
        let writers = self.folder.writers(name).unwrap_or(Writers::Unknown);
        let notice = self.state.table().asked(name, meta, writers, now.mono, ask_at);
        match notice {
            OpenNotice::Nothing => {}
            OpenNotice::Waits => {
                let send_open = self.state.table().send_open;
                let reason = match send_open {
                    None => OpenFileWait::Close,
                    Some(_) => OpenFileWait::Pause,
                };
                self.events.emit(Event::FileWaiting {
                    direction: Direction::Send,
                    path: name.clone(),
                    reason,
                });
            }
            OpenNotice::Stays => self.events.warn(Some(name.clone()), stays_message(&meta)),
        }
    }
}

/// The message about a file that stays because a program has it open.
fn stays_message(meta: &Meta) -> String {
    let seconds = STAYS_AFTER.as_secs();
    let program = match writer_of(meta) {
        Some(program) => format!("{} (pid {})", escape(program.name.as_bytes()), program.pid),
        // The sandbox hides other processes. The command that asks for the state has none.
        None => "a program (rft status names it)".to_owned(),
    };
    format!(
        "it stays: {program} has had it open for writing for {seconds} s; move it in when it is complete, or use --send-open 30s"
    )
}
