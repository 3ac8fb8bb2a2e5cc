//! Compression of chunks, each separately (protocol.md section 4.6). Pure.
//!
//! A compressed chunk is one zstd frame (RFC 8878) without a dictionary. It replaces the chunk only
//! if it is shorter. Both sides know the chunk's length from the file's size, so a shorter record
//! shows that the chunk is compressed.

use bytes::BytesMut;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::find_frame_compressed_size;

/// The compression effort. The second saves about a sixth more, at a third of the speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// For links that are hardly slower than one core compresses.
    Little,
    /// For slow links, where the CPU has time.
    Much,
}

impl Effort {
    fn level(self) -> i32 {
        match self {
            Self::Little => 1,
            Self::Much => 5,
        }
    }
}

/// Minimum part of a chunk that compression must save, as its reciprocal. A smaller saving is not
/// worth the time.
const MIN_SAVED_RECIPROCAL: usize = 10;

/// Compresses chunks.
#[derive(Default)]
pub struct FrameCompressor(Compressor<'static>);

impl FrameCompressor {
    /// Appends the compressed chunk to `out` if it is at least a tenth shorter; otherwise does not
    /// change `out`. Returns whether it appended it.
    pub fn compress(&mut self, chunk: &[u8], effort: Effort, out: &mut BytesMut) -> bool {
        let start = out.len();
        // zstd stops when the output is full, so incompressible data costs less time.
        out.resize(start + chunk.len() - chunk.len().div_ceil(MIN_SAVED_RECIPROCAL), 0);
        let compressed = self
            .0
            .set_compression_level(effort.level())
            .and_then(|()| self.0.compress_to_buffer(chunk, &mut out[start..]));
        out.truncate(start + compressed.as_ref().map_or(0, |len| *len));
        compressed.is_ok() && !chunk.is_empty()
    }
}

/// The data is neither the chunk nor a valid compressed form of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent a compressed chunk that does not decompress to the chunk's length")]
pub struct NotCompressed;

/// Decompresses chunks into one buffer, which never grows beyond the longest chunk.
#[derive(Default)]
pub struct FrameDecompressor {
    /// Created for the first compressed chunk.
    context: Option<Decompressor<'static>>,
    chunk: Vec<u8>,
}

impl FrameDecompressor {
    /// The chunk of `len` bytes that was sent as `data`, with or without compression.
    ///
    /// # Errors
    /// [`NotCompressed`] unless `data` has `len` bytes, or is one frame of exactly `len` bytes. No
    /// more than `len` bytes are written, whatever length the frame claims.
    pub fn chunk<'a>(&'a mut self, data: &'a [u8], len: usize) -> Result<&'a [u8], NotCompressed> {
        if data.len() == len {
            return Ok(data);
        }
        if data.len() > len || find_frame_compressed_size(data) != Ok(data.len()) {
            return Err(NotCompressed);
        }
        if self.chunk.len() < len {
            self.chunk.resize(len, 0);
        }
        let chunk = &mut self.chunk[..len];
        match self.context.get_or_insert_default().decompress_to_buffer(data, &mut *chunk) {
            Ok(decompressed) if decompressed == len => Ok(chunk),
            _ => Err(NotCompressed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNK_SIZE: usize = 256 << 10;

    fn compressed(chunk: &[u8], effort: Effort) -> Option<Vec<u8>> {
        let mut out = BytesMut::from(&b"head"[..]);
        let compressed = FrameCompressor::default().compress(chunk, effort, &mut out);
        assert_eq!(&out[..4], b"head");
        assert!(compressed || out.len() == 4);
        compressed.then(|| out[4..].to_vec())
    }

    /// A zstd frame from another encoder's settings.
    fn frame(content: &[u8]) -> Vec<u8> {
        Compressor::new(19).unwrap().compress(content).unwrap()
    }

    fn decompressed(data: &[u8], len: usize) -> Result<Vec<u8>, NotCompressed> {
        FrameDecompressor::default().chunk(data, len).map(<[u8]>::to_vec)
    }

    /// Incompressible bytes.
    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new_derive_key("rft compress tests").finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn more_effort_compresses_text_further() {
        let text = include_bytes!("../docs/protocol.md");
        let little = compressed(text, Effort::Little).unwrap();
        let much = compressed(text, Effort::Much).unwrap();
        assert!(little.len() * 2 < text.len(), "{}", little.len());
        assert!(much.len() < little.len());
        assert_eq!(decompressed(&little, text.len()).unwrap(), text);
        assert_eq!(decompressed(&much, text.len()).unwrap(), text);
    }

    #[test]
    fn incompressible_data_is_not_compressed() {
        for len in [0, 1, 100, 4096, CHUNK_SIZE] {
            assert_eq!(compressed(&noise(len), Effort::Little), None, "{len}");
        }
        assert_eq!(decompressed(&noise(100), 100).unwrap(), noise(100));
        assert_eq!(decompressed(&[], 0), Ok(vec![]));
    }

    #[test]
    fn a_frame_of_another_length_is_refused() {
        let chunk = vec![7; 1000];
        let good = frame(&chunk);
        assert_eq!(decompressed(&good, 1000).unwrap(), chunk);
        for len in [0, 1, good.len() - 1, 999, 1001, CHUNK_SIZE] {
            assert_eq!(decompressed(&good, len), Err(NotCompressed), "{len}");
        }
    }

    #[test]
    fn a_decompression_bomb_is_refused_within_the_chunk() {
        let bomb = frame(&vec![0; 64 << 20]);
        assert!(bomb.len() < CHUNK_SIZE);
        let mut decompressor = FrameDecompressor::default();
        assert_eq!(decompressor.chunk(&bomb, CHUNK_SIZE), Err(NotCompressed));
        assert!(decompressor.chunk.capacity() <= CHUNK_SIZE);
        // It still decompresses valid frames.
        assert_eq!(decompressor.chunk(&frame(&[1; 99]), 99).unwrap(), [1; 99]);
    }

    #[test]
    fn only_one_frame_without_more_bytes_is_accepted() {
        let (half, whole) = (frame(&[5; 500]), [5; 1000]);
        assert_eq!(decompressed(&[&half[..], &half[..]].concat(), 1000), Err(NotCompressed));
        assert_eq!(decompressed(&[&frame(&whole)[..], &[0]].concat(), 1000), Err(NotCompressed));
        // A skippable frame has no content.
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 1];
        assert_eq!(decompressed(&skipped, 1000), Err(NotCompressed));
        assert_eq!(
            decompressed(&[&skipped[..], &frame(&whole)[..]].concat(), 1000),
            Err(NotCompressed)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_chunk_or_an_error(data in proptest::collection::vec(any::<u8>(), 0..300), len in 0usize..2000) {
            let mut decompressor = FrameDecompressor::default();
            if let Ok(chunk) = decompressor.chunk(&data, len) {
                prop_assert_eq!(chunk.len(), len);
            }
        }

        #[test]
        fn a_damaged_frame_gives_a_chunk_of_that_length_or_an_error(at in any::<prop::sample::Index>(), flip in 1u8..) {
            let chunk: Vec<u8> = (0..5000u32).map(|n| (n * n / 300) as u8).collect();
            let mut data = frame(&chunk);
            let at = at.index(data.len());
            data[at] ^= flip;
            if let Ok(chunk) = FrameDecompressor::default().chunk(&data, chunk.len()) {
                prop_assert_eq!(chunk.len(), 5000);
            }
        }
    }
}
