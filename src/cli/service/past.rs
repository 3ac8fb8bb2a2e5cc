//! How the run before the present one ended, from the log: also across a restart of the host.

use crate::cli::output::text;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes of the end of a log that are read.
const MAX_TAIL: u64 = 4 << 20;

/// The end of a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PastEnd {
    /// As the log has it.
    Ended {
        /// RFC 3339.
        time: String,
        /// 0 for an orderly stop.
        code: u8,
        reason: String,
    },
    /// It began then, and the log does not have its end: a kill or a loss of power.
    Cut {
        /// RFC 3339.
        began: String,
    },
}

impl PastEnd {
    /// One line for people.
    pub(super) fn sentence(&self) -> String {
        text::printable(&match self {
            Self::Ended { time, code: 0, reason } => format!("{time}: {reason}"),
            Self::Ended { time, code, reason } => format!("{time}: exit code {code}: {reason}"),
            Self::Cut { began } => format!(
                "the run that began {began} has no end in the log: it was killed, or the host lost power"
            ),
        })
    }
}

/// The end of the last run, or of the one before it if the last one is `running`. `None` if the log
/// does not tell.
pub(super) fn last(log: &Path, running: bool) -> Option<PastEnd> {
    let mut older = log.as_os_str().to_owned();
    older.push(".1");
    let mut text = tail(&PathBuf::from(older)).unwrap_or_default();
    text.push_str(&tail(log).ok()?);
    last_in(&text, running)
}

fn last_in(text: &str, running: bool) -> Option<PastEnd> {
    let mut lines = text.lines().rev().filter_map(mark);
    if running {
        lines.find(|(_, mark)| *mark == RunMark::Began)?;
    }
    let (time, mark) = lines.next()?;
    let time = time.to_owned();
    Some(match mark {
        RunMark::Began => PastEnd::Cut { began: time },
        RunMark::Ended { code, reason } => PastEnd::Ended { time, code, reason },
    })
}

/// The begin or the end of a run.
#[derive(Debug, PartialEq, Eq)]
enum RunMark {
    Began,
    Ended { code: u8, reason: String },
}

/// The time of a line, and what it says of a run.
fn mark(line: &str) -> Option<(&str, RunMark)> {
    let (time, rest) = line.split_once(' ')?;
    let (_, rest) = rest.trim_start().split_once(' ')?;
    let (target, message) = rest.split_once(": ")?;
    match target {
        "rft::cli::peer" if message.starts_with("started ") => Some((time, RunMark::Began)),
        "rft::event" => {
            let fields = message.strip_prefix("ended ")?;
            let (code, text) = match fields.strip_prefix("code=") {
                Some(rest) => {
                    let (code, text) = rest.split_once(' ')?;
                    (code.parse().ok()?, text)
                }
                None => (0, fields),
            };
            let (_, reason) = text.split_once('=')?;
            let quoted = reason.strip_prefix('"').and_then(|reason| reason.strip_suffix('"'));
            let reason = quoted.unwrap_or(reason).replace("\\\"", "\"");
            Some((time, RunMark::Ended { code, reason }))
        }
        _ => None,
    }
}

/// The last lines of a file.
fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(MAX_TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(MAX_TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
2026-03-01T10:00:00.000Z  INFO rft::cli::peer: started version=\"0.1.0\" config=Config { x }
2026-03-01T10:00:01.000Z  INFO rft::event: sent path=ended code=9 error=\"x\"
2026-03-01T11:00:00.000Z ERROR rft::event: ended code=16 error=\"Incoming (/a) cannot be used: it says \\\"no\\\"\"
2026-03-01T11:00:15.000Z  INFO rft::cli::peer: started version=\"0.1.0\" config=Config { x }
2026-03-01T12:00:00.000Z  INFO rft::event: ended reason=\"stopped\"
2026-03-01T12:00:15.000Z  INFO rft::cli::peer: started version=\"0.1.0\" config=Config { x }
2026-03-01T12:00:16.000Z  INFO rft::event: listening local=0.0.0.0:4000
";

    fn ended(time: &str, code: u8, reason: &str) -> Option<PastEnd> {
        Some(PastEnd::Ended { time: time.into(), code, reason: reason.into() })
    }

    /// The first lines of the log.
    fn first(lines: usize) -> String {
        LOG.lines().take(lines).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn the_end_of_the_run_before_is_found() {
        assert_eq!(last_in(LOG, true), ended("2026-03-01T12:00:00.000Z", 0, "stopped"));
        let reason = "Incoming (/a) cannot be used: it says \"no\"";
        assert_eq!(last_in(&first(3), false), ended("2026-03-01T11:00:00.000Z", 16, reason));
        assert_eq!(last_in(&first(4), true), ended("2026-03-01T11:00:00.000Z", 16, reason));
        assert_eq!(last_in(&first(1), true), None, "it is the first run");
        assert_eq!(last_in("", false), None);
    }

    #[test]
    fn a_run_without_an_end_was_cut() {
        let began = "2026-03-01T12:00:15.000Z".to_owned();
        assert_eq!(last_in(LOG, false), Some(PastEnd::Cut { began }));
        // A restart after a loss of power.
        let again = LOG.to_owned() + &first(1);
        let began = "2026-03-01T12:00:15.000Z".to_owned();
        assert_eq!(last_in(&again, true), Some(PastEnd::Cut { began }));
    }
}
