//! Why entries of Outgoing wait.

use super::encoding;
use crate::proto::name::Name;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// An entry of Outgoing that is not delivered yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Waiting {
    /// Its name below Outgoing.
    #[serde(flatten, with = "encoding::path")]
    pub path: Name,
    /// Why it waits.
    #[serde(flatten)]
    pub reason: WaitReason,
    /// The end of the last attempt.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub setback: Option<Setback>,
    /// It overtakes entries that are not urgent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
    /// The program that has it open for writing, where the system tells. Only a command looks for it
    /// ([`crate::control::name_programs`]): a sandboxed process may not see others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

impl Waiting {
    /// An entry about which nothing more is known.
    pub fn new(path: Name, reason: WaitReason) -> Self {
        Self { path, reason, setback: None, urgent: false, program: None }
    }
}

/// Entries of Outgoing that are not delivered yet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WaitingEntries {
    /// Some of them: first those that something other than the order of the queue delays.
    pub entries: Vec<Waiting>,
    /// How many more there are.
    pub more: u64,
    /// How many there are for each reason, without reasons for which none waits.
    pub by_reason: BTreeMap<WaitKind, u64>,
}

/// The end of an attempt to deliver an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Setback {
    /// Its kind.
    #[serde(rename = "setback")]
    pub kind: SetbackKind,
    /// The sentence that the user was told.
    #[serde(rename = "setback_text")]
    pub text: String,
}

impl Setback {
    /// A setback of this kind.
    pub fn new(kind: SetbackKind, text: String) -> Self {
        Self { kind, text }
    }
}

/// The kind of a [`Setback`], for decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SetbackKind {
    /// The peer's disk is full, or its limit for Incoming is reached.
    PeerFull,
    /// The peer refused it for another reason.
    Refused,
    /// It could not be read.
    Unreadable,
    /// Anything else.
    Failed,
}

/// Why an entry of Outgoing is not delivered yet. Times are those that remain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", content = "seconds", rename_all = "snake_case")]
#[non_exhaustive]
pub enum WaitReason {
    /// It was written a moment ago. It is sent when it has been quiet for this much longer.
    Settling(#[serde(with = "encoding::seconds")] Duration),
    /// A folder is sent after its contents.
    Folder,
    /// It is ready, and waits for its turn or for a peer.
    Ready,
    /// It is in flight.
    InFlight,
    /// The peer holds it, and it is being removed, archived or marked.
    CleaningUp,
    /// A program has it open for writing: it is not sent before that ends.
    Open,
    /// The peer holds it, but a program has it open for writing: it is removed after that.
    DeliveredOpen,
    /// A folder that the peer holds: it is removed when no file has arrived in it for this much
    /// longer.
    Lingering(#[serde(with = "encoding::seconds")] Duration),
    /// A folder that holds an unfinished file, which is left alone.
    Unfinished,
    /// The name of an unfinished file: it is left alone.
    LeftAlone,
    /// A delivery failed. It is offered again after this time.
    Backoff(#[serde(with = "encoding::seconds")] Duration),
    /// The peer has something else at its path. The peer is asked again after this time.
    Occupied(#[serde(with = "encoding::seconds")] Duration),
    /// It cannot be read. It is tried again after this time.
    Unreadable(#[serde(with = "encoding::seconds")] Duration),
    /// The peer refused it, or the folder cannot be listed.
    Refused,
}

impl WaitReason {
    /// Its kind.
    pub fn kind(self) -> WaitKind {
        match self {
            Self::Settling(_) => WaitKind::Settling,
            Self::Folder => WaitKind::Folder,
            Self::Ready => WaitKind::Ready,
            Self::InFlight => WaitKind::InFlight,
            Self::CleaningUp => WaitKind::CleaningUp,
            Self::Open => WaitKind::Open,
            Self::DeliveredOpen => WaitKind::DeliveredOpen,
            Self::Lingering(_) => WaitKind::Lingering,
            Self::Unfinished => WaitKind::Unfinished,
            Self::LeftAlone => WaitKind::LeftAlone,
            Self::Backoff(_) => WaitKind::Backoff,
            Self::Occupied(_) => WaitKind::Occupied,
            Self::Unreadable(_) => WaitKind::Unreadable,
            Self::Refused => WaitKind::Refused,
        }
    }
}

/// A [`WaitReason`] without its time, to count entries by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs)] // those of the reasons
pub enum WaitKind {
    Settling,
    Folder,
    Ready,
    InFlight,
    CleaningUp,
    Open,
    DeliveredOpen,
    Lingering,
    Unfinished,
    LeftAlone,
    Backoff,
    Occupied,
    Unreadable,
    Refused,
}

impl WaitKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 14] = [
        Self::Settling,
        Self::Folder,
        Self::Ready,
        Self::InFlight,
        Self::CleaningUp,
        Self::Open,
        Self::DeliveredOpen,
        Self::Lingering,
        Self::Unfinished,
        Self::LeftAlone,
        Self::Backoff,
        Self::Occupied,
        Self::Unreadable,
        Self::Refused,
    ];

    /// Its word in JSON and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settling => "settling",
            Self::Folder => "folder",
            Self::Ready => "ready",
            Self::InFlight => "in_flight",
            Self::CleaningUp => "cleaning_up",
            Self::Open => "open",
            Self::DeliveredOpen => "delivered_open",
            Self::Lingering => "lingering",
            Self::Unfinished => "unfinished",
            Self::LeftAlone => "left_alone",
            Self::Backoff => "backoff",
            Self::Occupied => "occupied",
            Self::Unreadable => "unreadable",
            Self::Refused => "refused",
        }
    }
}

/// What ends the wait of a file that a program has open for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenFileWait {
    /// The program closes it.
    Close,
    /// The program pauses: a snapshot is sent (`--send-open`).
    Pause,
}
