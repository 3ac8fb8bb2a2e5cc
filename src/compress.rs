//! Chunks made smaller, each by itself (protocol.md section 4.6). Pure.
//!
//! A compressed chunk is one frame of zstd (RFC 8878), without a dictionary. It stands in place of
//! the chunk where it is shorter, so its length alone says whether a chunk is compressed: how long
//! the chunk is itself, both sides know from the file's size.

use bytes::BytesMut;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::find_frame_compressed_size;

/// How hard zstd tries. The second takes off about a sixth more, at a third of the speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// For links of which a core is hardly ahead.
    Little,
    /// For slow links, where time is there.
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

/// What compression must save of a chunk, as its reciprocal: with less, the time to pack and to
/// decompress is not worth it.
const MIN_SAVED: usize = 10;

/// Packs chunks.
#[derive(Default)]
pub struct FrameCompressor(Compressor<'static>);

impl FrameCompressor {
    /// Appends the compressed form of `chunk` to `out` when it is shorter by a tenth at least; else
    /// leaves `out` alone. Whether it did is returned.
    pub fn compress(&mut self, chunk: &[u8], effort: Effort, out: &mut BytesMut) -> bool {
        let start = out.len();
        // zstd gives up when it runs out of room, so what does not pack well costs less.
        out.resize(start + chunk.len() - chunk.len().div_ceil(MIN_SAVED), 0);
        let compressed = self
            .0
            .set_compression_level(effort.level())
            .and_then(|()| self.0.compress_to_buffer(chunk, &mut out[start..]));
        out.truncate(start + compressed.as_ref().map_or(0, |len| *len));
        compressed.is_ok() && !chunk.is_empty()
    }
}

/// What came in a chunk's place is not the chunk compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what came in a chunk's place is not that chunk compressed")]
pub struct NotCompressed;

/// Unpacks chunks into one buffer, which never grows beyond the longest of them.
#[derive(Default)]
pub struct FrameDecompressor {
    /// Made when the first compressed chunk comes.
    context: Option<Decompressor<'static>>,
    chunk: Vec<u8>,
}

impl FrameDecompressor {
    /// The chunk of `len` bytes that came as `data`, compressed or as it is.
    ///
    /// # Errors
    /// [`NotCompressed`] for anything but `len` bytes, or one frame of exactly `len` bytes. No more
    /// are ever written, whatever the frame claims or holds.
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

    /// Any frame of zstd, as somebody else would make it.
    fn frame(content: &[u8]) -> Vec<u8> {
        Compressor::new(19).unwrap().compress(content).unwrap()
    }

    fn decompressed(data: &[u8], len: usize) -> Result<Vec<u8>, NotCompressed> {
        FrameDecompressor::default().chunk(data, len).map(<[u8]>::to_vec)
    }

    /// Bytes without any pattern.
    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new_derive_key("rft pack tests").finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn text_gets_shorter_and_more_so_with_effort() {
        let text = include_bytes!("../docs/protocol.md");
        let little = compressed(text, Effort::Little).unwrap();
        let much = compressed(text, Effort::Much).unwrap();
        assert!(little.len() * 2 < text.len(), "{}", little.len());
        assert!(much.len() < little.len());
        assert_eq!(decompressed(&little, text.len()).unwrap(), text);
        assert_eq!(decompressed(&much, text.len()).unwrap(), text);
    }

    #[test]
    fn noise_is_left_alone() {
        for len in [0, 1, 100, 4096, CHUNK_SIZE] {
            assert_eq!(compressed(&noise(len), Effort::Little), None, "{len}");
        }
        assert_eq!(decompressed(&noise(100), 100).unwrap(), noise(100));
        assert_eq!(decompressed(&[], 0), Ok(vec![]));
    }

    #[test]
    fn a_frame_gives_its_chunk_and_not_a_byte_more_or_less() {
        let chunk = vec![7; 1000];
        let good = frame(&chunk);
        assert_eq!(decompressed(&good, 1000).unwrap(), chunk);
        for len in [0, 1, good.len() - 1, 999, 1001, CHUNK_SIZE] {
            assert_eq!(decompressed(&good, len), Err(NotCompressed), "{len}");
        }
    }

    #[test]
    fn a_bomb_is_refused_within_the_chunk() {
        let bomb = frame(&vec![0; 64 << 20]);
        assert!(bomb.len() < CHUNK_SIZE);
        let mut decompressor = FrameDecompressor::default();
        assert_eq!(decompressor.chunk(&bomb, CHUNK_SIZE), Err(NotCompressed));
        assert!(decompressor.chunk.capacity() <= CHUNK_SIZE);
        // And it serves on.
        assert_eq!(decompressor.chunk(&frame(&[1; 99]), 99).unwrap(), [1; 99]);
    }

    #[test]
    fn one_frame_and_nothing_behind_it() {
        let (half, whole) = (frame(&[5; 500]), [5; 1000]);
        assert_eq!(decompressed(&[&half[..], &half[..]].concat(), 1000), Err(NotCompressed));
        assert_eq!(decompressed(&[&frame(&whole)[..], &[0]].concat(), 1000), Err(NotCompressed));
        // A frame to be skipped holds nothing.
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 1];
        assert_eq!(decompressed(&skipped, 1000), Err(NotCompressed));
        assert_eq!(
            decompressed(&[&skipped[..], &frame(&whole)[..]].concat(), 1000),
            Err(NotCompressed)
        );
    }

    proptest! {
        #[test]
        fn whatever_comes_gives_the_chunk_or_an_error(data in proptest::collection::vec(any::<u8>(), 0..300), len in 0usize..2000) {
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
