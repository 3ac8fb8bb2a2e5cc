//! Lets a test answer the recorded calls of its thread itself.

use super::Calls;
use std::cell::Cell;

thread_local! {
    static CALLS: Cell<Option<&'static dyn Calls>> = const { Cell::new(None) };
}

/// Replaces the system's calls by these in this thread from now on; `None` restores the system's
/// own.
pub fn replace_calls(calls: Option<&'static dyn Calls>) {
    CALLS.set(calls);
}

pub(super) fn replaced() -> Option<&'static dyn Calls> {
    CALLS.get()
}
