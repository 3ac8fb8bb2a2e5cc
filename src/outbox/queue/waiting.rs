//! Pure: the entries of Outgoing that are not delivered, each with its reason.

use super::entry::OutgoingEntry;
use super::index::is_beneath;
use super::lifecycle::EntryState;
use super::table::Table;
use crate::outbox::watch::settle::Moment;
use crate::proto::name::Name;
use crate::status::{WaitKind, WaitReason};
use std::collections::BTreeMap;

/// Whether the user should hear of it first: something other than its turn delays it.
fn is_notable(reason: WaitReason) -> bool {
    !matches!(
        reason,
        WaitReason::Folder
            | WaitReason::Ready
            | WaitReason::Lingering(_)
            | WaitReason::LeftAlone
            | WaitReason::Unfinished
    )
}

/// An entry that is not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaitingEntry {
    pub name: Name,
    pub reason: WaitReason,
    /// It overtakes entries that are not urgent.
    pub urgent: bool,
}

/// The entries that are not delivered, some of them by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WaitingList {
    /// First those that something other than their turn delays, then the urgent ones; each part in
    /// the order of the names.
    pub named: Vec<WaitingEntry>,
    /// How many more there are.
    pub more: u64,
    /// How many there are of each kind.
    pub by_reason: BTreeMap<WaitKind, u64>,
}

impl Table {
    /// The entries that are not delivered, at most `max` of them by name. With `within` those of
    /// this name and beneath it only.
    pub(crate) fn waiting_list(
        &self,
        now: Moment,
        max: usize,
        within: Option<&Name>,
    ) -> WaitingList {
        let (mut notable, mut urgent, mut usual) = (Vec::new(), Vec::new(), Vec::new());
        let mut counts = [0u64; WaitKind::ALL.len()];
        let unfinished = self.unfinished.names();
        let reason = |name: &Name, entry| match reason(entry, now)? {
            WaitReason::Refused if self.is_held(name) => Some(WaitReason::Ready),
            reason => Some(reason),
        };
        let entries = self
            .entries
            .iter()
            .filter_map(|(name, entry)| Some((name, reason(name, entry)?, entry.urgent)));
        let left_alone = unfinished.iter().map(|name| (name, WaitReason::LeftAlone, false));
        let wanted =
            |name: &Name| within.is_none_or(|within| name == within || is_beneath(name, within));
        for (name, reason, is_urgent) in entries.chain(left_alone).filter(|(name, ..)| wanted(name))
        {
            counts[reason.kind() as usize] += 1;
            let list = match (is_notable(reason), is_urgent) {
                (true, _) => &mut notable,
                (false, true) => &mut urgent,
                (false, false) => &mut usual,
            };
            if list.len() < max {
                list.push(WaitingEntry { name: name.clone(), reason, urgent: is_urgent });
            }
        }
        notable.extend(urgent);
        notable.extend(usual);
        notable.truncate(max);
        let count: u64 = counts.iter().sum();
        let by_reason = WaitKind::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0);
        let by_reason = by_reason.collect();
        WaitingList { more: count - notable.len() as u64, named: notable, by_reason }
    }
}

fn reason(entry: &OutgoingEntry, now: Moment) -> Option<WaitReason> {
    Some(match entry.state() {
        EntryState::Settling { .. } if entry.open.is_some() => WaitReason::Open,
        EntryState::Settling { until } => WaitReason::Settling(until.since(now)),
        EntryState::AwaitingContents => WaitReason::Folder,
        EntryState::Ready => WaitReason::Ready,
        EntryState::Open { .. } => WaitReason::Open,
        EntryState::InFlight => WaitReason::InFlight,
        EntryState::CleaningUp => WaitReason::CleaningUp,
        EntryState::DeliveredOpen { .. } => WaitReason::DeliveredOpen,
        EntryState::Lingering { until } => WaitReason::Lingering(until.since(now)),
        EntryState::HoldsUnfinished => WaitReason::Unfinished,
        EntryState::Backoff { until } => WaitReason::Backoff(until.since(now)),
        EntryState::Unreadable { until } => WaitReason::Unreadable(until.since(now)),
        EntryState::Occupied { until } => WaitReason::Occupied(until.since(now)),
        EntryState::Refused => WaitReason::Refused,
        EntryState::Delivered | EntryState::Gone => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Waits;
    use crate::outbox::queue::table::Now;
    use crate::outbox::watch::settle::Activity;
    use crate::outbox::{Item, Retry};
    use crate::proto::message::Timestamp;
    use crate::store::{FileIdentity, FileKind, Meta};
    use std::time::Duration;

    fn meta(size: u64) -> Meta {
        let time = Timestamp { seconds: 1, nanos: 0 };
        let identity = FileIdentity { device: 1, inode: size, changed: time };
        Meta { kind: FileKind::File, size, modified: time, mode: Some(0o644), identity }
    }

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    fn add(table: &mut Table, text: &str, size: u64, activity: Activity) {
        table.observe(
            &name(text),
            meta(size),
            None,
            activity,
            Now { mono: Moment(0), wall: None },
            1,
        );
    }

    fn taken(table: &mut Table) -> Item {
        table.pop().unwrap()
    }

    #[test]
    fn each_entry_has_its_reason_and_notable_ones_come_first() {
        let now = Now { mono: Moment(0), wall: None };
        let mut table =
            Table::new([0; 16], Waits { settle: Duration::from_secs(3), ..Waits::DEFAULT }, false);
        for (text, size, retry) in [
            ("retried", 1, Retry::After),
            ("refused", 2, Retry::WhenChanged),
            ("unreadable", 3, Retry::WhenReadable),
            ("in the way", 7, Retry::WhenFree),
        ] {
            add(&mut table, text, size, Activity::Moved);
            let item = taken(&mut table);
            table.failed(&item, retry, Some(item.meta), now);
        }
        add(&mut table, "in flight", 4, Activity::Moved);
        taken(&mut table);
        add(&mut table, "a", 5, Activity::Moved);
        add(&mut table, "settles", 6, Activity::Seen);
        let all = table.waiting_list(Moment(0), 10, None);
        let names: Vec<_> = all.named.iter().map(|entry| entry.name.to_string()).collect();
        assert_eq!(
            names,
            ["in flight", "in the way", "refused", "retried", "settles", "unreadable", "a"]
        );
        let why: Vec<_> = all.named.iter().map(|entry| entry.reason).collect();
        assert_eq!(
            (why[0], why[2], why[6]),
            (WaitReason::InFlight, WaitReason::Refused, WaitReason::Ready)
        );
        assert!(matches!(why[1], WaitReason::Occupied(left) if left > Duration::ZERO), "{why:?}");
        assert!(matches!(why[3], WaitReason::Backoff(left) if left > Duration::ZERO), "{why:?}");
        assert_eq!(why[4], WaitReason::Settling(Duration::from_secs(3)));
        assert!(matches!(why[5], WaitReason::Unreadable(left) if left > Duration::ZERO), "{why:?}");
        assert_eq!(all.more, 0);
        let some = table.waiting_list(Moment(0), 2, None);
        assert_eq!((some.named.len(), some.more), (2, 5));
        assert_eq!(some.by_reason, all.by_reason);
        assert_eq!((some.by_reason.len(), some.by_reason.values().sum::<u64>()), (7, 7));
        assert_eq!(some.named[0].name, name("in flight"));
        let one = table.waiting_list(Moment(0), 2, Some(&name("refused")));
        assert_eq!((one.named.len(), one.named[0].reason, one.more), (1, WaitReason::Refused, 0));
        assert_eq!(table.waiting_list(Moment(0), 2, Some(&name("ref"))), WaitingList::default());
        assert_eq!(table.retry(Some(&name("refused"))), 1);
        assert_eq!(table.retry(None), 3);
        assert_eq!(table.waiting_list(Moment(0), 9, None).by_reason[&WaitKind::Ready], 5);
    }
}
