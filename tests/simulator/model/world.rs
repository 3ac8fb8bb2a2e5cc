//! The event loop: flows over one shared link, virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::node::{IDLE, Node};
use super::{FlowConfig, Link, LinkConfig, Source};

/// Timer resolution, seconds: tokio's timers round up to milliseconds.
const TIMER: f64 = 1e-3;

/// The results of a flow.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Bytes that arrived.
    pub bytes: u64,
    /// Seconds from the established connection, or the end of the idle time, to the last byte.
    pub seconds: f64,
    /// Seconds from half of the bytes to all.
    pub half: f64,
    /// Seconds from 99 % of the bytes to all.
    pub end: f64,
    /// Bytes read after each tenth of a second of the whole run.
    pub progress: Vec<u64>,
    /// Smoothed round-trip time at each tenth of a second, seconds.
    pub rtt: Vec<f64>,
    /// The controller's estimate of the rate at each tenth of a second, bytes per second.
    pub estimate: Vec<f64>,
    /// Delay of the queue at each tenth of a second, seconds, and the phase of the controller.
    pub queue: Vec<(f64, String)>,
    /// Seconds that each file took, if there are several.
    pub files: Vec<f64>,
    /// Packets sent, and packets that the sender declared lost.
    pub packets: (u64, u64),
    /// Lost packets that the receiver recovered.
    pub recovered: u64,
    /// Why the connection died.
    pub failure: Option<String>,
}

impl Report {
    /// Goodput in bytes per second between two points of time, seconds from the run's start.
    pub fn rate(&self, from: f64, to: f64) -> f64 {
        let at = |t: f64| {
            let i = ((t * 10.0).round() as usize).min(self.progress.len().saturating_sub(1));
            self.progress.get(i).copied().unwrap_or(0) as f64
        };
        (at(to) - at(from)) / (to - from)
    }

    /// Goodput of the second half of the bytes, bytes per second.
    pub fn second_half(&self) -> f64 {
        self.bytes as f64 / 2.0 / self.half.max(1e-9)
    }

    /// Goodput of the whole transfer, bytes per second.
    pub fn goodput(&self) -> f64 {
        self.bytes as f64 / self.seconds.max(1e-9)
    }
}

/// A datagram on the link.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Parcel {
    at: u64,
    order: u64,
    flow: usize,
    to_receiver: bool,
    data: Vec<u8>,
}

struct Flow {
    config: FlowConfig,
    sender: Node,
    receiver: Node,
    wanted: u64,
    given: u64,
    /// For several files: when the next one starts, when the last one started, and the time of
    /// each.
    next_file: f64,
    dropped: f64,
    files: Vec<f64>,
    done: Option<f64>,
    half: Option<f64>,
    nearly: Option<f64>,
    progress: Vec<u64>,
    rtt: Vec<f64>,
    estimate: Vec<f64>,
    queue: Vec<(f64, String)>,
}

impl Flow {
    /// When its application begins.
    fn begin(&self) -> f64 {
        match self.config.probe {
            true => self.sender.connected.map_or(f64::MAX, |at| at + IDLE),
            false => self.config.start,
        }
    }

    fn next_file(&self) -> f64 {
        match self.config.source {
            Source::Files { after, .. } if self.given == 0 => self.begin() + after,
            _ => self.next_file,
        }
    }
}

/// A link and its flows.
pub struct World {
    /// Data's direction.
    pub forward: Link,
    /// The acknowledgements' direction.
    pub backward: Link,
    flows: Vec<Flow>,
    heap: BinaryHeap<Reverse<Parcel>>,
    order: u64,
    base: Instant,
    now: f64,
    trace: bool,
}

impl World {
    /// A link with these flows. All randomness follows from `seed`.
    pub fn new(link: LinkConfig, flows: &[FlowConfig], seed: u64) -> Self {
        let base = Instant::now();
        let recordings = link.recordings.clone().map(|([there, back], max)| ([back, there], max));
        let back = LinkConfig { policer: None, recordings, ..link.clone() };
        let flows = flows.iter().enumerate().map(|(i, config)| {
            let seed = seed.wrapping_mul(31).wrapping_add(i as u64);
            let (sender, receiver) = Node::pair(config, i as u16, base, seed);
            let wanted = match config.source {
                Source::Bulk(n) => n,
                Source::Trickle { bytes, every, until, then } => {
                    (until / every) as u64 * bytes + then
                }
                Source::Files { bytes, count, .. } => bytes * u64::from(count),
            };
            Flow {
                config: *config,
                sender,
                receiver,
                wanted,
                given: 0,
                next_file: f64::MAX,
                dropped: 0.0,
                files: Vec::new(),
                done: None,
                half: None,
                nearly: None,
                progress: Vec::new(),
                rtt: Vec::new(),
                estimate: Vec::new(),
                queue: Vec::new(),
            }
        });
        Self {
            flows: flows.collect(),
            forward: Link::new(link, seed ^ 0x5eed),
            backward: Link::new(back, seed ^ 0xacc),
            heap: BinaryHeap::new(),
            order: 0,
            base,
            now: 0.0,
            trace: std::env::var_os("SIM_TRACE").is_some(),
        }
    }

    /// Runs until every flow is done or `limit` seconds have passed.
    pub fn run(mut self, limit: f64) -> (Vec<Report>, Link) {
        let mut next_sample = 0.0;
        while self.now < limit && self.flows.iter().any(|f| f.done.is_none()) {
            let t = self.next_event().min(next_sample);
            self.now = self.now.max(t);
            if self.now >= next_sample {
                self.sample();
                next_sample += 0.1;
            }
            self.arrivals();
            for i in 0..self.flows.len() {
                self.feed(i);
                self.turn(i);
            }
        }
        self.sample();
        let reports = self.flows.iter_mut().map(|f| {
            let start = if f.config.probe { f.begin() } else { f.sender.connected.unwrap_or(0.0) };
            let stats = f.sender.connection().map(|c| c.stats());
            Report {
                bytes: f.receiver.read,
                seconds: f.done.unwrap_or(self.now) - start,
                half: f.done.unwrap_or(self.now) - f.half.unwrap_or(start),
                end: f.done.unwrap_or(self.now) - f.nearly.unwrap_or(start),
                progress: f.progress.clone(),
                rtt: f.rtt.clone(),
                estimate: f.estimate.clone(),
                queue: f.queue.clone(),
                files: f.files.clone(),
                packets: stats.map_or((0, 0), |s| (s.path.sent_packets, s.path.lost_packets)),
                recovered: f.receiver.recovered_count(),
                failure: f.sender.failure.clone().or(f.receiver.failure.clone()),
            }
        });
        (reports.collect(), self.forward)
    }

    fn instant(&self) -> Instant {
        self.base + Duration::from_nanos((self.now * 1e9).round() as u64)
    }

    fn next_event(&mut self) -> f64 {
        let mut t = self.heap.peek().map_or(f64::MAX, |e| e.0.at as f64 / 1e9);
        let base = self.base;
        for flow in &mut self.flows {
            let until = flow.config.start;
            if self.now < until {
                t = t.min(until);
                continue;
            }
            let begin = flow.begin();
            if begin > self.now {
                t = t.min(begin);
            }
            if let Source::Trickle { every, .. } = flow.config.source
                && begin <= self.now
                && flow.given < flow.wanted
            {
                let turn = ((self.now - begin) / every).floor() + 1.0;
                let next = begin + turn * every;
                t = t.min(next.max(self.now + 1e-6));
            }
            if flow.next_file() > self.now {
                t = t.min(flow.next_file());
            }
            for node in [&mut flow.sender, &mut flow.receiver] {
                if let Some(due) = node.timeout() {
                    let due = due.saturating_duration_since(base).as_secs_f64();
                    t = t.min(((due / TIMER).ceil() * TIMER).max(self.now + 1e-9));
                }
            }
        }
        t
    }

    fn arrivals(&mut self) {
        let due = (self.now * 1e9).round() as u64;
        while self.heap.peek().is_some_and(|e| e.0.at <= due) {
            let Some(Reverse(parcel)) = self.heap.pop() else {
                break;
            };
            let now = self.instant();
            let flow = &mut self.flows[parcel.flow];
            let node = if parcel.to_receiver { &mut flow.receiver } else { &mut flow.sender };
            node.receive(now, &parcel.data);
        }
    }

    fn feed(&mut self, i: usize) {
        let flow = &mut self.flows[i];
        let age = self.now - flow.begin();
        if age < 0.0 {
            return;
        }
        let due = match flow.config.source {
            Source::Bulk(n) => n,
            Source::Trickle { bytes, every, until, .. } => {
                if age >= until {
                    flow.wanted
                } else {
                    (age / every) as u64 * bytes
                }
            }
            Source::Files { bytes, .. } => {
                flow.given + if self.now >= flow.next_file() { bytes } else { 0 }
            }
        };
        if due > flow.given {
            flow.sender.give(due - flow.given);
            flow.given = due;
            flow.dropped = self.now;
            flow.next_file = f64::MAX;
        }
    }

    fn turn(&mut self, i: usize) {
        if self.now < self.flows[i].config.start || self.flows[i].done.is_some() {
            return;
        }
        let now = self.instant();
        for to_receiver in [true, false] {
            let flow = &mut self.flows[i];
            let node = if to_receiver { &mut flow.sender } else { &mut flow.receiver };
            let link = if to_receiver { &mut self.forward } else { &mut self.backward };
            node.expire(now);
            let (heap, order, seconds) = (&mut self.heap, &mut self.order, self.now);
            node.drive(now, seconds, |data| {
                let Some(at) = link.carry(seconds, data.len()) else {
                    return;
                };
                let at = (at * 1e9).ceil() as u64;
                *order += 1;
                heap.push(Reverse(Parcel {
                    at,
                    order: *order,
                    flow: i,
                    to_receiver,
                    data: data.to_vec(),
                }));
            });
        }
        let flow = &mut self.flows[i];
        if flow.half.is_none() && flow.receiver.read * 2 >= flow.wanted {
            flow.half = Some(self.now);
        }
        if flow.nearly.is_none() && flow.receiver.read >= flow.wanted / 100 * 99 {
            flow.nearly = Some(self.now);
        }
        if let Source::Files { pause, .. } = flow.config.source
            && flow.given > 0
            && flow.next_file == f64::MAX
            && flow.receiver.read >= flow.given
        {
            flow.files.push(self.now - flow.dropped);
            flow.next_file = self.now + pause;
        }
        if flow.receiver.read >= flow.wanted
            || flow.sender.failure.is_some()
            || flow.receiver.failure.is_some()
        {
            flow.done = Some(self.now);
        }
    }

    fn sample(&mut self) {
        for (i, flow) in self.flows.iter_mut().enumerate() {
            flow.progress.push(flow.receiver.read);
            let read = flow.receiver.read;
            let Some(connection) = flow.sender.connection() else {
                continue;
            };
            let stats = connection.stats().path;
            flow.rtt.push(stats.rtt.as_secs_f64());
            let path = rft::internals::transport::congestion::estimate(
                connection.congestion_state().clone_box().into_any(),
            );
            let rate = path.and_then(|p| p.bandwidth()).unwrap_or(0);
            flow.estimate.push(rate as f64);
            let note = connection.congestion_state().clone_box().into_any();
            let note = rft::internals::transport::congestion::describe(note);
            let phase = note.split(' ').next().unwrap_or_default().to_owned();
            flow.queue.push((self.forward.delay(self.now), phase));
            if self.trace {
                println!(
                    "{:6.2} flow {i} {:8.2} MB rtt {:6.1} ms queue {:5.0} cwnd {:8} lost {:6}/{:7} {note}",
                    self.now,
                    read as f64 / 1e6,
                    stats.rtt.as_secs_f64() * 1e3,
                    self.forward.delay(self.now) * 1e3,
                    stats.cwnd,
                    stats.lost_packets,
                    stats.sent_packets,
                );
            }
        }
    }
}
