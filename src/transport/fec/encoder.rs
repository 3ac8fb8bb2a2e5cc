//! The sender's half: packets that leave become source blocks, and blocks become repair packets.

use super::MAX_PACKETS;
use super::key::RepairKey;
use super::packet::{ID_LEN, Repair, id, is_source};
use reed_solomon_simd::ReedSolomonEncoder;

/// Standard deviations beyond the mean that a block's losses may lie and still be repaired: less
/// than one block in a thousand is not. With three it is one in some hundreds, and the end of a
/// file on a fast long path has nearly two hundred.
const DEVIATIONS: f64 = 4.0;
/// What loses more than this gets no more repair than what loses this: the path is broken.
const MAX_LOSS: f64 = 0.2;

/// The packets since the last repair, and the numbers of blocks.
pub struct SourceBlock {
    key: RepairKey,
    number: u32,
    packets: Vec<Vec<u8>>,
}

/// Repair packets of one block, of one size, one behind the other.
#[derive(Debug)]
pub struct Repairs {
    /// All of them.
    pub bytes: Vec<u8>,
    /// Bytes of one.
    pub size: usize,
    /// What they take, of what the block's own packets took.
    pub share: f64,
}

/// Symbols of repair for a block of `packets`, each of which is two symbols and lost with the
/// probability `loss`; so are the repair's own packets, one symbol each.
pub(crate) fn symbols(packets: usize, loss: f64) -> usize {
    let (packets, loss) = (packets as f64, loss.clamp(0.0, MAX_LOSS));
    let lost = packets * loss + DEVIATIONS * (packets * loss * (1.0 - loss)).sqrt();
    // A lost packet is two lost symbols: less than two repair nothing.
    (1.0 + 2.0 * lost.max(0.5) / (1.0 - loss)).ceil() as usize
}

impl SourceBlock {
    /// Before the session's first packet.
    pub fn new(key: RepairKey) -> Self {
        Self { key, number: 0, packets: Vec::with_capacity(MAX_PACKETS) }
    }

    /// The number of the block that is being filled.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Packets in it.
    pub fn packets(&self) -> usize {
        self.packets.len()
    }

    /// Takes a copy of a packet that leaves, if it is one to be repaired; whether the block is
    /// full.
    pub fn add(&mut self, packet: &[u8]) -> bool {
        if is_source(packet) {
            self.packets.push(packet.to_vec());
        }
        self.packets.len() >= MAX_PACKETS
    }

    /// Ends the block: its repair, for a path that loses this part of all packets. `None` if it is
    /// empty.
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

/// Bytes of a symbol where the longest packet has so many: two symbols take it and its length. The
/// code works on words of two bytes.
fn half(longest: usize) -> usize {
    (longest + 2).div_ceil(4) * 2
}

/// A packet as two symbols of `half` bytes: its length in two bytes, itself, zeros. `None` if it is
/// too long for them.
pub(crate) fn padded(packet: &[u8], half: usize) -> Option<Vec<u8>> {
    let length =
        u16::try_from(packet.len()).ok().filter(|length| usize::from(*length) + 2 <= 2 * half)?;
    let mut symbols = vec![0; 2 * half];
    symbols[..2].copy_from_slice(&length.to_be_bytes());
    symbols[2..2 + packet.len()].copy_from_slice(packet);
    Some(symbols)
}
