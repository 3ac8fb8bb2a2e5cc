//! Errors of the operating system as text for people, without the number that the standard library
//! appends.

use std::io::{Error, ErrorKind};

/// The text before the number in the standard library's errors: `... (os error 28)`.
const NUMBER: &str = " (os error ";
/// EMFILE and ENFILE on every Unix.
const TOO_MANY_FILES: [i32; 2] = [24, 23];

/// The text for an error. An error without a text here keeps the system's.
pub fn of(error: &Error) -> String {
    if cfg!(unix) && error.raw_os_error().is_some_and(|number| TOO_MANY_FILES.contains(&number)) {
        return "too many files are open (ulimit -n)".into();
    }
    let known = match error.kind() {
        ErrorKind::NotFound => "there is no such file or folder",
        ErrorKind::PermissionDenied => "permission denied",
        ErrorKind::AddrInUse => "another program uses it",
        ErrorKind::AddrNotAvailable => "this host has no such address",
        ErrorKind::AlreadyExists => "it exists already",
        ErrorKind::NotADirectory => "it is not a folder",
        ErrorKind::IsADirectory => "it is a folder",
        ErrorKind::StorageFull => "no space is left",
        ErrorKind::QuotaExceeded => "the quota is used up",
        ErrorKind::FileTooLarge => "the file would be too large",
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only",
        ErrorKind::CrossesDevices => "another volume is mounted there",
        ErrorKind::NotConnected => "the file system is gone: its server or program has ended",
        ErrorKind::StaleNetworkFileHandle => "the server no longer knows the file",
        ErrorKind::OutOfMemory => "the system has no memory left",
        ErrorKind::UnexpectedEof => "it ends too early",
        ErrorKind::InvalidFilename => "the name is too long, or not allowed here",
        _ => return without_number(&error.to_string()),
    };
    // The text of an error from a library says more than its kind.
    if error.get_ref().is_some() { without_number(&error.to_string()) } else { known.into() }
}

/// The text of a library's error without the numbers of system errors in it.
pub fn without_number(text: &str) -> String {
    let mut rest = text;
    let mut plain = String::with_capacity(text.len());
    while let Some((before, after)) = rest.split_once(NUMBER) {
        plain.push_str(before);
        let digits = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
        match digits.strip_prefix(')') {
            Some(behind) => rest = behind,
            None => {
                plain.push_str(NUMBER);
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_system_error_shows_its_number() {
        for number in 1..200 {
            let text = of(&Error::from_raw_os_error(number));
            assert!(!text.contains("os error") && !text.is_empty(), "{number}: {text}");
        }
        assert_eq!(of(&Error::other("one of a kind")), "one of a kind");
        assert_eq!(of(&Error::new(ErrorKind::NotFound, "no such host")), "no such host");
    }

    #[test]
    fn only_the_number_is_removed_from_a_text() {
        for (text, plain) in [
            ("I/O error: No space left (os error 28)", "I/O error: No space left"),
            ("a (os error 5) about [\"x\"], b (os error -1)", "a about [\"x\"], b"),
            ("a (os error", "a (os error"),
            ("a (os error x)", "a (os error x)"),
            ("", ""),
        ] {
            assert_eq!(without_number(text), plain);
        }
    }
}
