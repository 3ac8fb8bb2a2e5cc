//! The thread that keeps the table true: it takes hints and outcomes, lists folders, and looks at
//! what is due.

mod due;
mod listing;

use super::events::{OVERFLOW, Watch, Watched, no_watches};
use super::hints::{Hint, Hints};
use super::scan::{Found, Look, Scanner, is_gone};
use super::settle::{Moment, Signal, WallClock};
use super::temp_names::is_backup_name;
use crate::config::AfterSend;
use crate::event::EventSink;
use crate::outbox::queue::observe::Observed;
use crate::outbox::queue::table::Now;
use crate::outbox::shared::{Mail, OutboxState, locked};
use crate::outbox::{Backlog, Item, OutboxConfig};
use crate::proto::message::Timestamp;
use crate::proto::name::Name;
use crate::store::{FileKind, Folder, Ledger, Meta};
use listing::Listing;
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Between two rounds of a burst: what comes meanwhile is put together.
const MIN_PASS_INTERVAL: Duration = Duration::from_millis(3);
/// Entries that are taken over, or looked at, while the table is locked once.
const CHUNK: usize = 256;
/// Without events: a second or two apart.
const POLL: Duration = Duration::from_millis(1500);
/// Between two warnings that the queue of events ran over.
const OVERFLOW_WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The thread's own.
#[derive(Debug)]
pub(crate) struct Reconcile {
    shared: Arc<OutboxState>,
    folder: Arc<Folder>,
    scanner: Scanner,
    events: EventSink,
    /// Asked about all that is new, with `keep`.
    ledger: Option<Arc<Ledger>>,
    start: Instant,
    clock: WallClock,
    watch_path: Option<PathBuf>,
    watch: Option<Watch>,
    /// Of which Outgoing the watch is ([`Folder::times_replaced`]).
    watched: u64,
    polling: bool,
    /// Outgoing itself could not be listed the last time.
    unlistable: bool,
    /// A queue of events that ran over is not told again before then.
    overflow_told: Moment,
    listings: VecDeque<Listing>,
    /// Listings of new folders that are due later.
    again: VecDeque<(Moment, Listing)>,
    scan: u32,
    /// A full scan is going on, and how long it has worked so far.
    full: Option<Duration>,
    next_full: Moment,
    /// Another one is wanted right after it.
    full_again: bool,
    /// The first full scan is complete.
    complete: bool,
    /// Outgoing counts as empty only when a full scan that began after the last outcome says so:
    /// what was renamed meanwhile is in no event yet, or was in one that got lost.
    confirm: bool,
    outcomes: Outcomes,
    /// Entries that the last full scan found and no event had told.
    missed: usize,
}

/// How many rounds of outcomes there were, to tell a scan that has seen what they left.
#[derive(Debug, Default)]
struct Outcomes {
    all: u64,
    /// When the present full scan began.
    before: u64,
    /// When the last complete one began.
    confirmed: u64,
}

impl Reconcile {
    pub fn new(config: &OutboxConfig, shared: Arc<OutboxState>, events: EventSink) -> Self {
        Self {
            shared,
            folder: Arc::clone(&config.outgoing),
            scanner: Scanner::new(Arc::clone(&config.outgoing), config.temp_names, events.clone()),
            events,
            ledger: (config.after_send == AfterSend::Keep).then(|| Arc::clone(&config.ledger)),
            start: Instant::now(),
            clock: WallClock::new(Moment(0), wall_clock()),
            watch_path: config.watch.then(|| config.outgoing.path().to_path_buf()),
            watch: None,
            watched: 0,
            polling: !config.watch,
            unlistable: false,
            overflow_told: Moment(0),
            listings: VecDeque::new(),
            again: VecDeque::new(),
            scan: 0,
            full: None,
            next_full: Moment(0),
            full_again: false,
            complete: false,
            confirm: config.confirm,
            outcomes: Outcomes::default(),
            missed: 0,
        }
    }

    /// The thread: until it is told to stop.
    pub fn run(mut self) {
        // First the watch, then the scan: what comes in between is seen by one of them.
        self.start_watch();
        let mut last = None;
        loop {
            let mail = self.shared.take_mail(self.patience());
            if mail.stop {
                return;
            }
            self.outcomes(&mail);
            if mail.new_peer {
                locked(&self.shared.table).reconsider();
            }
            self.hints(mail.hints);
            self.list();
            self.timers();
            self.publish();
            // An event after some silence is handled at once, those that follow in step.
            let now = Instant::now();
            if last.is_some_and(|last| now.duration_since(last) < MIN_PASS_INTERVAL) {
                std::thread::sleep(MIN_PASS_INTERVAL);
            }
            last = Some(Instant::now());
        }
    }

    fn start_watch(&mut self) {
        self.watched = self.folder.times_replaced();
        let Some(path) = &self.watch_path else { return };
        // Of one that was moved away events would still come, under the names of this one.
        self.watch = None;
        let watched = Watch::start(path, Arc::clone(&self.shared));
        if self.folder.is_remote() {
            self.poll(
                "Outgoing is on a network file system (or FUSE), which does not tell what other hosts do",
            );
        }
        match watched {
            Watched::Whole(watch) => self.watch = Some(watch),
            Watched::Part(watch, why) => {
                self.watch = Some(watch);
                self.poll(&why);
            }
            Watched::Nothing(why) => self.poll(&why),
        }
    }

    /// Events do not tell everything: scans have to.
    fn poll(&mut self, why: &str) {
        if !self.polling {
            self.polling = true;
            self.events
                .warn(None, format!("{why}; Outgoing is scanned every second or two instead"));
        }
    }

    fn moment(&self) -> Moment {
        Moment(0).after(self.start.elapsed())
    }

    fn now(&mut self) -> Now {
        let mono = self.moment();
        let settle = locked(&self.shared.table).settle.settle;
        Now { mono, wall: self.clock.trusted(mono, wall_clock(), settle) }
    }

    /// How long nothing has to be done unless there is mail.
    fn patience(&self) -> Duration {
        if !self.listings.is_empty() {
            return Duration::ZERO;
        }
        let table = locked(&self.shared.table);
        if !table.maybe_ripe.is_empty() || !table.released.is_empty() || !table.emptied.is_empty() {
            return Duration::ZERO;
        }
        let again = self.again.iter().map(|(at, _)| *at).min();
        let due = [Some(self.next_full), again, table.next_due()].into_iter().flatten().min();
        due.unwrap_or(self.next_full).since(self.moment())
    }

    /// What became of items that were handed out.
    fn outcomes(&mut self, mail: &Mail) {
        if mail.failed.is_empty() && mail.finished.is_empty() {
            return;
        }
        self.outcomes.all += 1;
        let now = self.now();
        for (item, retry) in &mail.failed {
            let first_offer = self.look_after_failure(item);
            locked(&self.shared.table).failed(item, *retry, first_offer, now);
        }
        for chunk in mail.finished.chunks(CHUNK) {
            let mut table = locked(&self.shared.table);
            for (item, finish) in chunk {
                table.finished(item, finish.clone(), now);
            }
        }
    }

    fn look_after_failure(&mut self, item: &Item) -> Option<Meta> {
        match self.folder.stat(&item.name) {
            Ok(meta) => Some(meta),
            Err(error) if is_gone(&error) => None,
            // It is still what it was as far as anybody can tell, and is tried again.
            Err(error) => {
                self.scanner.warn_unreadable(&item.name, &error);
                Some(item.meta)
            }
        }
    }

    fn hints(&mut self, mut hints: Hints) {
        if hints.no_watches {
            self.poll(&no_watches());
        }
        if hints.overflow && self.moment() >= self.overflow_told {
            self.events.warn(None, OVERFLOW);
            self.overflow_told = self.moment().after(OVERFLOW_WARNING_INTERVAL);
        }
        if hints.lost {
            locked(&self.shared.table).events_lost();
        }
        if hints.everything {
            self.want_full();
        }
        let paths = hints.take_paths();
        if paths.is_empty() {
            return;
        }
        let now = self.now();
        let mut unknown = BTreeSet::new();
        for (name, hint) in paths {
            if hint == Hint::Gone {
                let mut table = locked(&self.shared.table);
                table.leaves(&name, now.mono);
                table.gone(&name);
            } else if !locked(&self.shared.table).note(&name, hint.signal(), now.mono) {
                let backup = hint == Hint::Moved && is_backup_name(name.leaf());
                let signal = if backup { Signal::Seen } else { hint.signal() };
                self.look(&name, signal, now, &mut unknown);
            }
        }
        for folder in unknown {
            self.listings.push_back(Listing { folder, full: false, moved: None });
        }
    }

    fn want_full(&mut self) {
        self.next_full = self.moment();
        self.full_again = self.full.is_some();
    }

    /// Looks at an entry that an event named. A folder above it that is not known yet is put into
    /// `unknown`, by the name of the known one that it is in.
    fn look(
        &mut self,
        name: &Name,
        signal: Signal,
        now: Now,
        unknown: &mut BTreeSet<Option<Name>>,
    ) {
        match self.scanner.look(name) {
            Look::Found(found) => {
                let known = self.known_above(name);
                if known != name.parent() {
                    unknown.insert(known);
                    return;
                }
                let folder = found.meta.kind == FileKind::Folder;
                let moved =
                    (folder && signal == Signal::Moved).then_some(found.meta.identity.changed);
                if self.take_over(found, signal, now, 0) == Observed::New && folder {
                    self.list_new(
                        Listing { folder: Some(name.clone()), full: false, moved },
                        now.mono,
                    );
                }
            }
            Look::Gone | Look::Skipped => locked(&self.shared.table).gone(name),
        }
    }

    /// The nearest folder above a name that the table knows, `None` for Outgoing itself.
    fn known_above(&self, name: &Name) -> Option<Name> {
        let table = locked(&self.shared.table);
        let mut above = name.parent();
        while let Some(folder) = above {
            if table.knows_folder(&folder) {
                return Some(folder);
            }
            above = folder.parent();
        }
        None
    }

    /// Tells the table of an entry; asks the ledger whether the peer holds it already.
    fn take_over(&self, found: Found, signal: Signal, now: Now, scan: u32) -> Observed {
        let mut table = locked(&self.shared.table);
        if self.scanner.leaves_alone()
            && table.leave_alone(&found.name, &found.meta, found.unfinished, now.mono, scan)
        {
            return Observed::Same;
        }
        let observed = table.observe(&found.name, found.meta, found.target, signal, now, scan);
        if let Some(ledger) = &self.ledger
            && (observed != Observed::Same || table.is_touched(&found.name, &found.meta))
            && let Some(mark) = table.mark(&found.name)
            // An unreadable ledger tells of itself when the mark is written.
            && let Ok(Some(delivered)) = ledger.delivered(mark)
        {
            table.known_delivered(&found.name);
            if delivered.changed != found.meta.identity.changed
                && let Some(item) = table.take_to_verify(&found.name, found.meta, delivered.hash)
            {
                self.shared.verify(item);
            }
        }
        observed
    }

    /// What has been quiet for long enough is looked at once more.
    fn timers(&mut self) {
        self.due_entries();
        let now = self.now();
        let left = locked(&self.shared.table).left_to_tell(now.mono);
        for (name, why) in left {
            self.scanner.warn_once(Some(&name), &why.message());
        }
        let ripe = locked(&self.shared.table).ripe();
        for name in ripe {
            match self.folder.stat(&name) {
                Ok(meta) => locked(&self.shared.table).folder_checked(&name, meta, now),
                Err(error) if is_gone(&error) => locked(&self.shared.table).gone(&name),
                Err(error) => {
                    self.scanner.warn_unreadable(&name, &error);
                    locked(&self.shared.table).postpone(&name, now.mono);
                }
            }
        }
    }

    /// Tells the others what came of it.
    fn publish(&mut self) {
        let (finish, forgotten, mut backlog, ready) = {
            let mut table = locked(&self.shared.table);
            let mut finish = std::mem::take(&mut table.released);
            finish.extend(table.take_emptied());
            let mut backlog = table.backlog();
            // The peer holds them, but who drains wants to see Outgoing empty.
            backlog.files += if table.drain { table.resting } else { 0 };
            (finish, std::mem::take(&mut table.forgotten), backlog, table.queue.len() > 0)
        };
        for item in finish {
            self.shared.finish(item);
        }
        if !forgotten.is_empty() {
            locked(&self.shared.forgotten).extend(forgotten);
            self.shared.forgot.notify_waiters();
        }
        if ready {
            self.shared.ready.notify_waiters();
        }
        let unconfirmed = self.confirm && self.outcomes.confirmed != self.outcomes.all;
        if backlog.is_empty() && unconfirmed && self.full.is_none() && self.complete {
            self.next_full = self.moment();
        }
        // The scan itself is still to be done.
        backlog.files += u64::from(!self.complete || (backlog.is_empty() && unconfirmed));
        self.shared
            .backlog
            .send_if_modified(|old: &mut Backlog| std::mem::replace(old, backlog) != backlog);
    }
}

fn wall_clock() -> Timestamp {
    let (seconds, nanos) = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => (since.as_secs(), since.subsec_nanos()),
        // No file is older than a clock that stands before 1970: all wait.
        Err(_) => (0, 0),
    };
    Timestamp { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanos }
}
