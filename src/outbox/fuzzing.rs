//! Fuzz bodies of the outbox.

use super::queue::model::{ModelStep, OutboxModel, file};
use super::watch::ignored::Ignored;
use crate::proto::codec::Reader;
use crate::proto::name::Name;

/// The table under any sequence of events, failures and steps of the clock: no file is sent twice
/// at once or before it was quiet, and in the end none is left.
///
/// # Panics
/// If that is not so.
pub fn table(data: &[u8]) {
    let mut bytes = Reader::new(data);
    OutboxModel::live(std::iter::from_fn(|| ModelStep::read(&mut bytes)).take(300));
}

/// A length, a name, and an ignore file: every line of it is used or reported, and the contents of
/// an ignored folder are ignored.
///
/// # Panics
/// If that is not so.
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
