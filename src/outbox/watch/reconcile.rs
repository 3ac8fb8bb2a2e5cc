//! The scan thread, which keeps the table in step with Outgoing. Each round it takes its mail (file
//! events, and items that came back), lists folders, examines the entries that are due, and
//! publishes the result.

mod due;
mod listing;

use super::events::{OVERFLOW, Watch, Watched, no_watches};
use super::hints::{Hint, Hints};
use super::scan::{Examined, FoundEntry, Scanner, is_gone};
use super::settle::{Activity, Moment, WallClock};
use super::temp_names::is_backup_name;
use crate::config::AfterSend;
use crate::event::EventSink;
use crate::outbox::config::OutboxConfig;
use crate::outbox::item::Item;
use crate::outbox::mailbox::Mail;
use crate::outbox::queue::changes::Observed;
use crate::outbox::queue::table::Now;
use crate::outbox::state::OutboxState;
use crate::proto::message::Timestamp;
use crate::proto::name::Name;
use crate::status::Backlog;
use crate::store::{FileKind, Folder, Ledger, Meta};
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The interval between two rounds of a burst of events. Events that arrive meanwhile are handled
/// together.
const MIN_ROUND_INTERVAL: Duration = Duration::from_millis(3);
/// How many entries are handled while the table is locked once.
const CHUNK: usize = 256;
/// The interval between full scans without events.
const POLL_INTERVAL: Duration = Duration::from_millis(1500);
/// The interval between two warnings about an overflow of the event queue.
const OVERFLOW_WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// A folder to be listed.
#[derive(Debug, Clone)]
struct FolderListing {
    /// `None` for Outgoing itself.
    folder: Option<Name>,
    /// It is part of a full scan: known folders in it are listed too.
    full: bool,
    /// It was renamed into place, with this change time: older entries in it are as complete as an
    /// entry that is renamed into place itself.
    moved: Option<Timestamp>,
}

/// The scan thread's own state.
#[derive(Debug)]
pub(crate) struct Reconcile {
    state: Arc<OutboxState>,
    folder: Arc<Folder>,
    scanner: Scanner,
    events: EventSink,
    /// With `keep`: knows which new entries were delivered before.
    ledger: Option<Arc<Ledger>>,
    start: Instant,
    clock: WallClock,
    watch_path: Option<PathBuf>,
    watch: Option<Watch>,
    /// The [`Folder::times_replaced`] of the Outgoing that is watched.
    watched: u64,
    /// Events do not tell of everything, so scans follow each other quickly.
    polling: bool,
    /// Outgoing itself could not be listed the last time.
    unlistable: bool,
    /// There is no warning about an overflow before this moment.
    next_overflow_warning: Moment,
    listings: VecDeque<FolderListing>,
    /// The second listings of new folders, and when they are due.
    second_listings: VecDeque<(Moment, FolderListing)>,
    /// The number of the last listing.
    scan: u32,
    /// The working time of the full scan that is going on, if any.
    full_scan: Option<Duration>,
    next_full_scan: Moment,
    /// Another full scan is wanted right after the present one.
    full_scan_again: bool,
    /// The first full scan is complete.
    complete: bool,
    /// With `--drain`, Outgoing counts as empty only if a full scan that began after the last outcome says so: an
    /// entry that was renamed meanwhile may have had no event yet, or a lost one.
    drain: bool,
    outcomes: OutcomeRounds,
    /// How many entries the last full scan found that no event had reported.
    missed: usize,
}

/// Counts the rounds with outcomes, to recognise a scan that began after the last of them.
#[derive(Debug, Default)]
struct OutcomeRounds {
    all: u64,
    /// `all` when the present full scan began.
    at_scan_start: u64,
    /// `all` when the last complete full scan began.
    confirmed: u64,
}

impl Reconcile {
    pub(crate) fn new(config: &OutboxConfig, state: Arc<OutboxState>, events: EventSink) -> Self {
        Self {
            state,
            folder: Arc::clone(&config.outgoing),
            scanner: Scanner::new(
                Arc::clone(&config.outgoing),
                config.temp_names,
                config.only.clone(),
                events.clone(),
            ),
            events,
            ledger: (config.after_send == AfterSend::Keep).then(|| Arc::clone(&config.ledger)),
            start: Instant::now(),
            clock: WallClock::new(Moment(0), wall_clock()),
            watch_path: config.watch.then(|| config.outgoing.path().to_path_buf()),
            watch: None,
            watched: 0,
            polling: !config.watch,
            unlistable: false,
            next_overflow_warning: Moment(0),
            listings: VecDeque::new(),
            second_listings: VecDeque::new(),
            scan: 0,
            full_scan: None,
            next_full_scan: Moment(0),
            full_scan_again: false,
            complete: false,
            drain: config.drain,
            outcomes: OutcomeRounds::default(),
            missed: 0,
        }
    }

    /// The body of the thread. Returns when it is told to stop.
    pub(crate) fn run(mut self) {
        // The watch starts before the scan: a change in between is seen by one of them.
        self.start_watch();
        let mut last = None;
        loop {
            let mail = self.state.mailbox.take(self.time_to_sleep());
            if mail.stop {
                return;
            }
            self.outcomes(&mail);
            if mail.new_peer {
                self.state.table().reconsider();
            }
            self.hints(mail.hints);
            self.list();
            self.timers();
            self.publish();
            self.state.scan_rounds.fetch_add(1, Ordering::Relaxed);
            // The first event of a burst is handled at once, the others at intervals.
            let now = Instant::now();
            if last.is_some_and(|last| now.duration_since(last) < MIN_ROUND_INTERVAL) {
                std::thread::sleep(MIN_ROUND_INTERVAL);
            }
            last = Some(Instant::now());
        }
    }

    fn start_watch(&mut self) {
        self.watched = self.folder.times_replaced();
        let Some(path) = &self.watch_path else { return };
        // A watched Outgoing that was renamed away would go on to send events under this path.
        self.watch = None;
        let watched = Watch::start(path, Arc::clone(&self.state.mailbox));
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

    /// From now on scans have to find the changes that events do not report.
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
        let settle = self.state.table().waits.settle;
        Now { mono, wall: self.clock.trusted(mono, wall_clock(), settle) }
    }

    /// How long the thread has nothing to do unless mail arrives.
    fn time_to_sleep(&self) -> Duration {
        if !self.listings.is_empty() {
            return Duration::ZERO;
        }
        let table = self.state.table();
        if table.has_work() {
            return Duration::ZERO;
        }
        let listing = self.second_listings.iter().map(|(at, _)| *at).min();
        let due =
            [Some(self.next_full_scan), listing, table.next_due()].into_iter().flatten().min();
        due.unwrap_or(self.next_full_scan).since(self.moment())
    }

    /// Tells the table about items that came back.
    fn outcomes(&mut self, mail: &Mail) {
        if mail.failed.is_empty() && mail.cleaned_up.is_empty() {
            return;
        }
        self.outcomes.all += 1;
        let now = self.now();
        for (item, retry) in &mail.failed {
            let meta = self.stat_failed(item);
            self.state.table().failed(item, *retry, meta, now);
        }
        for chunk in mail.cleaned_up.chunks(CHUNK) {
            let mut table = self.state.table();
            for (item, outcome) in chunk {
                table.cleaned_up(item, outcome.clone(), now);
            }
        }
    }

    /// The metadata of the entry that has the name of a failed item.
    fn stat_failed(&mut self, item: &Item) -> Option<Meta> {
        match self.folder.stat(&item.name) {
            Ok(meta) => Some(meta),
            Err(error) if is_gone(&error) => None,
            // It is taken for unchanged, and tried again.
            Err(error) => {
                self.scanner.warn_unreadable(&item.name, &error);
                Some(item.meta)
            }
        }
    }

    /// Handles the watcher's events.
    fn hints(&mut self, mut hints: Hints) {
        if hints.no_watches {
            self.poll(&no_watches());
        }
        if hints.overflow && self.moment() >= self.next_overflow_warning {
            self.events.warn(None, OVERFLOW);
            self.next_overflow_warning = self.moment().after(OVERFLOW_WARNING_INTERVAL);
        }
        if hints.lost {
            self.state.table().events_lost();
        }
        if hints.everything {
            self.want_full_scan();
        }
        let paths = hints.take_paths();
        if paths.is_empty() {
            return;
        }
        let now = self.now();
        let mut unknown = BTreeSet::new();
        for (name, hint) in paths {
            if hint == Hint::Gone {
                let mut table = self.state.table();
                table.leaves(&name, now.mono);
                table.gone(&name);
                continue;
            }
            let noted = self.state.table().note(&name, hint.activity(), now.mono);
            if !noted {
                let backup = hint == Hint::Moved && is_backup_name(name.leaf());
                let activity = if backup { Activity::Seen } else { hint.activity() };
                self.examine(&name, activity, now, &mut unknown);
            }
        }
        for folder in unknown {
            self.listings.push_back(FolderListing { folder, full: false, moved: None });
        }
    }

    /// Examines an entry that an event named. If a folder above it is not known yet, the nearest
    /// known one is added to `unknown`, to be listed.
    fn examine(
        &mut self,
        name: &Name,
        activity: Activity,
        now: Now,
        unknown: &mut BTreeSet<Option<Name>>,
    ) {
        match self.scanner.examine(name) {
            Examined::Found(found) => {
                let known = self.known_above(name);
                if known != name.parent() {
                    unknown.insert(known);
                    return;
                }
                let folder = found.meta.kind == FileKind::Folder;
                let moved =
                    (folder && activity == Activity::Moved).then_some(found.meta.identity.changed);
                if self.observe(found, activity, now, 0) == Observed::New && folder {
                    let listing = FolderListing { folder: Some(name.clone()), full: false, moved };
                    self.list_new(listing, now.mono);
                }
            }
            Examined::Gone | Examined::Skipped => self.state.table().gone(name),
        }
    }

    /// Tells the table about an entry, and asks the ledger whether the peer holds it already.
    fn observe(&self, found: FoundEntry, activity: Activity, now: Now, scan: u32) -> Observed {
        let mut table = self.state.table();
        if self.scanner.leaves_alone()
            && table.leave_alone(&found.name, &found.meta, found.unfinished, now.mono, scan)
        {
            return Observed::Same;
        }
        let observed = table.observe(&found.name, found.meta, found.target, activity, now, scan);
        if let Some(ledger) = &self.ledger
            && (observed != Observed::Same || table.is_touched(&found.name, &found.meta))
            && let Some(mark) = table.mark(&found.name)
            // A ledger that cannot be read is reported when the mark is written.
            && let Ok(Some(delivered)) = ledger.delivered(mark)
        {
            table.known_delivered(&found.name);
            if delivered.changed != found.meta.identity.changed
                && let Some(item) = table.take_to_verify(&found.name, found.meta, delivered.hash)
            {
                self.state.verify(item);
            }
        }
        observed
    }

    /// Wakes sessions, feeds the cleanup thread, and publishes the backlog.
    fn publish(&mut self) {
        let skipped = self.scanner.take_skipped();
        let (clean_up, forgotten, mut backlog, ready, ended) = {
            let mut table = self.state.table();
            if table.exchange.is_one {
                table.exchange.skip(skipped);
            }
            let mut clean_up = std::mem::take(&mut table.to_clean_up);
            clean_up.extend(table.take_emptied());
            let mut backlog = table.backlog();
            // The peer holds the lingering folders, but a user who drains waits for an empty
            // Outgoing.
            backlog.files += if table.drain { table.index.lingering } else { 0 };
            let ended = std::mem::take(&mut table.steering.ended);
            (clean_up, !table.forgotten.is_empty(), backlog, table.index.queue.len() > 0, ended)
        };
        for name in ended {
            if let Err(error) = self.state.urgent.remove(&name) {
                tracing::info!(%name, %error, "the mark of an urgent file stays");
            }
        }
        for item in clean_up {
            self.state.clean_up(item);
        }
        if forgotten {
            self.state.forgotten.notify_waiters();
        }
        if ready {
            self.state.ready.notify_waiters();
        }
        let unconfirmed = self.drain && self.outcomes.confirmed != self.outcomes.all;
        if backlog.is_empty() && unconfirmed && self.full_scan.is_none() && self.complete {
            self.next_full_scan = self.moment();
        }
        // A scan that must still be done counts as one file.
        backlog.files += u64::from(!self.complete || (backlog.is_empty() && unconfirmed));
        self.state
            .backlog
            .send_if_modified(|old: &mut Backlog| std::mem::replace(old, backlog) != backlog);
    }
}

fn wall_clock() -> Timestamp {
    let (seconds, nanos) = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => (since.as_secs(), since.subsec_nanos()),
        // With a clock before 1970 no file counts as old: all files settle.
        Err(_) => (0, 0),
    };
    Timestamp { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanos }
}
