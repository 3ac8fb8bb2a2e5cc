//! Repair through a pair of sockets.

use super::{key, packet};
use crate::transport::fec::packet::MAX_PACKETS;
use crate::transport::fec::*;
use crate::transport::runtime::QuicThread;
use crate::transport::socket::{bind, wrap};
use quinn::UdpPoller;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::pin::Pin;
use std::time::Instant;

/// Two sockets: `from` sends to `to`, with repair packets, over a path with loss.
struct Pair {
    from: crate::transport::socket::BoundSocket,
    to: crate::transport::socket::BoundSocket,
    path: Arc<PathEstimate>,
    backlog: SendBacklog,
    _thread: QuicThread,
}

impl Pair {
    async fn new(taken: bool) -> Self {
        let thread = QuicThread::start().unwrap();
        let bound = || wrap(bind("127.0.0.1:0".parse().unwrap()).unwrap(), &thread).unwrap();
        let (from, to) = (bound(), bound());
        let backlog = SendBacklog::default();
        let session = || SessionRepair {
            own: key(),
            peers: key(),
            accepts_repair: taken,
            backlog: backlog.clone(),
        };
        from.fec.begin(session());
        to.fec.begin(session());
        let rtt = Duration::from_millis(40);
        let path = Arc::new(PathEstimate::of(1_000_000, rtt, 0.02));
        from.fec.follow(to.local, rtt, Some(path.clone()));
        to.fec.follow(from.local, rtt, None);
        let mut poller: Pin<Box<dyn UdpPoller>> = from.socket.clone().create_io_poller();
        std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
        Self { from, to, path, backlog, _thread: thread }
    }

    /// Sends all packets; the one at index `lost` is lost on the way.
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
                true => self.from.fec.on_sent(&self.from.socket, &transmit),
                false => self.from.socket.try_send(&transmit).unwrap(),
            }
        }
    }

    /// Receives until no packet arrives for a moment. Returns the packets that QUIC would see.
    async fn receive_all(&self) -> Vec<Vec<u8>> {
        let (mut received, mut storage, mut meta) =
            (Vec::new(), vec![0; 1 << 16], [RecvMeta::default()]);
        loop {
            let receive = std::future::poll_fn(|cx| {
                self.to.socket.poll_recv(cx, &mut [IoSliceMut::new(&mut storage)], &mut meta)
            });
            let Ok(count) = tokio::time::timeout(Duration::from_millis(500), receive).await else {
                break;
            };
            assert_eq!(count.unwrap(), 1);
            assert_eq!(meta[0].addr, self.from.local);
            received.extend(storage[..meta[0].len].chunks(meta[0].stride).map(<[u8]>::to_vec));
        }
        received.retain(|packet| packet[0] & 0x40 != 0);
        received
    }
}

#[tokio::test]
async fn a_lost_packet_arrives_through_the_socket() {
    let pair = Pair::new(true).await;
    let mut random = StdRng::seed_from_u64(6);
    let packets: Vec<_> = (0..5).map(|_| packet(&mut random, 1200)).collect();
    let begin = Instant::now();
    pair.send(&packets, 2);
    let mut received = pair.receive_all().await;
    assert_eq!(received.pop().as_ref(), Some(&packets[2]), "after {:?}", begin.elapsed());
    assert_eq!(received, [&packets[..2], &packets[3..]].concat());
}

#[tokio::test]
async fn repair_needs_a_willing_peer_the_tail_and_loss() {
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
    for (name, pair) in [
        ("the peer does not support it", without),
        ("a writer is blocked", busy),
        ("no loss", clean),
    ] {
        assert_eq!(pair.receive_all().await.len(), 4, "{name}");
    }
}

#[tokio::test]
async fn only_full_blocks_shrink_the_window() {
    let pair = Pair::new(true).await;
    let mut random = StdRng::seed_from_u64(8);
    let packets: Vec<_> = (0..MAX_PACKETS).map(|_| packet(&mut random, 1200)).collect();
    pair.send(&packets[..5], MAX_PACKETS);
    assert_eq!(pair.receive_all().await.len(), 5, "all packets, followed by repair");
    assert_eq!(pair.path.repair_share(), 0.0);
    pair.send(&packets, MAX_PACKETS);
    let share = pair.path.repair_share();
    assert!((0.05..0.2).contains(&share), "{share}");
    let _waits = pair.backlog.blocked();
    pair.send(&packets[..1], MAX_PACKETS);
    assert_eq!(pair.path.repair_share(), 0.0);
}

/// QUIC sends a packet above the known MTU to see whether it arrives: repair must not recover it.
#[tokio::test]
async fn an_mtu_probe_is_not_recovered() {
    let pair = Pair::new(true).await;
    let mut random = StdRng::seed_from_u64(10);
    let packets = [packet(&mut random, 1452), packet(&mut random, 1453), packet(&mut random, 1452)];
    pair.send(&packets, 1);
    assert_eq!(pair.receive_all().await, [packets[0].clone(), packets[2].clone()]);
}

#[tokio::test]
async fn a_new_path_counts_from_zero_through_the_socket() {
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
    assert_eq!(pair.receive_all().await.last(), Some(&packets[6]));
}
