//! What has been quiet for long enough is looked at once more, and the system is asked about open
//! files.

use super::{CHUNK, Reconcile};
use crate::event::{Direction, Event};
use crate::outbox::queue::handout::Due;
use crate::outbox::queue::open::{ASK_AGAIN, ASK_OFTEN, STAYS_AFTER, Tell};
use crate::outbox::queue::table::Now;
use crate::outbox::shared::locked;
use crate::outbox::watch::events::TELLS_CLOSES;
use crate::outbox::watch::scan::{Found, Look, is_gone};
use crate::outbox::watch::settle::Moment;
use crate::proto::name::{Name, escape};
use crate::store::{Meta, Writers, writer_of};
use std::time::Duration;

/// Minimum interval between two questions, counted over all open files. One takes some
/// microseconds.
const ASK_COST: Duration = Duration::from_millis(1);

impl Reconcile {
    /// Entries whose wait is over.
    pub(crate) fn due_entries(&mut self) {
        let now = self.now();
        let due = locked(&self.shared.table).expire(now.mono, CHUNK);
        let again = self.ask_again(now.mono);
        for due in due {
            match due {
                Due::Settled(name) => match self.scanner.look(&name) {
                    Look::Found(found) => self.settled(found, now, again),
                    Look::Gone | Look::Skipped => locked(&self.shared.table).gone(&name),
                },
                Due::Open(name) => self.ask(&name, now, again),
            }
        }
    }

    /// When the system is asked about an open file again.
    fn ask_again(&self, now: Moment) -> Moment {
        let often = self.polling || !TELLS_CLOSES;
        let open = locked(&self.shared.table).count_open();
        let cost = ASK_COST * u32::try_from(open).unwrap_or(u32::MAX);
        now.after(if often { ASK_OFTEN } else { ASK_AGAIN }.max(cost))
    }

    /// A file that was quiet for long enough is ready, unless a program has it open.
    fn settled(&mut self, found: Found, now: Now, again: Moment) {
        let name = &found.name;
        if locked(&self.shared.table).must_ask(name)
            && self.folder.writers(name).is_ok_and(|w| w == Writers::Some)
        {
            let mut table = locked(&self.shared.table);
            table.found_open(name, now.mono, again);
            table.changed_while_open(name, found.meta, now.mono);
            return;
        }
        let mut table = locked(&self.shared.table);
        if !self.scanner.leaves_alone()
            || !table.leave_alone(name, &found.meta, found.unfinished, now.mono, 0)
        {
            table.checked(name, found.meta, now);
        }
    }

    /// Whether a program still has an open file open.
    fn ask(&mut self, name: &Name, now: Now, again: Moment) {
        let meta = match self.folder.stat(name) {
            Ok(meta) => meta,
            Err(error) if is_gone(&error) => return locked(&self.shared.table).found_gone(name),
            // It is asked again when its next wait is over.
            Err(error) => return self.scanner.warn_unreadable(name, &error),
        };
        // What cannot be opened cannot be read either, which says so.
        let writers = self.folder.writers(name).unwrap_or(Writers::Unknown);
        let tell = locked(&self.shared.table).asked(name, meta, writers, now.mono, again);
        match tell {
            Tell::Nothing => {}
            Tell::Waits => {
                let reason = match locked(&self.shared.table).send_open {
                    None => "a program has it open for writing; it is sent when it is closed",
                    Some(_) => {
                        "a program has it open for writing; a snapshot is sent when it is quiet"
                    }
                };
                tracing::info!(path = %name, "waiting: a program has it open");
                self.events.emit(Event::FileWaiting {
                    direction: Direction::Send,
                    path: name.clone(),
                    reason: reason.into(),
                });
            }
            Tell::Stays => self.events.warn(Some(name.clone()), stays(&meta)),
        }
    }
}

/// What a person is told of a file that stays because a program has it open.
fn stays(meta: &Meta) -> String {
    let program = writer_of(meta).map_or_else(
        || "a program".to_owned(),
        |program| format!("{} (pid {})", escape(program.name.as_bytes()), program.pid),
    );
    format!(
        "it stays: {program} has had it open for writing for {} s; move it in when it is complete, or use --send-open 30s",
        STAYS_AFTER.as_secs()
    )
}
