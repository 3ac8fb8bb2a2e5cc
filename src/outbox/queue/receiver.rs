//! Pure: the receiver of one exchange (`rft send`). Each named entry, and everything in it, goes once
//! to it, whatever happens to the entry afterwards. Another receiver gets all of it.

use super::lifecycle::EntryState;
use super::table::Table;
use crate::outbox::watch::settle::Moment;
use crate::proto::message::InstallationId;
use crate::proto::name::Name;

impl Table {
    /// A session with this receiver begins. Returns whether it is another one than the last of this
    /// process.
    pub(crate) fn receiver_is(&mut self, receiver: InstallationId) -> bool {
        self.exchange.receiver.replace(receiver) != Some(receiver)
    }

    /// The present receiver holds nothing: everything is sent from the start.
    pub(crate) fn deliver_again(&mut self, now: Moment) {
        self.exchange.number += 1;
        self.exchange.missing = self.exchange.named.iter().cloned().collect();
        // The ids are offered again.
        self.forgotten.clear();
        let waits = self.waits;
        let delivered =
            self.entries.iter().filter(|(_, entry)| entry.state() == EntryState::Delivered);
        for name in delivered.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.update(&name, |entry| entry.start_over(now, waits));
        }
    }

    /// The entries that are not sent, each with the reason that the user was told: those that were
    /// skipped, and those that the user named and that are gone.
    pub(crate) fn not_sent(&self) -> Vec<(Option<Name>, Option<String>)> {
        let is_known = |name: &Name| self.entries.contains_key(name);
        let skipped = self.exchange.skipped.iter().filter(|(name, _)| {
            name.as_ref().is_none_or(|name| self.state(name) != Some(EntryState::Delivered))
        });
        let told: Vec<_> =
            skipped.map(|(name, reason)| (name.clone(), Some(reason.clone()))).collect();
        let is_told = |name: &Name| told.iter().any(|(other, _)| other.as_ref() == Some(name));
        let gone = self.exchange.missing.iter().filter(|name| !is_known(name) && !is_told(name));
        let gone: Vec<_> = gone.map(|name| (Some(name.clone()), None)).collect();
        told.into_iter().chain(gone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::item::{CleanupOutcome, Item};
    use crate::outbox::queue::model::{WAITS, at, file, name};
    use crate::outbox::queue::one_exchange::OneExchange;
    use crate::outbox::watch::settle::Activity;
    use crate::store::Meta;

    const BOB: InstallationId = InstallationId([1; 16]);
    const CAROL: InstallationId = InstallationId([2; 16]);

    fn table(named: &[&str]) -> Table {
        let mut table = Table::new([1; 16], WAITS, true);
        let named: Vec<_> = named.iter().map(|text| name(text)).collect();
        table.exchange = OneExchange::of(&named);
        assert!(table.receiver_is(BOB));
        table
    }

    fn see(table: &mut Table, path: &str, meta: Meta) {
        table.observe(&name(path), meta, None, Activity::Moved, at(0), 1);
    }

    fn deliver(table: &mut Table, item: Item) {
        let item = table.delivered(item).unwrap();
        let meta = Some(item.meta);
        table.cleaned_up(&item, CleanupOutcome::Kept(meta), at(0));
    }

    #[test]
    fn a_file_that_changes_after_its_delivery_is_not_sent_again() {
        let mut table = table(&["a", "b"]);
        see(&mut table, "a", file(1, 5, 10));
        see(&mut table, "b", file(2, 5, 10));
        let item = table.pop().unwrap();
        assert_eq!(item.name, name("a"));
        deliver(&mut table, item);
        see(&mut table, "a", file(1, 6, 20));
        see(&mut table, "a", file(9, 7, 30));
        assert_eq!(table.backlog().files, 1);
        let item = table.pop().unwrap();
        assert_eq!(item.name, name("b"));
        deliver(&mut table, item);
        assert!(table.pop().is_none() && table.backlog().is_empty());
        assert_eq!(table.not_sent(), []);
    }

    #[test]
    fn another_receiver_gets_everything() {
        let mut table = table(&["a", "b", "c"]);
        for (path, inode) in [("a", 1), ("b", 2), ("c", 3)] {
            see(&mut table, path, file(inode, 5, 10));
        }
        let (a, b, c) = (table.pop().unwrap(), table.pop().unwrap(), table.pop().unwrap());
        deliver(&mut table, a);
        // The mark of b is being written, and c is in flight, when the other one comes.
        let b = table.delivered(b).unwrap();
        assert!(!table.receiver_is(BOB) && table.receiver_is(CAROL));
        table.deliver_again(at(5000).mono);
        assert!(!table.backlog().is_empty());
        let meta = Some(b.meta);
        table.cleaned_up(&b, CleanupOutcome::Kept(meta), at(5000));
        assert!(table.delivered(c).is_none());
        for due in table.expire(at(9000).mono, 100) {
            let crate::outbox::queue::timers::DueEntry::Settled(path) = due else { panic!() };
            let meta = table.entries[&path].meta;
            table.checked(&path, meta, at(9000));
        }
        let mut again = Vec::new();
        while let Some(item) = table.pop() {
            again.push(item.name.to_string());
            deliver(&mut table, item);
        }
        again.sort();
        assert_eq!(again, ["a", "b", "c"]);
        assert!(table.backlog().is_empty() && table.not_sent().is_empty());
    }

    #[test]
    fn entries_that_are_gone_or_skipped_are_told() {
        let mut table = table(&["a", "pipe", "later"]);
        see(&mut table, "a", file(1, 5, 10));
        table.gone(&name("a"));
        let skipped = |path: &str| (Some(name(path)), "not sent".to_owned());
        table.exchange.skip(vec![skipped("pipe"), skipped("later")]);
        see(&mut table, "later", file(2, 5, 10));
        let item = table.pop().unwrap();
        deliver(&mut table, item);
        assert_eq!(
            table.not_sent(),
            [(Some(name("pipe")), Some("not sent".to_owned())), (Some(name("a")), None)]
        );
    }
}
