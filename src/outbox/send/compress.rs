//! The decision which chunks of a file are compressed. Compression must make a transfer faster,
//! never slower.
//!
//! A few samples of a large file show whether it is compressible. If it is, all of its chunks are
//! compressed for a slow path, and none for a fast one. In between, where the path takes less than
//! a third of zstd's rate, a chunk is compressed if it would otherwise wait for the stream.

use crate::compress::{Effort, FrameCompressor};
use crate::crypto::seal::{HEADER_LEN, Sealer};
use crate::proto::message::Trailer;
use crate::session::PathRate;
use bytes::BytesMut;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

/// How many samples of a large file are compressed.
const SAMPLES: u64 = 4;
/// The length of a sample: this fraction of the file, within the bounds below (bytes).
const SAMPLE_FRACTION: u64 = 128;
const SAMPLE_LEN: std::ops::RangeInclusive<u64> = (4 << 10)..=(16 << 10);
/// Smaller files (bytes) need one packet or two, compressed or not.
const MIN_SIZE: u64 = 1 << 10;
/// How many times slower than zstd the path must be for compression to pay: zstd shares the CPU
/// with all other work.
const MIN_SPEEDUP: f64 = 3.0;
/// How many times slower than zstd the path must be for more effort. High, since the congestion
/// controller's estimate can be several times too high during its start-up.
const MIN_SPEEDUP_FOR_MORE_EFFORT: f64 = 8.0;
/// Small files are compressed on paths below this rate, in bytes per second. An idle session on
/// loopback is above it.
const MAX_RATE_FOR_SMALL_FILES: u64 = 25_000_000;
/// How many chunks skip compression after one that did not get shorter. Doubled each time, up to
/// the maximum.
const MIN_SKIP: u32 = 1;
const MAX_SKIP: u32 = 64;

/// The compression of one session.
#[derive(Debug, Clone)]
pub(crate) struct Compression {
    wanted: bool,
    path: PathRate,
}

impl Compression {
    /// `wanted`: the user allows it, and the peer can decompress.
    pub(crate) fn new(wanted: bool, path: PathRate) -> Self {
        Self { wanted, path }
    }

    /// Whether a file of this size that is sent with its offer is compressed. Such a file does not
    /// wait for the stream, so it is compressed on slow paths only.
    fn small(&self, size: u64) -> bool {
        self.wanted && size >= MIN_SIZE && self.path.get() < MAX_RATE_FOR_SMALL_FILES
    }

    /// Samples a large file from `offset` on. `None` if its chunks are not to be compressed.
    pub(crate) fn large(&self, file: &mut File, offset: u64, size: u64) -> Option<ChunkCompressor> {
        if !self.wanted {
            return None;
        }
        let mut compressor = FrameCompressor::default();
        // If this read fails, a later one fails too and is reported.
        let speed = sample(&mut compressor, file, offset, size).ok()??;
        let compression = self.clone();
        Some(ChunkCompressor { compression, compressor, speed, skips: Skips::default() })
    }

    /// The effort for a file that zstd compresses at `speed` bytes per second, if any.
    fn effort(&self, speed: f64) -> Option<Effort> {
        let path = self.path.get() as f64;
        if path * MIN_SPEEDUP_FOR_MORE_EFFORT < speed {
            Some(Effort::Much)
        } else {
            (path * MIN_SPEEDUP < speed).then_some(Effort::Little)
        }
    }
}

/// Compresses a few samples of the file. Returns zstd's speed in bytes per second, or `None` if the
/// samples do not get shorter. The position in the file stays.
fn sample(
    compressor: &mut FrameCompressor,
    file: &mut File,
    offset: u64,
    size: u64,
) -> io::Result<Option<f64>> {
    let here = file.stream_position()?;
    let left = size - offset;
    let len = (left / SAMPLE_FRACTION).clamp(*SAMPLE_LEN.start(), *SAMPLE_LEN.end()).min(left);
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

/// Counts the chunks that are not tried, after some that did not get shorter.
#[derive(Debug)]
struct Skips {
    /// How many chunks are sent uncompressed before the next attempt.
    left: u32,
    next: u32,
}

impl Default for Skips {
    fn default() -> Self {
        Self { left: 0, next: MIN_SKIP }
    }
}

impl Skips {
    /// Whether this chunk is sent uncompressed without an attempt.
    fn skips(&mut self) -> bool {
        let skips = self.left > 0;
        self.left = self.left.saturating_sub(1);
        skips
    }

    fn tried(&mut self, shorter: bool) {
        if shorter {
            self.next = MIN_SKIP;
        } else {
            self.left = self.next;
            self.next = (self.next * 2).min(MAX_SKIP);
        }
    }
}

/// Compresses small files, one after the other.
#[derive(Default)]
pub(crate) struct SmallFileCompressor {
    /// Created for the first file that is tried: its memory is the greater part of the work.
    compressor: Option<FrameCompressor>,
    skips: Skips,
}

impl SmallFileCompressor {
    /// Compresses the file of this size that follows the space for the header, if that pays.
    pub(crate) fn compress(&mut self, chunk: &mut BytesMut, compression: &Compression) {
        let data = &chunk[HEADER_LEN..];
        if !compression.small(data.len() as u64) || self.skips.skips() {
            return;
        }
        let mut compressed = Sealer::buffer(data.len() + Trailer::LEN);
        let compressor = self.compressor.get_or_insert_default();
        let shorter = compressor.compress(data, Effort::Much, &mut compressed);
        self.skips.tried(shorter);
        if shorter {
            *chunk = compressed;
        }
    }
}

/// Compresses the chunks of one large file.
pub(crate) struct ChunkCompressor {
    compression: Compression,
    compressor: FrameCompressor,
    /// Bytes per second that zstd consumes with little effort.
    speed: f64,
    skips: Skips,
}

impl ChunkCompressor {
    /// Compresses the data of `chunk`, which follow the space for the header, if that pays. `full`:
    /// the queue to the stream is full, so the thread would wait otherwise.
    pub(crate) fn compress(&mut self, chunk: &mut BytesMut, full: bool) {
        let Some(effort) = self.compression.effort(self.speed) else { return };
        if effort == Effort::Little && !full {
            return;
        }
        if self.skips.skips() {
            return;
        }
        let data = &chunk[HEADER_LEN..];
        let mut compressed = Sealer::buffer(data.len() + Trailer::LEN);
        let begun = Instant::now();
        let shorter = self.compressor.compress(data, effort, &mut compressed);
        self.skips.tried(shorter);
        if !shorter {
            return;
        }
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
    /// The assumed speed of zstd, in bytes per second.
    const SPEED: f64 = 400e6;

    fn compression(rate: u64) -> Compression {
        Compression::new(true, PathRate::new(rate))
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

    /// A compressor for a path of `rate` bytes per second, on a machine of a known speed.
    fn compressor(rate: u64) -> ChunkCompressor {
        let compression = compression(rate);
        ChunkCompressor {
            compression,
            compressor: FrameCompressor::default(),
            speed: SPEED,
            skips: Skips::default(),
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
    fn chunks_are_compressed_for_a_slow_path_and_not_for_a_fast_one() {
        let text = text(CHUNK);
        assert!(compresses(&mut compressor(2_500_000), &text, true));
        assert!(compresses(&mut compressor(100_000_000), &text, true));
        assert!(!compresses(&mut compressor(300_000_000), &text, true));
    }

    #[test]
    fn between_slow_and_fast_only_chunks_that_would_wait_are_compressed() {
        assert!(!compresses(&mut compressor(100_000_000), &text(CHUNK), false));
        assert!(compresses(&mut compressor(2_500_000), &text(CHUNK), false));
    }

    #[test]
    fn small_files_are_compressed_on_slow_paths_only() {
        assert!(compression(2_500_000).small(4096));
        assert!(!compression(100_000_000).small(4096));
        assert!(!compression(2_500_000).small(100));
        assert!(!Compression::new(false, PathRate::new(1)).small(4096));
    }

    #[test]
    fn small_files_like_incompressible_ones_are_tried_ever_more_rarely() {
        let (mut compressor, path) = (SmallFileCompressor::default(), compression(1_000_000));
        let mut compress = |data: &[u8]| {
            let mut chunk = chunk(data);
            compressor.compress(&mut chunk, &path);
            chunk.len() < HEADER_LEN + data.len()
        };
        let (text, noise) = (text(4096), noise(4096));
        assert!(compress(&text));
        assert!((0..200).all(|_| !compress(&noise)));
        let wait = (0..100).position(|_| compress(&text));
        assert!(wait.is_some_and(|files| (1..=MAX_SKIP as usize).contains(&files)), "{wait:?}");
        assert!(compress(&text), "and from then on no file is skipped");
    }

    #[test]
    fn sampling_a_file_keeps_its_position() {
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
        // Only the rest that is still to be sent counts.
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
    fn incompressible_chunks_are_tried_ever_more_rarely() {
        let (text, noise) = (text(CHUNK), noise(CHUNK));
        let mut compressor = compressor(1_000_000);
        let mut tried = 0;
        for _ in 0..200 {
            let skip = compressor.skips.left;
            assert!(!compresses(&mut compressor, &noise, true));
            tried += u32::from(skip == 0);
        }
        assert!(tried <= 9, "{tried}");
        // Text is found again.
        let wait = (0..100).position(|_| compresses(&mut compressor, &text, true));
        assert!(wait.is_some_and(|chunks| chunks <= MAX_SKIP as usize), "{wait:?}");
        assert!(compresses(&mut compressor, &text, true), "and from then on no chunk is skipped");
    }
}
