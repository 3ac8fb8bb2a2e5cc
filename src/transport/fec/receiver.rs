//! The receiving half: keeps recent source packets, and recovers lost ones from them and from
//! repair packets.

use super::encoder::padded;
use super::key::RepairKey;
use super::packet::{ID_LEN, Repair, id, is_repair, is_source};
use reed_solomon_simd::ReedSolomonDecoder;
use std::collections::VecDeque;

/// Source packets that are kept: those of a block, and those that overtook them. QUIC drops packets
/// that are later than that as duplicates.
const KEPT_PACKETS: usize = 256;
/// Blocks that are kept: those with the highest numbers. Repair of an older block is a replay, or
/// too late.
const KEPT_BLOCKS: u32 = 8;

/// Recent packets and blocks, and recovered packets.
pub struct Recovery {
    key: RepairKey,
    kept: RecentPackets,
    blocks: Vec<RepairBlock>,
    /// The highest block number.
    newest: Option<u32>,
    recovered: VecDeque<Vec<u8>>,
    recovered_count: u64,
}

/// The last source packets with their ids: a ring buffer.
#[derive(Debug, Default)]
struct RecentPackets {
    ids: Vec<[u8; ID_LEN]>,
    packets: Vec<Vec<u8>>,
    next: usize,
}

/// A block with at least one repair packet.
#[derive(Debug)]
struct RepairBlock {
    number: u32,
    count: u8,
    ids: Vec<u8>,
    half: usize,
    symbols: Vec<(u8, Vec<u8>)>,
    done: bool,
}

impl Recovery {
    /// A receiver for a new session.
    pub fn new(key: RepairKey) -> Self {
        Self {
            key,
            kept: RecentPackets::default(),
            blocks: Vec::new(),
            newest: None,
            recovered: VecDeque::new(),
            recovered_count: 0,
        }
    }

    /// Takes a received packet: keeps a source packet, uses a repair packet. Returns whether it was
    /// an authentic repair packet.
    pub fn take(&mut self, packet: &[u8]) -> bool {
        if is_source(packet) {
            self.kept.keep(packet);
        }
        if !is_repair(packet) {
            return false;
        }
        let Some(repair) = Repair::decode(&self.key, packet) else { return false };
        if !self.advance_to(repair.number) {
            return true;
        }
        let Some(block) = block_of(&mut self.blocks, &repair) else { return true };
        if !block.done && block.symbols.iter().all(|(index, _)| *index != repair.index) {
            block.symbols.push((repair.index, repair.symbol.to_vec()));
            block.repair(&self.kept, &mut self.recovered);
        }
        true
    }

    /// Forgets blocks that are too far behind `number`. Returns whether `number` itself is recent
    /// enough, so that replayed repair does not displace a useful block. Numbers wrap at 2^32.
    fn advance_to(&mut self, number: u32) -> bool {
        let newest = *self.newest.get_or_insert(number);
        if newest.wrapping_sub(number) <= u32::MAX / 2 {
            return newest.wrapping_sub(number) < KEPT_BLOCKS;
        }
        self.newest = Some(number);
        self.blocks.retain(|block| number.wrapping_sub(block.number) < KEPT_BLOCKS);
        true
    }

    /// The next recovered packet.
    pub fn recovered(&mut self) -> Option<Vec<u8>> {
        let packet = self.recovered.pop_front();
        self.recovered_count += u64::from(packet.is_some());
        packet
    }

    /// Number of packets recovered so far.
    pub fn recovered_count(&self) -> u64 {
        self.recovered_count
    }

    /// The current memory use.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> RecoveryMemory {
        RecoveryMemory {
            packets: self.kept.packets.len(),
            blocks: self.blocks.len(),
            symbols: self.blocks.iter().map(|block| block.symbols.len()).sum(),
        }
    }
}

/// Source packets, blocks, and repair symbols in a receiver's memory.
#[cfg(test)]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RecoveryMemory {
    pub packets: usize,
    pub blocks: usize,
    pub symbols: usize,
}

/// The block of this repair packet: a new one for its first packet. `None` if the packet
/// contradicts the first one.
fn block_of<'a>(
    blocks: &'a mut Vec<RepairBlock>,
    repair: &Repair<'_>,
) -> Option<&'a mut RepairBlock> {
    let at = blocks.iter().position(|block| block.number == repair.number).unwrap_or_else(|| {
        blocks.push(RepairBlock {
            number: repair.number,
            count: repair.symbols,
            ids: repair.ids.to_vec(),
            half: repair.symbol.len(),
            symbols: Vec::new(),
            done: false,
        });
        blocks.len() - 1
    });
    blocks.get_mut(at).filter(|block| {
        block.count == repair.symbols
            && block.ids == repair.ids
            && block.half == repair.symbol.len()
    })
}

impl RecentPackets {
    fn keep(&mut self, packet: &[u8]) {
        if self.ids.len() < KEPT_PACKETS {
            self.ids.push(id(packet));
            self.packets.push(packet.to_vec());
            return;
        }
        self.ids[self.next] = id(packet);
        let place = &mut self.packets[self.next];
        place.clear();
        place.extend_from_slice(packet);
        self.next = (self.next + 1) % KEPT_PACKETS;
    }

    fn get(&self, id: &[u8]) -> Option<&[u8]> {
        let at = self.ids.iter().position(|kept| kept == id)?;
        self.packets.get(at).map(Vec::as_slice)
    }
}

impl RepairBlock {
    /// Recovers the missing packets once enough repair symbols have arrived.
    fn repair(&mut self, kept: &RecentPackets, recovered: &mut VecDeque<Vec<u8>>) {
        let packets: Vec<Option<&[u8]>> = self.ids.chunks(ID_LEN).map(|id| kept.get(id)).collect();
        let missing = packets.iter().filter(|packet| packet.is_none()).count();
        if self.symbols.len() < 2 * missing {
            return;
        }
        if missing > 0 {
            recovered.extend(self.decode(&packets).unwrap_or_default());
        }
        self.done = true;
        self.symbols = Vec::new();
    }

    /// Decodes the missing packets; `None` if the symbols are inconsistent.
    fn decode(&self, packets: &[Option<&[u8]>]) -> Option<Vec<Vec<u8>>> {
        let mut decoder =
            ReedSolomonDecoder::new(2 * packets.len(), self.count.into(), self.half).ok()?;
        for (n, packet) in packets.iter().enumerate() {
            let Some(packet) = packet else { continue };
            for (part, symbol) in padded(packet, self.half)?.chunks(self.half).enumerate() {
                decoder.add_original_shard(2 * n + part, symbol).ok()?;
            }
        }
        for (index, symbol) in &self.symbols {
            decoder.add_recovery_shard((*index).into(), symbol).ok()?;
        }
        let restored = decoder.decode().ok()?;
        let missing = packets.iter().enumerate().filter(|(_, packet)| packet.is_none());
        let whole = missing.map(|(n, _)| {
            let symbols =
                [restored.restored_original(2 * n)?, restored.restored_original(2 * n + 1)?]
                    .concat();
            let (length, rest) = symbols.split_first_chunk()?;
            let packet = rest.get(..u16::from_be_bytes(*length).into())?;
            let same = is_source(packet) && id(packet) == self.ids[ID_LEN * n..][..ID_LEN];
            same.then(|| packet.to_vec())
        });
        whole.collect()
    }
}
