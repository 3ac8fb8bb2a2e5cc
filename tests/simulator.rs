//! The congestion controller on modelled links (tests/sim), with bounds that a worse one misses.

#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod sim;

use sim::{FlowConfig, Kind, LinkConfig, Loss, Report, Source, World};

fn bulk(kind: Kind, bytes: u64) -> FlowConfig {
    FlowConfig {
        kind,
        start: 0.0,
        source: Source::Bulk(bytes),
        mtu: 1452,
        window: 256 << 20,
    }
}

fn one(name: &str, link: LinkConfig, bytes: u64) -> Report {
    let left = 1.0 - link.mean_loss();
    let best = link.rates[0].1 / 8.0 * left * 0.957;
    let start = std::time::Instant::now();
    let (reports, wire) = World::new(link, &[bulk(Kind::Ours, bytes)], 1).run(600.0);
    let r = reports[0].clone();
    println!(
        "{name:30} {:6.2} MB/s = {:5.1} % of {:.2}  lost {}/{} queue drops {} mean queue {:.1} ms max {:.1} ({:.1} s real) {:?}",
        r.goodput() / 1e6,
        100.0 * r.goodput() / best,
        best / 1e6,
        r.packets.1,
        r.packets.0,
        wire.dropped,
        1e3 * wire.queue_sum / wire.offered as f64,
        1e3 * wire.queue_max,
        start.elapsed().as_secs_f64(),
        r.failure,
    );
    r
}

#[test]
#[ignore = "a survey, not a test"]
fn survey() {
    let mb = 1_000_000;
    for loss in [0.0, 0.1, 1.0, 2.0, 5.0, 10.0, 20.0] {
        one(
            &format!("100M 50ms {loss}"),
            LinkConfig::new(100.0, 50.0).lossy(loss),
            100 * mb,
        );
    }
    one(
        "20M 200ms 1",
        LinkConfig::new(20.0, 200.0).lossy(1.0),
        20 * mb,
    );
    one(
        "100M 100ms 10",
        LinkConfig::new(100.0, 100.0).lossy(10.0),
        100 * mb,
    );
    one(
        "500M 200ms 2",
        LinkConfig::new(500.0, 200.0).lossy(2.0),
        100 * mb,
    );
    one(
        "100M 550ms 5",
        LinkConfig::new(100.0, 550.0).lossy(5.0),
        100 * mb,
    );
    one(
        "100M 1s 5",
        LinkConfig::new(100.0, 1000.0).lossy(5.0),
        200 * mb,
    );
    let mut link = LinkConfig::new(100.0, 50.0);
    link.loss = Loss::Burst(0.02, 10.0);
    one("100M 50ms burst", link.clone(), 100 * mb);
    link.jitter = 0.010;
    link.reorder = (0.01, 0.005);
    one("100M 50ms burst jitter reorder", link, 100 * mb);
    one(
        "100M 50ms q10",
        LinkConfig::new(100.0, 50.0).queue_ms(10.0),
        100 * mb,
    );
    let mut link = LinkConfig::new(1000.0, 50.0);
    link.policer = Some(sim::Policer {
        rate: 12.5e6,
        bucket: 125e3,
    });
    one("policer 100M (of 1G)", link, 100 * mb);
}

fn two(name: &str, link: LinkConfig, kinds: [Kind; 2], stagger: f64, seconds: f64) -> f64 {
    let flow = |kind, start| FlowConfig {
        start,
        ..bulk(kind, 1 << 40)
    };
    let flows = [flow(kinds[0], 0.0), flow(kinds[1], stagger)];
    let (reports, wire) = World::new(link, &flows, 1).run(seconds);
    let from = stagger + (seconds - stagger) * 0.3;
    let (a, b) = (
        reports[0].rate(from, seconds),
        reports[1].rate(from, seconds),
    );
    println!(
        "{name:40} {:5.2} : {:5.2} MB/s, first has {:4.1} %; lost {}/{} {}/{} mean queue {:.1} ms",
        a / 1e6,
        b / 1e6,
        100.0 * a / (a + b),
        reports[0].packets.1,
        reports[0].packets.0,
        reports[1].packets.1,
        reports[1].packets.0,
        1e3 * wire.queue_sum / wire.offered as f64,
    );
    a / (a + b)
}

#[test]
#[ignore = "a survey, not a test"]
fn survey_fairness() {
    use Kind::{Cubic, Ours};
    for (rtt, queue) in [
        (50.0, 50.0),
        (50.0, 100.0),
        (50.0, 200.0),
        (20.0, 100.0),
        (100.0, 100.0),
        (100.0, 50.0),
        (50.0, 10.0),
    ] {
        let link = LinkConfig::new(100.0, rtt).queue_ms(queue);
        two(
            &format!("ours:cubic {rtt} q{queue}"),
            link.clone(),
            [Ours, Cubic],
            0.0,
            30.0,
        );
        two(
            &format!("ours:cubic +5s {rtt} q{queue}"),
            link.clone(),
            [Ours, Cubic],
            5.0,
            40.0,
        );
        two(
            &format!("cubic:ours +5s {rtt} q{queue}"),
            link.clone(),
            [Cubic, Ours],
            5.0,
            40.0,
        );
        two(
            &format!("ours:ours {rtt} q{queue}"),
            link.clone(),
            [Ours, Ours],
            0.0,
            30.0,
        );
        two(
            &format!("ours:ours +5s {rtt} q{queue}"),
            link.clone(),
            [Ours, Ours],
            5.0,
            40.0,
        );
    }
}

#[test]
#[ignore = "prints one link's course: SIM_TRACE=1"]
fn course() {
    let number = |name: &str, or: f64| {
        std::env::var(name)
            .ok()
            .and_then(|v| v.parse().ok())
            .unwrap_or(or)
    };
    let link = LinkConfig::new(number("RATE", 100.0), number("RTT", 50.0))
        .lossy(number("LOSS", 0.0))
        .queue_ms(number("QUEUE", 100.0));
    if let Ok(order) = std::env::var("COMPETE") {
        let kinds = if order == "first" {
            [Kind::Cubic, Kind::Ours]
        } else {
            [Kind::Ours, Kind::Cubic]
        };
        two("course", link, kinds, 5.0, 40.0);
        return;
    }
    one("course", link, (number("MB", 20.0) * 1e6) as u64);
}
