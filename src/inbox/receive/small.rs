//! A small file: one record after its offer, held in memory until it is committed.

use super::super::error::{ReceiveError, refused};
use super::Inbox;
use crate::compress::FrameDecompressor;
use crate::crypto::seal::RecordKind;
use crate::proto::codec::Malformed;
use crate::proto::message::{CHUNK_SIZE, Refusal, Trailer};
use crate::session::record::RecordReader;
use crate::store::Content;
use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

impl Inbox {
    /// Reads the content of an inline file, once the memory budget has room for it.
    pub(super) async fn small(
        &self,
        size: u64,
        mut reader: RecordReader,
    ) -> Result<(Content, [u8; 32]), ReceiveError> {
        if size > CHUNK_SIZE as u64 {
            return Err(Malformed.into());
        }
        #[allow(clippy::cast_possible_truncation)] // at most a chunk
        let permit = self.small.clone().acquire_many_owned(size as u32).await;
        let permit =
            permit.map_err(|_| ReceiveError::Internal("the memory budget is gone".into()))?;
        let (kind, mut plaintext) = reader.next(size as usize + Trailer::LEN).await?;
        if kind != RecordKind::Final {
            return Err(Malformed.into());
        }
        let (data, trailer) = Trailer::split(&plaintext)?;
        if trailer.size != size {
            return Err(Malformed.into());
        }
        if data.len() as u64 == size {
            plaintext.truncate(plaintext.len() - Trailer::LEN);
        } else {
            plaintext = BytesMut::from(FrameDecompressor::default().chunk(data, size as usize)?);
        }
        if *blake3::hash(&plaintext).as_bytes() != trailer.hash {
            return Err(refused(Refusal::Corrupt, "its hash is not the announced one"));
        }
        let content = Bytes::from_owner(BudgetedBytes { plaintext, _permit: permit });
        Ok((Content::Bytes(content), trailer.hash))
    }
}

/// A small file's content, and its part of the memory budget until it is dropped.
struct BudgetedBytes {
    plaintext: BytesMut,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for BudgetedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.plaintext
    }
}
