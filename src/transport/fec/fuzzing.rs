//! Fuzz target for forward error correction.

use super::encoder::SourceBlock;
use super::key::RepairKey;
use super::packet::{ID_LEN, MAX_PACKETS, MIN_PACKET_LEN, Repair, id, is_source};
use super::receiver::Recovery;

fn key() -> RepairKey {
    RepairKey::new(&[7; 32])
}

/// The fuzzer's bytes as choices; zeros follow them.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

/// A source packet with a unique id.
fn packet(number: u16, choices: &mut Choices<'_>) -> Vec<u8> {
    let mut packet = vec![choices.byte(); MIN_PACKET_LEN + usize::from(choices.byte())];
    let end = packet.len() - ID_LEN;
    packet[0] = 0x40;
    packet[end..].copy_from_slice(&[0xff, 0xff, (number >> 8) as u8, number as u8]);
    packet
}

/// Source and repair packets are lost, changed, repeated and reordered: every recovered packet was
/// sent and lost. Then a holder of the key sends invented repair: every recovered packet looks like
/// a QUIC packet.
///
/// # Panics
/// If one of these does not hold.
pub fn repair(data: &[u8]) {
    let mut choices = Choices(data.iter());
    let (mut block, mut recovery) = (SourceBlock::new(key()), Recovery::new(key()));
    let (mut sent, mut lost) = (0, Vec::new());
    for _ in 0..4 {
        for _ in 0..=choices.byte() % MAX_PACKETS as u8 {
            let packet = packet(sent, &mut choices);
            sent += 1;
            block.add(&packet);
            match choices.byte() % 4 {
                0 => lost.push(packet),
                _ => drop(recovery.take(&packet)),
            }
        }
        let Some(repairs) = block.close(f64::from(choices.byte()) / 500.0) else { continue };
        let repairs: Vec<_> = repairs.bytes.chunks(repairs.size).collect();
        for _ in 0..repairs.len() {
            let mut repair = repairs[usize::from(choices.byte()) % repairs.len()].to_vec();
            let (at, change) =
                (usize::from(choices.byte()) * 3 % repair.len(), choices.byte() & 0x0f);
            repair[at] ^= change;
            assert_eq!(recovery.take(&repair), change == 0);
        }
        while let Some(packet) = recovery.recovered() {
            let place = lost.iter().position(|lost| *lost == packet);
            lost.remove(place.expect("a packet that was sent, lost and not recovered before"));
        }
    }
    invented(&mut choices, &mut recovery);
}

fn invented(choices: &mut Choices<'_>, recovery: &mut Recovery) {
    let count = 1 + usize::from(choices.byte() % 4);
    let ids: Vec<u8> = (0..count).flat_map(|_| [0xff, 0xff, 0, choices.byte()]).collect();
    let half = 2 * usize::from(choices.byte());
    let symbol = choices.bytes(half);
    for index in 0..choices.byte() % 12 {
        let (number, symbols) = (1000 + u32::from(choices.byte() % 2), choices.byte());
        let mut bytes = Vec::new();
        Repair { number, symbols, index, ids: &ids, symbol: &symbol }.encode(&key(), &mut bytes);
        recovery.take(&bytes);
    }
    while let Some(packet) = recovery.recovered() {
        assert!(is_source(&packet) && ids.chunks(ID_LEN).any(|known| known == id(&packet)));
    }
}
