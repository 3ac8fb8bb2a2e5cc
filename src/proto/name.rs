//! Names of entries, and the only conversion between bytes on the wire and paths (protocol.md
//! section 6).

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Maximum length of a name in bytes, which is that of a path on Linux.
pub const MAX_NAME: usize = 4096;
/// Maximum length of a component in bytes, which every common file system supports.
pub const MAX_COMPONENT: usize = 255;
/// A name whose first component starts with this is reserved for rft, and never sent.
pub const RESERVED_PREFIX: &[u8] = b".rft";

/// A relative, `/`-separated name of 1 to `MAX_NAME` bytes. It has no empty component, no `.` or
/// `..`, no NUL and no reserved first component. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<[u8]>);

/// Why bytes are not a [`Name`], or a name is not possible on this system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty, or has an empty component (`a//b`, `/a`, `a/`).
    #[error("the name or a part of it is empty")]
    Empty,
    /// A component is `.` or `..`.
    #[error("the name has a part `.` or `..`")]
    Dots,
    /// The name has a NUL byte.
    #[error("the name has a NUL byte")]
    Nul,
    /// The name has more than `MAX_NAME` bytes, or a component more than `MAX_COMPONENT`.
    #[error("the name is too long")]
    TooLong,
    /// The first component starts with `RESERVED_PREFIX`.
    #[error("names at the top that start with `.rft` are reserved for rft itself")]
    Reserved,
    /// This system has no files of this name. Windows refuses device names, `:`, a trailing dot,
    /// bytes that are not UTF-8, and others.
    #[error("this system cannot have a file of that name; rename it at the source")]
    NotNative,
}

impl Name {
    /// Parses bytes from the wire.
    ///
    /// # Errors
    /// [`NameError`] for anything but a plain relative name.
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

    /// The name of a relative native path.
    ///
    /// # Errors
    /// [`NameError`], also for a path with a root, a prefix or `..`, and on Windows for a path that
    /// is not valid Unicode.
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
    /// [`NameError::NotNative`] if this system cannot have such a file.
    pub fn to_path(&self) -> Result<PathBuf, NameError> {
        self.components().map(native::part_of).collect()
    }

    /// The last component, as a native file name.
    ///
    /// # Errors
    /// [`NameError::NotNative`] if this system cannot have such a file.
    pub fn native_leaf(&self) -> Result<OsString, NameError> {
        Ok(native::part_of(self.leaf())?.to_owned())
    }

    /// The bytes, as on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/')
    }

    /// Number of components: 1 for a name without a folder.
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// The last component.
    pub fn leaf(&self) -> &[u8] {
        let start = self.0.iter().rposition(|&b| b == b'/').map_or(0, |i| i + 1);
        &self.0[start..]
    }

    /// The name of the folder that holds this entry; `None` at the top.
    pub fn parent(&self) -> Option<Self> {
        let end = self.0.iter().rposition(|&b| b == b'/')?;
        Some(Self(self.0[..end].into()))
    }

    /// The name with another last component.
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

/// For people, escaped by [`escape`].
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

/// Whether a symbolic link at `link` with this target stays inside the tree, wherever the tree is.
/// The target must be relative, all its `..` must come first, and there must be no more of them
/// than folders above the link. (A `..` after a named component could leave the tree through
/// another link.) Nor may the target lead to rft's own files: it has no component `.rft`, and no
/// component at the top that starts with it.
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

/// Escapes text from the wire, or a file's name, for a terminal or a log. Characters that are not
/// printable (control characters, direction overrides) and bytes that are not UTF-8 become `\x1b`
/// or `\u{202e}`; a backslash is doubled.
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

/// Whether a character may affect a terminal, or mislead the reader of a log: a control character,
/// or an invisible character that reorders or hides the text around it.
pub fn is_unprintable(c: char) -> bool {
    c.is_control() || reorders_text(c)
}

/// Whether a character is invisible and changes how the text around it is shown (Unicode TR 36).
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
        if super::is_windows_name(text) { Ok(OsStr::new(text)) } else { Err(NameError::NotNative) }
    }
}

/// Whether Windows can have a file of this name ("Naming Files, Paths, and Namespaces", Microsoft):
/// no `<>:"/\|?*`, no control characters, no trailing dot or space, no device name with or without
/// an extension.
#[cfg_attr(unix, allow(dead_code))]
fn is_windows_name(part: &str) -> bool {
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
mod tests;
