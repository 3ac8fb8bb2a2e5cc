//! Why entries of Outgoing wait.

use super::encoding;
use crate::proto::name::Name;
use serde::{Deserialize, Serialize};
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
    /// What the last attempt ended with.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub setback: Option<Setback>,
    /// The program that has it open for writing, where the system tells. Only a command looks for it
    /// ([`crate::control::name_programs`]): a sandboxed process may not see others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

impl Waiting {
    /// An entry about which nothing more is known.
    pub fn new(path: Name, reason: WaitReason) -> Self {
        Self { path, reason, setback: None, program: None }
    }
}

/// What an attempt to deliver an entry ended with.
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

/// What ends the wait of a file that a program has open for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenFileWait {
    /// The program closes it.
    Close,
    /// The program pauses: a snapshot is sent (`--send-open`).
    Pause,
}
