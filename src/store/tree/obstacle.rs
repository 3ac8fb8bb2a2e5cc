//! An entry in Incoming that is in the way of an offered one.

use super::meta::{FileKind, Meta};
use super::os;
use crate::proto::name::Name;
use crate::store::error::StoreError;
use crate::store::incoming::Incoming;

/// The first component of a name that is not a folder on Incoming's volume, or the entry at the
/// name itself.
#[derive(Debug, Clone)]
pub struct Obstacle {
    name: Name,
    meta: Meta,
    /// It is a folder on another volume than Incoming.
    is_mount: bool,
}

impl PartialEq for Obstacle {
    /// Whether it is the same entry. A file with other content counts as another entry; a folder
    /// does not.
    fn eq(&self, other: &Self) -> bool {
        let same = match self.meta.kind {
            FileKind::Folder => {
                self.meta.same_inode(&other.meta) && other.meta.kind == FileKind::Folder
            }
            _ => self.meta.same_file(&other.meta),
        };
        same && self.name == other.name && self.is_mount == other.is_mount
    }
}

impl Obstacle {
    /// Whether it is a file.
    pub fn is_file(&self) -> bool {
        self.meta.kind == FileKind::File
    }
}

impl Incoming {
    /// The entry that is in the way of a name, or at it.
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

    /// As [`StoreError::new`] for a rename into the folder of `name` that crosses volumes.
    pub(crate) fn mounted_above(&self, name: &Name) -> StoreError {
        let above =
            self.obstacle(name).filter(|obstacle| obstacle.is_mount).map(|obstacle| obstacle.name);
        let above = above.or_else(|| name.parent()).unwrap_or_else(|| name.clone());
        StoreError::Mounted { path: self.folder().shown(&above) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Folders;
    use crate::store::StateDir;

    #[test]
    fn an_obstacle_is_the_same_until_it_is_gone_or_changed() {
        let base = tempfile::tempdir().unwrap();
        let folders = Folders::in_dir(base.path());
        let state = StateDir::open(&folders).unwrap();
        let incoming = Incoming::open(&folders.incoming, &state).unwrap();
        let at = |name: &str| folders.incoming.join(name);
        std::fs::create_dir_all(at("d/e")).unwrap();
        std::fs::write(at("d/f"), "four").unwrap();
        let name = |text: &str| Name::parse(text.as_bytes()).unwrap();
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
