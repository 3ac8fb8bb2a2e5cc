//! What limits the speed of each direction, by the waits of the last seconds.
//!
//! Each side looks at its own part, tells the peer its finding (`Control::Limits`), and puts both
//! together. So both sides name the same cause.

use super::lock::locked;
use crate::meter::{Meter, Spent, Stage};
use crate::proto::message::Constraint;
use crate::session::SentSoFar;
use crate::status::{Bottleneck, Direction};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Time between two samples while files are in flight.
pub(super) const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);
/// The waits of this time count.
const WINDOW: Duration = Duration::from_secs(2);
/// Packets of this time count for the loss, if there are at least [`MIN_PACKETS`].
const LOSS_WINDOW: Duration = Duration::from_secs(10);
const MIN_PACKETS: u64 = 100;
/// A side that waits for less than this share of the time is not limited.
const MIN_SHARE: f64 = 0.02;
/// The rate limit is the cause if the connection sends at least this share of it.
const LIMIT_SHARE: f64 = 0.85;
/// The receiver is the limit if its streams wait for its disk or processor for more than this share
/// of their time,
const STORE_SHARE: f64 = 0.5;
/// or if its committing thread is busy for more than this share.
const COMMIT_SHARE: f64 = 0.7;
/// The processor is the limit if less than this share of all cores is idle, this process uses at
/// least [`MIN_CORES`], and no other wait explains the speed.
const IDLE_SHARE: f64 = 0.08;
const MIN_CORES: f64 = 0.5;

/// The time of all cores, in the system's ticks, where it has proc(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cores {
    idle: u64,
    all: u64,
    /// Used by this process.
    own: u64,
}

/// The finding of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Constraints {
    /// The files that it sends.
    pub(super) sending: Constraint,
    /// The files that it receives.
    pub(super) receiving: Constraint,
}

/// Follows the waits of one peer's transfers.
#[derive(Debug)]
pub(super) struct Bottlenecks {
    /// Of the deliveries and the received files.
    meter: Arc<Meter>,
    /// Of the committing thread, which all peers share.
    commits: Arc<Meter>,
    state: Mutex<WaitSamples>,
}

#[derive(Debug, Default)]
struct WaitSamples {
    samples: VecDeque<WaitSample>,
    packets: VecDeque<(Instant, SentSoFar)>,
    loss: f64,
    own: Constraints,
    /// `None` if the peer does not tell.
    peers: Option<Constraints>,
}

#[derive(Debug, Clone, Copy)]
struct WaitSample {
    at: Instant,
    spent: Spent,
    cores: Option<Cores>,
    sent: SentSoFar,
    /// In bytes per second.
    limit: Option<u64>,
}

impl Bottlenecks {
    pub(super) fn new(meter: Arc<Meter>, commits: Arc<Meter>) -> Self {
        Self { meter, commits, state: Mutex::default() }
    }

    /// A session begins.
    pub(super) fn begin(&self, peer_tells: bool) {
        let peers = peer_tells.then(Constraints::default);
        *locked(&self.state) = WaitSamples { peers, ..WaitSamples::default() };
    }

    /// The peer tells its finding.
    pub(super) fn told(&self, peers: Constraints) {
        locked(&self.state).peers = Some(peers);
    }

    /// Takes a sample, with the rate limit in bytes per second. Returns the finding of this side.
    pub(super) fn sample(&self, sent: SentSoFar, limit: Option<u64>) -> Constraints {
        let spent = self.meter.spent().plus(&self.commits.spent());
        let sample = WaitSample { at: Instant::now(), spent, cores: Cores::so_far(), sent, limit };
        locked(&self.state).push(sample)
    }

    /// The loss of the last seconds with traffic.
    pub(super) fn loss(&self) -> f64 {
        locked(&self.state).loss
    }

    /// What limits a direction in which files are in flight.
    pub(super) fn bottleneck(&self, direction: Direction) -> Bottleneck {
        let state = locked(&self.state);
        combine(direction, state.own, state.peers)
    }
}

impl WaitSamples {
    fn push(&mut self, sample: WaitSample) -> Constraints {
        let (now, sent) = (sample.at, sample.sent);
        // The oldest one that stays is the first beyond the window.
        while self.samples.get(1).is_some_and(|next| now.duration_since(next.at) >= WINDOW) {
            self.samples.pop_front();
        }
        // After a rest the old samples say nothing.
        if self.samples.back().is_some_and(|last| now.duration_since(last.at) > WINDOW) {
            self.samples.clear();
        }
        if let Some(first) = self.samples.front() {
            let cores = first.cores.zip(sample.cores).map(|(before, now)| now.since(before));
            let span = now.duration_since(first.at);
            let bytes = sent.bytes.saturating_sub(first.sent.bytes);
            let at_limit = sample.limit.is_some_and(|limit| {
                bytes as f64 >= LIMIT_SHARE * limit as f64 * span.as_secs_f64()
            });
            self.own = constraints(span, &sample.spent.since(&first.spent), cores, at_limit);
        }
        self.samples.push_back(sample);
        self.packets.push_back((now, sent));
        while let Some((at, then)) = self.packets.front().copied() {
            let packets = sent.packets.saturating_sub(then.packets);
            if packets >= MIN_PACKETS {
                self.loss = sent.lost.saturating_sub(then.lost) as f64 / packets as f64;
            }
            if now.duration_since(at) <= LOSS_WINDOW {
                break;
            }
            self.packets.pop_front();
        }
        self.own
    }
}

/// What limits this side, by the waits and the cores of `span`. `at_limit` says that the connection
/// sends as fast as the rate limit allows.
fn constraints(span: Duration, spent: &Spent, cores: Option<Cores>, at_limit: bool) -> Constraints {
    let of = |stage| spent.of(stage).as_secs_f64();
    let span = span.as_secs_f64().max(1e-3);
    let busy = cores.is_some_and(Cores::are_busy);
    let source = of(Stage::Source);
    let path = of(Stage::Path) + of(Stage::Answer);
    let disk_or_processor = |disk: f64, processor: f64| {
        if disk >= processor { Constraint::Disk } else { Constraint::Processor }
    };
    let sending = match source.max(path) {
        longest if longest < MIN_SHARE * span => Constraint::Nothing,
        longest if longest == source => disk_or_processor(of(Stage::Read), of(Stage::Seal)),
        _ if at_limit => Constraint::RateLimit,
        _ if busy => Constraint::Processor,
        _ => Constraint::Path,
    };
    let (store, arrive, commit) = (of(Stage::Store), of(Stage::Arrive), of(Stage::Commit));
    let check = of(Stage::Check);
    let receives = store + arrive + commit >= MIN_SHARE * span;
    let receiving = if store > MIN_SHARE * span && store > STORE_SHARE * (store + arrive) {
        disk_or_processor(of(Stage::Write), of(Stage::Open))
    } else if commit > COMMIT_SHARE * span {
        Constraint::Disk
    } else if check > MIN_SHARE * span && check > arrive {
        Constraint::Check
    } else if receives && busy {
        Constraint::Processor
    } else {
        Constraint::Nothing
    };
    Constraints { sending, receiving }
}

/// Puts both sides' findings together, for a direction in which files are in flight.
fn combine(direction: Direction, own: Constraints, peers: Option<Constraints>) -> Bottleneck {
    let peer = peers.unwrap_or_default();
    match direction {
        Direction::Send => match (own.sending, peer.receiving) {
            (_, Constraint::Check) => Bottleneck::PeerCheck,
            (Constraint::RateLimit, _) => Bottleneck::RateLimit,
            (Constraint::Disk, _) => Bottleneck::Disk,
            (_, Constraint::Disk) => Bottleneck::PeerDisk,
            (Constraint::Processor, _) => Bottleneck::Processor,
            (_, Constraint::Processor) => Bottleneck::PeerProcessor,
            // No sender has a check of its own.
            (Constraint::Path | Constraint::Check, _) => Bottleneck::Path,
            (Constraint::Nothing, _) => Bottleneck::Starting,
        },
        Direction::Receive => match (own.receiving, peer.sending) {
            (Constraint::Check, _) => Bottleneck::Check,
            (_, Constraint::RateLimit) => Bottleneck::PeerRateLimit,
            (_, Constraint::Disk) => Bottleneck::PeerDisk,
            (Constraint::Disk, _) => Bottleneck::Disk,
            (_, Constraint::Processor) => Bottleneck::PeerProcessor,
            (Constraint::Processor, _) => Bottleneck::Processor,
            (_, Constraint::Path | Constraint::Check) => Bottleneck::Path,
            (_, Constraint::Nothing) if peers.is_none() => Bottleneck::Path,
            (_, Constraint::Nothing) => Bottleneck::Starting,
        },
    }
}

impl Cores {
    /// Until now.
    fn so_far() -> Option<Self> {
        if !cfg!(target_os = "linux") {
            // Wine shows the proc(5) of its host.
            return None;
        }
        let all = std::fs::read_to_string("/proc/stat").ok()?;
        let own = std::fs::read_to_string("/proc/self/stat").ok()?;
        Self::parse(all.lines().next()?, &own)
    }

    /// `/proc/stat` begins with `cpu user nice system idle iowait irq softirq steal guest
    /// guest_nice`; the guests' time is in the user's already. In `/proc/self/stat` the 14th and
    /// 15th field are the process's time; its name, in parentheses, may have spaces.
    fn parse(all: &str, own: &str) -> Option<Self> {
        let numbers = all.strip_prefix("cpu ")?.split_ascii_whitespace();
        let ticks: Vec<u64> = numbers.take(8).map_while(|number| number.parse().ok()).collect();
        let (_, own) = own.rsplit_once(')')?;
        let own = own.split_ascii_whitespace().skip(11).take(2).map_while(|n| n.parse().ok());
        let own = own.collect::<Vec<u64>>();
        Some(Self {
            idle: ticks.get(3)? + ticks.get(4)?,
            all: ticks.iter().sum(),
            own: own.first()? + own.get(1)?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            idle: self.idle.saturating_sub(before.idle),
            all: self.all.saturating_sub(before.all),
            own: self.own.saturating_sub(before.own),
        }
    }

    /// Whether nothing is left, and this process uses a good part. Other programs alone do not
    /// count: the system gives this one its share.
    fn are_busy(self) -> bool {
        let count = std::thread::available_parallelism().map_or(1, |count| count.get()) as f64;
        let all = self.all as f64;
        all > 0.0
            && (self.idle as f64) < IDLE_SHARE * all
            && self.own as f64 * count >= MIN_CORES * all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(2);
    const IDLE: Option<Cores> = Some(Cores { idle: 90, all: 100, own: 90 });
    const BUSY: Option<Cores> = Some(Cores { idle: 2, all: 100, own: 90 });
    /// By other programs.
    const OTHERS: Option<Cores> = Some(Cores { idle: 2, all: 100_000, own: 9 });

    fn found(stages: &[(Stage, u64)], cores: Option<Cores>) -> (Constraint, Constraint) {
        let Constraints { sending, receiving } =
            constraints(SPAN, &Spent::from_millis(stages), cores, false);
        (sending, receiving)
    }

    #[test]
    fn the_longest_wait_is_the_limit_of_a_sender() {
        use Constraint::{Disk, Nothing, Path, Processor, RateLimit};
        let limited =
            |stages: &[_]| constraints(SPAN, &Spent::from_millis(stages), BUSY, true).sending;
        let sending = |stages: &[_], cores| found(stages, cores).0;
        assert_eq!(sending(&[], BUSY), Nothing);
        assert_eq!(sending(&[(Stage::Path, 10)], IDLE), Nothing);
        assert_eq!(sending(&[(Stage::Path, 1900), (Stage::Source, 50)], IDLE), Path);
        assert_eq!(sending(&[(Stage::Answer, 60_000), (Stage::Source, 900)], IDLE), Path);
        assert_eq!(limited(&[(Stage::Path, 1900), (Stage::Source, 50)]), RateLimit);
        assert_eq!(limited(&[(Stage::Source, 1900), (Stage::Read, 50)]), Disk);
        assert_eq!(limited(&[]), Nothing);
        let slow = [(Stage::Source, 1800), (Stage::Read, 1700), (Stage::Seal, 100)];
        assert_eq!(sending(&slow, IDLE), Disk);
        let hard = [(Stage::Source, 1800), (Stage::Read, 100), (Stage::Seal, 1700)];
        assert_eq!(sending(&hard, IDLE), Processor);
        assert_eq!(sending(&[(Stage::Path, 1900)], BUSY), Processor);
        assert_eq!(sending(&[(Stage::Path, 1900)], OTHERS), Path);
        assert_eq!(sending(&[(Stage::Path, 1900)], None), Path);
    }

    #[test]
    fn a_receiver_is_the_limit_if_its_streams_wait_for_it() {
        use Constraint::{Check, Disk, Nothing, Processor};
        let receiving = |stages: &[_], cores| found(stages, cores).1;
        assert_eq!(receiving(&[(Stage::Arrive, 1900), (Stage::Store, 90)], IDLE), Nothing);
        let stages = [(Stage::Arrive, 100), (Stage::Store, 1900)];
        assert_eq!(receiving(&[&stages[..], &[(Stage::Write, 1900)]].concat(), IDLE), Disk);
        assert_eq!(receiving(&[&stages[..], &[(Stage::Open, 1900)]].concat(), IDLE), Processor);
        assert_eq!(receiving(&[(Stage::Commit, 1900)], IDLE), Disk);
        assert_eq!(receiving(&[(Stage::Commit, 500), (Stage::Arrive, 900)], IDLE), Nothing);
        assert_eq!(receiving(&[(Stage::Arrive, 1900)], BUSY), Processor);
        assert_eq!(receiving(&[(Stage::Check, 1900), (Stage::Arrive, 900)], BUSY), Check);
        assert_eq!(receiving(&[(Stage::Check, 500), (Stage::Arrive, 900)], IDLE), Nothing);
        assert_eq!(receiving(&[], BUSY), Nothing);
    }

    /// Whatever each side finds, the receiver names what the sender names, seen from its side.
    #[test]
    fn both_sides_name_the_same_cause() {
        for sending in Constraint::ALL {
            let [path, limit] = [Constraint::Path, Constraint::RateLimit];
            for receiving in Constraint::ALL.into_iter().filter(|one| ![path, limit].contains(one))
            {
                let sender = Constraints { sending, ..Constraints::default() };
                let receiver = Constraints { receiving, ..Constraints::default() };
                let at_sender = combine(Direction::Send, sender, Some(receiver));
                let at_receiver = combine(Direction::Receive, receiver, Some(sender));
                let mirrored = match at_sender {
                    Bottleneck::Disk => Bottleneck::PeerDisk,
                    Bottleneck::PeerDisk => Bottleneck::Disk,
                    Bottleneck::Processor => Bottleneck::PeerProcessor,
                    Bottleneck::PeerProcessor => Bottleneck::Processor,
                    Bottleneck::RateLimit => Bottleneck::PeerRateLimit,
                    Bottleneck::PeerCheck => Bottleneck::Check,
                    same => same,
                };
                assert_eq!(at_receiver, mirrored, "{sending:?}, {receiving:?}");
            }
        }
        let alone = combine(Direction::Receive, Constraints::default(), None);
        assert_eq!(alone, Bottleneck::Path);
    }

    #[test]
    fn only_the_last_seconds_count() {
        let (mut state, start) = (WaitSamples::default(), Instant::now());
        let mut spent = 0;
        let mut push = |state: &mut WaitSamples, millis: u64| {
            spent += 500;
            let at = start + Duration::from_millis(millis);
            let spent = Spent::from_millis(&[(Stage::Path, spent)]);
            let sent = SentSoFar { packets: millis, lost: millis / 100, bytes: millis };
            state.push(WaitSample { at, spent, cores: None, sent, limit: Some(1000) }).sending
        };
        for millis in (0..10_000).step_by(500) {
            push(&mut state, millis);
        }
        assert!(state.samples.len() <= 6 && state.packets.len() <= 22);
        assert_eq!(state.own.sending, Constraint::RateLimit, "1,000 bytes a second");
        assert!((state.loss - 0.01).abs() < 0.001, "{}", state.loss);
        // After a rest nothing of before counts.
        push(&mut state, 100_000);
        assert_eq!(state.samples.len(), 1);
    }

    #[test]
    fn the_time_of_all_cores_is_read() {
        let own = "7 (a) b) R 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0 9 0 4 5";
        let line = "cpu  10 1 5 80 4 0 0 0 0 0";
        assert_eq!(Cores::parse(line, own), Some(Cores { idle: 84, all: 100, own: 42 }));
        assert_eq!(Cores::parse("cpu0 10 1 5 80 4", own), None);
        assert_eq!(Cores::parse(line, ""), None);
        assert_eq!(Cores::so_far().is_some(), cfg!(target_os = "linux"));
    }
}
