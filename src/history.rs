//! What a process did: the files that were sent, received, refused and removed, as plain values.
//!
//! The state folder keeps the entries of all its processes (`docs/operation.md`, "History").

pub(crate) mod record;

use crate::config::PeerName;
use crate::proto::message::{InstallationId, TransferId};
use crate::proto::name::Name;
use crate::status::Direction;
use crate::status::encoding;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// One event in the life of an entry of Outgoing or Incoming.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// When it happened.
    #[serde(with = "encoding::time")]
    pub time: SystemTime,
    /// What happened.
    pub kind: HistoryKind,
    /// The direction of the entry.
    pub direction: Direction,
    /// The peer.
    #[serde(with = "encoding::peer_name")]
    pub peer: PeerName,
    /// The name below Outgoing, or the one that the sender gave it.
    #[serde(flatten, with = "encoding::path")]
    pub path: Name,
    /// Bytes of the file; 0 for folders and links.
    pub size: u64,
    /// BLAKE3 of the file; `None` for folders and links, and where nothing has crossed.
    #[serde(default, with = "encoding::optional_hash")]
    pub blake3: Option<[u8; 32]>,
    /// The transfer.
    #[serde(with = "encoding::transfer")]
    pub transfer: TransferId,
    /// The peer's state folder; `None` if there was no session.
    #[serde(default, with = "encoding::optional_installation")]
    pub installation: Option<InstallationId>,
    /// Time from the start of the transfer to the receipt.
    #[serde(default, rename = "seconds", with = "encoding::optional_seconds")]
    pub elapsed: Option<Duration>,
    /// Bytes that the receiver had before.
    #[serde(default)]
    pub offset: u64,
    /// The name in the receiver's Incoming.
    #[serde(flatten, with = "encoding::saved_as")]
    pub saved_as: Option<Name>,
    /// A program of the receiver accepted it before it appeared (`--quarantine`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub checked: bool,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The last line that a program wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HistoryKind {
    /// The peer holds it durably.
    Sent,
    /// It is in Incoming, durably.
    Received,
    /// The receiver refused it.
    Refused,
    /// An attempt failed for another reason.
    Failed,
    /// It was removed from Outgoing, because the peer holds it.
    Removed,
    /// It was moved from Outgoing to `.rft/sent`, because the peer holds it.
    Archived,
    /// The sender's user cancelled it: it is not sent.
    Cancelled,
    /// The program of `--on-received` succeeded on it.
    HookDone,
    /// The program of `--on-received` failed on it.
    HookFailed,
}

/// The entries to look for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HistoryQuery {
    /// Those from this time on.
    #[serde(with = "encoding::optional_exact_time")]
    pub since: Option<SystemTime>,
    /// Those before this time.
    #[serde(with = "encoding::optional_exact_time")]
    pub until: Option<SystemTime>,
    /// Those of this name, or saved under it.
    #[serde(with = "encoding::optional_name")]
    pub name: Option<Name>,
    /// The newest first.
    pub newest_first: bool,
    /// Those that follow this entry: [`HistoryPage::next`].
    pub after: Option<HistoryPosition>,
}

/// The place of an entry in the history: its block, and its number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPosition(pub(crate) u64, pub(crate) u32);

/// Some entries, in the order of the query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HistoryPage {
    /// The state folder whose history it is; `None` if nothing was ever recorded.
    #[serde(with = "encoding::optional_installation")]
    pub installation: Option<InstallationId>,
    /// The entries.
    pub entries: Vec<HistoryEntry>,
    /// Where the next page begins ([`HistoryQuery::after`]); `None` at the end.
    pub next: Option<HistoryPosition>,
}

impl HistoryQuery {
    /// Whether the entry is looked for.
    pub fn wants(&self, entry: &HistoryEntry) -> bool {
        self.name
            .as_ref()
            .is_none_or(|name| *name == entry.path || entry.saved_as.as_ref() == Some(name))
            && self.since.is_none_or(|since| entry.time >= since)
            && self.until.is_none_or(|until| entry.time < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(bytes: &[u8]) -> Name {
        Name::parse(bytes).unwrap()
    }

    #[test]
    fn an_entry_survives_its_json_and_fields_may_be_added_or_missing() {
        let entry = HistoryEntry {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_500_000_123),
            kind: HistoryKind::Received,
            direction: Direction::Receive,
            peer: PeerName::new("bob"),
            path: name(b"d/a\xff.txt"),
            size: 12,
            blake3: Some([0xab; 32]),
            transfer: TransferId([1; 16]),
            installation: Some(InstallationId([2; 16])),
            elapsed: Some(Duration::from_millis(1500)),
            offset: 3,
            saved_as: Some(name(b"d/a\xff (1).txt")),
            checked: true,
            error: None,
            output: Some("clean".to_owned()),
        };
        let json = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<HistoryEntry>(&json).unwrap(), entry);
        let later = json.replacen('{', "{\"colour\":[1],", 1);
        assert_eq!(serde_json::from_str::<HistoryEntry>(&later).unwrap(), entry);
        let least = format!(
            r#"{{"time":"2025-11-30T10:53:20.123Z","kind":"removed","direction":"send","peer":"bob",
            "path":"x","size":0,"transfer":"{}"}}"#,
            "01".repeat(16)
        );
        let least: HistoryEntry = serde_json::from_str(&least).unwrap();
        assert_eq!(
            (least.kind, &least.saved_as, least.blake3),
            (HistoryKind::Removed, &None, None)
        );
        let json = serde_json::to_string(&least).unwrap();
        assert_eq!(serde_json::from_str::<HistoryEntry>(&json).unwrap(), least);
    }

    #[test]
    fn a_name_finds_the_sent_and_the_saved_one() {
        let entry = r#"{"time":"2025-11-30T10:53:20.123Z","kind":"received","direction":"receive",
            "peer":"bob","path":"a","saved_as":"a (1)","size":0,
            "transfer":"01010101010101010101010101010101"}"#;
        let entry: HistoryEntry = serde_json::from_str(entry).unwrap();
        let found = |text: &[u8]| {
            HistoryQuery { name: Some(name(text)), ..HistoryQuery::default() }.wants(&entry)
        };
        assert_eq!((found(b"a"), found(b"a (1)"), found(b"b")), (true, true, false));
        assert!(HistoryQuery::default().wants(&entry));
        let query = HistoryQuery {
            name: Some(name(b"a\xfe")),
            after: Some(HistoryPosition(7, 1)),
            ..Default::default()
        };
        let json = serde_json::to_string(&query).unwrap();
        assert_eq!(serde_json::from_str::<HistoryQuery>(&json).unwrap(), query);
        assert_eq!(serde_json::from_str::<HistoryQuery>("{}").unwrap(), HistoryQuery::default());
    }
}
