//! The name of a service, which is also that of its folder and its password file.

use crate::cli::exit::Failure;
use rft::escape;

/// Bytes of a name; a unit's name has at most 255.
const MAX_LEN: usize = 64;
/// The name of a service for a peer whose name has no usable character.
const DEFAULT: &str = "peer";

/// A checked name.
///
/// # Errors
/// It has other characters than ASCII letters, digits, `.`, `_` and `-`: exit code 2.
pub(super) fn checked(name: &str) -> Result<String, Failure> {
    if is_valid(name) {
        return Ok(name.to_owned());
    }
    Err(Failure::usage(format!(
        "{} is no name for a service: use at most {MAX_LEN} ASCII letters, digits, dots, underscores and hyphens, and begin with a letter or a digit, as in --name {}",
        escape(name.as_bytes()),
        of_peer(name)
    )))
}

/// The name for a service with this peer.
pub(super) fn of_peer(host: &str) -> String {
    let usable = |c: char| if is_valid_char(c) { c.to_ascii_lowercase() } else { '-' };
    let name: String = host.chars().map(usable).take(MAX_LEN).collect();
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() { DEFAULT.to_owned() } else { name.to_owned() }
}

fn is_valid(name: &str) -> bool {
    name.len() <= MAX_LEN
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(is_valid_char)
        && !name.ends_with('.')
}

fn is_valid_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || ".-_".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_folders_everywhere() {
        for name in ["bob", "bob.example.org", "4", "a_b-c", &"x".repeat(MAX_LEN)] {
            assert_eq!(checked(name).unwrap(), name);
        }
        for name in
            ["", ".", "..", ".x", "-x", "x.", "a/b", "a b", "a@b", "a%b", "ä", &"x".repeat(65)]
        {
            assert_eq!(checked(name).unwrap_err().code, 2, "{name}");
        }
    }

    #[test]
    fn a_peer_gives_a_valid_name() {
        for (host, name) in [
            ("Bob.example.org", "bob.example.org"),
            ("192.0.2.7", "192.0.2.7"),
            ("[2001:db8::1]", "2001-db8--1"),
            ("fe80::1%eth0", "fe80--1-eth0"),
            ("::", "peer"),
            ("bob.", "bob"),
        ] {
            assert_eq!(of_peer(host), name);
            assert!(is_valid(name), "{name}");
        }
    }
}
