//! Exit codes and their meanings.

use rft::error::{ErrorKind, RunError};
use std::process::ExitCode;

/// The command line or the password cannot be used.
pub(crate) const ARGUMENTS: u8 = 2;
/// PEER is neither an IP address nor a valid host name, or does not resolve.
pub(crate) const PEER: u8 = 3;
/// PORT is not 1-65535.
pub(crate) const PORT: u8 = 4;
/// A port or address could not be bound.
pub(crate) const BIND: u8 = 5;
/// Incoming, Outgoing or the state folder cannot be used.
pub(crate) const FOLDERS: u8 = 16;
/// A number, size, rate, duration or the address of `--metrics` could not be parsed.
pub(crate) const NUMBER: u8 = 14;
/// No rft runs in the folder.
pub(crate) const NOT_RUNNING: u8 = 18;
/// `rft check` found a step that fails.
pub(crate) const CHECK_FAILED: u8 = 19;
/// `rft receipt` found no receipt, or the file has other content.
pub(crate) const RECEIPT: u8 = 20;
/// `rft send` and `rft receive`: not everything crossed.
pub(crate) const INCOMPLETE: u8 = 21;
/// Ctrl-C before `--drain` was done, or a second Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;
/// SIGTERM or SIGHUP before `--drain` was done.
pub(crate) const TERMINATED: u8 = 143;
/// An error without a code of its own.
pub(crate) const UNKNOWN: u8 = 1;
/// Stopped in order, or drained.
pub(crate) const DONE: u8 = 0;

/// Every exit code and its meaning, for the man page.
pub(crate) const TABLE: [(u8, &str); 24] = [
    (DONE, "done: an orderly stop by a signal (without --drain), or drained"),
    (UNKNOWN, "an error without its own code; with --drain, files that could not be sent remain"),
    (ARGUMENTS, "improper arguments, or no password"),
    (PEER, "the peer's address is invalid, does not resolve, or leads back to this rft"),
    (PORT, "the port is not valid"),
    (BIND, "the port or address could not be bound (UDP, or the one of --metrics)"),
    (6, "the responder refused the password, before any session of this process"),
    (7, "a peer with the password sent an unreadable message, before any session"),
    (8, "the session keys could not be unwrapped"),
    (9, "an initiator had a wrong password (--exit-on-auth-failure)"),
    (10, "the session keys could not be made or wrapped"),
    (11, "the initiator could not take the session keys"),
    (12, "a chunk could not be sealed"),
    (13, "with --drain: records keep arriving changed"),
    (NUMBER, "a number, size, rate, duration or --metrics could not be parsed"),
    (15, "with --drain: a sent file could not be removed from Outgoing after three tries"),
    (FOLDERS, "Incoming, Outgoing or .rft cannot be used (rights, space, or another rft)"),
    (17, "--wait ran out before --drain was done; the message names the remaining files"),
    (
        NOT_RUNNING,
        "no rft runs in the folder, or it has ended (status, top, put --wait, pause, limit, service, ...)",
    ),
    (CHECK_FAILED, "rft check, rft service install: a step failed; its line says how to mend it"),
    (RECEIPT, "rft receipt: the file has no receipt, or with --verify other content now"),
    (INCOMPLETE, "rft send, rft receive: not everything crossed; the message names the files"),
    (INTERRUPTED, "stopped by Ctrl-C before --drain was done; or a second Ctrl-C: stopped at once"),
    (TERMINATED, "stopped by SIGTERM or SIGHUP before --drain was done"),
];

/// The codes after which a service is not started again: arguments, password, version. The units in
/// `packaging/` have the same.
#[cfg_attr(not(any(windows, test)), allow(dead_code))]
pub(crate) const NEEDS_A_PERSON: [u8; 8] = [2, 4, 6, 7, 8, 9, 11, 14];

/// What a code means.
#[cfg_attr(not(any(target_os = "linux", windows)), allow(dead_code))]
pub(crate) fn meaning(code: u8) -> &'static str {
    TABLE.iter().find(|row| row.0 == code).map_or("not a code of rft", |row| row.1)
}

/// Whether it is a code of rft for a failure.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(crate) fn is_failure(code: u8) -> bool {
    code != DONE && TABLE.iter().any(|row| row.0 == code)
}

/// The code for an error of the engine.
pub(crate) fn code_of(error: &RunError) -> u8 {
    match error.kind() {
        ErrorKind::PeerAddress => PEER,
        ErrorKind::Bind => BIND,
        ErrorKind::WrongPassword => 6,
        ErrorKind::Malformed => 7,
        ErrorKind::Unwrap => 8,
        ErrorKind::InitiatorRefused => 9,
        ErrorKind::Wrap => 10,
        ErrorKind::KeysRefused => 11,
        ErrorKind::Seal => 12,
        ErrorKind::Open => 13,
        ErrorKind::Removal => 15,
        ErrorKind::Folders => FOLDERS,
        ErrorKind::OutOfTime => 17,
        ErrorKind::Incomplete => INCOMPLETE,
        // As a shell reports a process that SIGTERM ended.
        ErrorKind::Interrupted => TERMINATED,
        _ => UNKNOWN,
    }
}

/// Why the command failed: the exit code, and a sentence that says what happened, to which file or
/// peer, and what to do.
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
    fn no_service_is_started_again_after_these_codes() {
        let codes = NEEDS_A_PERSON.map(|code| code.to_string()).join(" ");
        for unit in [
            include_str!("../../packaging/systemd/rft@.service"),
            include_str!("../../packaging/systemd/user/rft@.service"),
        ] {
            assert!(unit.contains(&format!("\nRestartPreventExitStatus={codes}\n")), "{unit}");
        }
    }

    #[test]
    fn every_documented_code_has_a_row() {
        let codes: Vec<u8> = TABLE.iter().map(|row| row.0).collect();
        let expected: Vec<u8> = (0..=21).chain([130, 143]).collect();
        assert_eq!(codes, expected);
    }
}
