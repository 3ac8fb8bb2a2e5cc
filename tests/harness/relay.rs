//! An emulated link between two addresses of this machine. It delays, loses, limits and cuts
//! packets, separately for each direction, and can change the address from which one side sees the
//! other.
//!
//! A side sends to [`Relay::facing_a`] or [`Relay::facing_b`]; the relay forwards from the other
//! one of the two. The seed and the order of the packets decide which packets are lost.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a waiting thread checks whether it should stop or its socket was replaced.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Size of each socket buffer that the relay asks the kernel for, in bytes.
const BUFFER_SIZE: usize = 4 << 20;

/// Default limit of the UDP payload of a packet, as on Ethernet; loopback would carry 64 KiB.
const MAX_PAYLOAD: usize = 1472;

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    AToB,
    BToA,
}

/// Both directions.
pub const BOTH: [Way; 2] = [Way::AToB, Way::BToA];

/// An end of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    A,
    B,
}

/// How one direction treats packets.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Probability that a packet is lost on the wire, after it has used its share of the rate.
    pub loss: f64,
    /// One-way delay.
    pub delay: Duration,
    /// Bytes of UDP payload per second; `None` for no limit.
    pub rate: Option<u64>,
    /// The longest time a packet may wait in the queue. A packet that would wait longer is dropped.
    pub queue: Duration,
    /// Drops all packets, also those in flight.
    pub cut: bool,
    /// Largest UDP payload that passes, in bytes.
    pub largest: usize,
    /// How an off-path observer answers each first packet, before the other end can. It also does
    /// so while the link is cut.
    pub forgery: Option<Answer>,
}

/// The answer of an off-path observer to a packet, if it answers.
pub type Answer = fn(&[u8]) -> Option<Vec<u8>>;

impl Default for Line {
    fn default() -> Self {
        Self {
            loss: 0.0,
            delay: Duration::ZERO,
            rate: None,
            queue: Duration::from_millis(100),
            cut: false,
            largest: MAX_PAYLOAD,
            forgery: None,
        }
    }
}

/// Packets of one direction, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that reached the relay.
    pub packets: u64,
    /// Their UDP payload in bytes.
    pub bytes: u64,
    /// Packets forwarded to the other side.
    pub delivered_packets: u64,
    /// Their UDP payload in bytes.
    pub delivered_bytes: u64,
    /// Packets that the off-path observer answered.
    pub forged: u64,
}

/// A packet that reached the relay: when, and its UDP payload in bytes.
pub type Arrival = (Instant, usize);

/// The emulated link. Dropping it stops it.
pub struct Relay {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// The name of its threads, which no other relay of this process has.
    thread_name: String,
}

struct Shared {
    stop: AtomicBool,
    /// The addresses of A and B.
    peers: [Mutex<SocketAddr>; 2],
    /// The sockets that A and B send to.
    faces: [Mutex<Arc<UdpSocket>>; 2],
    ways: [Direction; 2],
}

/// One direction, named after the side that sends.
struct Direction {
    line: Mutex<Line>,
    queue: Mutex<VecDeque<(Instant, Vec<u8>)>>,
    /// Signals that the queue is no longer empty.
    filled: Condvar,
    packets: AtomicU64,
    bytes: AtomicU64,
    delivered_packets: AtomicU64,
    delivered_bytes: AtomicU64,
    forged: AtomicU64,
    /// The packets that reached the relay, if a test wants them.
    arrivals: Mutex<Option<Vec<Arrival>>>,
}

impl Relay {
    /// Starts a link without loss or delay between `a` and `b`, on loopback addresses of its own.
    pub fn start(seed: u64, a: SocketAddr, b: SocketAddr) -> Self {
        println!("the link's seed is {seed}");
        let face = |ip: [u8; 4]| Mutex::new(open(IpAddr::from(ip)));
        let direction = || Direction {
            line: Mutex::default(),
            queue: Mutex::default(),
            filled: Condvar::new(),
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            delivered_packets: AtomicU64::new(0),
            delivered_bytes: AtomicU64::new(0),
            forged: AtomicU64::new(0),
            arrivals: Mutex::default(),
        };
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            peers: [Mutex::new(a), Mutex::new(b)],
            faces: [face([127, 0, 0, 3]), face([127, 0, 0, 4])],
            ways: [direction(), direction()],
        });
        let thread_name = format!("relay {}", shared.face(Side::A).local_addr().unwrap().port());
        let thread = || std::thread::Builder::new().name(thread_name.clone());
        let mut threads = Vec::new();
        for way in BOTH {
            let (here, mut random) = (shared.clone(), StdRng::seed_from_u64(seed ^ way as u64));
            threads.push(thread().spawn(move || here.take_in(way, &mut random)).unwrap());
            let here = shared.clone();
            threads.push(thread().spawn(move || here.deliver(way)).unwrap());
        }
        Self { shared, threads, thread_name }
    }

    /// The name of the relay's threads, by which a test finds them in its own process.
    pub fn thread_name(&self) -> &str {
        &self.thread_name
    }

    /// The address that A sends to, and from which it sees B.
    pub fn facing_a(&self) -> SocketAddr {
        self.shared.face(Side::A).local_addr().unwrap()
    }

    /// The address that B sends to, and from which it sees A.
    pub fn facing_b(&self) -> SocketAddr {
        self.shared.face(Side::B).local_addr().unwrap()
    }

    /// Changes how one direction treats packets.
    pub fn edit(&self, way: Way, edit: impl FnOnce(&mut Line)) {
        edit(&mut lock(&self.shared.ways[way as usize].line));
    }

    /// Changes both directions in the same way.
    pub fn edit_both(&self, edit: impl Fn(&mut Line)) {
        BOTH.iter().for_each(|way| self.edit(*way, &edit));
    }

    /// Cuts these directions.
    pub fn cut(&self, ways: &[Way]) {
        ways.iter().for_each(|way| self.edit(*way, |line| line.cut = true));
    }

    /// Ends all cuts.
    pub fn restore(&self) {
        self.edit_both(|line| line.cut = false);
    }

    /// From now on `side` sees the other side at a new port of `ip`, and the old port is closed: as
    /// with a NAT that lost its mapping (same address) or a host that roams (another address).
    pub fn rebind(&self, side: Side, ip: IpAddr) -> SocketAddr {
        let socket = open(ip);
        let addr = socket.local_addr().unwrap();
        *lock(&self.shared.faces[side as usize]) = socket;
        addr
    }

    /// Moves the end of the link on this side to `addr`, as when another process replaces the peer.
    pub fn replace(&self, side: Side, addr: SocketAddr) {
        *lock(&self.shared.peers[side as usize]) = addr;
    }

    /// Begins to note each packet of this direction.
    pub fn note_arrivals(&self, way: Way) {
        *lock(&self.shared.ways[way as usize].arrivals) = Some(Vec::new());
    }

    /// The packets noted so far.
    pub fn arrivals(&self, way: Way) -> Vec<Arrival> {
        lock(&self.shared.ways[way as usize].arrivals).clone().unwrap_or_default()
    }

    /// The packet counts of this direction so far.
    pub fn counts(&self, way: Way) -> Counts {
        let way = &self.shared.ways[way as usize];
        let of = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        Counts {
            packets: of(&way.packets),
            bytes: of(&way.bytes),
            delivered_packets: of(&way.delivered_packets),
            delivered_bytes: of(&way.delivered_bytes),
            forged: of(&way.forged),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn face(&self, side: Side) -> Arc<UdpSocket> {
        lock(&self.faces[side as usize]).clone()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Receives packets from the sending side, drops some, and queues the others with their due
    /// times.
    fn take_in(&self, way: Way, random: &mut StdRng) {
        let side = if way == Way::AToB { Side::A } else { Side::B };
        let direction = &self.ways[way as usize];
        let mut buf = vec![0; 1 << 16];
        let mut free = Instant::now();
        let mut last = Instant::now();
        while !self.stopped() {
            let socket = self.face(side);
            let Ok((len, from)) = socket.recv_from(&mut buf) else { continue };
            // From an unknown sender, or received on a replaced socket.
            if from != *lock(&self.peers[side as usize]) || !Arc::ptr_eq(&socket, &self.face(side))
            {
                continue;
            }
            let line = *lock(&direction.line);
            // A test that sees the new count may change the line, but not for this packet.
            direction.bytes.fetch_add(len as u64, Ordering::Release);
            direction.packets.fetch_add(1, Ordering::Release);
            if let Some(arrivals) = &mut *lock(&direction.arrivals) {
                arrivals.push((Instant::now(), len));
            }
            if let Some(answer) = line.forgery.and_then(|answer| answer(&buf[..len])) {
                let _ = socket.send_to(&answer, from);
                direction.forged.fetch_add(1, Ordering::Release);
            }
            let now = Instant::now();
            let lost = random.random_bool(line.loss);
            if line.cut || len > line.largest {
                continue;
            }
            let mut leaves = now;
            if let Some(rate) = line.rate {
                leaves = now.max(free);
                if leaves - now > line.queue {
                    continue;
                }
                leaves += Duration::from_secs_f64(len as f64 / rate as f64);
                free = leaves;
            }
            if lost {
                continue;
            }
            last = last.max(leaves + line.delay);
            lock(&direction.queue).push_back((last, buf[..len].to_vec()));
            direction.filled.notify_one();
        }
    }

    /// Forwards packets to the other side when they are due.
    fn deliver(&self, way: Way) {
        let side = if way == Way::AToB { Side::B } else { Side::A };
        let direction = &self.ways[way as usize];
        while !self.stopped() {
            let Some((due, packet)) = direction.next() else { continue };
            let left = due.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                std::thread::sleep(left);
            }
            if lock(&direction.line).cut {
                continue;
            }
            let to = *lock(&self.peers[side as usize]);
            if self.face(side).send_to(&packet, to).is_ok() {
                direction.delivered_packets.fetch_add(1, Ordering::Relaxed);
                direction.delivered_bytes.fetch_add(packet.len() as u64, Ordering::Relaxed);
            }
        }
    }
}

impl Direction {
    /// The next packet and its due time, if there is one soon.
    fn next(&self) -> Option<(Instant, Vec<u8>)> {
        let queue = lock(&self.queue);
        let wait = self.filled.wait_timeout_while(queue, POLL_INTERVAL, |queue| queue.is_empty());
        wait.unwrap().0.pop_front()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

fn open(ip: IpAddr) -> Arc<UdpSocket> {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(POLL_INTERVAL)).unwrap();
    let options = socket2::SockRef::from(&socket);
    let _ = options.set_recv_buffer_size(BUFFER_SIZE);
    let _ = options.set_send_buffer_size(BUFFER_SIZE);
    Arc::new(socket)
}
