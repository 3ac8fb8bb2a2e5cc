//! Pure: the requests.

use super::VERSION;
use super::reply::Refused;
use crate::history::HistoryQuery;
use crate::proto::name::Name;
use crate::rate_schedule::RateSchedule;
use serde::{Deserialize, Serialize};

/// Maximum length of a request in bytes, without the end of its line.
pub(super) const MAX_REQUEST: usize = 32 << 10;

/// A request to a running process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Request {
    /// The state now.
    Status,
    /// A page of the history.
    History(HistoryQuery),
    /// The entries of a name in Outgoing, and beneath it, that are not delivered yet.
    Waiting {
        /// The name.
        #[serde(flatten, with = "crate::status::encoding::path")]
        path: Name,
    },
    /// Sends no further file.
    Pause,
    /// Sends files again.
    Resume,
    /// Changes the limit of the rate.
    Limit(RateSchedule),
    /// Offers entries again that wait for another attempt, or were refused until they change.
    Retry {
        /// This one and those beneath it; `None` for all.
        #[serde(default, with = "crate::status::encoding::optional_name")]
        name: Option<Name>,
    },
    /// Sends an entry and those beneath it before all that is not urgent. It need not exist yet.
    Urgent {
        /// The name.
        #[serde(flatten, with = "crate::status::encoding::path")]
        path: Name,
        /// False if it is urgent no more.
        #[serde(default = "yes")]
        urgent: bool,
    },
    /// Takes an entry and those beneath it out of the queue.
    Cancel {
        /// The name.
        #[serde(flatten, with = "crate::status::encoding::path")]
        path: Name,
    },
}

fn yes() -> bool {
    true
}

/// The part of a request that every version has.
#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
}

#[derive(Serialize)]
struct RequestLine<'a> {
    version: u32,
    #[serde(flatten)]
    request: &'a Request,
}

/// The kind of a request, whatever its other fields are.
#[derive(Deserialize)]
struct Kind {
    request: String,
}

impl Request {
    /// Every kind, for the error about an unknown one.
    const KINDS: [&str; 9] =
        ["status", "history", "waiting", "pause", "resume", "limit", "retry", "urgent", "cancel"];

    /// Parses a line.
    ///
    /// # Errors
    /// [`Refused`], the reply.
    pub(super) fn parse(line: &[u8]) -> Result<Self, Refused> {
        let malformed = |error: serde_json::Error| Refused::malformed(error.to_string());
        if line.len() > MAX_REQUEST {
            return Err(Refused::malformed(format!("a request has at most {MAX_REQUEST} bytes")));
        }
        let Head { version } = serde_json::from_slice(line).map_err(malformed)?;
        if version != VERSION {
            return Err(Refused::version(version));
        }
        let Kind { request } = serde_json::from_slice(line).map_err(malformed)?;
        if !Self::KINDS.contains(&request.as_str()) {
            return Err(Refused::unknown(&request));
        }
        serde_json::from_slice(line).map_err(malformed)
    }

    /// The request as a line.
    pub(super) fn to_line(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(&RequestLine { version: VERSION, request: self })?;
        line.push(b'\n');
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> String {
        Request::parse(line.as_bytes()).unwrap_err().code
    }

    #[test]
    fn a_request_survives_its_line_and_others_are_refused() {
        let line = Request::Status.to_line().unwrap();
        assert_eq!(line, b"{\"version\":1,\"request\":\"status\"}\n");
        assert_eq!(Request::parse(&line).unwrap(), Request::Status);
        // Fields may be added.
        let later = br#"{"version":1,"request":"status","colour":[1]}"#;
        assert_eq!(Request::parse(later).unwrap(), Request::Status);
        assert_eq!(code(r#"{"version":2,"request":"status"}"#), "version");
        assert_eq!(code(r#"{"version":1,"request":"fly"}"#), "unknown_request");
        for line in ["", "status", "[]", "{}", r#"{"version":1}"#, r#"{"request":"status"}"#] {
            assert_eq!(code(line), "malformed", "{line}");
        }
        assert_eq!(code(&"[".repeat(4000)), "malformed");
        let long = format!(r#"{{"version":1,"request":"status","x":"{}"}}"#, "x".repeat(40_000));
        assert_eq!(code(&long), "malformed");
    }
}
