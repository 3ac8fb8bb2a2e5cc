//! One staged file: written at any offset, and found again after a crash.

use crate::failpoint::fail_point;
use crate::proto::chunk_set::ChunkSet;
use crate::proto::codec::Reader;
use crate::proto::message::{Timestamp, TransferId};
use crate::store::error::{Naming, StoreError};
use crate::store::state::WorkDir;
use crate::store::tree::os;
use bytes::BytesMut;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Suffix of the name of a checkpoint, after the name of its staged file.
pub(crate) const CHECKPOINT_SUFFIX: &str = ".prefix";

/// A file in the stage. Its name is derived from the transfer id.
#[derive(Debug)]
pub struct Staged {
    id: TransferId,
    stage: WorkDir,
    file: File,
    /// The file with the set of chunks that are on stable storage, from the first checkpoint on.
    checkpoint: OnceLock<File>,
    /// The file cannot be resumed and is not published. It is removed when this value is dropped,
    /// so that offers without data leave no files.
    fleeting: AtomicBool,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if *self.fleeting.get_mut() {
            self.remove_checkpoint();
            let _: io::Result<()> = os::unlink(&self.stage.dir, &leaf_of(self.id));
        }
    }
}

/// The name of a transfer's staged file. The peer cannot choose it.
pub(crate) fn leaf_of(id: TransferId) -> OsString {
    id.to_string().into()
}

impl Staged {
    /// The name of its checkpoint.
    pub(crate) fn checkpoint_leaf(id: TransferId) -> OsString {
        format!("{id}{CHECKPOINT_SUFFIX}").into()
    }

    pub(crate) fn open(stage: &WorkDir, id: TransferId) -> Result<(Self, ChunkSet), StoreError> {
        let shown = || stage.path.join(leaf_of(id)).display().to_string();
        let leaf = leaf_of(id);
        let file = match os::open_edit(&stage.dir, &leaf) {
            Ok((file, _)) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let created = os::create_new(&stage.dir, &leaf).naming("create", shown)?;
                fail_point("stage.created");
                created
            }
            // A link, or a file without access for this user, cannot be resumed.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
                ) =>
            {
                os::unlink(&stage.dir, &leaf).naming("remove", shown)?;
                os::create_new(&stage.dir, &leaf).naming("create", shown)?
            }
            Err(error) => return Err(StoreError::new("open", shown(), &error)),
        };
        let checkpoint =
            os::open_edit(&stage.dir, &Self::checkpoint_leaf(id)).ok().map(|(file, _)| file);
        let checkpoint = checkpoint.map_or_else(OnceLock::new, OnceLock::from);
        let staged =
            Self { id, stage: stage.clone(), file, checkpoint, fleeting: AtomicBool::new(false) };
        let held = staged.recorded();
        if held.is_empty() {
            staged.truncate(0)?;
        }
        Ok((staged, held))
    }

    /// Creates the staged file of a small file, which is written at once. A file of an earlier
    /// attempt is removed.
    pub(crate) fn create(stage: &WorkDir, id: TransferId) -> Result<Self, StoreError> {
        let leaf = leaf_of(id);
        let shown = || stage.path.join(&leaf).display().to_string();
        let file = match os::create_new(&stage.dir, &leaf) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                os::unlink(&stage.dir, &leaf).and_then(|()| os::create_new(&stage.dir, &leaf))
            }
            created => created,
        };
        Ok(Self {
            id,
            stage: stage.clone(),
            file: file.naming("create", shown)?,
            checkpoint: OnceLock::new(),
            fleeting: AtomicBool::new(false),
        })
    }

    /// Closes a complete file that stays in the stage until [`Staged::reopen`]. Without a
    /// checkpoint the next start removes it.
    pub(crate) fn close(mut self) {
        *self.fleeting.get_mut() = false;
    }

    /// Opens a complete file again.
    pub(crate) fn reopen(stage: &WorkDir, id: TransferId) -> Result<Self, StoreError> {
        let leaf = leaf_of(id);
        let file = os::open_edit(&stage.dir, &leaf)
            .naming("open", || stage.path.join(&leaf).display().to_string())?;
        let checkpoint = os::open_edit(&stage.dir, &Self::checkpoint_leaf(id)).ok();
        let checkpoint = checkpoint.map_or_else(OnceLock::new, |(file, _)| OnceLock::from(file));
        let fleeting = AtomicBool::new(false);
        Ok(Self { id, stage: stage.clone(), file: file.0, checkpoint, fleeting })
    }

    /// BLAKE3 of the content.
    pub(crate) fn hash(&self) -> Result<[u8; 32], StoreError> {
        let (mut hasher, mut buffer, mut offset) = (blake3::Hasher::new(), vec![0; 256 * 1024], 0);
        loop {
            match os::read_at(&self.file, &mut buffer, offset).naming("read", || self.shown())? {
                0 => return Ok(*hasher.finalize().as_bytes()),
                length => {
                    hasher.update(&buffer[..length]);
                    offset += length as u64;
                }
            }
        }
    }

    /// The set in the checkpoint; empty if there is none. The file need not hold these chunks: a power
    /// loss may have kept the checkpoint and not the file's length.
    fn recorded(&self) -> ChunkSet {
        let mut bytes = [0; ChunkSet::MAX_LEN];
        let read = self
            .checkpoint
            .get()
            .and_then(|checkpoint| os::read_at(checkpoint, &mut bytes, 0).ok());
        // After a shorter set, the file still contains the rest of a longer one.
        let set = read.and_then(|len| ChunkSet::decode(&mut Reader::new(&bytes[..len])).ok());
        set.unwrap_or_default()
    }

    /// The file's length in bytes.
    ///
    /// # Errors
    /// [`StoreError`] if the system does not report it.
    pub fn length(&self) -> Result<u64, StoreError> {
        Ok(os::stat_file(&self.file).naming("look at", || self.shown())?.size)
    }

    fn shown(&self) -> String {
        self.stage.path.join(leaf_of(self.id)).display().to_string()
    }

    /// The transfer of the file.
    pub fn id(&self) -> TransferId {
        self.id
    }

    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    /// [`StoreError`], with [`StoreError::NoSpace`] when the disk is full.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        os::write_at(&self.file, data, offset).naming("write", || self.shown())
    }

    /// Reads all of `buffer` from `offset`.
    ///
    /// # Errors
    /// [`StoreError`], also if the file is shorter.
    pub fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> Result<(), StoreError> {
        while !buffer.is_empty() {
            let n = os::read_at(&self.file, buffer, offset).naming("read", || self.shown())?;
            if n == 0 {
                return Err(StoreError::new(
                    "read",
                    self.shown(),
                    &io::ErrorKind::UnexpectedEof.into(),
                ));
            }
            buffer = &mut buffer[n..];
            offset += n as u64;
        }
        Ok(())
    }

    /// Syncs the file, and then writes `held`, the chunks that the file holds, to the checkpoint,
    /// so that a later attempt can resume. That is not synced: it survives a kill, and after a power
    /// loss a wrong checkpoint costs bytes, never correctness, since the hashes are compared. Only
    /// one thread may call this at a time; others may write chunks that are not in `held`
    /// meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] when either cannot be written.
    pub fn checkpoint(&self, held: &ChunkSet) -> Result<(), StoreError> {
        os::sync_data(&self.file).naming("sync", || self.shown())?;
        fail_point("stage.synced");
        let checkpoint = match self.checkpoint.get() {
            Some(checkpoint) => checkpoint,
            None => {
                let made = os::create_new(&self.stage.dir, &Self::checkpoint_leaf(self.id))
                    .naming("create", || self.shown())?;
                self.checkpoint.get_or_init(|| made)
            }
        };
        fail_point("stage.checkpoint_made");
        self.write_checkpoint(checkpoint, held)?;
        fail_point("stage.checkpoint_written");
        self.fleeting.store(held.is_empty(), Ordering::Relaxed);
        Ok(())
    }

    /// Truncates the file, and clears its checkpoint.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be changed.
    pub fn truncate(&self, len: u64) -> Result<(), StoreError> {
        self.fleeting.store(true, Ordering::Relaxed);
        if let Some(checkpoint) = self.checkpoint.get() {
            self.write_checkpoint(checkpoint, &ChunkSet::EMPTY)?;
        }
        os::set_len(&self.file, len).naming("cut", || self.shown())
    }

    fn write_checkpoint(&self, checkpoint: &File, held: &ChunkSet) -> Result<(), StoreError> {
        let mut bytes = BytesMut::new();
        held.encode(&mut bytes);
        os::write_at(checkpoint, &bytes, 0).naming("write", || self.shown())
    }

    /// Drops the file.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be removed.
    pub fn discard(mut self) -> Result<(), StoreError> {
        *self.fleeting.get_mut() = false;
        self.remove_checkpoint();
        os::unlink(&self.stage.dir, &leaf_of(self.id)).naming("remove", || self.shown())
    }

    /// Whether there is a checkpoint.
    pub(crate) fn has_checkpoint(&self) -> bool {
        self.checkpoint.get().is_some()
    }

    fn remove_checkpoint(&self) {
        if self.checkpoint.get().is_some() {
            let _: io::Result<()> = os::unlink(&self.stage.dir, &Self::checkpoint_leaf(self.id));
        }
    }

    /// Sets the length: an earlier attempt may have left a longer file.
    pub(crate) fn end_at(&self, size: u64) -> Result<(), StoreError> {
        let length = self.length()?;
        if length < size {
            return Err(StoreError::new(
                "read",
                self.shown(),
                &io::ErrorKind::UnexpectedEof.into(),
            ));
        }
        if length > size {
            os::set_len(&self.file, size).naming("cut", || self.shown())?;
        }
        Ok(())
    }

    /// Sets the permission bits and the time. From here on the publication owns the file.
    pub(crate) fn finish(
        &mut self,
        mode: Option<u32>,
        modified: Timestamp,
    ) -> Result<(), StoreError> {
        *self.fleeting.get_mut() = false;
        os::set_file(&self.file, mode, modified).naming("set the time of", || self.shown())
    }

    /// Syncs the file, with its time and permissions.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        os::sync_file(&self.file).naming("sync", || self.shown())
    }
}
