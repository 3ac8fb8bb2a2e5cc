//! Pure: what stands in Outgoing and is not delivered, each with its reason.

use super::table::{Entry, State, Table};
use crate::outbox::watch::settle::Moment;
use crate::proto::name::Name;
use std::fmt;
use std::time::Duration;

/// Why an entry of Outgoing is not delivered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// It was written a moment ago, and is sent when it has been quiet for this much longer.
    Settling(Duration),
    /// A folder goes after all that it holds.
    Folder,
    /// It is ready, and waits for its turn or for a peer.
    Ready,
    /// It is on its way.
    InFlight,
    /// The peer holds it, and it is being removed, archived or marked.
    Finishing,
    /// A program has it open for writing: it is not sent before that ends.
    Open,
    /// The peer holds it, but a program has it open for writing: it is removed after that.
    Held,
    /// A folder that the peer holds: it is removed when no file came into it for this much longer.
    Resting(Duration),
    /// A folder that holds an unfinished file, which is left alone.
    Unfinished,
    /// An unfinished file, by its name: it is left alone.
    LeftAlone,
    /// The peer could not take it; it is offered again after this.
    Retry(Duration),
    /// Something stands in its place at the peer, which is asked again after this.
    InTheWay(Duration),
    /// It cannot be read; it is tried again after this.
    Unreadable(Duration),
    /// The peer does not take it, or the folder cannot be listed.
    Refused,
}

impl Waiting {
    /// Whether something other than its turn keeps it.
    fn is_notable(self) -> bool {
        !matches!(
            self,
            Self::Folder | Self::Ready | Self::Resting(_) | Self::LeftAlone | Self::Unfinished
        )
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settling(_) => f.write_str("it was written a moment ago"),
            Self::Folder => f.write_str("a folder, sent after all that it holds"),
            Self::Ready => f.write_str("ready to be sent"),
            Self::InFlight => f.write_str("in flight"),
            Self::Finishing => f.write_str("received; it is being removed"),
            Self::Open => f.write_str("waiting: a program has it open"),
            Self::Held => f.write_str("received; waiting: a program has it open"),
            Self::Resting(left) => {
                write!(f, "received; the folder is removed in {} s", whole(*left))
            }
            Self::Unfinished => f.write_str("it holds an unfinished file, which is left alone"),
            Self::LeftAlone => f.write_str("left alone: the name of an unfinished file"),
            Self::Retry(left) => {
                write!(f, "not taken by the peer; tried again in {} s", whole(*left))
            }
            Self::InTheWay(left) => {
                write!(
                    f,
                    "something stands in its place at the peer; asked again in {} s",
                    whole(*left)
                )
            }
            Self::Unreadable(left) => {
                write!(f, "it cannot be read; tried again in {} s", whole(*left))
            }
            Self::Refused => f.write_str("refused until it changes"),
        }
    }
}

/// Whole seconds, rounded up.
fn whole(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Some of what waits, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WaitingList {
    /// First what something other than its turn keeps; each part in the order of the names.
    pub named: Vec<(Name, Waiting)>,
    /// How many more there are.
    pub more: u64,
}

impl Table {
    /// What is not delivered, at most `max` of it by name.
    pub fn waiting_list(&self, now: Moment, max: usize) -> WaitingList {
        let (mut notable, mut usual, mut count) = (Vec::new(), Vec::new(), 0u64);
        let entries =
            self.entries.iter().filter_map(|(name, entry)| Some((name.clone(), why(entry, now)?)));
        let left_alone = self.left.names().into_iter().map(|name| (name, Waiting::LeftAlone));
        for (name, why) in entries.chain(left_alone) {
            count += 1;
            let list = if why.is_notable() { &mut notable } else { &mut usual };
            if list.len() < max {
                list.push((name, why));
            }
        }
        notable.extend(usual);
        notable.truncate(max);
        WaitingList { more: count - notable.len() as u64, named: notable }
    }
}

fn why(entry: &Entry, now: Moment) -> Option<Waiting> {
    let left = entry.due.since(now);
    Some(match entry.state {
        State::Settling if entry.open.is_some() => Waiting::Open,
        State::Settling => Waiting::Settling(left),
        State::Quiet => Waiting::Folder,
        State::Ready => Waiting::Ready,
        State::InFlight => Waiting::InFlight,
        State::Finishing => Waiting::Finishing,
        State::Open => Waiting::Open,
        State::Held => Waiting::Held,
        State::Resting => Waiting::Resting(left),
        State::Unfinished => Waiting::Unfinished,
        State::Waiting => Waiting::Retry(left),
        State::Unreadable if entry.refused => Waiting::InTheWay(left),
        State::Unreadable => Waiting::Unreadable(left),
        State::Refused => Waiting::Refused,
        State::Done => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Waits;
    use crate::outbox::queue::table::Now;
    use crate::outbox::watch::settle::Signal;
    use crate::outbox::{Item, Retry};
    use crate::proto::message::Timestamp;
    use crate::store::{FileKind, Identity, Meta};

    fn meta(size: u64) -> Meta {
        let time = Timestamp { seconds: 1, nanos: 0 };
        let identity = Identity { device: 1, inode: size, changed: time };
        Meta { kind: FileKind::File, size, modified: time, mode: Some(0o644), identity }
    }

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    fn add(table: &mut Table, text: &str, size: u64, signal: Signal) {
        table.observe(
            &name(text),
            meta(size),
            None,
            signal,
            Now { mono: Moment(0), wall: None },
            1,
        );
    }

    fn taken(table: &mut Table) -> Item {
        table.pop().unwrap()
    }

    #[test]
    fn each_has_its_reason_and_the_odd_ones_come_first() {
        let now = Now { mono: Moment(0), wall: None };
        let mut table =
            Table::new([0; 16], Waits { settle: Duration::from_secs(3), ..Waits::DEFAULT }, false);
        for (text, size, retry) in [
            ("retried", 1, Retry::After),
            ("refused", 2, Retry::WhenChanged),
            ("unreadable", 3, Retry::WhenReadable),
            ("in the way", 7, Retry::WhenFree),
        ] {
            add(&mut table, text, size, Signal::Moved);
            let item = taken(&mut table);
            table.failed(&item, retry, Some(item.meta), now);
        }
        add(&mut table, "in flight", 4, Signal::Moved);
        taken(&mut table);
        add(&mut table, "a", 5, Signal::Moved);
        add(&mut table, "settles", 6, Signal::Seen);
        let all = table.waiting_list(Moment(0), 10);
        let names: Vec<_> = all.named.iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(
            names,
            ["in flight", "in the way", "refused", "retried", "settles", "unreadable", "a"]
        );
        let why: Vec<_> = all.named.iter().map(|(_, why)| *why).collect();
        assert_eq!((why[0], why[2], why[6]), (Waiting::InFlight, Waiting::Refused, Waiting::Ready));
        assert!(matches!(why[1], Waiting::InTheWay(left) if left > Duration::ZERO), "{why:?}");
        assert!(matches!(why[3], Waiting::Retry(left) if left > Duration::ZERO), "{why:?}");
        assert_eq!(why[4], Waiting::Settling(Duration::from_secs(3)));
        assert!(matches!(why[5], Waiting::Unreadable(left) if left > Duration::ZERO), "{why:?}");
        assert_eq!(all.more, 0);
        let some = table.waiting_list(Moment(0), 2);
        assert_eq!((some.named.len(), some.more), (2, 5));
        assert_eq!(some.named[0].0, name("in flight"));
    }
}
