//! Exit codes, each with its meaning, in one table.

use std::process::ExitCode;

/// The command line or the password cannot be used.
pub(crate) const ARGUMENTS: u8 = 2;
/// PEER is neither an IP address nor a possible host name, or does not resolve.
pub(crate) const PEER: u8 = 3;
/// PORT is not 1-65535.
pub(crate) const PORT: u8 = 4;
/// A number, size, rate or duration could not be parsed.
pub(crate) const NUMBER: u8 = 14;
/// Ctrl-C before `--drain` was done, or a second one.
pub(crate) const INTERRUPTED: u8 = 130;
/// SIGTERM or SIGHUP before `--drain` was done.
pub(crate) const TERMINATED: u8 = 143;
/// Something that has no code of its own.
pub(crate) const UNKNOWN: u8 = 1;
/// Told to stop, or drained.
pub(crate) const DONE: u8 = 0;

/// Every code that `rft` ends with, for the man page.
pub(crate) const TABLE: [(u8, &str); 20] = [
    (DONE, "done: an orderly stop by a signal (without --drain), or drained"),
    (UNKNOWN, "unknown error"),
    (ARGUMENTS, "improper arguments"),
    (PEER, "the peer's address is not valid or does not resolve"),
    (PORT, "the port is not valid"),
    (5, "no local address to serve on: the port or address could not be bound"),
    (
        6,
        "the initiator's password was not accepted (only before the first session; later the peer retries)",
    ),
    (7, "the peer's handshake could not be parsed, or speaks no common version"),
    (8, "the session keys could not be unwrapped"),
    (9, "the host got a wrong password and was told to stop then (--exit-on-auth-failure)"),
    (10, "the session keys could not be wrapped"),
    (11, "the initiator reported that it could not take the session keys"),
    (12, "a chunk could not be sealed"),
    (13, "a chunk did not open (tampered or corrupt), again and again, with --drain"),
    (NUMBER, "a number or size could not be parsed"),
    (15, "a sent file could not be removed from Outgoing after three tries"),
    (16, "Incoming, Outgoing or the state folder cannot be used (rights, space, or another rft)"),
    (17, "--wait ran out before --drain was done; the message says what stays"),
    (INTERRUPTED, "stopped by Ctrl-C before --drain was done; or a second Ctrl-C: stopped at once"),
    (TERMINATED, "stopped by SIGTERM or SIGHUP before --drain was done"),
];

/// Why the command ends other than well: the code and a sentence that says what happened, to what,
/// and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) reason: String,
}

impl Failure {
    pub(crate) fn new(code: u8, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// Improper arguments.
    pub(crate) fn usage(reason: impl Into<String>) -> Self {
        Self::new(ARGUMENTS, reason)
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_contract() {
        let codes: Vec<u8> = TABLE.iter().map(|row| row.0).collect();
        let expected: Vec<u8> = (0..=17).chain([130, 143]).collect();
        assert_eq!(codes, expected);
    }
}
