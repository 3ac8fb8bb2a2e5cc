//! The end of a program of `--on-received` as a JSON object.

use super::PathFields;
use rft::event::{Event, HookEnd};
use serde::Serialize;

/// The fields of `hook_done`.
#[derive(Serialize)]
pub(super) struct HookDone<'a> {
    #[serde(flatten)]
    path: PathFields<'a>,
    transfer: String,
    size: u64,
    quarantine: bool,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    attempts: u32,
    seconds: f64,
    output: &'a str,
}

impl<'a> HookDone<'a> {
    /// `None` for other events.
    pub(super) fn of(event: &'a Event) -> Option<Self> {
        let Event::HookDone { path, size, transfer, quarantine, end, attempts, elapsed, output } =
            event
        else {
            return None;
        };
        let (result, code, reason) = match end {
            HookEnd::Exit(code) => ("exit", Some(*code), None),
            HookEnd::Signal(signal) => ("signal", Some(*signal), None),
            HookEnd::TimedOut => ("timeout", None, None),
            HookEnd::NotStarted(reason) => ("not_started", None, Some(reason.as_str())),
        };
        Some(Self {
            path: path.into(),
            transfer: transfer.to_string(),
            size: *size,
            quarantine: *quarantine,
            result,
            code,
            reason,
            attempts: *attempts,
            seconds: elapsed.as_secs_f64(),
            output,
        })
    }
}
