//! Fuzz bodies of the outbox.

use super::queue::model::{ModelStep, OutboxModel, file};
use super::watch::ignored::Ignored;
use crate::proto::codec::Reader;
use crate::proto::name::Name;

/// The table, its queue and what settles, under any sequence of events, failures and steps of the
/// clock: nothing goes out twice at once or before it rested, and in the end nothing is left.
///
/// # Panics
/// When it does not hold.
pub fn table(data: &[u8]) {
    let mut bytes = Reader::new(data);
    OutboxModel::live(std::iter::from_fn(|| ModelStep::read(&mut bytes)).take(300));
}

/// An ignore file, behind a length and a name that is asked about: every line is used or told, and
/// what a folder hides is hidden beneath it.
///
/// # Panics
/// When it does not hold.
pub fn ignore_file(data: &[u8]) {
    let mut bytes = Reader::new(data);
    let Ok(asked) = bytes.bytes(255) else { return };
    let text = &data[2 + asked.len()..];
    let mut ignored = Ignored::nothing();
    let wrong = ignored.replace(Some(file(1, 1, 1)), text);
    assert!(wrong.len() <= text.split(|&b| b == b'\n').count() + 1);
    assert!(!ignored.is_stale(Some(&file(1, 1, 1))));
    let Ok(name) = Name::parse(asked) else { return };
    for folder in [false, true] {
        let hidden_above = std::iter::successors(name.parent(), Name::parent)
            .any(|above| ignored.matches(&above, true));
        assert_eq!(
            ignored.matches_above(&name, folder),
            hidden_above || ignored.matches(&name, folder)
        );
    }
}
