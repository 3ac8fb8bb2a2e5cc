//! Two peers, an emulated link, and the schedule of kills.

use super::places::{Listens, Plan};
use super::source::{Source, Taken};
use super::witness::{Findings, Witness, judge_host, judge_incoming};
use crate::harness::peer::{Host, PASSWORD, Pair, Running};
use crate::harness::relay::{BOTH, Relay, Way};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::fmt;
use std::time::Duration;

/// The longest wait, for a slow and loaded machine.
const TIMEOUT: Duration = Duration::from_secs(120);

/// One host and its user.
struct Side {
    host: Host,
    source: Source,
    options: Vec<&'static str>,
    listens: bool,
    running: Option<Running>,
}

impl Side {
    /// Starts the program unless it is running.
    fn start(&mut self, more: &[&str], failpoints: &str) {
        if self.running.is_some() {
            return;
        }
        let port = self.host.port.to_string();
        let peer = if self.listens { "listen" } else { &self.host.peer };
        let common = ["--bind", &self.host.bind, "--folder-wait", "300ms", peer, &port];
        let mut command = self.host.command(PASSWORD, &[more, &self.options, &common].concat());
        command.env("RFT_FAILPOINTS", failpoints);
        self.running = Some(Running::spawn(command).with_timeout(TIMEOUT));
    }

    fn has(&self, option: &str) -> bool {
        self.options.contains(&option)
    }

    fn taken(&self) -> Taken {
        match () {
            () if self.has("overwrite") => Taken::Overwrite,
            () if self.has("skip") => Taken::Skip,
            () => Taken::Rename,
        }
    }
}

/// Everything in one run.
pub struct World {
    sides: [Side; 2],
    relay: Option<Relay>,
    witnesses: Vec<Witness>,
    random: StdRng,
    pub kills: u64,
    pub starts: u64,
    findings: Findings,
    _pair: Pair,
}

/// The result of a run.
#[derive(Default)]
pub struct Outcome {
    pub kills: u64,
    pub starts: u64,
    pub files: u64,
    pub bytes: u64,
    pub findings: Findings,
}

impl Outcome {
    pub fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.starts += other.starts;
        self.files += other.files;
        self.bytes += other.bytes;
        self.findings.add(other.findings);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, starts, files, bytes, findings } = self;
        let Findings { lost, doubled, partial, wrong, panics, unclean, .. } = findings;
        write!(
            f,
            "{kills} kills, {starts} starts, {files} files, {bytes} bytes; {lost} lost, {doubled} doubled, \
             {partial} partial, {wrong} with a wrong mode or time, {panics} panics, {unclean} left unclean"
        )
    }
}

impl World {
    /// Two hosts with a direct connection.
    pub fn direct(seed: u64, options: [&[&'static str]; 2]) -> Self {
        Self::new(seed, Pair::new(), None, options)
    }

    /// Two hosts with a link between them that loses packets.
    pub fn lossy(seed: u64, options: [&[&'static str]; 2]) -> Self {
        let (pair, relay) = Pair::linked(seed);
        relay.edit_both(|line| {
            line.loss = 0.02;
            line.delay = Duration::from_millis(5);
            line.rate = Some(30_000_000);
        });
        Self::new(seed, pair, Some(relay), options)
    }

    fn new(seed: u64, pair: Pair, relay: Option<Relay>, options: [&[&'static str]; 2]) -> Self {
        println!("seed {seed}, options {options:?}");
        let hosts = [pair.a.clone(), pair.b.clone()];
        let mut sides = [0, 1].map(|n| {
            let (host, options) = (hosts[n].clone(), options[n].to_vec());
            let source =
                Source::new(host.outgoing(), host.dir.join("workshop"), seed * 2 + n as u64);
            Side { host, source, options, listens: false, running: None }
        });
        for n in [0, 1] {
            let (incoming, taken) = (sides[1 - n].host.incoming(), sides[1 - n].taken());
            sides[n].source.onto(&incoming, taken);
        }
        let witnesses = [0, 1]
            .map(|n| Witness::start(sides[1 - n].host.incoming(), sides[n].source.expected()))
            .into_iter()
            .collect();
        let random = StdRng::seed_from_u64(seed);
        let findings = Findings::default();
        Self { sides, relay, witnesses, random, kills: 0, starts: 0, findings, _pair: pair }
    }

    /// Kills the first host's peer as planned, one death after another; then everything gets
    /// through.
    pub fn die(mut self, plan: &Plan) -> Outcome {
        for side in &mut self.sides {
            side.source.one_of_each();
        }
        self.sides[0].listens = plan.listens == Listens::Dier;
        self.sides[1].listens = plan.listens == Listens::Other;
        self.start(1, &[], "");
        for death in plan.deaths {
            println!("dies by {death}");
            self.start(0, &[], death);
            let (code, stderr) = self.sides[0].running.take().unwrap().wait();
            self.ended(code, None, &stderr);
            self.kills += 1;
        }
        self.start(0, &["--drain"], "");
        self.sides.iter_mut().for_each(|side| side.source.all_closed());
        self.ends(0);
        self.sides[1].running.as_ref().unwrap().terminate();
        self.ends(1);
        self.judge()
    }

    /// Kills either or both peers at random, after `interval` on average, while files keep being
    /// dropped. The link is cut now and then.
    pub fn kill(mut self, kills: u64, interval: Duration) -> Outcome {
        while self.kills < kills {
            for n in [0, 1] {
                self.start(n, &[], "");
                for _ in 0..self.random.random_range(0..4) {
                    self.sides[n].source.anything();
                }
            }
            let cut = self.random.random_bool(0.1);
            if let (true, Some(relay)) = (cut, &self.relay) {
                let ways: &[Way] =
                    [&BOTH, &BOTH[..1], &BOTH[1..]].choose(&mut self.random).unwrap();
                relay.cut(ways);
            }
            // A random moment of death, not a wait for an event.
            std::thread::sleep(interval.mul_f64(self.random.random_range(0.0..2.0)));
            if let (true, Some(relay)) = (cut, &self.relay) {
                relay.restore();
            }
            let dies: &[usize] = [&[0][..], &[1], &[0, 1]].choose(&mut self.random).unwrap();
            for n in dies {
                let (code, stderr) = self.sides[*n].running.take().unwrap().killed();
                self.ended(code, None, &stderr);
                self.kills += 1;
            }
        }
        for n in [0, 1] {
            if let Some(running) = self.sides[n].running.take() {
                let (code, stderr) = running.killed();
                self.ended(code, None, &stderr);
                self.kills += 1;
            }
        }
        self.start(0, &["--drain"], "");
        self.start(1, &["--drain"], "");
        self.sides.iter_mut().for_each(|side| side.source.all_closed());
        self.ends(0);
        self.ends(1);
        self.judge()
    }

    fn start(&mut self, n: usize, more: &[&str], failpoints: &str) {
        self.starts += u64::from(self.sides[n].running.is_none());
        self.sides[n].start(more, failpoints);
    }

    /// Waits for an orderly end.
    fn ends(&mut self, n: usize) {
        let (code, stderr) = self.sides[n].running.take().unwrap().wait();
        self.ended(code, Some(0), &stderr);
    }

    fn ended(&mut self, code: Option<i32>, right: Option<i32>, stderr: &str) {
        self.findings.heard(stderr);
        if code != right {
            let text = format!("it ended with {code:?}, not {right:?}, and said {stderr}");
            self.findings.note(|all| &mut all.unclean, text);
        }
    }

    fn judge(mut self) -> Outcome {
        for witness in self.witnesses {
            self.findings.add(witness.findings());
        }
        let (mut files, mut bytes) = (0, 0);
        for n in [0, 1] {
            let side = &self.sides[n];
            let expected = side.source.expected();
            let expected = expected.lock().unwrap();
            judge_incoming(&self.sides[1 - n].host.incoming(), &expected, &mut self.findings);
            judge_host(
                &side.host,
                &expected,
                side.has("keep"),
                side.has("archive"),
                &mut self.findings,
            );
            files += expected.dropped.len() as u64;
            bytes += side.source.bytes;
        }
        Outcome { kills: self.kills, starts: self.starts, files, bytes, findings: self.findings }
    }
}
