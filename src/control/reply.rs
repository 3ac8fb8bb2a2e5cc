//! Pure: the replies.

use super::VERSION;
use crate::history::HistoryPage;
use crate::status::{Status, WaitingEntries};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU64;

/// Maximum length of a reply in bytes, which a client reads.
pub(super) const MAX_REPLY: usize = 8 << 20;
/// Maximum length of a peer's text that a refusal repeats.
const MAX_QUOTED: usize = 40;

/// The answer to a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Answer {
    /// The state.
    Status(Box<Status>),
    /// Entries of the history.
    History(HistoryPage),
    /// Entries that are not delivered yet.
    Waiting(WaitingEntries),
    /// Whether no further file is sent, after `pause` and `resume`.
    Paused(bool),
    /// The limit of the rate now, in bytes per second.
    Limit(Option<NonZeroU64>),
    /// How many entries are offered again.
    Retried(u64),
    /// How many entries became urgent, or usual again.
    Urgent(u64),
    /// What is not sent.
    Cancelled(CancelledReply),
}

/// What was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CancelledReply {
    /// Entries that are not sent, folders and links included.
    pub entries: u64,
    /// Bytes of the files among them.
    pub bytes: u64,
    /// Where they are now, with replacement characters if it is not UTF-8; `None` if they stay in
    /// Outgoing.
    pub moved_to: Option<String>,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The reason, for programs: `malformed`, `version`, `unknown_request`, `busy`,
    /// `failed` or `internal`.
    pub code: String,
    /// The same for people.
    pub message: String,
}

impl Refused {
    pub(super) fn malformed(reason: String) -> Self {
        Self { code: "malformed".into(), message: format!("the request cannot be read: {reason}") }
    }

    pub(super) fn version(asked: u32) -> Self {
        let message = format!(
            "the request has version {asked}, and this rft answers version {VERSION}; use the same version of rft"
        );
        Self { code: "version".into(), message }
    }

    pub(super) fn unknown(kind: &str) -> Self {
        let kind: String = kind.chars().take(MAX_QUOTED).collect();
        let message = format!(
            "this rft does not know the request {kind:?}; restart it with the version of this command"
        );
        Self { code: "unknown_request".into(), message }
    }

    pub(super) fn internal() -> Self {
        let message = "this rft cannot tell its state because of an internal error".to_owned();
        Self { code: "internal".into(), message }
    }

    pub(super) fn failed(reason: String) -> Self {
        Self { code: "failed".into(), message: reason }
    }

    pub(super) fn busy() -> Self {
        let message = "too many commands ask this rft at once; try again".to_owned();
        Self { code: "busy".into(), message }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A reply.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    version: u32,
    #[serde(flatten)]
    body: Body,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Body {
    Refused { error: Refused },
    Answer(Answer),
}

impl Reply {
    pub(super) fn new(result: Result<Answer, Refused>) -> Self {
        let body = match result {
            Ok(answer) => Body::Answer(answer),
            Err(error) => Body::Refused { error },
        };
        Self { version: VERSION, body }
    }

    pub(super) fn into_result(self) -> Result<Answer, Refused> {
        match self.body {
            Body::Answer(answer) => Ok(answer),
            Body::Refused { error } => Err(error),
        }
    }

    /// The reply as a line.
    pub(super) fn to_line(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }
}
