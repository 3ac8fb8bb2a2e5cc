//! Lets a test replace the recorded calls of its thread.

use super::Calls;
use std::cell::Cell;

thread_local! {
    static CALLS: Cell<Option<&'static dyn Calls>> = const { Cell::new(None) };
}

/// From now on this thread uses these calls in place of the system's; `None`: the system's own.
pub fn replace_calls(calls: Option<&'static dyn Calls>) {
    CALLS.set(calls);
}

pub(super) fn replaced() -> Option<&'static dyn Calls> {
    CALLS.get()
}
