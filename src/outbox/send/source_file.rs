//! Reading one file, and the check that all of its bytes were of one version.

use super::error::DeliverError;
use crate::failpoint;
use crate::outbox::item::Item;
use crate::store::{DirCursor, Meta, StoreError, has_writer, meta_of};
use bytes::BytesMut;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// A file that was read to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadFile {
    /// BLAKE3 of its content.
    pub hash: [u8; 32],
    /// Its metadata at the end.
    pub meta: Meta,
}

/// An open file of Outgoing that is the one that was queued.
pub(crate) struct SourceFile {
    pub(crate) file: File,
    /// Its metadata when it was opened.
    meta: Meta,
    /// Its path, for messages.
    shown: String,
    /// It is read although a program has it open for writing.
    snapshot: bool,
}

impl SourceFile {
    /// Opens the file of an item.
    ///
    /// # Errors
    /// [`DeliverError::Changed`] if it is not the file that was queued,
    /// [`DeliverError::Open`] while a program has it open for writing.
    pub(crate) fn open(walk: &mut DirCursor<'_>, item: &Item) -> Result<Self, DeliverError> {
        let (file, meta) = match walk.open_file(&item.name) {
            // On Windows, a file that a program writes cannot be opened with write sharing denied.
            Err(StoreError::Busy { .. }) => return Err(DeliverError::Open),
            opened => opened?,
        };
        let (shown, snapshot) = (walk.shown(&item.name), item.snapshot);
        if !meta.same_file(&item.meta) || meta.mode != item.meta.mode {
            return Err(DeliverError::Changed);
        }
        if !snapshot && has_writer(&file) {
            return Err(DeliverError::Open);
        }
        Ok(Self { file, meta, shown, snapshot })
    }

    /// Reads exactly `len` bytes into the buffer, after its first `start` bytes. A file that ends
    /// early was truncated, and counts as changed.
    pub(crate) fn fill(
        &mut self,
        buffer: &mut BytesMut,
        start: usize,
        len: usize,
    ) -> Result<(), DeliverError> {
        // Bytes that the buffer has already are not cleared.
        buffer.resize(start + len, 0);
        let read =
            failpoint::io("send.read").and_then(|()| self.file.read_exact(&mut buffer[start..]));
        match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(DeliverError::Changed)
            }
            read => self.named(read),
        }
    }

    /// Checks that the bytes that were read, which have this hash, are one version of the file: the
    /// file ends here, no program has it open for writing, and its size and times are those from
    /// its opening. The times are checked last, since they show a write by a program that opened
    /// the file after the question about writers.
    pub(crate) fn check_end(&mut self, hash: [u8; 32]) -> Result<ReadFile, DeliverError> {
        let more = self.file.read(&mut [0]);
        if self.named(more)? > 0 {
            return Err(DeliverError::Changed);
        }
        if !self.snapshot && has_writer(&self.file) {
            return Err(DeliverError::Opened);
        }
        let mut meta = self.named(meta_of(&self.file))?;
        if meta.same_file(&self.meta) && !meta.unchanged(&self.meta) {
            // New permissions, an attribute, another hard link; or a write whose time was set back.
            // Only the content tells.
            meta = self.read_again(hash)?;
        }
        if !meta.same_file(&self.meta) {
            return Err(DeliverError::Changed);
        }
        Ok(ReadFile { hash, meta })
    }

    /// Reads the whole file once more. It must have this hash, and must not be touched meanwhile.
    fn read_again(&mut self, hash: [u8; 32]) -> Result<Meta, DeliverError> {
        let before = self.named(meta_of(&self.file))?;
        self.start_over()?;
        let mut hasher = blake3::Hasher::new();
        let read = hasher.update_reader(&self.file).map(|_| ());
        self.named(read)?;
        let after = self.named(meta_of(&self.file))?;
        if *hasher.finalize().as_bytes() == hash && after.unchanged(&before) {
            Ok(after)
        } else {
            Err(DeliverError::Changed)
        }
    }

    /// Checks that the whole file has this hash, under which the peer claims to hold it.
    pub(crate) fn verify(&mut self, hash: [u8; 32]) -> Result<ReadFile, DeliverError> {
        let meta = match self.read_again(hash) {
            Err(DeliverError::Changed) => return Err(DeliverError::OtherContent),
            read => read?,
        };
        self.meta = meta;
        self.check_end(hash)
    }

    pub(crate) fn start_over(&mut self) -> Result<(), DeliverError> {
        let sought = self.file.seek(SeekFrom::Start(0));
        self.named(sought).map(|_| ())
    }

    /// An I/O error with the path. It does not count as a change of the file, which is tried again.
    fn named<T>(&self, result: io::Result<T>) -> Result<T, DeliverError> {
        result.map_err(|error| StoreError::new("read", &self.shown, &error).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use crate::outbox::queue::model::file;
    use crate::outbox::queue::model::name;
    use crate::proto::message::EntryKind;
    use crate::store::Folder;

    /// A read of the process's memory at address 0 fails with an I/O error, as that of a bad disk.
    #[cfg(target_os = "linux")]
    #[test]
    fn an_unreadable_file_does_not_count_as_changed() {
        let shown = "Outgoing/f".to_owned();
        let file_of_memory = File::open("/proc/self/mem").unwrap();
        let mut broken =
            SourceFile { file: file_of_memory, meta: file(1, 5, 1), shown, snapshot: false };
        let error = broken.fill(&mut BytesMut::new(), 0, 5).unwrap_err();
        assert!(matches!(error, DeliverError::Source(StoreError::Io { .. })), "{error}");
        assert!(
            error.to_string().starts_with("Outgoing/f: could not read it: Input/output error"),
            "{error}"
        );
        assert!(matches!(broken.check_end([0; 32]).unwrap_err(), DeliverError::Source(_)));
    }

    #[test]
    fn a_file_that_shrinks_or_grows_counts_as_changed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "hello").unwrap();
        let folder = Folder::open(dir.path(), false).unwrap();
        let meta = folder.stat(&name("f")).unwrap();
        let item = Item {
            name: name("f"),
            meta,
            kind: EntryKind::File { size: 5 },
            id: crate::proto::message::TransferId([1; 16]),
            attempt: 0,
            first_offer: false,
            snapshot: false,
            urgent: false,
            ask_first: false,
            receiver: 0,
            content: None,
        };
        let hash = *blake3::hash(b"hello").as_bytes();
        let open = || SourceFile::open(&mut folder.walk(), &item);
        let mut reading = open().unwrap();
        assert!(matches!(reading.fill(&mut BytesMut::new(), 0, 6), Err(DeliverError::Changed)));
        let mut reading = open().unwrap();
        reading.fill(&mut BytesMut::new(), 0, 4).unwrap();
        assert!(matches!(reading.check_end(hash), Err(DeliverError::Changed)));
        let mut reading = open().unwrap();
        reading.fill(&mut BytesMut::new(), 0, 5).unwrap();
        reading.check_end(hash).unwrap();
        std::fs::write(dir.path().join("f"), "hello!").unwrap();
        assert!(matches!(reading.check_end(hash), Err(DeliverError::Changed)));
        assert!(matches!(open(), Err(DeliverError::Changed)));
    }
}
