//! `Outgoing/.rftignore`: patterns of entries that are not sent (gitignore syntax).

use crate::proto::name::Name;
use crate::store::Meta;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// The file's name, at the top of Outgoing.
pub(crate) const IGNORE_FILE: &str = ".rftignore";
/// The largest ignore file that is read, in bytes.
pub(crate) const MAX_IGNORE_FILE: u64 = 1 << 20;

/// The patterns, and the version of the file they are from.
#[derive(Debug)]
pub(crate) struct Ignored {
    rules: Gitignore,
    of: Option<Meta>,
    /// The patterns are not known, so nothing is sent.
    everything: bool,
    /// The entries at the top that are sent, whatever the patterns; `None` for all.
    only: Option<Vec<Name>>,
}

impl Ignored {
    /// Nothing is ignored.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn nothing() -> Self {
        Self::except(None)
    }

    /// All but these entries at the top of Outgoing, and no ignore file is read; with `None` nothing
    /// is ignored.
    pub(crate) fn except(only: Option<Vec<Name>>) -> Self {
        Self { rules: Gitignore::empty(), of: None, everything: false, only }
    }

    /// Whether an entry at the top of Outgoing is not among those that are sent; `None` for one
    /// whose name cannot be sent.
    pub(crate) fn leaves_out(&self, leaf: Option<&[u8]>) -> bool {
        let named = |only: &Vec<Name>| only.iter().any(|name| Some(name.as_bytes()) == leaf);
        self.only.as_ref().is_some_and(|only| !named(only))
    }

    /// Whether the patterns are from another version of the file than this one (`None`: no file).
    pub(crate) fn is_stale(&self, file: Option<&Meta>) -> bool {
        match (&self.of, file) {
            _ if self.only.is_some() => false,
            _ if self.everything => true,
            (None, None) => false,
            (Some(old), Some(new)) => !old.unchanged(new),
            _ => true,
        }
    }

    /// Takes the patterns of this version of the file. Returns a message for each invalid line; the
    /// other lines apply.
    pub(crate) fn replace(&mut self, file: Option<Meta>, text: &[u8]) -> Vec<String> {
        let mut builder = GitignoreBuilder::new("");
        let mut wrong = Vec::new();
        for (number, line) in String::from_utf8_lossy(text).lines().enumerate() {
            if let Err(error) = builder.add_line(None, line) {
                wrong.push(format!(
                    "{IGNORE_FILE} line {}: {error}; the line is not used",
                    number + 1
                ));
            }
        }
        match builder.build() {
            Ok(rules) => self.rules = rules,
            Err(error) => wrong.push(format!("{IGNORE_FILE}: {error}; nothing is ignored by it")),
        }
        (self.of, self.everything) = (file, false);
        wrong
    }

    /// Whether there are any patterns.
    pub(crate) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// The file exists, but cannot be read: everything is ignored until it can.
    pub(crate) fn hide_everything(&mut self) {
        self.everything = true;
    }

    /// Whether a pattern matches the entry itself.
    pub(crate) fn matches(&self, name: &Name, folder: bool) -> bool {
        if self.everything {
            return true;
        }
        if let Some(only) = &self.only {
            return !only.iter().any(|allowed| allowed.as_bytes() == name_top(name));
        }
        !self.rules.is_empty()
            && name.to_path().is_ok_and(|path| self.rules.matched(&path, folder).is_ignore())
    }

    /// Whether a pattern matches the entry or a folder above it.
    pub(crate) fn matches_above(&self, name: &Name, folder: bool) -> bool {
        let mut parent = name.parent();
        while let Some(above) = parent {
            if self.matches(&above, true) {
                return true;
            }
            parent = above.parent();
        }
        self.matches(name, folder)
    }
}

/// The first part of a name.
fn name_top(name: &Name) -> &[u8] {
    name.as_bytes().split(|byte| *byte == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::queue::model::file;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn all_but_the_named_entries_are_ignored() {
        let ignored = Ignored::except(Some(vec![name("a"), name("d")]));
        for (path, expected) in [
            ("a", false),
            ("d/e/f", false),
            ("ab", true),
            ("b", true),
            ("b/a", true),
            ("e/d", true),
        ] {
            assert_eq!(ignored.matches(&name(path), false), expected, "{path}");
            assert_eq!(ignored.matches_above(&name(path), false), expected, "{path}");
        }
        assert!(!ignored.is_stale(Some(&file(1, 1, 1))));
    }

    #[test]
    fn patterns_are_those_of_git() {
        let mut ignored = Ignored::nothing();
        let text = b"# note\n*.tmp\n!keep.tmp\n/only/here\nbuild/\n\n";
        assert_eq!(ignored.replace(Some(file(1, 1, 1)), text), Vec::<String>::new());
        for (path, folder, expected) in [
            ("a.tmp", false, true),
            ("deep/a.tmp", false, true),
            ("keep.tmp", false, false),
            ("only/here", false, true),
            ("not/only/here", false, false),
            ("build", true, true),
            ("build", false, false),
            ("x/build", true, true),
            ("a", false, false),
        ] {
            assert_eq!(ignored.matches(&name(path), folder), expected, "{path}");
        }
        assert!(ignored.matches_above(&name("build/x/y"), false));
        assert!(!ignored.matches(&name("build/x/y"), false));
    }

    #[test]
    fn a_bad_line_is_reported_and_the_others_apply() {
        let mut ignored = Ignored::nothing();
        let wrong = ignored.replace(Some(file(1, 1, 1)), b"a{b\n*.tmp\n[z-a]\n\xff\n");
        assert!(!wrong.is_empty() && wrong.iter().all(|w| w.contains("line ")), "{wrong:?}");
        assert!(ignored.matches(&name("x.tmp"), false));
    }

    #[test]
    fn another_version_makes_it_stale() {
        let mut ignored = Ignored::nothing();
        assert!(!ignored.is_stale(None) && ignored.is_stale(Some(&file(1, 1, 1))));
        ignored.replace(Some(file(1, 1, 1)), b"");
        assert!(!ignored.is_stale(Some(&file(1, 1, 1))));
        assert!(ignored.is_stale(Some(&file(1, 1, 2))) && ignored.is_stale(None));
    }
}
