use crate::transport::congestion::model::*;

/// The path's rate after rounds with these RTTs, delivery rates and windows.
fn rate_after(rounds: &[(f64, f64, WindowLevel)]) -> f64 {
    let mut model = Model::new(1250);
    for &(rtt, rate, level) in rounds {
        for _ in 0..20 {
            model.on_ack(Instant::now(), rtt, 1250, Load::Full);
        }
        model.on_rate(rate, 0.05, false);
        model.end_round(model.round_end, model.round_end + 1, level);
    }
    model.rate()
}

const FULL: (f64, f64, WindowLevel) = (0.05, 10e6, WindowLevel::Even);

#[test]
fn a_lower_rate_with_a_queue_shows_a_slower_path() {
    assert_eq!(rate_after(&[FULL, (0.07, 4e6, WindowLevel::Below)]), 4e6);
    assert_eq!(rate_after(&[FULL, (0.07, 4e6, WindowLevel::Even)]), 4e6);
}

#[test]
fn a_lower_rate_in_a_window_far_below_the_bdp_shows_nothing() {
    assert_eq!(rate_after(&[FULL, (0.07, 4e6, WindowLevel::FarBelow)]), 10e6);
    // The packet that ends the next round was sent in the small window.
    let rounds = [
        FULL,
        (0.05, 4e6, WindowLevel::FarBelow),
        (0.07, 4e6, WindowLevel::Even),
        (0.07, 4e6, WindowLevel::Even),
    ];
    assert_eq!((rate_after(&rounds[..3]), rate_after(&rounds)), (10e6, 4e6));
}

#[test]
fn a_burst_of_losses_counts_little_and_steady_loss_in_full() {
    let now = Instant::now();
    // Batches that acknowledge `packets` each; packets lost with each batch.
    let scattered = |packets: u32, lost: &[u64]| {
        let mut model = Model::new(1250);
        for (n, lost) in lost.iter().enumerate() {
            for _ in 0..packets {
                model.on_ack(now + Duration::from_micros(n as u64), 0.05, 1250, Load::Full);
            }
            model.on_lost(1250 * lost, Load::Full);
        }
        model
            .end_round(0, 1, WindowLevel::Above)
            .map(|round| (round.loss, round.scattered_loss))
            .unwrap()
    };
    let (loss, counted) = scattered(2, &[0, 0, 0, 0, 20, 0, 0, 0, 0, 0]);
    assert!(loss == 0.5 && counted < 0.1, "{loss} {counted}");
    assert_eq!(scattered(2, &[2; 10]).1, 0.5);
    // A receiver that acknowledges rarely.
    assert_eq!(scattered(64, &[16; 10]).1, 0.2);
}

#[test]
fn loss_of_most_of_many_packets_is_not_path_loss() {
    let loss = |packets: u64| {
        let mut model = Model::new(1250);
        for _ in 0..packets {
            model.on_ack(Instant::now(), 0.05, 1250, Load::Below);
            model.on_lost(1250, Load::Below);
        }
        model.end_round(0, 1, WindowLevel::Above);
        model.below.share()
    };
    assert_eq!(loss(10), 0.5);
    assert_eq!(loss(500), 0.0);
}
