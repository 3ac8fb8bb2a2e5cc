//! Lists a folder of Outgoing, or examines one entry. Entries that are not sent are left out here,
//! with one warning where the user should know.

use super::ignored::{IGNORE_FILE, Ignored, MAX_IGNORE_FILE};
use super::temp_names;
use crate::config::TempNames;
use crate::event::EventSink;
use crate::proto::name::{Name, NameError, RESERVED_PREFIX, escape, link_stays_inside};
use crate::store::{FileKind, Folder, Listed, Meta, PROBE_PREFIX, StoreError};
use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// An entry that is to be sent, or is unfinished.
#[derive(Debug)]
pub(crate) struct FoundEntry {
    pub name: Name,
    pub meta: Meta,
    /// The target of a link.
    pub target: Option<Vec<u8>>,
    /// The programs that give such names to unfinished files, if it has one.
    pub unfinished: Option<&'static str>,
}

/// The result of examining one name.
#[derive(Debug)]
pub(crate) enum Examined {
    /// An entry that is to be sent, or is unfinished.
    Found(FoundEntry),
    /// Nothing has this name.
    Gone,
    /// It is not sent, or cannot be examined.
    Skipped,
}

/// Whether a listing of Outgoing itself shows another ignore file than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IgnoreRules {
    Same,
    Changed,
}

/// Examines entries, and leaves out those that are not sent.
#[derive(Debug)]
pub(crate) struct Scanner {
    folder: Arc<Folder>,
    ignored: Ignored,
    temp_names: TempNames,
    /// An ignore file that was found empty and had rules before.
    emptied: Option<Meta>,
    events: EventSink,
    /// Hashes of the warnings so far.
    warned: HashSet<u64>,
    /// The entries that the warnings are about, until they are taken.
    skipped: Vec<(Option<Name>, String)>,
}

/// How many warnings are remembered. Later the same warnings may be repeated.
const MAX_WARNED: usize = 100_000;

impl Scanner {
    pub(crate) fn new(
        folder: Arc<Folder>,
        temp_names: TempNames,
        only: Option<Vec<Name>>,
        events: EventSink,
    ) -> Self {
        let (ignored, warned) = (Ignored::except(only), HashSet::new());
        let skipped = Vec::new();
        Self { folder, ignored, temp_names, emptied: None, events, warned, skipped }
    }

    /// The entries that are not sent, as far as they were found since the last call.
    pub(crate) fn take_skipped(&mut self) -> Vec<(Option<Name>, String)> {
        std::mem::take(&mut self.skipped)
    }

    /// All entries of one folder, `None` for Outgoing itself.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be listed.
    pub(crate) fn list(&self, folder: Option<&Name>) -> Result<Vec<Listed>, StoreError> {
        self.folder.list(folder)
    }

    /// Reads the ignore file if `top`, a listing of Outgoing itself, shows another one than before.
    /// While it cannot be read, nothing is sent, so that no ignored file is.
    pub(crate) fn refresh_rules(&mut self, top: &[Listed]) -> IgnoreRules {
        let file = top
            .iter()
            .find(|l| l.leaf.as_ref().is_ok_and(|leaf| leaf == IGNORE_FILE.as_bytes()))
            .map(|listed| listed.meta);
        if !self.ignored.is_stale(file.as_ref()) {
            return IgnoreRules::Same;
        }
        let text = match file {
            Some(_) => self.folder.read_own(IGNORE_FILE, MAX_IGNORE_FILE),
            None => Ok(Vec::new()),
        };
        match text {
            // Most programs truncate a file before they write it. The old rules hold until the
            // next scan.
            Ok(text)
                if text.is_empty()
                    && file.is_some()
                    && self.emptied != file
                    && self.ignored.has_rules() =>
            {
                self.emptied = file;
                return IgnoreRules::Same;
            }
            Ok(text) => {
                for wrong in self.ignored.replace(file, &text) {
                    self.events.warn(None, wrong);
                }
            }
            Err(error)
                if is_gone(&error) && file.is_none_or(|file| file.kind == FileKind::File) => {}
            Err(error) => {
                self.ignored.hide_everything();
                let message = format!(
                    "{IGNORE_FILE} must be a file of at most 1 MiB that can be read ({error}); until it is, \
                     nothing is sent"
                );
                self.warn_once(None, &message);
            }
        }
        IgnoreRules::Changed
    }

    /// Decides whether one entry of a listing is sent.
    pub(crate) fn sift(&mut self, folder: Option<&Name>, listed: Listed) -> Option<FoundEntry> {
        if folder.is_none() && self.ignored.leaves_out(listed.leaf.as_deref().ok()) {
            return None;
        }
        let leaf = match listed.leaf {
            Ok(leaf) => leaf,
            Err(leaf) => {
                let text = leaf.to_string_lossy().into_owned();
                self.warn_unnamed(folder, text.as_bytes(), NameError::NotNative);
                return None;
            }
        };
        let name = match folder {
            Some(folder) => folder.join(&leaf),
            None => Name::parse(&leaf),
        };
        match name {
            Ok(name) => self.pick(name, listed.meta),
            Err(NameError::Reserved) => {
                self.warn_reserved(&leaf);
                None
            }
            Err(error) => {
                self.warn_unnamed(folder, &leaf, error);
                None
            }
        }
    }

    /// Examines one name, for an event or a timer.
    pub(crate) fn examine(&mut self, name: &Name) -> Examined {
        match self.folder.stat(name) {
            Ok(meta) if self.ignored.matches_above(name, meta.kind == FileKind::Folder) => {
                Examined::Skipped
            }
            Ok(_) if self.leaves_alone() && temp_names::is_in_unfinished_folder(name) => {
                Examined::Skipped
            }
            Ok(meta) => self.pick(name.clone(), meta).map_or(Examined::Skipped, Examined::Found),
            Err(error) if is_gone(&error) => Examined::Gone,
            Err(error) => {
                self.warn_unreadable(name, &error);
                Examined::Skipped
            }
        }
    }

    fn pick(&mut self, name: Name, meta: Meta) -> Option<FoundEntry> {
        if self.ignored.matches(&name, meta.kind == FileKind::Folder) {
            return None;
        }
        let shape =
            temp_names::EntryShape { folder: meta.kind == FileKind::Folder, size: meta.size };
        let used_by =
            self.leaves_alone().then(|| temp_names::used_by(name.leaf(), shape)).flatten();
        if used_by.is_some() && meta.kind != FileKind::Other {
            return Some(FoundEntry { name, meta, target: None, unfinished: used_by });
        }
        match meta.kind {
            FileKind::File | FileKind::Folder => {
                Some(FoundEntry { name, meta, target: None, unfinished: None })
            }
            FileKind::Link => {
                let target = match self.folder.read_link(&name) {
                    Ok(target) => target,
                    Err(error) if is_gone(&error) => return None,
                    Err(error) => {
                        self.warn_unreadable(&name, &error);
                        return None;
                    }
                };
                if link_stays_inside(&name, &target) {
                    return Some(FoundEntry { name, meta, target: Some(target), unfinished: None });
                }
                let message = format!(
                    "the symbolic link leaves Outgoing, or leads into a `.rft` (it points to {}), and is not \
                     sent; put what it points to there instead",
                    escape(&target)
                );
                self.warn_once(Some(&name), &message);
                None
            }
            FileKind::Other => {
                let message = "it is a socket, a FIFO or a device and is not sent; only files, folders and \
                               links are";
                self.warn_once(Some(&name), message);
                None
            }
        }
    }

    /// Whether names of unfinished files are left alone.
    pub(crate) fn leaves_alone(&self) -> bool {
        self.temp_names == TempNames::LeaveAlone
    }

    /// Puts names first that mark the files beside them as unfinished.
    pub(crate) fn put_in_order(&self, listed: &mut [Listed]) {
        if self.leaves_alone() {
            listed.sort_by_key(|listed| {
                !listed.leaf.as_ref().is_ok_and(|leaf| temp_names::may_mark_others(leaf))
            });
        }
    }

    /// Warns that a folder or an entry cannot be examined.
    pub(crate) fn warn_unreadable(&mut self, name: &Name, error: &StoreError) {
        self.warn_once(Some(name), &format!("not sent: {}", error.without_path()));
    }

    /// Warns about a reserved name, unless it is that of one of rft's own files.
    fn warn_reserved(&mut self, leaf: &[u8]) {
        let own = leaf == IGNORE_FILE.as_bytes()
            || leaf.starts_with(PROBE_PREFIX)
            || (leaf == RESERVED_PREFIX && self.folder.has_own());
        if !own {
            let message = format!(
                "{} is not sent: names at the top of Outgoing that start with `.rft` are reserved for rft; rename \
                 it, or put it into a folder",
                escape(leaf)
            );
            self.warn_once(None, &message);
        }
    }

    fn warn_unnamed(&mut self, folder: Option<&Name>, leaf: &[u8], error: NameError) {
        let place = folder.map_or_else(String::new, |f| format!("{f}/"));
        self.warn_once(None, &format!("{place}{} is not sent: {error}", escape(leaf)));
    }

    /// Warns once about an entry (`None`: no single entry).
    pub(crate) fn warn_once(&mut self, name: Option<&Name>, message: &str) {
        let mut hasher = DefaultHasher::new();
        (name, message).hash(&mut hasher);
        if self.warned.len() >= MAX_WARNED {
            self.warned.clear();
        }
        if self.warned.insert(hasher.finish()) {
            self.skipped.push((name.cloned(), message.to_owned()));
            self.events.warn(name.cloned(), message);
        }
    }
}

/// Whether an error means that nothing has this name (any more).
pub(crate) fn is_gone(error: &StoreError) -> bool {
    matches!(error, StoreError::NotFound { .. } | StoreError::InTheWay { .. })
}
