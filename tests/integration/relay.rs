//! Tests of the emulated link that other tests put between two peers.

use crate::harness::relay::{BOTH, Relay, Side, Way};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Two sockets and the link between them.
struct Ends {
    a: UdpSocket,
    b: UdpSocket,
    link: Relay,
}

impl Ends {
    fn new(seed: u64) -> Self {
        let open = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            socket
        };
        let (a, b) = (open(), open());
        let link = Relay::start(seed, a.local_addr().unwrap(), b.local_addr().unwrap());
        Self { a, b, link }
    }

    fn a_to_b(&self, number: u8) {
        self.a.send_to(&[number], self.link.facing_a()).unwrap();
    }

    fn b_to_a(&self, number: u8) {
        self.b.send_to(&[number], self.link.facing_b()).unwrap();
    }
}

/// The next packet and its source address.
fn next(socket: &UdpSocket) -> (u8, SocketAddr) {
    let mut buf = [0; 8];
    let (len, from) = socket.recv_from(&mut buf).expect("a packet in time");
    assert_eq!(len, 1);
    (buf[0], from)
}

fn nothing(socket: &UdpSocket) -> bool {
    socket.set_nonblocking(true).unwrap();
    let result = socket.recv_from(&mut [0; 8]);
    socket.set_nonblocking(false).unwrap();
    result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn packets_cross_both_ways_in_order_and_are_counted() {
    let ends = Ends::new(1);
    ends.link.edit_both(|line| line.delay = Duration::from_millis(50));
    let begin = Instant::now();
    (0..10).for_each(|number| ends.a_to_b(number));
    ends.b_to_a(99);
    (0..10).for_each(|number| assert_eq!(next(&ends.b), (number, ends.link.facing_b())));
    assert_eq!(next(&ends.a), (99, ends.link.facing_a()));
    assert!(begin.elapsed() >= Duration::from_millis(50));
    assert_eq!((ends.link.counts(Way::AToB).packets, ends.link.counts(Way::AToB).bytes), (10, 10));
    assert_eq!(ends.link.counts(Way::BToA).packets, 1);
}

#[test]
fn a_cut_takes_one_way_or_both_and_ends() {
    let ends = Ends::new(2);
    ends.link.cut(&[Way::AToB]);
    ends.a_to_b(1);
    ends.b_to_a(2);
    assert_eq!(next(&ends.a).0, 2);
    while ends.link.counts(Way::AToB).packets < 1 {
        std::thread::yield_now();
    }
    ends.link.restore();
    ends.a_to_b(3);
    assert_eq!(next(&ends.b).0, 3, "packets of the cut are lost");
    ends.link.cut(&BOTH);
    ends.b_to_a(4);
    while ends.link.counts(Way::BToA).packets < 2 {
        std::thread::yield_now();
    }
    ends.link.restore();
    ends.b_to_a(5);
    assert_eq!(next(&ends.a).0, 5);
    assert!(nothing(&ends.b));
}

#[test]
fn the_seed_decides_which_packets_are_lost() {
    let survivors = |seed| {
        let ends = Ends::new(seed);
        ends.link.edit(Way::AToB, |line| line.loss = 0.3);
        for number in 0..200 {
            ends.a_to_b(number);
            // One at a time, so that no buffer on the path loses packets.
            while ends.link.counts(Way::AToB).packets < u64::from(number) + 1 {
                std::thread::yield_now();
            }
        }
        ends.link.edit(Way::AToB, |line| line.loss = 0.0);
        ends.a_to_b(255);
        let all = std::iter::repeat_with(|| next(&ends.b).0);
        all.take_while(|number| *number != 255).collect::<Vec<_>>()
    };
    let one = survivors(7);
    assert!((100..180).contains(&one.len()), "{} of 200 came through", one.len());
    assert_eq!(one, survivors(7));
    assert_ne!(one, survivors(8));
}

#[test]
fn lost_packets_use_the_rate_too() {
    let ends = Ends::new(5);
    // A packet takes 50 ms.
    ends.link.edit(Way::AToB, |line| {
        (line.rate, line.queue, line.loss) = (Some(20), Duration::from_secs(60), 1.0)
    });
    let begin = Instant::now();
    (0..4).for_each(|number| ends.a_to_b(number));
    while ends.link.counts(Way::AToB).packets < 4 {
        std::thread::yield_now();
    }
    ends.link.edit(Way::AToB, |line| line.loss = 0.0);
    ends.a_to_b(4);
    assert_eq!(next(&ends.b).0, 4);
    assert!(begin.elapsed() >= Duration::from_millis(250));
}

#[test]
fn a_rate_spreads_packets_and_a_full_queue_drops_them() {
    let ends = Ends::new(3);
    // A packet takes 10 ms, and the queue holds ten.
    ends.link
        .edit(Way::AToB, |line| (line.rate, line.queue) = (Some(100), Duration::from_millis(95)));
    let begin = Instant::now();
    (0..50).for_each(|number| ends.a_to_b(number));
    while ends.link.counts(Way::AToB).packets < 50 {
        std::thread::yield_now();
    }
    let taken_in = begin.elapsed();
    ends.link.edit(Way::AToB, |line| line.rate = None);
    ends.a_to_b(255);
    let came =
        std::iter::repeat_with(|| next(&ends.b).0).take_while(|number| *number != 255).count();
    assert!(begin.elapsed() >= Duration::from_millis(90));
    // Packets sent while the queue drained also fitted.
    let most = 11 + taken_in.as_millis() as usize / 10;
    assert!((10..=most).contains(&came), "{came} came through, at most {most} fitted");
}

#[test]
fn a_side_sees_the_other_at_a_new_address() {
    let ends = Ends::new(4);
    ends.a_to_b(1);
    let (_, before) = next(&ends.b);
    let after = ends.link.rebind(Side::B, IpAddr::from([127, 0, 0, 5]));
    ends.a_to_b(2);
    assert_eq!(next(&ends.b), (2, after));
    ends.b.send_to(&[3], before).unwrap();
    ends.b_to_a(4);
    assert_eq!(next(&ends.a), (4, ends.link.facing_a()), "packets to the old address are lost");
}
