mod socket;

use super::encoder::{SourceBlock, symbols};
use super::packet::{ID_LEN, MAX_PACKETS, MIN_PACKET_LEN, Repair};
use super::receiver::RecoveryMemory;
use crate::transport::fec::*;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};

fn key() -> RepairKey {
    RepairKey::new(&[7; 32])
}

/// A packet like QUIC's: a short header and random bytes.
fn packet(random: &mut StdRng, length: usize) -> Vec<u8> {
    let mut packet = vec![0; length];
    random.fill_bytes(&mut packet);
    packet[0] = packet[0] & 0x3f | 0x40;
    packet
}

fn recovered(recovery: &mut Recovery) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| recovery.recovered()).collect()
}

/// Sends a block of these packets. Those at `lost`, and the repair packets at `lost_repairs`, are
/// lost. Returns the packets that the receiver recovers.
fn cross(packets: &[Vec<u8>], loss: f64, lost: &[usize], lost_repairs: &[usize]) -> Vec<Vec<u8>> {
    let (mut block, mut recovery) = (SourceBlock::new(key()), Recovery::new(key()));
    for (n, packet) in packets.iter().enumerate() {
        assert_eq!(block.add(packet), n + 1 == MAX_PACKETS);
        if !lost.contains(&n) {
            assert!(!recovery.take(packet));
        }
    }
    let repairs = block.close(loss).unwrap();
    for (n, repair) in repairs.bytes.chunks(repairs.size).enumerate() {
        if !lost_repairs.contains(&n) {
            assert!(recovery.take(repair));
        }
    }
    recovered(&mut recovery)
}

proptest! {
    #[test]
    fn enough_repair_recovers_every_lost_packet(
        seed in any::<u64>(), lengths in prop::collection::vec(MIN_PACKET_LEN..1453, 1..=MAX_PACKETS), loss in 0.0..0.3f64,
    ) {
        let mut random = StdRng::seed_from_u64(seed);
        let packets: Vec<_> = lengths.iter().map(|length| packet(&mut random, *length)).collect();
        let all: Vec<usize> = (0..packets.len()).collect();
        let most = (symbols(packets.len(), loss) / 2).min(packets.len());
        let mut lost: Vec<usize> = all.sample(&mut random, most).copied().collect();
        lost.sort_unstable();
        let expected: Vec<_> = lost.iter().map(|n| packets[*n].clone()).collect();
        prop_assert_eq!(cross(&packets, loss, &lost, &[]), expected);
    }

    #[test]
    fn unauthentic_repair_is_ignored(bytes in prop::collection::vec(any::<u8>(), 0..2000), repair in any::<bool>()) {
        let mut bytes = bytes;
        if repair && !bytes.is_empty() {
            bytes[0] = 0x01;
        }
        let mut recovery = Recovery::new(key());
        prop_assert!(!recovery.take(&bytes));
        prop_assert_eq!(recovery.recovered(), None);
    }

    /// A holder of the key may send any values.
    #[test]
    fn repair_packets_decode_to_the_encoded_values(
        number in any::<u32>(), ids in prop::collection::vec(any::<[u8; ID_LEN]>(), 0..80), symbols in any::<u8>(),
        index in any::<u8>(), symbol in prop::collection::vec(any::<u8>(), 0..800),
    ) {
        let count = ids.len();
        let ids = ids.concat();
        let repair = Repair { number, symbols, index, ids: &ids, symbol: &symbol };
        let mut bytes = Vec::new();
        repair.encode(&key(), &mut bytes);
        let good = (1..=MAX_PACKETS).contains(&count) && index < symbols && !symbol.is_empty() && symbol.len() % 2 == 0;
        prop_assert_eq!(Repair::decode(&key(), &bytes), good.then_some(repair));
        let mut recovery = Recovery::new(key());
        recovery.take(&bytes);
        recovery.take(&bytes);
        prop_assert_eq!(recovery.recovered(), None);
    }
}

#[test]
fn too_little_repair_recovers_nothing() {
    let mut random = StdRng::seed_from_u64(1);
    let packets: Vec<_> = (0..10).map(|_| packet(&mut random, 1000)).collect();
    let count = symbols(10, 0.05);
    let lost = [1, 4];
    let but = |left: usize| (left..count).collect::<Vec<_>>();
    assert_eq!(cross(&packets, 0.05, &lost, &but(3)), Vec::<Vec<u8>>::new());
    assert_eq!(cross(&packets, 0.05, &lost, &but(4)), [packets[1].clone(), packets[4].clone()]);
    assert_eq!(cross(&packets, 0.05, &[], &[]), Vec::<Vec<u8>>::new());
}

/// At most one block in a thousand fails, and repair takes little more bytes than are lost.
#[test]
fn repair_suffices_for_the_loss_rate() {
    let mut random = StdRng::seed_from_u64(2);
    for (packets, loss, most) in [
        (64, 0.001, 4),
        (64, 0.005, 7),
        (64, 0.01, 9),
        (64, 0.02, 13),
        (64, 0.05, 23),
        (64, 0.1, 37),
        (8, 0.02, 5),
        (1, 0.02, 3),
    ] {
        let count = symbols(packets, loss);
        assert!(count <= most, "{packets} packets, {loss}: {count}");
        let failed = (0..10_000).filter(|_| {
            let mut lost = |of: usize| (0..of).filter(|_| random.random_bool(loss)).count();
            let (packets, repairs) = (lost(packets), lost(count));
            2 * packets > count - repairs
        });
        let failed = failed.count();
        assert!(failed <= 10, "{packets} packets, {loss}: {failed} of 10,000");
    }
}

#[test]
fn acknowledgements_and_long_headers_are_not_repaired() {
    let mut random = StdRng::seed_from_u64(3);
    let mut block = SourceBlock::new(key());
    let mut long = packet(&mut random, 1200);
    long[0] |= 0x80;
    block.add(&packet(&mut random, MIN_PACKET_LEN - 1));
    block.add(&long);
    assert!(block.close(0.1).is_none());
    block.add(&packet(&mut random, MIN_PACKET_LEN));
    assert_eq!(block.packets(), 1);
    assert_eq!(block.number(), 0);
    assert!(block.close(0.1).is_some());
    assert_eq!((block.packets(), block.number()), (0, 1));
}

#[test]
fn a_recovered_packet_without_its_id_is_dropped() {
    let mut random = StdRng::seed_from_u64(4);
    let packets: Vec<_> = (0..4).map(|_| packet(&mut random, 600)).collect();
    let mut block = SourceBlock::new(key());
    packets.iter().for_each(|packet| assert!(!block.add(packet)));
    let repairs = block.close(0.05).unwrap();
    let mut recovery = Recovery::new(key());
    // Another packet with the same id replaces a packet of the block.
    let mut other = packet(&mut random, 600);
    other[600 - ID_LEN..].copy_from_slice(&packets[1][600 - ID_LEN..]);
    recovery.take(&packets[0]);
    recovery.take(&other);
    recovery.take(&packets[3]);
    repairs.bytes.chunks(repairs.size).for_each(|repair| assert!(recovery.take(repair)));
    assert_eq!(recovery.recovered(), None);
}

#[test]
fn memory_is_bounded_and_holds_the_newest_packets() {
    let mut random = StdRng::seed_from_u64(5);
    let (mut block, mut recovery) = (SourceBlock::new(key()), Recovery::new(key()));
    for round in 0..50 {
        let packets: Vec<_> = (0..MAX_PACKETS).map(|_| packet(&mut random, 1452)).collect();
        for (n, packet) in packets.iter().enumerate() {
            block.add(packet);
            if n != round {
                recovery.take(packet);
            }
        }
        let repairs = block.close(0.02).unwrap();
        repairs.bytes.chunks(repairs.size).for_each(|repair| assert!(recovery.take(repair)));
        assert_eq!(recovered(&mut recovery), [packets[round].clone()], "block {round}");
        let held = recovery.memory();
        assert!(
            held.packets <= 256 && held.blocks <= 8 && held.symbols == 0,
            "block {round}: {held:?}"
        );
    }
    assert_eq!(recovery.memory(), RecoveryMemory { packets: 256, blocks: 8, symbols: 0 });
}

/// A peer sends more symbols of a block than there can be, and more blocks than the receiver keeps.
#[test]
fn memory_for_useless_repair_is_bounded() {
    let mut recovery = Recovery::new(key());
    let (ids, symbol) = (vec![0; ID_LEN * MAX_PACKETS], vec![0; 700]);
    for number in (0..100).chain([u32::MAX, 50, 1 << 31]) {
        for index in (0..u8::MAX).chain(0..u8::MAX) {
            let repair = Repair { number, symbols: u8::MAX, index, ids: &ids, symbol: &symbol };
            let mut bytes = Vec::new();
            repair.encode(&key(), &mut bytes);
            recovery.take(&bytes);
        }
        let held = recovery.memory();
        assert!(held.blocks <= 8 && held.symbols <= 8 * 255, "{number}: {held:?}");
    }
    assert_eq!(recovery.recovered(), None);
}

/// An attacker replays repair packets of many blocks while the last block waits for its own.
#[test]
fn replayed_repair_does_not_displace_a_block() {
    for first in [0, u32::MAX - 5] {
        let mut random = StdRng::seed_from_u64(6);
        let (mut block, mut recovery) = (SourceBlock::new(key()), Recovery::new(key()));
        let (mut recorded, mut last, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..20 {
            let packets: Vec<_> = (0..8).map(|_| packet(&mut random, 1000)).collect();
            for (n, packet) in packets.iter().enumerate() {
                block.add(packet);
                if n != 3 {
                    recovery.take(packet);
                }
            }
            let repairs = block.close(0.1).unwrap();
            last = repairs
                .bytes
                .chunks(repairs.size)
                .map(|repair| numbered(repair, first, n))
                .collect();
            lost = vec![packets[3].clone()];
            // One symbol of the last block arrives, which is not enough.
            assert!(recovery.take(&last[0]));
            recorded.extend(last.iter().skip(1).cloned());
            if n < 19 {
                last.iter().skip(1).for_each(|repair| assert!(recovery.take(repair)));
                assert_eq!(recovered(&mut recovery), lost);
            }
        }
        let of_the_last = last.len() - 1;
        for old in &recorded[..recorded.len() - of_the_last] {
            assert!(recovery.take(old));
            assert_eq!(recovery.recovered(), None, "recovered before");
        }
        // The first symbol is still kept: one more is enough for one packet.
        assert!(recovery.take(&last[1]));
        assert_eq!(recovered(&mut recovery), lost);
    }
}

/// The same repair packet with the block number `first + n`.
fn numbered(repair: &[u8], first: u32, n: u32) -> Vec<u8> {
    let repair = Repair::decode(&key(), repair).unwrap();
    let mut bytes = Vec::new();
    Repair { number: first.wrapping_add(n), ..repair }.encode(&key(), &mut bytes);
    bytes
}

/// A version of the library with another code could not talk to this one.
#[test]
fn the_code_of_the_library_is_unchanged() {
    let mut block = SourceBlock::new(key());
    for n in 0..5u8 {
        let mut packet = vec![n; MIN_PACKET_LEN + usize::from(n)];
        packet[0] = 0x40;
        assert!(!block.add(&packet));
    }
    let repairs = block.close(0.03).unwrap();
    let hash = blake3::hash(&repairs.bytes).to_hex();
    assert_eq!((repairs.size, repairs.bytes.len(), &hash[..16]), (190, 950, "4dbaaad841b51ba4"));
}
