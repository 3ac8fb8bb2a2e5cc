//! Predicates over the events of the program (`--json`).

use serde_json::Value;

/// Events of the file or folder at this path.
pub fn of_path(path: &str) -> impl Fn(&Value) -> bool {
    move |event| event["path"] == path
}

/// Events of the file at this path in this direction: `send` or `receive`.
pub fn of_transfer<'a>(path: &'a str, direction: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |event| event["path"] == path && event["direction"] == direction
}

/// Events whose message contains this text.
pub fn with_message(text: &str) -> impl Fn(&Value) -> bool {
    move |event| event["message"].as_str().is_some_and(|message| message.contains(text))
}

/// The paths of all files that were sent, in order and as often as they were sent.
pub fn sent_paths(events: &[Value]) -> Vec<&str> {
    let sent =
        events.iter().filter(|event| event["event"] == "file_done" && event["direction"] == "send");
    sent.filter_map(|event| event["path"].as_str()).collect()
}
