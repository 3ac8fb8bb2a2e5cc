//! Cut links, changed addresses and suspended hosts during transfers in both directions between two
//! real processes. Transfers resume at once from the received part, and each file arrives once.
//!
//! A long cut outlasts the idle timeout of the connection (30 s) and several steps of every
//! back-off. A cut of an hour would therefore meet no other timer.

mod bad_links;

use crate::harness::files::plant_big;
use crate::harness::peer::{Host, Pair, Running, waited_for_processor};
use crate::harness::relay::{BOTH, Relay, Side, Way};
use crate::harness::tree::{self, Entry};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longer than the idle timeout.
const LONG_CUT: Duration = Duration::from_secs(36);
/// Transfers resume within this time if the machine is not busy. Waiting for the next probe of the
/// old connection, or for its end, would take longer.
const RESUME_TIME: Duration = Duration::from_secs(2);
/// And within this time on a busy machine.
const MAX_RESUME_TIME: Duration = Duration::from_secs(10);
/// Most bytes per second that a side sends while it gets no answer: three packets for each dial,
/// one dial per second, and a few packets of the old connection.
const MAX_DIAL_RATE: u64 = 6200;
/// The longest wait.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Size of the file sent in each direction, in bytes.
const BIG: u64 = 24 << 20;
/// Sizes of the small files, in bytes: of most, and of every fourth.
const SMALL: [[u64; 2]; 2] = [[100, 5_000], [0, 30_000]];
/// Rate of the link in each direction, in bytes per second.
const RATE: u64 = 3 << 20;
/// The addresses from which a side is seen.
const USUAL_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));
const OTHER_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));
/// Most bytes that may be sent twice.
const MAX_SENT_TWICE: u64 = 8 << 20;

/// A fault, and the state in which it happens.
struct Case {
    name: &'static str,
    /// B does not dial, so only A can reconnect after a cut.
    b_listens: bool,
    /// Which of A and B are sending a big file when the fault happens.
    big: [bool; 2],
    /// As [`SMALL`].
    small: [[u64; 2]; 2],
    /// Injects the fault and returns when it is over.
    fault: fn(&Scene),
}

impl Case {
    const fn new(name: &'static str, fault: fn(&Scene)) -> Self {
        Self { name, b_listens: false, big: [true; 2], small: SMALL, fault }
    }

    const fn listening(name: &'static str, fault: fn(&Scene)) -> Self {
        Self { b_listens: true, ..Self::new(name, fault) }
    }
}

type Tree = BTreeMap<PathBuf, Entry>;

/// Two running peers and their files to send.
struct Scene {
    hosts: Pair,
    link: Relay,
    running: [Running; 2],
    sent: [Tree; 2],
}

impl Scene {
    fn start(case: &Case, seed: u64) -> Self {
        let (hosts, link) = Pair::linked(seed);
        link.edit_both(|line| {
            (line.loss, line.delay, line.rate) = (0.005, Duration::from_millis(10), Some(RATE));
        });
        let sent = [(&hosts.a, case.big[0]), (&hosts.b, case.big[1])].map(|(host, big)| {
            if big {
                plant_big(&host.outgoing().join("big"), BIG, seed);
            }
            tree::snapshot(&host.outgoing())
        });
        let mut a = hosts.a.start(&[]).with_timeout(TIMEOUT);
        a.waits_for("listening", |_| true);
        let b = if case.b_listens { hosts.b.listen(&[]) } else { hosts.b.start(&[]) };
        Self { hosts, link, running: [a, b.with_timeout(TIMEOUT)], sent }
    }

    /// Waits until both are connected, and have received half of each big file.
    fn until_under_way(&mut self, big: [bool; 2]) {
        let half = |event: &Value| event["bytes"].as_u64() > Some(BIG / 2);
        for (side, comes) in self.running.iter_mut().zip([big[1], big[0]]) {
            side.waits_for("connected", |_| true);
            if comes {
                let came = |event: &Value| event["direction"] == "receive" && half(event);
                side.waits_for("file_progress", came);
            }
        }
    }

    /// Measures how long it takes until both receive again. The error says which one does not in
    /// time.
    fn goes_on(&mut self) -> Result<[Duration; 2], String> {
        let (returned, waited) = (Instant::now(), self.waited_for_processor());
        let mut took = [Duration::ZERO; 2];
        for (side, took) in self.running.iter_mut().zip(&mut took) {
            while took.is_zero() {
                let left = (returned + MAX_RESUME_TIME).saturating_duration_since(Instant::now());
                let seen = side.sees_within(left, brings_bytes);
                let seen = seen.ok_or_else(|| {
                    format!("nothing came within {MAX_RESUME_TIME:?}: {:#?}", side.events())
                })?;
                *took = seen.at.saturating_duration_since(returned);
            }
        }
        // Time in which other processes kept the processors busy does not count.
        let others = self.waited_for_processor().saturating_sub(waited);
        if took.iter().any(|took| *took > RESUME_TIME + others) {
            let events = self.running.each_mut().map(|side| side.events().to_vec());
            return Err(format!("it took {took:?}, {others:?} of it by other work: {events:#?}"));
        }
        Ok(took)
    }

    /// Total time for which the peers and the link waited for a processor.
    fn waited_for_processor(&self) -> Duration {
        let peer = |side: &Running| waited_for_processor(&side.id().to_string(), |_| true);
        let link = waited_for_processor("self", |name| name == self.link.thread_name());
        self.running.iter().map(peer).sum::<Duration>() + link
    }

    /// Waits until everything is sent, stops both peers and checks the received files.
    fn finishes(self, name: &str) {
        let Self { hosts, link, running, sent } = self;
        let deadline = Instant::now() + TIMEOUT;
        let sides = [&hosts.a, &hosts.b];
        while sides.iter().any(|host| fs::read_dir(host.outgoing()).unwrap().next().is_some()) {
            assert!(Instant::now() < deadline, "{name}: some files are never sent");
            sleep(Duration::from_millis(50));
        }
        for side in &running {
            side.terminate();
        }
        let events = running.map(|side| side.ends(0));
        for (to, from, way) in [(0, 1, Way::BToA), (1, 0, Way::AToB)] {
            assert!(
                tree::snapshot(&sides[to].incoming()) == sent[from],
                "{name}: the received files differ from the sent ones"
            );
            sides[to].left_nothing_over();
            let done =
                |event: &&Value| event["event"] == "file_done" && event["direction"] == "receive";
            let mut came: Vec<_> =
                events[to].iter().filter(done).filter_map(|e| e["path"].as_str()).collect();
            came.sort_unstable();
            let twice = came
                .windows(2)
                .find(|two| two[0] == two[1] && !sides[to].incoming().join(two[0]).is_dir());
            assert_eq!(twice, None, "{name}");
            let size: u64 = sent[from].values().map(size_of).sum();
            let crossed = link.counts(way).bytes;
            // Headers, acknowledgements for the other direction, and the half percent that is lost.
            let once = size + size / 10 + (1 << 20);
            let again = came_again(&events[to]);
            println!(
                "{name}: {way:?}: {size} bytes of files, {crossed} sent, {again} of the big one came again"
            );
            assert!(again < MAX_SENT_TWICE, "{name}: {again} bytes came again");
            assert!(
                crossed < once + MAX_SENT_TWICE,
                "{name}: {crossed} bytes were sent for {size}"
            );
        }
    }
}

/// The event reports newly received bytes.
fn brings_bytes(event: &Value) -> bool {
    event["direction"] == "receive"
        && (event["event"] == "file_progress" || event["event"] == "file_started")
}

/// Bytes of the big file that were sent again: later attempts begin before the end of the earlier
/// ones.
fn came_again(events: &[Value]) -> u64 {
    let (mut had, mut again) = (0, 0);
    for event in
        events.iter().filter(|event| event["direction"] == "receive" && event["path"] == "big")
    {
        if let Some(bytes) = event["bytes"].as_u64() {
            had = bytes;
        } else if event["event"] == "file_started" {
            again += had - event["offset"].as_u64().unwrap().min(had);
        }
    }
    again
}

fn size_of(entry: &Entry) -> u64 {
    if let Entry::File { size, .. } = entry { *size } else { 0 }
}

/// Moves a folder of small files into each Outgoing at intervals until told to stop. Returns the
/// files of each side.
fn drop_small_files(hosts: [&Host; 2], small: [[u64; 2]; 2], stop: &AtomicBool) -> [Tree; 2] {
    let mut all = [Tree::new(), Tree::new()];
    for round in 0..200 {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        for (host, tree) in hosts.iter().zip(&mut all) {
            let made = host.dir.join("made").join(format!("small {round}"));
            fs::create_dir_all(&made).unwrap();
            let sizes = small[usize::from(round % 4 == 0)];
            for (size, name) in sizes.into_iter().zip(["a", "b"]) {
                plant_big(&made.join(name), size, round);
            }
            tree.extend(tree::snapshot(made.parent().unwrap()));
            fs::rename(&made, host.outgoing().join(made.file_name().unwrap())).unwrap();
        }
        sleep(Duration::from_millis(250));
    }
    all
}

fn run(case: &Case, seed: u64) {
    let name = case.name;
    let mut scene = Scene::start(case, seed);
    scene.until_under_way(case.big);
    let stop = AtomicBool::new(false);
    let (a, b) = (scene.hosts.a.clone(), scene.hosts.b.clone());
    let (took, dropped) = std::thread::scope(|scope| {
        let dropper = scope.spawn(|| drop_small_files([&a, &b], case.small, &stop));
        (case.fault)(&scene);
        let took = scene.goes_on();
        stop.store(true, Ordering::Relaxed);
        (took, dropper.join().unwrap())
    });
    let took = took.unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
    println!("{name}: A receives again after {:?}, B after {:?}", took[0], took[1]);
    for (sent, dropped) in scene.sent.iter_mut().zip(dropped) {
        sent.extend(dropped);
    }
    scene.finishes(name);
}

/// Runs all cases at once, because most of their time is waiting.
fn run_all(cases: &[Case]) {
    let seed = rand::random();
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || run(case, seed));
        }
    });
}

fn cut(link: &Relay, ways: &[Way], time: Duration) {
    link.cut(ways);
    sleep(time / 2);
    let before = ways.iter().map(|way| link.counts(*way).bytes).collect::<Vec<_>>();
    sleep(time / 2);
    // Only once the connection is given up.
    for (way, before) in ways.iter().zip(before).filter(|_| time >= LONG_CUT) {
        let rate = (link.counts(*way).bytes - before) / (time / 2).as_secs();
        println!("{way:?}: {rate} bytes a second were sent into the cut");
        assert!(rate < MAX_DIAL_RATE, "{rate} bytes a second were sent into the cut");
    }
    link.restore();
}

fn rebind(scene: &Scene, side: Side, ip: IpAddr) {
    scene.link.rebind(side, ip);
}

fn suspend(sides: &[&Running], time: Duration) {
    sides.iter().for_each(|side| side.suspend());
    sleep(time);
    sides.iter().for_each(|side| side.resume());
}

#[test]
fn transfers_resume_after_long_cuts_and_suspensions() {
    run_all(&[
        Case::new("cut", |s| cut(&s.link, &BOTH, LONG_CUT)),
        Case::new("cut from A to B", |s| cut(&s.link, &[Way::AToB], LONG_CUT)),
        Case::listening("cut, B listens", |s| cut(&s.link, &BOTH, LONG_CUT)),
        Case::listening("cut from A to B, which listens", |s| cut(&s.link, &[Way::AToB], LONG_CUT)),
        Case::listening("cut from B, which listens, to A", |s| {
            cut(&s.link, &[Way::BToA], LONG_CUT)
        }),
        Case { big: [false; 2], ..Case::new("cut while idle", |s| cut(&s.link, &BOTH, LONG_CUT)) },
        // B has data to send and room in its window all the time, so A hears it.
        Case {
            big: [true, false],
            small: [[0, 100]; 2],
            ..Case::listening(
                "cut for 12 s from A, which sends much, to B, which sends little",
                |s| cut(&s.link, &[Way::AToB], Duration::from_secs(12)),
            )
        },
        Case::new("A sleeps", |s| suspend(&[&s.running[0]], LONG_CUT)),
        Case::new("both sleep", |s| suspend(&[&s.running[0], &s.running[1]], LONG_CUT)),
        Case::listening("A sleeps, B listens", |s| suspend(&[&s.running[0]], LONG_CUT)),
        Case::listening("B, which listens, sleeps", |s| suspend(&[&s.running[1]], LONG_CUT)),
    ]);
}

#[test]
fn transfers_resume_after_short_cuts() {
    run_all(&[
        Case::new("cut for 1 s", |s| cut(&s.link, &BOTH, Duration::from_secs(1))),
        Case::new("cut for 6 s", |s| cut(&s.link, &BOTH, Duration::from_secs(6))),
        Case::listening("cut for 2 s, B listens", |s| cut(&s.link, &BOTH, Duration::from_secs(2))),
        Case::listening("cut for 4 s from A to B", |s| {
            cut(&s.link, &[Way::AToB], Duration::from_secs(4))
        }),
        Case::listening("cut for 4 s from B to A", |s| {
            cut(&s.link, &[Way::BToA], Duration::from_secs(4))
        }),
        Case::new("one way after the other", |s| {
            for way in [Way::AToB, Way::BToA, Way::AToB] {
                cut(&s.link, &[way], Duration::from_millis(1300));
                sleep(Duration::from_millis(200));
            }
        }),
    ]);
}

#[test]
fn transfers_resume_after_address_changes() {
    run_all(&[
        Case::listening("NAT forgets the initiator", |s| rebind(s, Side::B, USUAL_ADDRESS)),
        Case::listening("the initiator moves", |s| rebind(s, Side::B, OTHER_ADDRESS)),
        Case::new("A moves", |s| rebind(s, Side::B, OTHER_ADDRESS)),
        Case::new("B moves", |s| rebind(s, Side::A, OTHER_ADDRESS)),
        Case::listening("the initiator moves while the link is cut", |s| {
            rebind(s, Side::B, OTHER_ADDRESS);
            cut(&s.link, &BOTH, Duration::from_secs(4));
        }),
    ]);
}

#[test]
#[ignore = "takes ten minutes"]
fn transfers_resume_after_ten_minutes() {
    const TEN: Duration = Duration::from_secs(600);
    run_all(&[
        Case::new("cut for 10 min", |s| cut(&s.link, &BOTH, TEN)),
        Case::new("cut for 10 min from A to B", |s| cut(&s.link, &[Way::AToB], TEN)),
        Case::listening("cut for 10 min, B listens", |s| cut(&s.link, &BOTH, TEN)),
        Case::listening("A sleeps for 10 min, B listens", |s| suspend(&[&s.running[0]], TEN)),
        Case::new("both sleep for 10 min", |s| suspend(&[&s.running[0], &s.running[1]], TEN)),
    ]);
}
