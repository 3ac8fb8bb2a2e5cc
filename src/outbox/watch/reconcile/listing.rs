//! Listing folders: all of Outgoing from time to time, and each new folder twice.

use super::{FolderListing, POLL_INTERVAL, Reconcile};
use crate::outbox::queue::changes::Observed;
use crate::outbox::watch::scan::{IgnoreRules, is_gone};
use crate::outbox::watch::settle::{Activity, Moment};
use crate::proto::name::Name;
use crate::store::{FileKind, Listed, StoreError};
use std::time::{Duration, Instant};

/// How long folders are listed before the mailbox is read again.
const SLICE: Duration = Duration::from_millis(10);
/// The interval between full scans, where events tell of changes. It grows with the cost of a scan.
const RESCAN_INTERVAL: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(2)..=Duration::from_secs(30);
/// New folders are listed again after this: entries that arrived before the watch was set up had no
/// events. If a burst of events delays the watch further, the next full scan finds the rest.
const SECOND_LISTING_DELAY: Duration = Duration::from_millis(150);

impl Reconcile {
    /// Lists a new folder now and again later.
    pub(super) fn list_new(&mut self, listing: FolderListing, now: Moment) {
        self.second_listings.push_back((now.after(SECOND_LISTING_DELAY), listing.clone()));
        self.listings.push_back(listing);
    }

    /// Lists folders for a while.
    pub(super) fn list(&mut self) {
        let now = self.moment();
        let due = self
            .second_listings
            .iter()
            .filter(|(at, _)| *at <= now)
            .map(|(_, listing)| listing.clone());
        self.listings.extend(due);
        self.second_listings.retain(|(at, _)| *at > now);
        if self.full_scan.is_none() && now >= self.next_full_scan {
            self.full_scan = Some(Duration::ZERO);
            self.outcomes.at_scan_start = self.outcomes.all;
            self.missed = 0;
            self.listings.push_back(FolderListing { folder: None, full: true, moved: None });
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
        if let Some(cost) = &mut self.full_scan {
            *cost += begin.elapsed();
        }
        if self.listings.is_empty()
            && let Some(cost) = self.full_scan.take()
        {
            self.scan_complete(cost);
        }
    }

    /// Tells the table about the entries of a folder.
    fn merge(&mut self, listing: &FolderListing, mut listed: Vec<Listed>) {
        let folder = listing.folder.as_ref();
        self.unlistable &= folder.is_some();
        if self.watched != self.folder.times_replaced() {
            // The watch before the scan, as at the start.
            self.start_watch();
            self.want_full_scan();
        }
        // A full scan begins with Outgoing itself, so all of it uses the new rules.
        if folder.is_none()
            && self.scanner.refresh_rules(&listed) == IgnoreRules::Changed
            && !listing.full
        {
            self.want_full_scan();
        }
        self.scanner.put_in_order(&mut listed);
        self.scan = self.scan.checked_add(1).unwrap_or(1);
        let (scan, now) = (self.scan, self.now());
        for one in listed {
            let Some(found) = self.scanner.sift(folder, one) else { continue };
            let older = listing.moved.is_some_and(|moved| found.meta.identity.changed < moved);
            let activity = if older && cfg!(unix) { Activity::Moved } else { Activity::Seen };
            let is_folder = found.meta.kind == FileKind::Folder && found.unfinished.is_none();
            let name = found.name.clone();
            let observed = self.observe(found, activity, now, scan);
            self.missed += usize::from(listing.full && observed == Observed::New);
            if is_folder && (listing.full || observed == Observed::New) {
                let below = FolderListing { folder: Some(name), ..listing.clone() };
                if listing.full {
                    self.listings.push_back(below);
                } else {
                    self.list_new(below, now.mono);
                }
            }
        }
        self.state.table().sweep(folder, scan);
    }

    fn unlistable(&mut self, listing: &FolderListing, error: &StoreError) {
        match &listing.folder {
            Some(name) if is_gone(error) => self.state.table().gone(name),
            Some(name) => {
                self.scanner.warn_unreadable(name, error);
                self.state.table().unlistable(name);
            }
            // Until Outgoing itself can be listed, no entry counts as gone or complete.
            None => {
                // Unlike the warning about a file this one is repeated: a disk may fail again next
                // month.
                if !std::mem::replace(&mut self.unlistable, true) {
                    self.events.warn(None, format!("{error}; until then nothing is sent"));
                }
                if listing.full {
                    self.full_scan = None;
                    self.next_full_scan = self.moment().after(POLL_INTERVAL);
                }
            }
        }
    }

    /// A full scan is complete. `cost` is its working time.
    fn scan_complete(&mut self, cost: Duration) {
        // Scans take at most a twentieth of the time, and less where events tell of changes.
        let wait = if self.polling {
            (cost * 20).max(POLL_INTERVAL)
        } else {
            let (min, max) = (*RESCAN_INTERVAL.start(), *RESCAN_INTERVAL.end());
            (cost * 20).max((cost * 200).clamp(min, max))
        };
        let again = std::mem::take(&mut self.full_scan_again);
        self.next_full_scan = self.moment().after(if again { Duration::ZERO } else { wait });
        self.outcomes.confirmed = self.outcomes.at_scan_start;
        if !self.complete {
            self.complete = true;
            self.state.table().scanned = true;
            self.state.table().drop_recalled();
            self.prune_ledger();
        } else if self.missed > 0
            && let Some(watch) = &mut self.watch
            && let Err(why) = watch.watch_all()
        {
            self.poll(&why);
        }
    }

    /// The ledger forgets the entries that no longer exist.
    fn prune_ledger(&self) {
        if let Some(ledger) = &self.ledger {
            let marks = self.state.table().marks();
            if let Err(error) = ledger.prune_delivered(&self.folder, &|mark| marks.contains(&mark))
            {
                self.events.warn(None, error.to_string());
            }
        }
    }

    /// Scans all of Outgoing as soon as possible.
    pub(super) fn want_full_scan(&mut self) {
        self.next_full_scan = self.moment();
        self.full_scan_again = self.full_scan.is_some();
    }

    /// The nearest folder above a name that the table knows, `None` for Outgoing itself.
    pub(super) fn known_above(&self, name: &Name) -> Option<Name> {
        let table = self.state.table();
        std::iter::successors(name.parent(), Name::parent).find(|above| table.knows_folder(above))
    }
}
