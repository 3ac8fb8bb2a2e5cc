//! Surveys that print figures and assert nothing: `--ignored`, in minutes.

use crate::model::{FlowConfig, Kind, LinkConfig, Loss, Policer, World};
use crate::{one, one_as, rough, seeded, two, whole};

#[test]
#[ignore = "a survey, not a test"]
fn links() {
    let mb = 1_000_000;
    for loss in [0.0, 0.1, 1.0, 2.0, 5.0, 10.0, 20.0] {
        one(&format!("100M 50ms {loss}"), LinkConfig::new(100.0, 50.0).lossy(loss), 100 * mb);
    }
    one("20M 200ms 1", LinkConfig::new(20.0, 200.0).lossy(1.0), 20 * mb);
    one("100M 100ms 10", LinkConfig::new(100.0, 100.0).lossy(10.0), 100 * mb);
    one("500M 200ms 2", LinkConfig::new(500.0, 200.0).lossy(2.0), 100 * mb);
    one("100M 550ms 5", LinkConfig::new(100.0, 550.0).lossy(5.0), 100 * mb);
    one("100M 1s 5", LinkConfig::new(100.0, 1000.0).lossy(5.0), 200 * mb);
    let mut link = LinkConfig::new(100.0, 50.0);
    link.loss = Loss::Burst(0.02, 10.0);
    one("100M 50ms burst", link, 100 * mb);
    one("100M 50ms burst jitter reorder", rough(100.0, 50.0), 100 * mb);
    one("100M 50ms q10", LinkConfig::new(100.0, 50.0).queue_ms(10.0), 100 * mb);
    let mut link = LinkConfig::new(1000.0, 50.0);
    link.policer = Some(Policer { rate: 12.5e6, bucket: 125e3 });
    one("policer 100M (of 1G)", link.clone(), 100 * mb);
    one_as("same, without a probe", link, FlowConfig { probe: false, ..whole(100 * mb) });
}

#[test]
#[ignore = "a survey, not a test"]
fn fairness() {
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
        two(&format!("ours:cubic {rtt} q{queue}"), link.clone(), [Ours, Cubic], 0.0, 30.0);
        two(&format!("ours:cubic +5s {rtt} q{queue}"), link.clone(), [Ours, Cubic], 5.0, 40.0);
        two(&format!("cubic:ours +5s {rtt} q{queue}"), link.clone(), [Cubic, Ours], 5.0, 40.0);
        two(&format!("ours:ours {rtt} q{queue}"), link.clone(), [Ours, Ours], 0.0, 30.0);
        two(&format!("ours:ours +5s {rtt} q{queue}"), link.clone(), [Ours, Ours], 5.0, 40.0);
    }
}

#[test]
#[ignore = "a survey, not a test"]
fn seeds() {
    use Kind::{Cubic, Ours};
    for seed in 1..=6 {
        let link = LinkConfig::new(100.0, 50.0);
        for (kinds, stagger) in
            [([Ours, Cubic], 0.0), ([Ours, Cubic], 5.0), ([Cubic, Ours], 5.0), ([Ours, Ours], 5.0)]
        {
            let stagger = stagger + 0.013 * seed as f64;
            let name = format!("seed {seed} {kinds:?} +{stagger}");
            seeded(&name, link.clone(), kinds, stagger, 60.0, seed);
        }
    }
}

/// Environment variables describe the link and the file: RATE, RTT, LOSS, QUEUE, MB, PROBE and
/// REPAIR. COMPETE=first adds a CUBIC flow that starts before, COMPETE=second one that starts
/// later.
#[test]
#[ignore = "prints one link's course: SIM_TRACE=1"]
fn course() {
    let number =
        |name: &str, or: f64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(or);
    let link = LinkConfig::new(number("RATE", 100.0), number("RTT", 50.0))
        .lossy(number("LOSS", 0.0))
        .queue_ms(number("QUEUE", 100.0));
    if let Ok(order) = std::env::var("COMPETE") {
        let kinds =
            if order == "first" { [Kind::Cubic, Kind::Ours] } else { [Kind::Ours, Kind::Cubic] };
        two("course", link, kinds, 5.0, 40.0);
        return;
    }
    let (probe, repair) = (number("PROBE", 1.0) > 0.0, number("REPAIR", 1.0) > 0.0);
    one_as(
        "course",
        link,
        FlowConfig { probe, repair, ..whole((number("MB", 20.0) * 1e6) as u64) },
    );
}

/// Goodput in percent of the link's rate less loss: of the whole transfer, and of its second half.
fn cell(mbit: f64, rtt_ms: f64, loss: f64) -> (f64, f64, Option<String>) {
    let product = mbit * 1e6 / 8.0 * rtt_ms / 1e3;
    // On a very fast and long link larger packets stand for several, so that a cell takes little
    // time.
    let mtu = (product / 6000.0).clamp(1452.0, 65000.0) as u16;
    let bytes = (mbit * 1e6 / 8.0 * (rtt_ms / 1e3 * 30.0).max(5.0)).min(60_000.0 * f64::from(mtu));
    let bytes = bytes.max(30.0 * f64::from(mtu)) as u64;
    let link = LinkConfig::new(mbit, rtt_ms).lossy(loss);
    let window = (256 << 20).max(16 * product as u64);
    let flow = FlowConfig { mtu, window, ..whole(bytes) };
    let (reports, _) = World::new(link, &[flow], 1).run(3600.0);
    let payload = (f64::from(mtu) - 36.0) / (f64::from(mtu) + 28.0);
    let best = mbit * 1e6 / 8.0 * (1.0 - loss / 100.0) * payload;
    let r = &reports[0];
    (100.0 * r.goodput() / best, 100.0 * r.second_half() / best, r.failure.clone())
}

#[test]
#[ignore = "the whole grid of docs/congestion.md: --release, minutes"]
fn grid() {
    let losses = [0.0, 0.1, 1.0, 5.0, 10.0, 20.0];
    println!("| rate | RTT | {} |", losses.map(|l| format!("{l} %")).join(" | "));
    println!("| --- | --- |{}", " --- |".repeat(losses.len()));
    for mbit in [1.0, 10.0, 100.0, 1000.0, 10000.0] {
        for rtt in [1.0, 20.0, 100.0, 300.0, 1000.0] {
            let cells = losses.map(|loss| match cell(mbit, rtt, loss) {
                (whole, second, None) => format!("{whole:.0} / {second:.0}"),
                (_, _, Some(_)) => "died".to_owned(),
            });
            println!("| {mbit} Mbit/s | {rtt} ms | {} |", cells.join(" | "));
        }
    }
}
