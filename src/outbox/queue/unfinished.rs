//! Pure: the files and folders whose names, or neighbours, say that they are unfinished.

use super::index::is_beneath;
use crate::outbox::watch::settle::Moment;
use crate::proto::name::Name;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long an unfinished file must exist before the user is told. Most are renamed sooner, and a
/// copy of ten thousand files would be ten thousand lines.
pub(crate) const TELL_AFTER: Duration = Duration::from_secs(2);

/// Why an entry is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnfinishedReason {
    /// These programs give such names to unfinished files.
    Name(&'static str),
    /// An unfinished download of it is beside it.
    Download,
}

impl UnfinishedReason {
    /// A sentence for the user, who sees the path beside it.
    pub(crate) fn message(self) -> String {
        match self {
            Self::Name(used_by) => format!(
                "left alone: the name of an unfinished file ({used_by}); it is sent when it is renamed: rename \
                 it, or use --temp-names none"
            ),
            Self::Download => {
                "left alone: an unfinished download of it is beside it; it is sent when that \
                               is complete or removed; or use --temp-names none"
                    .into()
            }
        }
    }
}

/// An entry that is left alone.
#[derive(Debug)]
pub(crate) struct UnfinishedFile {
    pub reason: UnfinishedReason,
    pub since: Moment,
    /// The user was told.
    pub told: bool,
    /// The number of the scan that last saw it.
    pub seen: u32,
}

/// All entries that are left alone. They are not in the table.
#[derive(Debug, Default)]
pub(crate) struct UnfinishedFiles(pub(super) BTreeMap<Name, UnfinishedFile>);

impl UnfinishedFiles {
    pub(crate) fn contains(&self, name: &Name) -> bool {
        self.0.contains_key(name)
    }

    /// Their names, in order.
    pub(crate) fn names(&self) -> Vec<Name> {
        self.0.keys().cloned().collect()
    }

    /// Whether a folder holds any of them, at any depth.
    pub(crate) fn is_any_beneath(&self, folder: &Name) -> bool {
        self.beneath(folder).next().is_some()
    }

    pub(crate) fn beneath<'a>(&'a self, folder: &'a Name) -> impl Iterator<Item = &'a Name> {
        // The least name that an entry of it can have. If that is too long, the folder is empty.
        let first = folder.join(b"\x01").ok();
        first
            .into_iter()
            .flat_map(|first| self.0.range(first..))
            .map(|(name, _)| name)
            .take_while(move |name| is_beneath(name, folder))
    }

    /// When the user is to be told of the next one.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.0.values().filter(|file| !file.told).map(|file| file.since.after(TELL_AFTER)).min()
    }

    /// Those that have existed for [`TELL_AFTER`] and that the user does not know of yet.
    pub(crate) fn take_news(&mut self, now: Moment) -> Vec<(Name, UnfinishedReason)> {
        let news =
            self.0.iter_mut().filter(|(_, file)| !file.told && file.since.after(TELL_AFTER) <= now);
        news.map(|(name, file)| {
            file.told = true;
            (name.clone(), file.reason)
        })
        .collect()
    }
}
