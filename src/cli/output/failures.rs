//! What is the matter with files, a line for a cause and not for each file. The JSON Lines have
//! each.

use super::text::{self, Palette};
use rft::proto::name::Name;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// A cause is told when no more files have come with it for this long,
const QUIET: Duration = Duration::from_secs(1);
/// or when the first has waited for this long.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Files of which is remembered what was told about them; with more, it is told again.
const MAX_TOLD: usize = 100_000;

/// Which kind of line it is.
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

/// What the files of one line have in common: the outermost folder too, `None` at the top.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Shared {
    trouble: Trouble,
    folder: Option<Vec<u8>>,
    cause: String,
}

/// The files that have come with a cause since it was last told.
#[derive(Debug)]
struct Group {
    first: Name,
    /// What is said about the first.
    message: String,
    files: u64,
    begun: Instant,
    last: Instant,
}

/// Causes on their way to a line.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// In the order in which they began: there are few at a time.
    groups: Vec<(Shared, Group)>,
    /// By hashes: for a file and a kind of line, the cause that was told.
    told: HashMap<u64, u64>,
}

impl Failures {
    /// Takes what is said about a file, unless that was told of it already.
    pub(crate) fn add(
        &mut self,
        trouble: Trouble,
        path: &Name,
        cause: &str,
        message: String,
        now: Instant,
    ) {
        if self.told.len() >= MAX_TOLD {
            self.told.clear();
        }
        let cause_hash = hash_of(&cause);
        if self.told.insert(hash_of(&(trouble, path)), cause_hash) == Some(cause_hash) {
            return;
        }
        let outermost = path.components().next().unwrap_or_default();
        let shared = |folder| Shared { trouble, folder, cause: cause.to_owned() };
        let within = shared(Some(outermost.to_vec()));
        // A folder comes after what it holds, and for the same reason.
        let own =
            if path.depth() > 1 || self.find(&within).is_some() { within } else { shared(None) };
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

    fn find(&self, shared: &Shared) -> Option<usize> {
        self.groups.iter().position(|(known, _)| known == shared)
    }

    /// A file got through: what is the matter with it next time is news.
    pub(crate) fn done(&mut self, path: &Name) {
        if !self.told.is_empty() {
            for trouble in [Trouble::NotSent, Trouble::NotReceived, Trouble::Warning] {
                self.told.remove(&hash_of(&(trouble, path)));
            }
        }
    }

    /// Whether something is to be told, now or soon.
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
            .map(|(s, g)| line(&s, &g, palette))
            .collect()
    }

    /// All lines that are left.
    pub(crate) fn all(&mut self, palette: Palette) -> Vec<String> {
        self.groups.drain(..).map(|(shared, group)| line(&shared, &group, palette)).collect()
    }
}

fn line(shared: &Shared, group: &Group, palette: Palette) -> String {
    let word = shared.trouble.word(palette);
    let Group { first, files, .. } = group;
    let message = text::printable(&group.message);
    match (files, &shared.folder) {
        (1, _) => format!("{word} {first}: {message}"),
        (_, None) => format!("{word} {}, {first} among them: {message}", text::files(*files)),
        (_, Some(folder)) => {
            let folder = rft::proto::name::escape(folder);
            format!("{word} {} in {folder}, {first} among them: {message}", text::files(*files))
        }
    }
}

fn hash_of(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::sample::name;

    const PLAIN: Palette = Palette { colours: false };

    #[test]
    fn a_thousand_files_of_one_folder_are_one_line_and_never_again() {
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
        // What got through meanwhile and fails again is told again.
        failures.done(&name("d/7"));
        add(&mut failures, "d/7", start);
        assert_eq!(failures.all(PLAIN), ["not sent: d/7: denied: d/7"]);
    }

    #[test]
    fn causes_kinds_and_folders_are_told_apart_and_none_waits_for_ever() {
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
        // One file with another cause is news too.
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
