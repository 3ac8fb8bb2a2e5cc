//! Names: the only way from bytes off the wire to a file name, and back (protocol.md section 6).

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest name, in bytes: what Linux takes as a path.
pub const MAX_NAME: usize = 4096;
/// Longest component of a name, in bytes: what every common file system takes.
pub const MAX_COMPONENT: usize = 255;
/// Names whose first component starts like this are the program's own and never cross the wire.
pub const RESERVED_PREFIX: &[u8] = b".rft";

/// A relative, `/`-separated name of one to [`MAX_NAME`] bytes, valid by construction: no empty
/// component, no `.` or `..`, no NUL, nothing absolute, nothing reserved at the top. Cheap to
/// clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<[u8]>);

/// Why some bytes are no [`Name`], or why a name cannot be a file name on this system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all, or an empty component (`a//b`, `/a`, `a/`).
    #[error("the name or a part of it is empty")]
    Empty,
    /// A component `.` or `..`.
    #[error("the name has a part `.` or `..`")]
    Dots,
    /// A NUL byte.
    #[error("the name has a NUL byte")]
    Nul,
    /// More than [`MAX_NAME`] bytes, or a component of more than [`MAX_COMPONENT`].
    #[error("the name is too long")]
    TooLong,
    /// The first component starts with [`RESERVED_PREFIX`].
    #[error("names at the top that start with `.rft` are reserved for rft itself")]
    Reserved,
    /// This system has no such file names (Windows: device names, `:`, a trailing dot, bytes that
    /// are not UTF-8, and so on).
    #[error("this system cannot have a file of that name; rename it at the source")]
    NotNative,
}

impl Name {
    /// Checks bytes off the wire.
    ///
    /// # Errors
    /// [`NameError`] for whatever is not a plain relative name.
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        if bytes.starts_with(RESERVED_PREFIX) {
            return Err(NameError::Reserved);
        }
        for part in bytes.split(|&b| b == b'/') {
            check_component(part)?;
        }
        Ok(Self(bytes.into()))
    }

    /// The name of a relative native path, such as a walk of a folder yields.
    ///
    /// # Errors
    /// [`NameError`], also for a path with a root, a prefix or `..`, and on Windows for one that is
    /// not valid Unicode.
    pub fn from_path(path: &Path) -> Result<Self, NameError> {
        let mut bytes = Vec::with_capacity(path.as_os_str().len());
        for component in path.components() {
            let std::path::Component::Normal(part) = component else {
                return Err(NameError::Dots);
            };
            if !bytes.is_empty() {
                bytes.push(b'/');
            }
            bytes.extend_from_slice(&native::bytes_of(part)?);
        }
        Self::parse(&bytes)
    }

    /// This name with one more component.
    ///
    /// # Errors
    /// As [`Name::parse`].
    pub fn join(&self, component: &[u8]) -> Result<Self, NameError> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + component.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(component);
        check_component(component)?;
        if bytes.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        Ok(Self(bytes.into()))
    }

    /// The name as a relative native path.
    ///
    /// # Errors
    /// [`NameError::NotNative`] where this system cannot have such a file.
    pub fn to_path(&self) -> Result<PathBuf, NameError> {
        self.components().map(native::part_of).collect()
    }

    /// The last component as a native one.
    ///
    /// # Errors
    /// [`NameError::NotNative`] where this system cannot have such a file.
    pub fn native_leaf(&self) -> Result<OsString, NameError> {
        Ok(native::part_of(self.leaf())?.to_owned())
    }

    /// The bytes as they cross the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/')
    }

    /// How many components there are: 1 for a name without a folder.
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// The last component.
    pub fn leaf(&self) -> &[u8] {
        let start = self.0.iter().rposition(|&b| b == b'/').map_or(0, |i| i + 1);
        &self.0[start..]
    }

    /// The name of the folder that holds this one, `None` at the top.
    pub fn parent(&self) -> Option<Self> {
        let end = self.0.iter().rposition(|&b| b == b'/')?;
        Some(Self(self.0[..end].into()))
    }

    /// The same folder, another last component.
    ///
    /// # Errors
    /// As [`Name::parse`].
    pub fn with_leaf(&self, leaf: &[u8]) -> Result<Self, NameError> {
        match self.parent() {
            Some(parent) => parent.join(leaf),
            None => Self::parse(leaf),
        }
    }
}

/// For people: escaped as [`escape`] does.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", escape(&self.0))
    }
}

fn check_component(part: &[u8]) -> Result<(), NameError> {
    match part {
        b"" => Err(NameError::Empty),
        b"." | b".." => Err(NameError::Dots),
        _ if part.len() > MAX_COMPONENT => Err(NameError::TooLong),
        _ if part.contains(&0) => Err(NameError::Nul),
        _ if part.contains(&b'/') => Err(NameError::Empty),
        _ => Ok(()),
    }
}

/// Whether a symbolic link at `link` with this target stays inside the tree wherever the tree
/// stands: the target is relative, `..` come first, and no more of them than there are folders
/// above the link. (`..` after a named part may climb out through another link, so it is refused.)
/// Nor may it lead to what is the program's own: a component `.rft`, or at the top one that starts
/// like it.
pub fn link_stays_inside(link: &Name, target: &[u8]) -> bool {
    if target.is_empty() || target.len() > MAX_NAME || target[0] == b'/' || target.contains(&0) {
        return false;
    }
    let above = link.depth() - 1;
    let mut climbed = 0;
    let mut descended = false;
    for part in target.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if descended => return false,
            b".." => climbed += 1,
            _ if part.eq_ignore_ascii_case(RESERVED_PREFIX) => return false,
            _ if !descended && climbed == above && part.starts_with(RESERVED_PREFIX) => {
                return false;
            }
            _ => descended = true,
        }
    }
    climbed <= above
}

/// Text off the wire, or a file's name, for a terminal or a log: what is not printable (control
/// characters, escape sequences, direction overrides, bytes that are not UTF-8) becomes `\x1b` or
/// `\u{202e}`, a backslash is doubled.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                c if c.is_control() && c.is_ascii() => {
                    out.push_str(&format!("\\x{:02x}", c as u32))
                }
                c if is_unprintable(c) => out.extend(c.escape_unicode()),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// Whether a terminal or a reader of a log may take this character for more than text: control
/// characters, and invisible ones that reorder or hide what is around them.
pub fn is_unprintable(c: char) -> bool {
    c.is_control() || reorders_text(c)
}

/// Invisible characters that change how the text around them is shown (Unicode TR 36).
fn reorders_text(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(unix)]
mod native {
    use super::NameError;
    use std::borrow::Cow;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    pub(super) fn bytes_of(part: &OsStr) -> Result<Cow<'_, [u8]>, NameError> {
        Ok(Cow::Borrowed(part.as_bytes()))
    }

    pub(super) fn part_of(part: &[u8]) -> Result<&OsStr, NameError> {
        Ok(OsStr::from_bytes(part))
    }
}

#[cfg(not(unix))]
mod native {
    use super::NameError;
    use std::borrow::Cow;
    use std::ffi::OsStr;

    pub(super) fn bytes_of(part: &OsStr) -> Result<Cow<'_, [u8]>, NameError> {
        let text = part.to_str().ok_or(NameError::NotNative)?;
        Ok(Cow::Borrowed(text.as_bytes()))
    }

    pub(super) fn part_of(part: &[u8]) -> Result<&OsStr, NameError> {
        let text = std::str::from_utf8(part).map_err(|_| NameError::NotNative)?;
        if super::windows_takes(text) { Ok(OsStr::new(text)) } else { Err(NameError::NotNative) }
    }
}

/// Whether Windows can have a file of this name ("Naming Files, Paths, and Namespaces", Microsoft):
/// no `<>:"/\|?*`, no control characters, no trailing dot or space, no device name with or without
/// an extension.
#[cfg_attr(unix, allow(dead_code))]
fn windows_takes(part: &str) -> bool {
    let forbidden = |c: char| c < ' ' || r#"<>:"/\|?*"#.contains(c);
    if part.chars().any(forbidden) || part.ends_with(['.', ' ']) {
        return false;
    }
    let stem = part.split('.').next().unwrap_or(part).trim_end_matches(' ').to_ascii_uppercase();
    let numbered = |device: &str| {
        stem.strip_prefix(device).is_some_and(|n| {
            let mut digits = n.chars();
            matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
        })
    };
    !matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        && !numbered("COM")
        && !numbered("LPT")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn plain_names_pass_and_others_do_not() {
        for good in [
            "a/.rft",
            "a/.rftignore",
            "a/b/.rft-x/y",
            "a",
            "a/b",
            "a b/ü",
            "..a",
            "a..",
            "...",
            "a/.b",
            "\u{1b}[31m",
            "con",
            "a:b",
            "\\",
        ] {
            assert_eq!(Name::parse(good.as_bytes()).unwrap().as_bytes(), good.as_bytes());
        }
        assert!(Name::parse(b"\xff\xfe").is_ok());
        let long = vec![b'x'; 256];
        for (bad, why) in [
            (&b""[..], NameError::Empty),
            (b"/etc/passwd", NameError::Empty),
            (b"a//b", NameError::Empty),
            (b"a/", NameError::Empty),
            (b"..", NameError::Dots),
            (b"a/../b", NameError::Dots),
            (b"./a", NameError::Dots),
            (b"a\0b", NameError::Nul),
            (&long, NameError::TooLong),
            (b".rft", NameError::Reserved),
            (b".rft/x", NameError::Reserved),
            (b".rftignore", NameError::Reserved),
            (b".rft-x/y", NameError::Reserved),
        ] {
            assert_eq!(Name::parse(bad), Err(why), "{}", escape(bad));
        }
        let deep = vec![&b"abc"[..]; 1025].join(&b'/');
        assert_eq!(Name::parse(&deep), Err(NameError::TooLong));
    }

    #[test]
    fn parts() {
        let n = name("a/b/c.txt");
        assert_eq!(n.leaf(), b"c.txt");
        assert_eq!(n.depth(), 3);
        assert_eq!(n.parent().unwrap(), name("a/b"));
        assert_eq!(name("c").parent(), None);
        assert_eq!(n.with_leaf(b"d").unwrap(), name("a/b/d"));
        assert_eq!(name("c").with_leaf(b"d").unwrap(), name("d"));
        assert_eq!(n.with_leaf(b"../d"), Err(NameError::Empty));
        assert_eq!(name("a").join(b".."), Err(NameError::Dots));
    }

    #[test]
    fn links_that_leave_the_tree_are_refused() {
        for (link, target, inside) in [
            ("l", "a", true),
            ("l", "a/b", true),
            ("d/l", "../a", true),
            ("d/l", "..", true),
            ("l", "..", false),
            ("d/l", "../../a", false),
            ("l", "/etc/passwd", false),
            ("l", "a/../b", false),
            ("d/l", "x/../../b", false),
            ("l", "", false),
            ("l", ".rft/key", false),
            ("l", "./.rft-x", false),
            ("d/l", "../.rftignore", false),
            ("d/l", ".rftignore", true),
            ("d/l", ".rft/key", false),
            ("d/l", "a/.RFT/key", false),
            ("l", "a/.rft-x", true),
            ("l", "./a//b", true),
        ] {
            assert_eq!(
                link_stays_inside(&name(link), target.as_bytes()),
                inside,
                "{link} -> {target}"
            );
        }
    }

    #[test]
    fn escapes_what_a_terminal_would_obey() {
        assert_eq!(escape(b"plain \xc3\xbc"), "plain \u{fc}");
        assert_eq!(escape(b"\x1b[2J\n\r\x7f\\"), "\\x1b[2J\\x0a\\x0d\\x7f\\\\");
        assert_eq!(escape("\u{202e}gpj.exe\u{9b}".as_bytes()), "\\u{202e}gpj.exe\\u{9b}");
        assert_eq!(escape(b"\xff!"), "\\xff!");
    }

    #[test]
    fn names_that_windows_refuses() {
        for bad in [
            "con",
            "CON.txt",
            "aux ",
            "Nul.tar.gz",
            "COM1",
            "lpt9.x",
            "com\u{b9}",
            "a:b",
            "a?",
            "a.",
            "a ",
            "\u{1}",
            "a\\b",
        ] {
            assert!(!windows_takes(bad), "{bad}");
        }
        for good in ["console", "com", "com10", "lpt", "a.b", " a", ".x", "ü"] {
            assert!(windows_takes(good), "{good}");
        }
    }

    proptest! {
        #[test]
        fn a_name_survives_the_way_through_a_path(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(name) = Name::parse(&bytes)
                && let Ok(path) = name.to_path()
            {
                prop_assert!(path.is_relative());
                prop_assert_eq!(Name::from_path(&path).unwrap(), name);
            }
        }

        #[test]
        fn escaped_text_is_printable(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(escape(&bytes).chars().all(|c| !c.is_control() && !reorders_text(c)));
        }
    }
}
