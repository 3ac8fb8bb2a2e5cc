//! Folders are listed, for a while at a time: all of Outgoing now and then, a new folder twice.

use super::{POLL, Reconcile};
use crate::outbox::queue::observe::Observed;
use crate::outbox::shared::locked;
use crate::outbox::watch::scan::{Rules, is_gone};
use crate::outbox::watch::settle::{Moment, Signal};
use crate::proto::message::Timestamp;
use crate::proto::name::Name;
use crate::store::{FileKind, Listed, StoreError};
use std::time::{Duration, Instant};

/// Listing goes on for this long before mail is looked at.
const SLICE: Duration = Duration::from_millis(10);
/// Full scans are this far apart at least, and at most unless they take too long.
const RESCAN: std::ops::RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(30);
/// New folders are listed again after this: what came into them before their watch was set up had
/// no events. What comes into them while a burst of events holds the watcher up is left to the
/// next full scan.
const AGAIN: Duration = Duration::from_millis(150);

/// A folder to be listed.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    /// `None` for Outgoing itself.
    pub(crate) folder: Option<Name>,
    /// Part of a full scan: known folders in it are listed too.
    pub(crate) full: bool,
    /// It was renamed to where it is, and its change time is this: what is in it and older is as
    /// complete as what is renamed itself.
    pub(crate) moved: Option<Timestamp>,
}

impl Reconcile {
    pub(crate) fn list_new(&mut self, listing: Listing, now: Moment) {
        self.again.push_back((now.after(AGAIN), listing.clone()));
        self.listings.push_back(listing);
    }

    /// Lists folders for a while.
    pub(crate) fn list(&mut self) {
        let now = self.moment();
        let due =
            self.again.iter().filter(|(at, _)| *at <= now).map(|(_, listing)| listing.clone());
        self.listings.extend(due);
        self.again.retain(|(at, _)| *at > now);
        if self.full.is_none() && now >= self.next_full {
            self.full = Some(Duration::ZERO);
            self.outcomes.before = self.outcomes.all;
            self.missed = 0;
            self.listings.push_back(Listing { folder: None, full: true, moved: None });
        }
        let begin = Instant::now();
        while begin.elapsed() < SLICE
            && let Some(listing) = self.listings.pop_front()
        {
            match self.scanner.list(listing.folder.as_ref()) {
                Ok(listed) => self.merge(&listing, listed),
                Err(error) => self.unlistable(&listing, &error),
            }
        }
        if let Some(cost) = &mut self.full {
            *cost += begin.elapsed();
        }
        if self.listings.is_empty()
            && let Some(cost) = self.full.take()
        {
            self.scanned(cost);
        }
    }

    fn merge(&mut self, listing: &Listing, mut listed: Vec<Listed>) {
        let folder = listing.folder.as_ref();
        self.unlistable &= folder.is_some();
        if self.watched != self.folder.times_replaced() {
            // First the watch, then a scan, as at the start.
            self.start_watch();
            self.want_full();
        }
        // A full scan begins at the top, so all of it goes by the new rules.
        if folder.is_none()
            && self.scanner.refresh_rules(&listed) == Rules::Changed
            && !listing.full
        {
            self.want_full();
        }
        self.scanner.put_in_order(&mut listed);
        self.scan = self.scan.checked_add(1).unwrap_or(1);
        let (scan, now) = (self.scan, self.now());
        for one in listed {
            let Some(found) = self.scanner.sift(folder, one) else { continue };
            let older = listing.moved.is_some_and(|moved| found.meta.identity.changed < moved);
            let signal = if older && cfg!(unix) { Signal::Moved } else { Signal::Seen };
            let is_folder = found.meta.kind == FileKind::Folder && found.unfinished.is_none();
            let name = found.name.clone();
            let observed = self.take_over(found, signal, now, scan);
            self.missed += usize::from(listing.full && observed == Observed::New);
            if is_folder && (listing.full || observed == Observed::New) {
                let below = Listing { folder: Some(name), ..listing.clone() };
                if listing.full {
                    self.listings.push_back(below);
                } else {
                    self.list_new(below, now.mono);
                }
            }
        }
        locked(&self.shared.table).sweep(folder, scan);
    }

    fn unlistable(&mut self, listing: &Listing, error: &StoreError) {
        match &listing.folder {
            Some(name) if is_gone(error) => locked(&self.shared.table).gone(name),
            Some(name) => {
                self.scanner.warn_unreadable(name, error);
                locked(&self.shared.table).unlistable(name);
            }
            // Nothing is said to be gone, and nothing to be complete, until the top can be listed.
            None => {
                // Each time anew, unlike a file's: it is told once that a disk is gone, and next
                // month again.
                if !std::mem::replace(&mut self.unlistable, true) {
                    self.events.warn(None, format!("{error}; until then nothing is sent"));
                }
                if listing.full {
                    self.full = None;
                    self.next_full = self.moment().after(POLL);
                }
            }
        }
    }

    /// A full scan is complete, after this much work.
    fn scanned(&mut self, cost: Duration) {
        // Never more than a twentieth of the time goes into scanning, and less when events come.
        let wait = if self.polling {
            (cost * 20).max(POLL)
        } else {
            (cost * 20).max((cost * 200).clamp(*RESCAN.start(), *RESCAN.end()))
        };
        let wait = if std::mem::take(&mut self.full_again) { Duration::ZERO } else { wait };
        self.next_full = self.moment().after(wait);
        self.outcomes.confirmed = self.outcomes.before;
        if !self.complete {
            self.complete = true;
            locked(&self.shared.table).known = true;
            self.prune();
        } else if self.missed > 0
            && let Some(watch) = &mut self.watch
            && let Err(why) = watch.watch_all()
        {
            self.poll(&why);
        }
    }

    /// The ledger need not remember what is not there any more.
    fn prune(&self) {
        if let Some(ledger) = &self.ledger {
            let marks = locked(&self.shared.table).marks();
            if let Err(error) = ledger.prune_delivered(&self.folder, &|mark| marks.contains(&mark))
            {
                self.events.warn(None, error.to_string());
            }
        }
    }
}
