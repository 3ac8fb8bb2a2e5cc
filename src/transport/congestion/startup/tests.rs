use super::*;
use crate::transport::congestion::model::Load;
use std::time::Duration;

/// Receives `count` acknowledgements with this RTT, in seconds. Returns whether Startup sees a
/// queue then.
fn acks(startup: &mut Startup, model: &Model, count: u32, rtt: f64) -> bool {
    let sent = Instant::now();
    for _ in 0..count {
        startup.on_ack(sent + Duration::from_secs_f64(rtt), sent, 1200.0, rtt, 40_000.0, model);
    }
    startup.sees_queue(model)
}

/// A path of 50 ms RTT, and Startup on it.
fn begin() -> (Model, Startup) {
    let mut model = Model::new(1200);
    model.on_ack(Instant::now(), 0.05, 1200, Load::Full);
    (model, Startup::new(40_000.0, 0.0, 0, 0.0))
}

#[test]
fn a_queue_that_grows_ends_it() {
    let (model, mut startup) = begin();
    assert!(!acks(&mut startup, &model, LATE_ACKS, 0.05));
    assert!(acks(&mut startup, &model, LATE_ACKS, 0.12));
}

#[test]
fn a_queue_that_stood_before_the_first_packet_does_not() {
    let (mut model, mut startup) = begin();
    assert!(!acks(&mut startup, &model, LATE_ACKS, 0.05));
    // During a pause another sender fills the queue.
    startup.on_round(&mut model, &Round { app_limited: true, ..Round::default() });
    assert!(!acks(&mut startup, &model, LATE_ACKS, 0.15));
    assert!(!acks(&mut startup, &model, LATE_ACKS, 0.15));
    // This sender adds to it.
    assert!(acks(&mut startup, &model, LATE_ACKS, 0.17));
}

#[test]
fn jitter_does_not_look_like_a_queue() {
    let (mut model, mut startup) = begin();
    assert!(!acks(&mut startup, &model, LATE_ACKS, 0.05));
    let round = Round { min_rtt: 0.05, mean_rtt: 0.06, busy: true, ..Round::default() };
    startup.on_round(&mut model, &round);
    // A clump of acknowledgements that waited for a late one.
    assert!(!acks(&mut startup, &model, LATE_ACKS, 0.065));
    assert!(acks(&mut startup, &model, LATE_ACKS, 0.075));
}

#[test]
fn steady_loss_ends_it_and_a_burst_of_loss_does_not() {
    let full = |scattered_loss| {
        let (mut model, mut startup) = begin();
        let round =
            Round { loss: 0.2, scattered_loss, bytes: 600_000.0, busy: true, ..Round::default() };
        startup.on_round(&mut model, &round)
    };
    assert!(full(0.2) && !full(0.05));
}

/// The path probe on an idle path of 50 ms RTT: one train of ten packets a round, whose packets
/// arrive `gap` microseconds apart.
fn probe(startup: &mut Startup, model: &mut Model, gap: u64) {
    let begin = Instant::now();
    for train in 0..6 {
        for n in 0..10 {
            let sent = begin + Duration::from_millis(200 * train);
            let now = sent + Duration::from_millis(50) + Duration::from_micros(gap * (n | 1));
            startup.on_ack(now, sent, 1250.0, 0.05, 12_500.0, model);
        }
        startup.on_round(model, &Round { app_limited: true, ..Round::default() });
    }
}

#[test]
fn the_first_window_is_two_thirds_of_the_probed_bdp() {
    let (mut model, mut startup) = begin();
    assert_eq!(startup.window(&model, 0.0), 50_000.0);
    // 1,250 bytes every 100 microseconds.
    probe(&mut startup, &mut model, 100);
    let bdp = 12.5e6 * 0.05;
    let window = startup.window(&model, 0.0) / bdp;
    assert!((0.6..0.75).contains(&window), "{window}");
    assert!(
        startup.is_below_probed_rate(0.6 * bdp, &model)
            && !startup.is_below_probed_rate(0.8 * bdp, &model)
    );
    // A long pause halves it.
    startup.go_stale();
    let window = startup.window(&model, 0.0) / bdp;
    assert!((0.3..0.38).contains(&window), "{window}");
}

#[test]
fn a_slow_probed_rate_gives_the_initial_window() {
    let (mut model, mut startup) = begin();
    // 1,250 bytes every 10 ms: 1 Mbit/s.
    probe(&mut startup, &mut model, 10_000);
    assert_eq!(startup.first_window(&model), INITIAL_PACKETS * 1200.0);
    assert_eq!(startup.window(&model, 0.0), 40_000.0);
}

#[test]
fn trains_that_arrive_unspread_give_no_probed_rate() {
    let (mut model, mut startup) = begin();
    probe(&mut startup, &mut model, 0);
    assert_eq!(startup.window(&model, 0.0), 50_000.0);
}

#[test]
fn newer_trains_replace_the_probed_rate() {
    let (mut model, mut startup) = begin();
    probe(&mut startup, &mut model, 100);
    probe(&mut startup, &mut model, 300);
    let window = startup.window(&model, 0.0) / (4.17e6 * 0.05);
    assert!((0.6..0.75).contains(&window), "{window}");
}
