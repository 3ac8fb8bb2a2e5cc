//! The encoder: sent packets form source blocks, and each block yields repair packets (protocol.md
//! section 7.1).

use super::key::RepairKey;
use super::packet::{ID_LEN, MAX_PACKETS, Repair, id, is_source};
use reed_solomon_simd::ReedSolomonEncoder;

/// A block can be repaired if its losses exceed the mean by at most this many standard deviations.
/// Fewer than one block in a thousand fails. With three deviations one in some hundreds would fail,
/// and the tail of a file on a fast long path has nearly two hundred blocks.
const DEVIATIONS: f64 = 4.0;
/// Maximum loss rate that repair provides for: beyond it the path is broken.
const MAX_LOSS: f64 = 0.2;

/// The block that is being filled.
pub struct SourceBlock {
    key: RepairKey,
    number: u32,
    packets: Vec<Vec<u8>>,
}

/// The repair packets of one block, concatenated. All have one size.
#[derive(Debug)]
pub struct Repairs {
    /// The packets.
    pub bytes: Vec<u8>,
    /// Length of one packet, bytes.
    pub size: usize,
    /// Their bytes as a share of the bytes of the block's source packets.
    pub share: f64,
}

/// Number of repair symbols for a block of `packets` on a path that loses each packet with
/// probability `loss`. A source packet has two symbols, a repair packet one.
pub(crate) fn symbols(packets: usize, loss: f64) -> usize {
    let (packets, loss) = (packets as f64, loss.clamp(0.0, MAX_LOSS));
    let lost = packets * loss + DEVIATIONS * (packets * loss * (1.0 - loss)).sqrt();
    // Each lost packet needs two symbols, so at least two are sent.
    (1.0 + 2.0 * lost.max(0.5) / (1.0 - loss)).ceil() as usize
}

impl SourceBlock {
    /// The first block of a session.
    pub fn new(key: RepairKey) -> Self {
        Self { key, number: 0, packets: Vec::with_capacity(MAX_PACKETS) }
    }

    /// The number of this block.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Number of packets so far.
    pub fn packets(&self) -> usize {
        self.packets.len()
    }

    /// Adds a copy of a sent packet, if it is a source packet. Returns whether the block is full.
    pub fn add(&mut self, packet: &[u8]) -> bool {
        if is_source(packet) {
            self.packets.push(packet.to_vec());
        }
        self.packets.len() >= MAX_PACKETS
    }

    /// Ends the block. Returns its repair packets for a path with this loss rate, or `None` if it
    /// is empty.
    pub fn close(&mut self, loss: f64) -> Option<Repairs> {
        let packets = std::mem::take(&mut self.packets);
        let number = self.number;
        let longest = packets.iter().map(Vec::len).max()?;
        self.number = number.wrapping_add(1);
        let half = half(longest);
        let symbols = symbols(packets.len(), loss);
        let mut encoder = ReedSolomonEncoder::new(2 * packets.len(), symbols, half).ok()?;
        for packet in &packets {
            for symbol in padded(packet, half)?.chunks(half) {
                encoder.add_original_shard(symbol).ok()?;
            }
        }
        let ids: Vec<u8> = packets.iter().flat_map(|packet| id(packet)).collect();
        let mut bytes = Vec::with_capacity(symbols * (half + ids.len() + 4 * ID_LEN));
        for (index, symbol) in encoder.encode().ok()?.recovery_iter().enumerate() {
            let repair =
                Repair { number, symbols: symbols as u8, index: index as u8, ids: &ids, symbol };
            repair.encode(&self.key, &mut bytes);
        }
        let share = bytes.len() as f64 / packets.iter().map(Vec::len).sum::<usize>() as f64;
        Some(Repairs { size: bytes.len() / symbols, bytes, share })
    }
}

/// Length of a symbol, in bytes, for a longest packet of this length: two symbols hold the packet
/// and its length. The code works on words of two bytes.
fn half(longest: usize) -> usize {
    (longest + 2).div_ceil(4) * 2
}

/// A packet as two symbols of `half` bytes: its length in two bytes, the packet, and zeros. `None`
/// if it is too long.
pub(crate) fn padded(packet: &[u8], half: usize) -> Option<Vec<u8>> {
    let length =
        u16::try_from(packet.len()).ok().filter(|length| usize::from(*length) + 2 <= 2 * half)?;
    let mut symbols = vec![0; 2 * half];
    symbols[..2].copy_from_slice(&length.to_be_bytes());
    symbols[2..2 + packet.len()].copy_from_slice(packet);
    Some(symbols)
}
