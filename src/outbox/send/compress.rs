//! Whether a file's chunks are compressed. Compression is to make a transfer faster, never slower.
//!
//! A large file is looked at first: a few samples say whether compression it saves anything. If so,
//! a slow link gets everything compressed, and a fast one nothing. In between, where the link takes
//! less than a third of what zstd gives, those chunks are compressed that would have to wait for
//! the stream.

use crate::compress::{Effort, FrameCompressor};
use crate::crypto::seal::{HEADER_LEN, Sealer};
use crate::proto::message::Trailer;
use crate::session::PathRate;
use bytes::BytesMut;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

/// Places of a large file that are looked at.
const SAMPLES: u64 = 4;
/// Bytes at each: a part of the file, within these bounds.
const SAMPLE_PART: u64 = 128;
const SAMPLE: std::ops::RangeInclusive<u64> = (4 << 10)..=(16 << 10);
/// Shorter files are one packet or two, compressed or not.
const SMALLEST: u64 = 1 << 10;
/// The link is so many times slower than zstd when compression is worth it: it has to share the
/// processor with all the rest.
const WORTH: f64 = 3.0;
/// And so many times slower when there is time for more effort: while congestion control starts up,
/// its estimate is several times the link's rate.
const SLOW: f64 = 8.0;
/// Bytes per second of a link on which small files are compressed. One that is idle on loopback is
/// above it.
const SLOW_FOR_SMALL: u64 = 25_000_000;
/// Chunks that go decompressed after one that did not get shorter; doubled each time up to the
/// last.
const REST: u32 = 1;
const LONGEST_REST: u32 = 64;

/// What a session has to say about it.
#[derive(Debug, Clone)]
pub struct Compression {
    wanted: bool,
    link: PathRate,
}

impl Compression {
    /// `wanted` when the user has nothing against it and the peer can decompress.
    pub fn new(wanted: bool, link: PathRate) -> Self {
        Self { wanted, link }
    }

    /// How hard to try for a file of this size that goes whole with its offer. It does not wait for
    /// the stream, so it is tried on slow links alone.
    pub(crate) fn small(&self, size: u64) -> Option<Effort> {
        (self.wanted && size >= SMALLEST && self.link.get() < SLOW_FOR_SMALL)
            .then_some(Effort::Much)
    }

    /// Looks at a large file from `offset` on. `None` when its chunks are not to be compressed.
    pub(crate) fn large(&self, file: &mut File, offset: u64, size: u64) -> Option<ChunkCompressor> {
        if !self.wanted {
            return None;
        }
        let mut compressor = FrameCompressor::default();
        // What cannot be read here cannot be read later either, and is reported then.
        let speed = sample(&mut compressor, file, offset, size).ok()??;
        let compression = self.clone();
        Some(ChunkCompressor { compression, compressor, speed, rest: 0, next_rest: REST })
    }

    /// How hard to try while zstd gives `speed` bytes per second, if at all.
    fn effort(&self, speed: f64) -> Option<Effort> {
        let link = self.link.get() as f64;
        if link * SLOW < speed {
            Some(Effort::Much)
        } else {
            (link * WORTH < speed).then_some(Effort::Little)
        }
    }
}

/// Packs a few pieces of the file: zstd's speed in bytes per second, or nothing when they do not
/// get shorter. The file is read on from where it was.
fn sample(
    compressor: &mut FrameCompressor,
    file: &mut File,
    offset: u64,
    size: u64,
) -> io::Result<Option<f64>> {
    let here = file.stream_position()?;
    let left = size - offset;
    let len = (left / SAMPLE_PART).clamp(*SAMPLE.start(), *SAMPLE.end()).min(left);
    let (mut all, mut compressed) = (0, BytesMut::new());
    let mut fastest = Duration::MAX;
    let mut piece = vec![0; usize::try_from(len).unwrap_or(0)];
    for n in 0..SAMPLES {
        file.seek(SeekFrom::Start(offset + (left - len) / (SAMPLES - 1) * n))?;
        file.read_exact(&mut piece)?;
        let begun = Instant::now();
        if !compressor.compress(&piece, Effort::Little, &mut compressed) {
            compressed.extend_from_slice(&piece);
        }
        fastest = fastest.min(begun.elapsed());
        all += piece.len();
    }
    file.seek(SeekFrom::Start(here))?;
    let worth = compressed.len() + compressed.len() / 8 < all;
    Ok(worth.then(|| len as f64 / fastest.as_secs_f64().max(1e-9)))
}

/// Packs the chunks of one large file.
pub(crate) struct ChunkCompressor {
    compression: Compression,
    compressor: FrameCompressor,
    /// Bytes per second that zstd takes with little effort.
    speed: f64,
    /// Chunks that go as they are before one is tried again.
    rest: u32,
    next_rest: u32,
}

impl ChunkCompressor {
    /// Packs what stands in `chunk` behind the room for the header, if that is worth it. `full`
    /// says that the stream takes nothing more at the moment, so that there is time.
    pub(crate) fn compress(&mut self, chunk: &mut BytesMut, full: bool) {
        let Some(effort) = self.compression.effort(self.speed) else { return };
        if effort == Effort::Little && !full {
            return;
        }
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        let data = &chunk[HEADER_LEN..];
        let mut compressed = Sealer::buffer(data.len() + Trailer::LEN);
        let begun = Instant::now();
        if !self.compressor.compress(data, effort, &mut compressed) {
            self.rest = self.next_rest;
            self.next_rest = (self.next_rest * 2).min(LONGEST_REST);
            return;
        }
        self.next_rest = REST;
        if effort == Effort::Little {
            let speed = data.len() as f64 / begun.elapsed().as_secs_f64().max(1e-9);
            self.speed += (speed - self.speed) / 8.0;
        }
        *chunk = compressed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const CHUNK: usize = 256 << 10;
    /// Bytes per second that zstd is taken to give.
    const SPEED: f64 = 400e6;

    fn compression(link: u64) -> Compression {
        Compression::new(true, PathRate::new(link))
    }

    fn text(len: usize) -> Vec<u8> {
        (0u32..)
            .flat_map(|n| format!("{n} green bottles hanging on the wall\n").into_bytes())
            .take(len)
            .collect()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new_derive_key("rft compression tests").finalize_xof().fill(&mut bytes);
        bytes
    }

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file
    }

    /// A compressor of chunks for a link of so many bytes per second, on a machine of a known
    /// speed.
    fn compressor(link: u64) -> ChunkCompressor {
        let compression = compression(link);
        ChunkCompressor {
            compression,
            compressor: FrameCompressor::default(),
            speed: SPEED,
            rest: 0,
            next_rest: REST,
        }
    }

    fn chunk(data: &[u8]) -> BytesMut {
        let mut chunk = Sealer::buffer(data.len());
        chunk.extend_from_slice(data);
        chunk
    }

    fn compresses(compressor: &mut ChunkCompressor, data: &[u8], full: bool) -> bool {
        let mut chunk = chunk(data);
        compressor.compress(&mut chunk, full);
        chunk.len() < HEADER_LEN + data.len()
    }

    #[test]
    fn a_slow_link_gets_chunks_packed_and_a_fast_one_as_they_are() {
        let text = text(CHUNK);
        assert!(compresses(&mut compressor(2_500_000), &text, true));
        assert!(compresses(&mut compressor(100_000_000), &text, true));
        assert!(!compresses(&mut compressor(300_000_000), &text, true));
    }

    #[test]
    fn between_slow_and_fast_only_chunks_that_would_wait_are_packed() {
        assert!(!compresses(&mut compressor(100_000_000), &text(CHUNK), false));
        assert!(compresses(&mut compressor(2_500_000), &text(CHUNK), false));
    }

    #[test]
    fn small_files_are_packed_on_slow_links_alone() {
        assert_eq!(compression(2_500_000).small(4096), Some(Effort::Much));
        assert_eq!(compression(100_000_000).small(4096), None);
        assert_eq!(compression(2_500_000).small(100), None);
        assert_eq!(Compression::new(false, PathRate::new(1)).small(4096), None);
    }

    #[test]
    fn a_file_is_looked_at_before_and_read_on_from_where_it_was() {
        let look = |content: &[u8], offset: u64| {
            let mut file = file(content);
            file.seek(SeekFrom::Start(offset)).unwrap();
            let found = compression(0).large(&mut file, offset, content.len() as u64).is_some();
            assert_eq!(file.stream_position().unwrap(), offset);
            found
        };
        for len in [1, 5000, 300_000, 5_000_000] {
            assert!(!look(&noise(len), 0), "{len}");
        }
        for len in [5000, 300_000, 5_000_000] {
            assert!(look(&text(len), 0), "{len}");
        }
        // Only what is still to be sent counts.
        let half = [text(2_000_000), noise(2_000_000)].concat();
        assert!(look(&half, 0));
        assert!(!look(&half, 2_000_000));
        assert!(!look(&half, half.len() as u64));
        assert!(
            Compression::new(false, PathRate::new(0))
                .large(&mut file(&text(9000)), 0, 9000)
                .is_none()
        );
    }

    #[test]
    fn chunks_that_do_not_get_shorter_are_tried_ever_more_rarely() {
        let (text, noise) = (text(CHUNK), noise(CHUNK));
        let mut compressor = compressor(1_000_000);
        let mut tried = 0;
        for _ in 0..200 {
            let rested = compressor.rest;
            assert!(!compresses(&mut compressor, &noise, true));
            tried += u32::from(rested == 0);
        }
        assert!(tried <= 9, "{tried}");
        // Text is found again.
        let wait = (0..100).position(|_| compresses(&mut compressor, &text, true));
        assert!(wait.is_some_and(|chunks| chunks <= LONGEST_REST as usize), "{wait:?}");
        assert!(compresses(&mut compressor, &text, true), "and from then on nothing rests");
    }
}
