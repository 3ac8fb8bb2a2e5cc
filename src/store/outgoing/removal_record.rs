//! The name of a file in `.rft/removing` records which file it should be, and where it came from.
//!
//! `d-<count>-<inode>-<size>-<seconds>-<nanos>-<name>`, numbers in hexadecimal, the name
//! percent-encoded; `d` to delete, `a` to archive, `c` when a copy is in the archive already.

use crate::proto::message::Timestamp;
use crate::proto::name::{MAX_COMPONENT, MAX_NAME, Name};
use crate::store::tree::meta::Meta;
use crate::store::tree::os;
use cap_std::fs::Dir;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, Read};

/// The intended operation on the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Delete,
    Archive,
    /// The archive has a complete, durable copy, under its hidden name or its own.
    Copied,
}

impl Verb {
    fn letter(self) -> char {
        match self {
            Self::Delete => 'd',
            Self::Archive => 'a',
            Self::Copied => 'c',
        }
    }
}

/// The record of a file that is leaving Outgoing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemovalRecord {
    pub(crate) verb: Verb,
    inode: u64,
    size: u64,
    modified: Timestamp,
    leaf: String,
    /// The name is too long for the leaf, and is in a separate file beside it.
    beside: bool,
}

/// Suffix of the file that contains a long name, after the leaf of its record.
const NAME_SUFFIX: &str = ".name";
/// Prefix of the hidden name of a copy in the archive, before the hash of its record.
pub(crate) const COPY_PREFIX: &str = ".rft-copy-";

impl RemovalRecord {
    /// `count` makes the leaf unique in this process.
    pub(crate) fn new(verb: Verb, count: u64, name: &Name, meta: &Meta) -> Self {
        let letter = verb.letter();
        let (inode, size, modified) = (meta.identity.inode, meta.size, meta.modified);
        let mut leaf = format!(
            "{letter}-{count:x}-{inode:x}-{size:x}-{:x}-{:x}-",
            modified.seconds, modified.nanos
        );
        let encoded = percent(name.as_bytes());
        let beside = leaf.len() + encoded.len() > MAX_COMPONENT;
        if beside {
            // A hash keeps the leaf unique over restarts. `#` marks it, because it is always
            // encoded in a name.
            let hash = blake3::hash(name.as_bytes()).to_hex();
            leaf.push('#');
            leaf.push_str(&hash[..32]);
        } else {
            leaf.push_str(&encoded);
        }
        Self { verb, inode, size, modified, leaf, beside }
    }

    pub(crate) fn leaf(&self) -> OsString {
        OsString::from(&self.leaf)
    }

    /// Whether this is the file that was sent. The volume is always that of `removing`.
    pub(crate) fn is(&self, found: &Meta) -> bool {
        (found.identity.inode, found.size, found.modified) == (self.inode, self.size, self.modified)
    }

    /// Writes a long name to its file, durably, before the rename. Otherwise a crash could leave a
    /// file that must be put back under an unknown name. Only long names cost these syncs.
    pub(crate) fn write_name(&self, removing: &Dir, name: &Name) -> io::Result<()> {
        if !self.beside {
            return Ok(());
        }
        let note = OsString::from(format!("{}{NAME_SUFFIX}", self.leaf));
        let _ = os::unlink(removing, &note);
        let file = os::create_new(removing, &note)?;
        os::write_at(&file, name.as_bytes(), 0)?;
        os::sync_file(&file)?;
        os::sync_dir(removing)
    }

    /// The hidden name of the copy in the archive. It is the same before and after the copy is
    /// recorded.
    pub(crate) fn copy_of(leaf: &OsStr) -> OsString {
        let hash = blake3::hash(leaf.as_encoded_bytes().get(1..).unwrap_or_default()).to_hex();
        format!("{COPY_PREFIX}{}", &hash[..32]).into()
    }

    /// The leaf of the record once the file is copied.
    pub(crate) fn copied_leaf(&self) -> OsString {
        format!("{}{}", Verb::Copied.letter(), self.leaf.get(1..).unwrap_or_default()).into()
    }

    /// Records, durably, that the copy is complete.
    pub(crate) fn into_copied(self, removing: &Dir, name: &Name) -> io::Result<Self> {
        let (before, leaf) = (self.leaf(), self.copied_leaf().to_string_lossy().into_owned());
        let copied = Self { verb: Verb::Copied, leaf, ..self };
        copied.write_name(removing, name)?;
        os::rename_own(removing, &before, removing, &copied.leaf())?;
        os::sync_dir(removing)?;
        Self::drop_name_of(removing, &before);
        Ok(copied)
    }

    pub(crate) fn drop_name(&self, removing: &Dir) {
        Self::drop_name_of(removing, &self.leaf());
    }

    /// Removes the file of a long name. If that fails, the next start removes it.
    pub(crate) fn drop_name_of(removing: &Dir, leaf: &OsStr) {
        if leaf.as_encoded_bytes().contains(&b'#') {
            let mut note = leaf.to_owned();
            note.push(NAME_SUFFIX);
            let _ = os::unlink(removing, &note);
        }
    }

    /// Removes the name files whose records are gone, because a crash occurred between the two
    /// removals.
    pub(crate) fn drop_lone_names(removing: &Dir, leaves: &[OsString]) {
        for leaf in leaves {
            // A file of the user may have the name `x.name`; only records with a name file contain
            // a `#`.
            let note = leaf.to_str().filter(|leaf| leaf.contains('#'));
            let Some(entry) = note.and_then(|leaf| leaf.strip_suffix(NAME_SUFFIX)) else {
                continue;
            };
            let gone = os::stat(removing, OsStr::new(entry));
            if gone.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                let _ = os::unlink(removing, leaf);
            }
        }
    }

    /// The count in the leaf of a record or of its name file.
    pub(crate) fn count_of(leaf: &OsStr) -> Option<u64> {
        let count = u64::from_str_radix(leaf.to_str()?.split('-').nth(1)?, 16).ok()?;
        // This program never reaches the maximum, and the next count must not overflow.
        (count < u64::MAX).then_some(count)
    }

    /// Parses the leaf of an entry in `removing`; `None` for a foreign entry or a name file.
    pub(crate) fn parse(removing: &Dir, leaf: &OsStr) -> Option<(Self, Name)> {
        let text = leaf.to_str()?;
        let verb = match text.split_once('-')?.0 {
            "d" => Verb::Delete,
            "a" => Verb::Archive,
            "c" => Verb::Copied,
            _ => return None,
        };
        // Times before 1970 are written as two's complement, so only the last field can contain a
        // `-`.
        let mut fields = text.splitn(7, '-').skip(2);
        let mut number = || u64::from_str_radix(fields.next()?, 16).ok();
        let (inode, size, seconds, nanos) = (number()?, number()?, number()?, number()?);
        let modified =
            Timestamp { seconds: seconds.cast_signed(), nanos: u32::try_from(nanos).ok()? };
        let last = fields.next()?;
        let beside = last.starts_with('#');
        let bytes = if beside { noted(removing, text)? } else { unpercent(last)? };
        let entry = Self { verb, inode, size, modified, leaf: text.to_owned(), beside };
        Some((entry, Name::parse(&bytes).ok()?))
    }
}

fn noted(removing: &Dir, leaf: &str) -> Option<Vec<u8>> {
    let note = OsString::from(format!("{leaf}{NAME_SUFFIX}"));
    let (file, _) = os::open_read(removing, &note).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_NAME as u64 + 1).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn percent(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => text.push(char::from(byte)),
            // Every system allows a dot inside a name, and it keeps listings readable.
            b'.' if !text.is_empty() && !text.ends_with('.') => text.push('.'),
            _ => {
                let _ = write!(text, "%{byte:02x}");
            }
        }
    }
    // Windows drops a dot at the end.
    if text.ends_with('.') {
        text.pop();
        text.push_str("%2e");
    }
    text
}

fn unpercent(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        rest = after;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tree::meta::{FileIdentity, FileKind};
    use proptest::prelude::*;

    fn round_trip(name: &Name, seconds: i64) {
        let dir = tempfile::tempdir().unwrap();
        let held = os::open_root(dir.path()).unwrap();
        let meta = Meta {
            kind: FileKind::File,
            size: 7,
            modified: Timestamp { seconds, nanos: 5 },
            mode: None,
            identity: FileIdentity { device: 1, inode: u64::MAX, changed: Timestamp::default() },
        };
        let entry = RemovalRecord::new(Verb::Archive, 3, name, &meta);
        assert!(entry.leaf.len() <= MAX_COMPONENT);
        entry.write_name(&held, name).unwrap();
        let (parsed, back) = RemovalRecord::parse(&held, &entry.leaf()).unwrap();
        assert_eq!((&back, parsed.verb), (name, Verb::Archive));
        assert!(parsed.is(&meta) && !parsed.is(&Meta { size: 8, ..meta }));
        entry.drop_name(&held);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    proptest! {
        #[test]
        fn a_record_is_read_back_from_its_file_name(bytes in proptest::collection::vec(1u8.., 1..300), seconds: i64) {
            if let Ok(name) = Name::parse(&bytes) {
                round_trip(&name, seconds);
            }
        }
    }

    #[test]
    fn a_long_name_is_kept_in_a_file_beside() {
        round_trip(&Name::parse(vec!["long name"; 300].join("/").as_bytes()).unwrap(), -1);
    }

    #[test]
    fn foreign_names_are_no_records() {
        let dir = tempfile::tempdir().unwrap();
        let held = os::open_root(dir.path()).unwrap();
        for leaf in [
            "x",
            "d-",
            "d-1-2-3-4-5",
            "d-1-2-3-4-5-%",
            "d-1-2-3-4-5-..",
            "d-1-2-3-4-g-a",
            "d-1-2-3-4-5-#0",
        ] {
            assert!(RemovalRecord::parse(&held, OsStr::new(leaf)).is_none(), "{leaf}");
        }
    }
}
