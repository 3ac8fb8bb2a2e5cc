//! The keys of `rft top`: a selection, a line to type in, and the requests to the running rft.

use super::rows::{self, Row, RowKey};
use crate::cli::args::rates;
use crate::cli::output::clock::Clock;
use crate::cli::output::text;
use crate::cli::steer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use rft::Status;
use rft::control::{Answer, Request};
use rft::event::Direction;

/// Maximum length of a typed line, in characters.
const MAX_TYPED: usize = 400;

/// The keys and their meanings, for the help.
pub(super) const HELP: [&str; 8] = [
    "↑ ↓   select a file; Esc selects none",
    "p     pause the sending, or resume it",
    "l     limit the rate: 2M, off, or 08:00-18:00 2M, 10M",
    "r     offer the selected file again, or all that wait for it",
    "c     cancel the selected file: it moves to .rft/cancelled",
    "u     send the selected file before all others, or no more",
    "?     show or close this help",
    "q     leave; rft runs on",
];

/// What the next key is for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Watch,
    Help,
    /// The limit that is being typed.
    Limit(String),
    /// Whether this entry is to be cancelled.
    Cancel(RowKey),
}

/// What the last key did, for a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyAnswer {
    pub(super) text: String,
    pub(super) is_error: bool,
}

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Nothing,
    Leave,
    Ask(Request),
}

/// The state of the keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) mode: Mode,
    pub(super) selected: Option<RowKey>,
    pub(super) said: Option<KeyAnswer>,
}

impl Keys {
    /// A key was pressed. `status` is the present state; `None` if the rft does not answer, so no
    /// key may act.
    pub(super) fn press(&mut self, key: KeyEvent, status: Option<&Status>) -> Deed {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Deed::Leave;
        }
        self.said = None;
        match std::mem::take(&mut self.mode) {
            Mode::Watch => self.command(key.code, status),
            Mode::Help => match key.code {
                KeyCode::Char('q') => Deed::Leave,
                _ => Deed::Nothing,
            },
            Mode::Limit(typed) => self.typed(key, typed, status),
            Mode::Cancel(row) => match (key.code, status) {
                (KeyCode::Char('y' | 'Y'), Some(_)) => {
                    Deed::Ask(Request::Cancel { path: row.path })
                }
                (KeyCode::Char('y' | 'Y'), None) => self.no_answer(),
                _ => self.say("nothing was cancelled"),
            },
        }
    }

    /// Forgets a selected row that is not there any more.
    pub(super) fn look_at(&mut self, status: &Status) {
        let is_there = |key: &RowKey| rows::of(status).any(|row| row.key() == *key);
        if !self.selected.as_ref().is_some_and(is_there) {
            self.selected = None;
        }
    }

    /// The running rft has answered, or there is no answer for this reason.
    pub(super) fn answered(
        &mut self,
        request: &Request,
        answer: Result<Answer, String>,
        status: Option<&Status>,
        clock: &Clock,
    ) {
        let text = match answer {
            Ok(answer) => sentence(request, &answer, status, clock),
            Err(reason) => Err(reason),
        };
        let is_error = text.is_err();
        self.said = Some(KeyAnswer { text: text.unwrap_or_else(|reason| reason), is_error });
    }

    fn command(&mut self, code: KeyCode, status: Option<&Status>) -> Deed {
        match code {
            KeyCode::Char('q') => return Deed::Leave,
            KeyCode::Esc if self.selected.take().is_none() => return Deed::Leave,
            KeyCode::Char('?') => self.mode = Mode::Help,
            KeyCode::Up | KeyCode::Down | KeyCode::Char('p' | 'l' | 'r' | 'c' | 'u') => {
                let Some(status) = status else { return self.no_answer() };
                return self.act(code, status);
            }
            _ => {}
        }
        Deed::Nothing
    }

    fn act(&mut self, code: KeyCode, status: &Status) -> Deed {
        self.look_at(status);
        match code {
            KeyCode::Up | KeyCode::Down => self.select(code == KeyCode::Down, status),
            KeyCode::Char('p') => {
                let paused = status.peers.iter().any(|peer| peer.paused);
                return Deed::Ask(if paused { Request::Resume } else { Request::Pause });
            }
            KeyCode::Char('l') => self.mode = Mode::Limit(String::new()),
            KeyCode::Char('r') if self.selected.is_none() => {
                return Deed::Ask(Request::Retry { name: None });
            }
            code => return self.on_row(code, status),
        }
        Deed::Nothing
    }

    /// A key that is about the selected row.
    fn on_row(&mut self, code: KeyCode, status: &Status) -> Deed {
        let selected = |row: &Row<'_>| Some(row.key()) == self.selected;
        let Some(row) = rows::of(status).find(selected) else {
            return self.refuse("no file is selected; select one with ↑ and ↓");
        };
        let key = row.key();
        if key.direction == Direction::Receive {
            return self.refuse("the peer sends this file; only its own rft can change that");
        }
        let path = key.path.clone();
        match (code, row) {
            (KeyCode::Char('r'), _) => Deed::Ask(Request::Retry { name: Some(path) }),
            (KeyCode::Char('u'), Row::InFlight(_)) => self.refuse("it is in flight already"),
            (KeyCode::Char('u'), Row::Waiting(entry)) => {
                Deed::Ask(Request::Urgent { path, urgent: !entry.urgent })
            }
            _ => {
                self.mode = Mode::Cancel(key);
                Deed::Nothing
            }
        }
    }

    fn select(&mut self, down: bool, status: &Status) {
        let keys: Vec<_> = rows::of(status).map(Row::key).collect();
        let at = self.selected.as_ref().and_then(|key| keys.iter().position(|row| row == key));
        let next = match at {
            None if down => 0,
            None => keys.len().saturating_sub(1),
            Some(at) if down => at + 1,
            Some(at) => at.saturating_sub(1),
        };
        if let Some(key) = keys.get(next.min(keys.len().saturating_sub(1))) {
            self.selected = Some(key.clone());
        }
    }

    /// A key for the line of the limit.
    fn typed(&mut self, key: KeyEvent, mut typed: String, status: Option<&Status>) -> Deed {
        match key.code {
            KeyCode::Enter if status.is_none() => return self.no_answer(),
            KeyCode::Enter if typed.trim().is_empty() => return self.say("the limit stays"),
            KeyCode::Enter => {
                return match rates::schedule("limit", typed.trim()) {
                    Ok(schedule) => Deed::Ask(Request::Limit(schedule)),
                    Err(failure) => {
                        // The line can be mended.
                        self.mode = Mode::Limit(typed);
                        self.refuse(&failure.reason)
                    }
                };
            }
            KeyCode::Esc => return self.say("the limit stays"),
            KeyCode::Backspace => drop(typed.pop()),
            KeyCode::Char(c) if !rft::is_unprintable(c) && typed.chars().count() < MAX_TYPED => {
                typed.push(c);
            }
            _ => {}
        }
        self.mode = Mode::Limit(typed);
        Deed::Nothing
    }

    fn say(&mut self, text: &str) -> Deed {
        self.said = Some(KeyAnswer { text: text.to_owned(), is_error: false });
        Deed::Nothing
    }

    fn refuse(&mut self, text: &str) -> Deed {
        self.said = Some(KeyAnswer { text: text.to_owned(), is_error: true });
        Deed::Nothing
    }

    fn no_answer(&mut self) -> Deed {
        self.refuse("no rft answers; nothing was done")
    }
}

/// What the request did.
///
/// # Errors
/// The answer is none to the request.
fn sentence(
    request: &Request,
    answer: &Answer,
    status: Option<&Status>,
    clock: &Clock,
) -> Result<String, String> {
    Ok(match (request, answer) {
        (_, Answer::Paused(true)) => "paused: no further file is sent; p resumes it".to_owned(),
        (_, Answer::Paused(false)) => "files are sent".to_owned(),
        (_, Answer::Limit(rate)) => match status {
            Some(status) => steer::limited(*rate, status, clock),
            None => "the limit is another one from now on".to_owned(),
        },
        (_, Answer::Retried(entries)) => steer::retried(*entries),
        (Request::Urgent { path, urgent: true }, Answer::Urgent(_)) => {
            format!("{path} is sent before all that is not urgent")
        }
        (Request::Urgent { path, .. }, Answer::Urgent(_)) => {
            format!("{path} is not urgent any more")
        }
        (Request::Cancel { path }, Answer::Cancelled(reply)) => steer::cancelled(path, reply),
        _ => return Err("the answer cannot be read; use the same version of rft".to_owned()),
    })
}

/// What a request is about, while there is no answer yet.
pub(super) fn doing(request: &Request) -> String {
    match request {
        Request::Cancel { path } => format!("cancelling {} …", text::printable(&path.to_string())),
        _ => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::busy;
    use super::*;
    use rft::control::CancelledReply;

    fn press(keys: &mut Keys, code: KeyCode, status: Option<&Status>) -> Deed {
        keys.press(KeyEvent::new(code, KeyModifiers::NONE), status)
    }

    fn types(keys: &mut Keys, text: &str, status: &Status) {
        for c in text.chars() {
            assert_eq!(press(keys, KeyCode::Char(c), Some(status)), Deed::Nothing);
        }
    }

    fn error(keys: &Keys) -> &str {
        let said = keys.said.as_ref().unwrap();
        assert!(said.is_error, "{said:?}");
        &said.text
    }

    #[test]
    fn without_an_answer_no_key_acts() {
        let mut keys = Keys::default();
        let status = busy();
        for code in ['p', 'l', 'r', 'c', 'u'].map(KeyCode::Char) {
            assert_eq!(press(&mut keys, code, None), Deed::Nothing);
            assert!(error(&keys).contains("no rft answers"), "{code:?}");
            assert_eq!(keys.mode, Mode::Watch);
        }
        // It has ended while a line was typed, or a question open.
        press(&mut keys, KeyCode::Char('l'), Some(&status));
        types(&mut keys, "2M", &status);
        assert_eq!(press(&mut keys, KeyCode::Enter, None), Deed::Nothing);
        assert!(error(&keys).contains("no rft answers"));
        press(&mut keys, KeyCode::Down, Some(&status));
        press(&mut keys, KeyCode::Char('c'), Some(&status));
        assert!(matches!(keys.mode, Mode::Cancel(_)));
        assert_eq!(press(&mut keys, KeyCode::Char('y'), None), Deed::Nothing);
        assert!(error(&keys).contains("no rft answers"));
        assert_eq!(press(&mut keys, KeyCode::Char('q'), None), Deed::Leave);
    }

    #[test]
    fn pause_limit_and_retry_of_all() {
        let (mut keys, mut status) = (Keys::default(), busy());
        assert_eq!(press(&mut keys, KeyCode::Char('p'), Some(&status)), Deed::Ask(Request::Pause));
        status.peers[0].paused = true;
        assert_eq!(press(&mut keys, KeyCode::Char('p'), Some(&status)), Deed::Ask(Request::Resume));
        assert_eq!(
            press(&mut keys, KeyCode::Char('r'), Some(&status)),
            Deed::Ask(Request::Retry { name: None })
        );
        press(&mut keys, KeyCode::Char('l'), Some(&status));
        types(&mut keys, "q?fast", &status);
        assert_eq!(press(&mut keys, KeyCode::Enter, Some(&status)), Deed::Nothing);
        assert!(error(&keys).contains("q?fast: not a number of bytes"), "{}", error(&keys));
        (0..6).for_each(|_| drop(press(&mut keys, KeyCode::Backspace, Some(&status))));
        types(&mut keys, "2M", &status);
        let limit = rates::schedule("", "2M").unwrap();
        assert_eq!(
            press(&mut keys, KeyCode::Enter, Some(&status)),
            Deed::Ask(Request::Limit(limit))
        );
        press(&mut keys, KeyCode::Char('l'), Some(&status));
        assert_eq!(press(&mut keys, KeyCode::Esc, Some(&status)), Deed::Nothing);
        assert_eq!((&keys.mode, keys.said.as_ref().unwrap().is_error), (&Mode::Watch, false));
    }

    #[test]
    fn a_selected_file_is_cancelled_after_a_question_and_made_urgent() {
        let (mut keys, status) = (Keys::default(), busy());
        for code in ['c', 'u'].map(KeyCode::Char) {
            assert_eq!(press(&mut keys, code, Some(&status)), Deed::Nothing);
            assert!(error(&keys).contains("no file is selected"));
        }
        let all: Vec<_> = rows::of(&status).map(Row::key).collect();
        for key in all.iter().chain(all.last()) {
            press(&mut keys, KeyCode::Down, Some(&status));
            assert_eq!(keys.selected.as_ref(), Some(key));
        }
        let path = all.last().unwrap().path.clone();
        assert_eq!(
            press(&mut keys, KeyCode::Char('u'), Some(&status)),
            Deed::Ask(Request::Urgent { path: path.clone(), urgent: true })
        );
        assert_eq!(press(&mut keys, KeyCode::Char('c'), Some(&status)), Deed::Nothing);
        assert_eq!(press(&mut keys, KeyCode::Char('n'), Some(&status)), Deed::Nothing);
        assert_eq!(keys.said.as_ref().unwrap().text, "nothing was cancelled");
        press(&mut keys, KeyCode::Char('c'), Some(&status));
        let cancel = Request::Cancel { path: path.clone() };
        assert_eq!(press(&mut keys, KeyCode::Char('y'), Some(&status)), Deed::Ask(cancel.clone()));
        let reply: CancelledReply =
            serde_json::from_str(r#"{"entries":1,"bytes":9,"moved_to":"/c/x"}"#).unwrap();
        keys.answered(&cancel, Ok(Answer::Cancelled(reply)), Some(&status), &Clock::utc());
        assert!(keys.said.as_ref().unwrap().text.ends_with("is not sent; it is /c/x now"));
        keys.answered(&cancel, Err("Outgoing has no x".into()), Some(&status), &Clock::utc());
        assert_eq!(error(&keys), "Outgoing has no x");
        // It is not there any more.
        let mut later = status.clone();
        later.peers[0].waiting.clear();
        later.peers[0].in_flight.clear();
        assert_eq!(press(&mut keys, KeyCode::Char('c'), Some(&later)), Deed::Nothing);
        assert!(error(&keys).contains("no file is selected"));
        assert_eq!(press(&mut keys, KeyCode::Up, Some(&later)), Deed::Nothing);
    }

    #[test]
    fn a_file_that_arrives_cannot_be_changed_here() {
        let (mut keys, mut status) = (Keys::default(), busy());
        status.peers[0].in_flight[0].direction = Direction::Receive;
        press(&mut keys, KeyCode::Down, Some(&status));
        for code in ['r', 'c', 'u'].map(KeyCode::Char) {
            assert_eq!(press(&mut keys, code, Some(&status)), Deed::Nothing);
            assert!(error(&keys).contains("the peer sends this file"), "{code:?}");
        }
        assert_eq!(press(&mut keys, KeyCode::Esc, Some(&status)), Deed::Nothing);
        assert_eq!(press(&mut keys, KeyCode::Esc, Some(&status)), Deed::Leave);
        press(&mut keys, KeyCode::Char('?'), Some(&status));
        assert_eq!(keys.mode, Mode::Help);
        assert_eq!(press(&mut keys, KeyCode::Char('x'), None), Deed::Nothing);
        assert_eq!(keys.mode, Mode::Watch);
    }
}
