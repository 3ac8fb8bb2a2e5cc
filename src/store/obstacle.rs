//! What stands in Incoming where an entry that was offered wants to be: so that it is refused before its content comes, and
//! taken as soon as its place is free.

use super::error::StoreError;
use super::incoming::Incoming;
use super::meta::{FileKind, Meta};
use super::os;
use crate::proto::message::{EntryKind, Offer};
use crate::proto::name::Name;

/// The first thing on the way to a name that is not a folder on Incoming's volume, or what stands at the name itself.
#[derive(Debug, Clone)]
pub struct Obstacle {
    name: Name,
    meta: Meta,
    /// It is a folder, and on another volume than Incoming.
    is_mount: bool,
}

impl PartialEq for Obstacle {
    /// Whether it is the same thing. A file whose content changed is another one; a folder is not.
    fn eq(&self, other: &Self) -> bool {
        let same = match self.meta.kind {
            FileKind::Folder => self.meta.same_inode(&other.meta) && other.meta.kind == FileKind::Folder,
            _ => self.meta.same_file(&other.meta),
        };
        same && self.name == other.name && self.is_mount == other.is_mount
    }
}

impl Incoming {
    /// What stands on the way to a name, or there.
    pub fn obstacle(&self, name: &Name) -> Option<Obstacle> {
        let mut walk = self.folder().walk();
        let mount = os::mount_of(&*walk.dir(None).ok()?).ok();
        let (mut above, mut way) = (name.parent(), vec![name.clone()]);
        while let Some(folder) = above {
            above = folder.parent();
            way.push(folder);
        }
        // From the top.
        while let Some(next) = way.pop() {
            let meta = walk.stat(&next).ok()?;
            let is_mount = meta.kind == FileKind::Folder
                && mount.is_some_and(|mount| {
                    let own = walk.dir(Some(&next)).ok().and_then(|dir| os::mount_of(&dir).ok());
                    own.is_some_and(|own| own != mount)
                });
            if meta.kind != FileKind::Folder || is_mount || way.is_empty() {
                return Some(Obstacle { name: next, meta, is_mount });
            }
        }
        None
    }

    /// Why an offered entry cannot get its place, as far as that can be told before its content comes. With `keep`,
    /// whatever stands there is kept.
    ///
    /// # Errors
    /// [`StoreError::InTheWay`], [`StoreError::Mounted`], [`StoreError::Conflict`].
    pub fn is_free_for(&self, offer: &Offer, keep: bool) -> Result<(), StoreError> {
        let Some(Obstacle { name, meta, is_mount }) = self.obstacle(&offer.name) else { return Ok(()) };
        let path = self.folder().shown(&name);
        let (at, is_folder) = (name == offer.name, meta.kind == FileKind::Folder);
        match &offer.kind {
            // A folder can be made, or be there, on any volume.
            EntryKind::Folder if is_folder => Ok(()),
            _ if is_mount && !at => Err(StoreError::Mounted { path }),
            EntryKind::Folder => Err(StoreError::InTheWay { path }),
            _ if !at => Err(StoreError::InTheWay { path }),
            EntryKind::File { size }
                if keep && !is_folder && (meta.size != *size || meta.kind != FileKind::File) =>
            {
                Err(StoreError::Conflict { path })
            }
            EntryKind::File { .. } | EntryKind::Link { .. } => Ok(()),
        }
    }

    /// As [`StoreError::new`] for a rename into the folder of `name` that crosses volumes.
    pub(crate) fn mounted_above(&self, name: &Name) -> StoreError {
        let above = self.obstacle(name).filter(|obstacle| obstacle.is_mount).map(|obstacle| obstacle.name);
        let above = above.or_else(|| name.parent()).unwrap_or_else(|| name.clone());
        StoreError::Mounted { path: self.folder().shown(&above) }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::config::Folders;
    use crate::proto::message::{Timestamp, TransferId};
    use crate::store::StateDir;

    #[test]
    fn what_is_in_the_way_is_known_before_the_content_comes() {
        let base = tempfile::tempdir().unwrap();
        let folders = Folders::in_dir(base.path());
        let state = StateDir::open(&folders).unwrap();
        let incoming = Incoming::open(&folders.incoming, &state).unwrap();
        let at = |name: &str| folders.incoming.join(name);
        std::fs::create_dir_all(at("d/e")).unwrap();
        std::fs::write(at("d/f"), "four").unwrap();
        let name = |text: &str| Name::parse(text.as_bytes()).unwrap();
        let free = |text: &str, kind, keep| {
            let offer = Offer {
                id: TransferId([1; 16]),
                name: name(text),
                kind,
                modified: Timestamp::default(),
                mode: None,
                inline: false,
            };
            incoming.is_free_for(&offer, keep)
        };
        let file = |size| EntryKind::File { size };
        for (text, kind) in [("d/f/g", file(1)), ("d/f/g/h", EntryKind::Folder), ("d/f", EntryKind::Folder)] {
            let refused = free(text, kind, false);
            assert!(matches!(refused, Err(StoreError::InTheWay { path }) if path.ends_with("d/f")), "{text}");
        }
        for (text, kind) in
            [("d/f", file(9)), ("d/e", EntryKind::Folder), ("d/e/x", file(1)), ("x/y", file(1))]
        {
            assert!(free(text, kind, false).is_ok(), "{text}");
        }
        assert!(matches!(free("d/f", file(9), true), Err(StoreError::Conflict { .. })));
        // The same size may be the same content.
        assert!(free("d/f", file(4), true).is_ok());

        let before = incoming.obstacle(&name("d/f/g")).unwrap();
        assert_eq!(incoming.obstacle(&name("d/f/other")), Some(before.clone()));
        std::fs::write(at("d/f"), "other").unwrap();
        assert_ne!(incoming.obstacle(&name("d/f/g")), Some(before));
        std::fs::remove_file(at("d/f")).unwrap();
        assert_eq!(incoming.obstacle(&name("d/f/g")), None);
        let folder = incoming.obstacle(&name("d/e"));
        std::fs::write(at("d/e/new"), "").unwrap();
        assert_eq!(incoming.obstacle(&name("d/e")), folder);
    }
}
