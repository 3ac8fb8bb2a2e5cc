use super::encoder::{SourceBlock, symbols};
use super::packet::{ID_LEN, Repair};
use super::receiver::Held;
use crate::transport::fec::*;
use crate::transport::socket::bind;
use proptest::prelude::*;
use quinn::UdpPoller;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use std::pin::Pin;
use std::time::Instant;

fn key() -> RepairKey {
    RepairKey::new(&[7; 32])
}

/// As QUIC's: a short header, and as good as random behind it.
fn packet(random: &mut StdRng, length: usize) -> Vec<u8> {
    let mut packet = vec![0; length];
    random.fill_bytes(&mut packet);
    packet[0] = packet[0] & 0x3f | 0x40;
    packet
}

fn recovered(recovery: &mut Recovery) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| recovery.recovered()).collect()
}

/// What the receiver makes of a block of these packets when those at `lost` do not come, nor the
/// repairs at `lost_repairs`.
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
    fn whatever_was_lost_is_made_again_while_there_is_enough_repair(
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
    fn what_is_not_the_peers_is_nothing(bytes in prop::collection::vec(any::<u8>(), 0..2000), repair in any::<bool>()) {
        let mut bytes = bytes;
        if repair && !bytes.is_empty() {
            bytes[0] = 0x01;
        }
        let mut recovery = Recovery::new(key());
        prop_assert!(!recovery.take(&bytes));
        prop_assert_eq!(recovery.recovered(), None);
    }

    /// Whoever has the key may say what it likes.
    #[test]
    fn a_repair_says_what_it_said(
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
fn less_repair_than_was_lost_makes_nothing() {
    let mut random = StdRng::seed_from_u64(1);
    let packets: Vec<_> = (0..10).map(|_| packet(&mut random, 1000)).collect();
    let count = symbols(10, 0.05);
    let lost = [1, 4];
    let but = |left: usize| (left..count).collect::<Vec<_>>();
    assert_eq!(cross(&packets, 0.05, &lost, &but(3)), Vec::<Vec<u8>>::new());
    assert_eq!(cross(&packets, 0.05, &lost, &but(4)), [packets[1].clone(), packets[4].clone()]);
    assert_eq!(cross(&packets, 0.05, &[], &[]), Vec::<Vec<u8>>::new());
}

/// A block in a thousand may fail, no more; and repair takes little more than is lost.
#[test]
fn enough_repair_is_made_for_the_loss() {
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
fn a_packet_that_would_not_have_its_id_is_not_made() {
    let mut random = StdRng::seed_from_u64(4);
    let packets: Vec<_> = (0..4).map(|_| packet(&mut random, 600)).collect();
    let mut block = SourceBlock::new(key());
    packets.iter().for_each(|packet| assert!(!block.add(packet)));
    let repairs = block.close(0.05).unwrap();
    let mut recovery = Recovery::new(key());
    // Another packet with the id of one of the block's stands in its place.
    let mut other = packet(&mut random, 600);
    other[600 - ID_LEN..].copy_from_slice(&packets[1][600 - ID_LEN..]);
    recovery.take(&packets[0]);
    recovery.take(&other);
    recovery.take(&packets[3]);
    repairs.bytes.chunks(repairs.size).for_each(|repair| assert!(recovery.take(repair)));
    assert_eq!(recovery.recovered(), None);
}

/// Old blocks are forgotten, and old packets.
#[test]
fn what_is_kept_is_bounded_and_the_newest() {
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
        let held = recovery.held();
        assert!(
            held.packets <= 256 && held.blocks <= 8 && held.symbols == 0,
            "block {round}: {held:?}"
        );
    }
    assert_eq!(recovery.held(), Held { packets: 256, blocks: 8, symbols: 0 });
}

/// A peer that says more about one block than there can be, and more blocks than are kept.
#[test]
fn repair_that_makes_nothing_is_bounded() {
    let mut recovery = Recovery::new(key());
    let (ids, symbol) = (vec![0; ID_LEN * MAX_PACKETS], vec![0; 700]);
    for number in (0..100).chain([u32::MAX, 50, 1 << 31]) {
        for index in (0..u8::MAX).chain(0..u8::MAX) {
            let repair = Repair { number, symbols: u8::MAX, index, ids: &ids, symbol: &symbol };
            let mut bytes = Vec::new();
            repair.encode(&key(), &mut bytes);
            recovery.take(&bytes);
        }
        let held = recovery.held();
        assert!(held.blocks <= 8 && held.symbols <= 8 * 255, "{number}: {held:?}");
    }
    assert_eq!(recovery.recovered(), None);
}

/// Repair that somebody recorded and sends again, of many blocks, while the last one still waits
/// for its own.
#[test]
fn old_repair_that_is_sent_again_takes_no_blocks_place() {
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
            // Of the last block one symbol comes, which is not enough.
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
            assert_eq!(recovery.recovered(), None, "it was made once");
        }
        // It is still remembered that one symbol came: one more is enough for one packet.
        assert!(recovery.take(&last[1]));
        assert_eq!(recovered(&mut recovery), lost);
    }
}

/// The same repair of the block with this number.
fn numbered(repair: &[u8], first: u32, n: u32) -> Vec<u8> {
    let repair = Repair::decode(&key(), repair).unwrap();
    let mut bytes = Vec::new();
    Repair { number: first.wrapping_add(n), ..repair }.encode(&key(), &mut bytes);
    bytes
}

/// Two sockets, the first of which sends repair to the second over a path that loses packets.
struct Pair {
    from: crate::transport::socket::Bound,
    to: crate::transport::socket::Bound,
    path: Arc<PathEstimate>,
    backlog: SendBacklog,
}

impl Pair {
    async fn new(taken: bool) -> Self {
        let bound = || bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (from, to) = (bound(), bound());
        let backlog = SendBacklog::default();
        let session =
            || SessionRepair { own: key(), peers: key(), taken, backlog: backlog.clone() };
        from.fec.begin(session());
        to.fec.begin(session());
        let rtt = Duration::from_millis(40);
        let path = Arc::new(PathEstimate::of(1_000_000, rtt, 0.02));
        from.fec.follow(to.local, rtt, Some(path.clone()));
        to.fec.follow(from.local, rtt, None);
        let mut poller: Pin<Box<dyn UdpPoller>> = from.socket.clone().create_io_poller();
        std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
        Self { from, to, path, backlog }
    }

    /// Sends all packets but the `lost`, of which the sender knows nothing.
    fn send(&self, packets: &[Vec<u8>], lost: usize) {
        for (n, contents) in packets.iter().enumerate() {
            let transmit = Transmit {
                destination: self.to.local,
                ecn: None,
                contents,
                segment_size: None,
                src_ip: None,
            };
            match n == lost {
                true => self.from.fec.sent(&self.from.socket, &transmit),
                false => self.from.socket.try_send(&transmit).unwrap(),
            }
        }
    }

    /// What QUIC gets to see until nothing more comes for a moment, without repair.
    async fn come(&self) -> Vec<Vec<u8>> {
        let (mut came, mut storage, mut meta) =
            (Vec::new(), vec![0; 1 << 16], [RecvMeta::default()]);
        loop {
            let receive = std::future::poll_fn(|cx| {
                self.to.socket.poll_recv(cx, &mut [IoSliceMut::new(&mut storage)], &mut meta)
            });
            let Ok(received) = tokio::time::timeout(Duration::from_millis(500), receive).await
            else {
                break;
            };
            assert_eq!(received.unwrap(), 1);
            assert_eq!(meta[0].addr, self.from.local);
            came.extend(storage[..meta[0].len].chunks(meta[0].stride).map(<[u8]>::to_vec));
        }
        came.retain(|packet| packet[0] & 0x40 != 0);
        came
    }
}

#[tokio::test]
async fn what_the_link_lost_comes_through_the_socket() {
    let pair = Pair::new(true).await;
    let mut random = StdRng::seed_from_u64(6);
    let packets: Vec<_> = (0..5).map(|_| packet(&mut random, 1200)).collect();
    let begin = Instant::now();
    pair.send(&packets, 2);
    let mut came = pair.come().await;
    assert_eq!(came.pop().as_ref(), Some(&packets[2]), "after {:?}", begin.elapsed());
    assert_eq!(came, [&packets[..2], &packets[3..]].concat());
}

#[tokio::test]
async fn nothing_is_repaired_that_nobody_asked_for() {
    let mut random = StdRng::seed_from_u64(7);
    let packets: Vec<_> = (0..5).map(|_| packet(&mut random, 1200)).collect();
    let without = Pair::new(false).await;
    without.send(&packets, 2);
    let busy = Pair::new(true).await;
    let _waits = busy.backlog.blocked();
    busy.send(&packets, 2);
    let clean = Pair::new(true).await;
    clean.from.fec.follow(
        clean.to.local,
        Duration::from_millis(40),
        Some(Arc::new(PathEstimate::of(1_000_000, Duration::from_millis(40), 0.0001))),
    );
    clean.send(&packets, 2);
    for (name, pair) in
        [("the peer does not take it", without), ("more is to come", busy), ("no loss", clean)]
    {
        assert_eq!(pair.come().await.len(), 4, "{name}");
    }
}

#[tokio::test]
async fn full_blocks_make_the_window_smaller_and_others_do_not() {
    let pair = Pair::new(true).await;
    let mut random = StdRng::seed_from_u64(8);
    let packets: Vec<_> = (0..MAX_PACKETS).map(|_| packet(&mut random, 1200)).collect();
    pair.send(&packets[..5], MAX_PACKETS);
    assert_eq!(pair.come().await.len(), 5, "all come, and the repair after them");
    assert_eq!(pair.path.repair_share(), 0.0);
    pair.send(&packets, MAX_PACKETS);
    let share = pair.path.repair_share();
    assert!((0.05..0.2).contains(&share), "{share}");
    let _waits = pair.backlog.blocked();
    pair.send(&packets[..1], MAX_PACKETS);
    assert_eq!(pair.path.repair_share(), 0.0);
}

/// A packet that is larger than any that is known to arrive is QUIC's question whether it does.
#[tokio::test]
async fn a_probe_of_the_path_is_not_made_again() {
    let pair = Pair::new(true).await;
    let mut random = StdRng::seed_from_u64(10);
    let packets = [packet(&mut random, 1452), packet(&mut random, 1453), packet(&mut random, 1452)];
    pair.send(&packets, 1);
    assert_eq!(pair.come().await, [packets[0].clone(), packets[2].clone()]);
}

/// The counts of another path begin at zero.
#[tokio::test]
async fn another_path_is_followed_from_its_beginning() {
    let pair = Pair::new(true).await;
    let mut random = StdRng::seed_from_u64(9);
    let packets: Vec<_> = (0..10).map(|_| packet(&mut random, 1200)).collect();
    pair.path.count_lost(100_000);
    for part in packets[..4].chunks(2) {
        pair.send(part, MAX_PACKETS);
        pair.path.count_restart();
    }
    let rtt = Duration::from_millis(40);
    let another = Arc::new(PathEstimate::of(1_000_000, rtt, 0.02));
    pair.from.fec.follow(pair.to.local, rtt, Some(another));
    pair.send(&packets[4..], 2);
    assert_eq!(pair.come().await.last(), Some(&packets[6]));
}

/// Another version of the library that made another code of it would not understand this one.
#[test]
fn the_code_is_what_it_was() {
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
