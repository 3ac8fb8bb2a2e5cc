//! The receiver's half: what came is kept for a moment, and what did not is made of it and of
//! repair packets.

use super::encoder::padded;
use super::key::RepairKey;
use super::packet::{ID_LEN, Repair, id, is_repair, is_source};
use reed_solomon_simd::ReedSolomonDecoder;
use std::collections::VecDeque;

/// Packets that are kept: a block's, and what overtook them. What is further behind QUIC takes for
/// a duplicate.
const KEPT: usize = 256;
/// Blocks that are kept: those with the last numbers. Repair of an older one is a replay, or of no
/// use any more.
const BLOCKS: u32 = 8;

/// What came of late.
pub struct Recovery {
    key: RepairKey,
    kept: Kept,
    blocks: Vec<Block>,
    /// The last number of all.
    newest: Option<u32>,
    recovered: VecDeque<Vec<u8>>,
    made: u64,
}

/// The last packets, with their ids.
#[derive(Debug, Default)]
struct Kept {
    ids: Vec<[u8; ID_LEN]>,
    packets: Vec<Vec<u8>>,
    next: usize,
}

/// A block of which repair came.
#[derive(Debug)]
struct Block {
    number: u32,
    count: u8,
    ids: Vec<u8>,
    half: usize,
    symbols: Vec<(u8, Vec<u8>)>,
    done: bool,
}

impl Recovery {
    /// Before the session's first packet.
    pub fn new(key: RepairKey) -> Self {
        Self {
            key,
            kept: Kept::default(),
            blocks: Vec::new(),
            newest: None,
            recovered: VecDeque::new(),
            made: 0,
        }
    }

    /// Takes what came: packets are kept, repair is used. Whether it was repair of the peer's.
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

    /// Lets go of the blocks that are too far behind this number; whether it is not itself. So
    /// nobody who sends old repair again takes the place of a block that is still of use. Numbers
    /// begin again after 2^32.
    fn advance_to(&mut self, number: u32) -> bool {
        let newest = *self.newest.get_or_insert(number);
        if newest.wrapping_sub(number) <= u32::MAX / 2 {
            return newest.wrapping_sub(number) < BLOCKS;
        }
        self.newest = Some(number);
        self.blocks.retain(|block| number.wrapping_sub(block.number) < BLOCKS);
        true
    }

    /// The next packet that was lost and is here again.
    pub fn recovered(&mut self) -> Option<Vec<u8>> {
        let packet = self.recovered.pop_front();
        self.made += u64::from(packet.is_some());
        packet
    }

    /// How many there were.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// What is in memory.
    #[cfg(test)]
    pub(crate) fn held(&self) -> Held {
        Held {
            packets: self.kept.packets.len(),
            blocks: self.blocks.len(),
            symbols: self.blocks.iter().map(|block| block.symbols.len()).sum(),
        }
    }
}

/// What a receiver has in memory: packets, blocks, and the repair symbols of these.
#[cfg(test)]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub packets: usize,
    pub blocks: usize,
    pub symbols: usize,
}

/// The block that this repair is of, a new one if it is the first; `None` if it is not like the
/// first.
fn block_of<'a>(blocks: &'a mut Vec<Block>, repair: &Repair<'_>) -> Option<&'a mut Block> {
    let at = blocks.iter().position(|block| block.number == repair.number).unwrap_or_else(|| {
        blocks.push(Block {
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

impl Kept {
    fn keep(&mut self, packet: &[u8]) {
        if self.ids.len() < KEPT {
            self.ids.push(id(packet));
            self.packets.push(packet.to_vec());
            return;
        }
        self.ids[self.next] = id(packet);
        let place = &mut self.packets[self.next];
        place.clear();
        place.extend_from_slice(packet);
        self.next = (self.next + 1) % KEPT;
    }

    fn get(&self, id: &[u8]) -> Option<&[u8]> {
        let at = self.ids.iter().position(|kept| kept == id)?;
        self.packets.get(at).map(Vec::as_slice)
    }
}

impl Block {
    /// Makes what is missing, once enough of the repair is there.
    fn repair(&mut self, kept: &Kept, recovered: &mut VecDeque<Vec<u8>>) {
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

    /// The packets that are missing; `None` if what came does not fit together.
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
