//! Pure: the facts about a file that a hook gets, as environment variables.
//!
//! A name from the peer may have any bytes but NUL, so it is never part of a command line that a
//! shell reads. The only argument from it is an absolute path, which no program takes for an
//! option.

use crate::proto::message::{Timestamp, TransferId};
use crate::proto::name::Name;
use data_encoding::HEXLOWER;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Prefix of the variables of this program. Those of its own environment, the password among them,
/// reach no hook.
const PREFIX: &str = "RFT_";
/// The folder in which systemd puts the secrets of a service.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The facts about a received file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HookFacts {
    /// The absolute path of the file.
    pub(crate) file: PathBuf,
    /// The name below Incoming; in quarantine the one that the sender gave it.
    pub(crate) name: Name,
    pub(crate) size: u64,
    /// BLAKE3 of the file.
    pub(crate) hash: [u8; 32],
    /// The peer, as this side calls it.
    pub(crate) peer: String,
    pub(crate) transfer: TransferId,
    /// Time of the last modification at the sender.
    pub(crate) modified: Timestamp,
    /// 1 for the first attempt.
    pub(crate) attempt: u32,
    /// Whether the exit code decides on the file.
    pub(crate) quarantine: bool,
}

/// Whether a variable of this process must not reach a hook.
pub(super) fn is_private(variable: &OsStr) -> bool {
    let name = variable.as_encoded_bytes();
    // Windows ignores the case of a variable.
    let is = |prefix: &str| {
        name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    is(PREFIX) || name.len() == CREDENTIALS.len() && is(CREDENTIALS)
}

/// The variables of a hook, besides the inherited ones.
pub(super) fn variables(facts: &HookFacts) -> Option<[(&'static str, OsString); 9]> {
    Some([
        ("RFT_FILE", facts.file.clone().into_os_string()),
        ("RFT_PATH", os_string(facts.name.as_bytes())?),
        ("RFT_SIZE", facts.size.to_string().into()),
        ("RFT_BLAKE3", HEXLOWER.encode(&facts.hash).into()),
        ("RFT_PEER", facts.peer.replace('\0', "").into()),
        ("RFT_TRANSFER", facts.transfer.to_string().into()),
        ("RFT_MTIME", facts.modified.seconds.to_string().into()),
        ("RFT_ATTEMPT", facts.attempt.to_string().into()),
        ("RFT_QUARANTINE", if facts.quarantine { "1" } else { "0" }.into()),
    ])
}

/// Bytes as the system's text; on Unix any bytes.
#[cfg(unix)]
#[allow(clippy::unnecessary_wraps)] // not so on Windows
pub(super) fn os_string(bytes: &[u8]) -> Option<OsString> {
    use std::os::unix::ffi::OsStringExt;
    Some(OsString::from_vec(bytes.to_vec()))
}

/// The same where names are Unicode.
#[cfg(not(unix))]
pub(super) fn os_string(bytes: &[u8]) -> Option<OsString> {
    String::from_utf8(bytes.to_vec()).ok().map(OsString::from)
}

/// The system's text as bytes from which [`os_string`] makes the same text.
#[cfg(unix)]
#[allow(clippy::unnecessary_wraps)] // not so on Windows
pub(super) fn bytes_of(text: &OsStr) -> Option<&[u8]> {
    Some(text.as_encoded_bytes())
}

/// The same where names are Unicode.
#[cfg(not(unix))]
pub(super) fn bytes_of(text: &OsStr) -> Option<&[u8]> {
    text.to_str().map(str::as_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::hooks) fn facts(name: &[u8]) -> HookFacts {
        let root = std::env::temp_dir();
        let name = Name::parse(name).unwrap();
        HookFacts {
            file: root.join(os_string(name.as_bytes()).unwrap()),
            name,
            size: 12,
            hash: [0xab; 32],
            peer: "bob".into(),
            transfer: TransferId([1; 16]),
            modified: Timestamp { seconds: -1, nanos: 5 },
            attempt: 2,
            quarantine: true,
        }
    }

    #[test]
    fn secrets_of_this_process_are_private() {
        for private in ["RFT_PASSWORD", "RFT_LOG", "rft_password", "CREDENTIALS_DIRECTORY"] {
            assert!(is_private(OsStr::new(private)), "{private}");
        }
        for inherited in ["PATH", "HOME", "RFT", "XRFT_PASSWORD", "CREDENTIALS_DIRECTORY_2"] {
            assert!(!is_private(OsStr::new(inherited)), "{inherited}");
        }
    }

    #[test]
    fn every_fact_has_its_variable() {
        let facts = facts(b"d/-rf $(x)\n");
        let variables = variables(&facts).unwrap();
        let of = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name).unwrap();
            found.1.to_str().unwrap().to_owned()
        };
        assert_eq!(of("RFT_FILE"), facts.file.to_str().unwrap());
        assert_eq!(of("RFT_PATH"), "d/-rf $(x)\n");
        assert_eq!((of("RFT_SIZE"), of("RFT_BLAKE3")), ("12".into(), "ab".repeat(32)));
        assert_eq!((of("RFT_PEER"), of("RFT_TRANSFER")), ("bob".into(), "01".repeat(16)));
        assert_eq!((of("RFT_MTIME"), of("RFT_ATTEMPT")), ("-1".into(), "2".into()));
        assert_eq!(of("RFT_QUARANTINE"), "1");
        assert!(variables.iter().all(|(name, _)| is_private(OsStr::new(name))));
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_not_utf_8_keeps_its_bytes() {
        let variables = variables(&facts(b"a\xff\xfe")).unwrap();
        assert_eq!(variables[1].1.as_encoded_bytes(), b"a\xff\xfe");
    }
}
