//! Fuzz body of the repair.

use super::encoder::SourceBlock;
use super::key::RepairKey;
use super::packet::{ID_LEN, Repair, id, is_source};
use super::{MAX_PACKETS, MIN_PACKET_LEN, Recovery};

fn key() -> RepairKey {
    RepairKey::new(&[7; 32])
}

/// Bytes as choices, with zeros at the end.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

/// A QUIC packet of its own: no two have the same id.
fn packet(number: u16, choices: &mut Choices<'_>) -> Vec<u8> {
    let mut packet = vec![choices.byte(); MIN_PACKET_LEN + usize::from(choices.byte())];
    let end = packet.len() - ID_LEN;
    packet[0] = 0x40;
    packet[end..].copy_from_slice(&[0xff, 0xff, (number >> 8) as u8, number as u8]);
    packet
}

/// Blocks whose packets and repair are lost, changed, repeated and out of order: what is made is
/// what was sent and did not come. And repair that somebody with the key made up: what is made
/// looks like a packet of QUIC's.
///
/// # Panics
/// When it does not hold.
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
        while let Some(made) = recovery.recovered() {
            let place = lost.iter().position(|packet| *packet == made);
            lost.remove(place.expect("was sent, did not come and was not made yet"));
        }
    }
    made_up(&mut choices, &mut recovery);
}

fn made_up(choices: &mut Choices<'_>, recovery: &mut Recovery) {
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
    while let Some(made) = recovery.recovered() {
        assert!(is_source(&made) && ids.chunks(ID_LEN).any(|known| known == id(&made)));
    }
}
