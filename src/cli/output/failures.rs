//! Failures and warnings about files, one line for all files with the same cause. `--json` has an
//! event for each file.

use super::text::{self, Palette};
use rft::Name;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// A line is due when no further file has had its cause for this long,
const QUIET: Duration = Duration::from_secs(1);
/// or when its first file has waited for this long.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Files whose reported causes are remembered. Beyond that all are forgotten, and may be reported
/// again.
const MAX_REPORTED: usize = 100_000;

/// The kind of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Trouble {
    NotSent,
    NotReceived,
    Warning,
}

impl Trouble {
    fn word(self, palette: Palette) -> String {
        match self {
            Self::NotSent => palette.bad("not sent:"),
            Self::NotReceived => palette.bad("not received:"),
            Self::Warning => palette.warn("warning:"),
        }
    }
}

/// The properties that the files of one line share. `folder` is the outermost folder, `None` for
/// files at the top.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct GroupKey {
    trouble: Trouble,
    folder: Option<Vec<u8>>,
    cause: String,
}

/// The files with one cause since its last line.
#[derive(Debug)]
struct Group {
    first: Name,
    /// The message about the first.
    message: String,
    files: u64,
    begun: Instant,
    last: Instant,
}

/// Causes that wait for their line.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// In the order in which they began: there are few at a time.
    groups: Vec<(GroupKey, Group)>,
    /// The hash of a file and a kind of line, and the hash of the cause that was reported.
    reported: HashMap<u64, u64>,
}

impl Failures {
    /// Adds a message about a file, unless the last one about it had the same cause.
    pub(crate) fn add(
        &mut self,
        trouble: Trouble,
        path: &Name,
        cause: &str,
        message: String,
        now: Instant,
    ) {
        if self.reported.len() >= MAX_REPORTED {
            self.reported.clear();
        }
        let cause_hash = hash_of(&cause);
        if self.reported.insert(hash_of(&(trouble, path)), cause_hash) == Some(cause_hash) {
            return;
        }
        let outermost = path.components().next().unwrap_or_default();
        let key = |folder| GroupKey { trouble, folder, cause: cause.to_owned() };
        let within = key(Some(outermost.to_vec()));
        // A folder follows its files, and fails for the same reason: it joins their line.
        let own = if path.depth() > 1 || self.find(&within).is_some() { within } else { key(None) };
        match self.find(&own) {
            Some(at) => {
                let group = &mut self.groups[at].1;
                group.files += 1;
                group.last = now;
            }
            None => {
                let group = Group { first: path.clone(), message, files: 1, begun: now, last: now };
                self.groups.push((own, group));
            }
        }
    }

    fn find(&self, key: &GroupKey) -> Option<usize> {
        self.groups.iter().position(|(known, _)| known == key)
    }

    /// A file was transferred: a later failure of it is reported again.
    pub(crate) fn done(&mut self, path: &Name) {
        if !self.reported.is_empty() {
            for trouble in [Trouble::NotSent, Trouble::NotReceived, Trouble::Warning] {
                self.reported.remove(&hash_of(&(trouble, path)));
            }
        }
    }

    /// Whether a line is due, now or soon.
    pub(crate) fn is_pending(&self) -> bool {
        !self.groups.is_empty()
    }

    /// The lines that are due.
    pub(crate) fn due(&mut self, now: Instant, palette: Palette) -> Vec<String> {
        let is_due = |group: &Group| {
            now.duration_since(group.last) >= QUIET || now.duration_since(group.begun) >= MAX_WAIT
        };
        self.groups
            .extract_if(.., |(_, group)| is_due(group))
            .map(|(key, group)| line(&key, &group, palette))
            .collect()
    }

    /// All remaining lines, due or not.
    pub(crate) fn all(&mut self, palette: Palette) -> Vec<String> {
        self.groups.drain(..).map(|(key, group)| line(&key, &group, palette)).collect()
    }
}

fn line(key: &GroupKey, group: &Group, palette: Palette) -> String {
    let word = key.trouble.word(palette);
    let Group { first, files, .. } = group;
    let message = text::printable(&group.message);
    match (files, &key.folder) {
        (1, _) => format!("{word} {first}: {message}"),
        (_, None) => format!("{word} {}, {first} among them: {message}", text::files(*files)),
        (_, Some(folder)) => {
            let folder = rft::escape(folder);
            format!("{word} {} in {folder}, {first} among them: {message}", text::files(*files))
        }
    }
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::sample::name;

    const PLAIN: Palette = Palette { colours: false };

    #[test]
    fn a_thousand_files_of_one_folder_have_one_line_and_no_second() {
        let (start, mut failures) = (Instant::now(), Failures::default());
        let add = |failures: &mut Failures, path: &str, at| {
            failures.add(Trouble::NotSent, &name(path), "denied", format!("denied: {path}"), at);
        };
        for round in 0..3 {
            let at = start + QUIET * 3 * round;
            for i in 0..999 {
                add(&mut failures, &format!("d/{i}"), at);
            }
            add(&mut failures, "d", at);
            assert!(failures.due(at + QUIET / 2, PLAIN).is_empty());
            let expected: &[&str] = if round == 0 {
                &["not sent: 1,000 files in d, d/0 among them: denied: d/0"]
            } else {
                &[]
            };
            assert_eq!(failures.due(at + QUIET, PLAIN), expected, "round {round}");
        }
        // A file that was transferred meanwhile and fails again is reported again.
        failures.done(&name("d/7"));
        add(&mut failures, "d/7", start);
        assert_eq!(failures.all(PLAIN), ["not sent: d/7: denied: d/7"]);
    }

    #[test]
    fn each_cause_kind_and_folder_has_its_line_within_the_longest_wait() {
        let (start, mut failures) = (Instant::now(), Failures::default());
        let mut add = |trouble, path: &str, cause: &str, at| {
            failures.add(trouble, &name(path), cause, cause.to_owned(), at);
        };
        add(Trouble::NotSent, "d/a", "one", start);
        add(Trouble::NotSent, "d/b", "two", start);
        add(Trouble::NotReceived, "d/a", "one", start);
        add(Trouble::NotSent, "e/a", "one", start);
        add(Trouble::Warning, "a", "one", start);
        add(Trouble::Warning, "b", "one", start);
        // A file with another cause than before is reported again.
        add(Trouble::NotSent, "d/a", "three", start);
        let mut at = start;
        while at < start + MAX_WAIT {
            add(Trouble::Warning, &format!("x{at:?}"), "one", at);
            at += QUIET / 2;
        }
        let lines = failures.due(at, PLAIN);
        assert_eq!(lines.len(), 6, "{lines:?}");
        assert_eq!(lines[..2], ["not sent: d/a: one", "not sent: d/b: two"]);
        assert!(lines[4].starts_with("warning: 22 files, a among them: one"), "{lines:?}");
        assert!(!failures.is_pending());
    }
}
