//! The table of transitions is the documented one.

use super::*;
use std::collections::BTreeMap;

const T: Moment = Moment(1);
const LATER: Moment = Moment(2);

const STATES: [EntryState; 14] = [
    EntryState::Settling { until: T },
    EntryState::AwaitingContents,
    EntryState::Ready,
    EntryState::Open { ask_at: T },
    EntryState::InFlight,
    EntryState::CleaningUp,
    EntryState::DeliveredOpen { ask_at: T },
    EntryState::Lingering { until: T },
    EntryState::HoldsUnfinished,
    EntryState::Backoff { until: T },
    EntryState::Unreadable { until: T },
    EntryState::Occupied { until: T },
    EntryState::Refused,
    EntryState::Delivered,
];

const EVENTS: [EntryEvent; 28] = [
    EntryEvent::Changed { until: LATER },
    EntryEvent::SettleAgain { until: LATER },
    EntryEvent::Postponed { until: LATER },
    EntryEvent::Listed { until: LATER },
    EntryEvent::FileSettled,
    EntryEvent::FolderSettled,
    EntryEvent::ContentsLeft,
    EntryEvent::ContentsCame,
    EntryEvent::UnfinishedFound,
    EntryEvent::UnfinishedGone,
    EntryEvent::Unlistable,
    EntryEvent::FoundOpen { ask_at: LATER },
    EntryEvent::SnapshotDue,
    EntryEvent::Taken,
    EntryEvent::Failed { until: LATER },
    EntryEvent::ReadFailed { until: LATER },
    EntryEvent::PathOccupied { until: LATER },
    EntryEvent::PeerRefused,
    EntryEvent::HeldBack,
    EntryEvent::Received,
    EntryEvent::InUse { ask_at: LATER },
    EntryEvent::Linger { until: LATER },
    EntryEvent::CleanUp,
    EntryEvent::Stays,
    EntryEvent::KnownDelivered,
    EntryEvent::Removed,
    EntryEvent::Vanished,
    EntryEvent::Reschedule { at: LATER },
];

/// The name of a variant, without its fields.
fn variant(value: impl std::fmt::Debug) -> String {
    format!("{value:?}").split(' ').next().unwrap().to_owned()
}

fn list(states: &[String]) -> String {
    if states.len() <= 7 {
        return states.join(", ");
    }
    let others = STATES.iter().map(variant).filter(|name| !states.contains(name));
    format!("all but {}", others.collect::<Vec<_>>().join(", "))
}

/// The transitions of the code, as the module's documentation has them.
fn table() -> Vec<String> {
    let mut lines = Vec::new();
    for event in EVENTS {
        let mut sources = BTreeMap::<_, Vec<_>>::new();
        for state in STATES {
            let Ok(next) = state.apply(event) else { continue };
            let same = matches!(event, EntryEvent::Reschedule { .. } | EntryEvent::Vanished)
                && variant(next) == variant(state);
            let target = if same { "same".to_owned() } else { variant(next) };
            // "same" first.
            sources.entry((!same, target)).or_default().push(variant(state));
        }
        for ((_, target), states) in sources {
            lines.push(format!("{:<16} {} -> {target}", variant(event), list(&states)));
        }
    }
    lines
}

#[test]
fn the_documented_table_is_the_one_in_the_code() {
    let source = include_str!("../lifecycle.rs");
    let documented: Vec<_> = source
        .lines()
        .skip_while(|line| !line.starts_with("//! Changed "))
        .take_while(|line| *line != "//! ```")
        .map(|line| line.trim_start_matches("//! ").to_owned())
        .collect();
    let actual = table();
    println!("{}", actual.join("\n"));
    assert_eq!(documented, actual);
}

#[test]
fn nothing_follows_the_end_of_an_entry() {
    for event in EVENTS {
        assert!(EntryState::Gone.apply(event).is_err(), "{event:?}");
    }
}

#[test]
fn events_carry_their_time_into_the_state() {
    for state in STATES {
        let next = state.apply(EntryEvent::Reschedule { at: LATER });
        assert_eq!(next.ok().and_then(EntryState::due).is_some(), state.due().is_some());
        assert!(next.is_err() || next.unwrap().due() == Some(LATER), "{state:?}");
    }
    for event in EVENTS {
        for next in STATES.iter().filter_map(|state| state.apply(event).ok()) {
            let timed = variant(event) != format!("{event:?}");
            assert!(!timed || next.due() == Some(LATER), "{event:?} {next:?}");
        }
    }
}

#[test]
fn an_open_file_that_seems_to_vanish_is_asked_about_at_once() {
    let open = EntryState::DeliveredOpen { ask_at: T };
    let asked = EntryState::DeliveredOpen { ask_at: Moment::PAST };
    assert_eq!(open.apply(EntryEvent::Vanished), Ok(asked));
}

/// The answers of each state to the rest of the queue.
#[test]
fn states_are_pending_busy_final_or_handed_out() {
    let of = |is: fn(EntryState) -> bool| -> Vec<String> {
        STATES.into_iter().filter(|state| is(*state)).map(variant).collect()
    };
    let pending =
        ["Settling", "AwaitingContents", "Ready", "Open", "InFlight", "CleaningUp", "Backoff"];
    assert_eq!(of(EntryState::is_pending), pending);
    assert_eq!(of(EntryState::is_busy), ["Settling", "Ready", "InFlight", "CleaningUp"]);
    assert_eq!(of(EntryState::is_final), ["Refused", "Delivered"]);
    assert_eq!(of(EntryState::is_handed_out), ["InFlight", "CleaningUp"]);
    let timed =
        ["Settling", "Open", "DeliveredOpen", "Lingering", "Backoff", "Unreadable", "Occupied"];
    assert_eq!(of(|state| state.due() == Some(T)), timed);
}
