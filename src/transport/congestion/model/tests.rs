use crate::transport::congestion::model::*;

/// What is known of a path after rounds with these round trips, delivery rates, and windows.
fn rate_after(rounds: &[(f64, f64, Window)]) -> f64 {
    let mut model = Model::new(1250);
    for &(rtt, rate, window) in rounds {
        for _ in 0..20 {
            model.on_ack(Instant::now(), rtt, 1250, Load::Full);
        }
        model.on_rate(rate, 0.05, false);
        model.end_round(model.round_end, model.round_end + 1, window);
    }
    model.rate()
}

const FULL: (f64, f64, Window) = (0.05, 10e6, Window::Level);

#[test]
fn less_arrives_and_there_is_a_queue_so_the_path_has_become_slower() {
    assert_eq!(rate_after(&[FULL, (0.07, 4e6, Window::Small)]), 4e6);
    assert_eq!(rate_after(&[FULL, (0.07, 4e6, Window::Level)]), 4e6);
}

#[test]
fn less_arrives_where_less_is_sent_and_the_path_is_what_it_was() {
    assert_eq!(rate_after(&[FULL, (0.07, 4e6, Window::Tiny)]), 10e6);
    // What ends the round after that left when its window was tiny.
    let rounds =
        [FULL, (0.05, 4e6, Window::Tiny), (0.07, 4e6, Window::Level), (0.07, 4e6, Window::Level)];
    assert_eq!((rate_after(&rounds[..3]), rate_after(&rounds)), (10e6, 4e6));
}

#[test]
fn a_burst_of_losses_counts_for_little_and_losses_all_the_time_for_all() {
    let now = Instant::now();
    // Acknowledgements of so many packets each, and how many were lost with each.
    let scattered = |packets: u32, lost: &[u64]| {
        let mut model = Model::new(1250);
        for (n, lost) in lost.iter().enumerate() {
            for _ in 0..packets {
                model.on_ack(now + Duration::from_micros(n as u64), 0.05, 1250, Load::Full);
            }
            model.on_lost(1250 * lost, Load::Full);
        }
        model
            .end_round(0, 1, Window::Large)
            .map(|round| (round.loss, round.scattered_loss))
            .unwrap()
    };
    let (loss, counted) = scattered(2, &[0, 0, 0, 0, 20, 0, 0, 0, 0, 0]);
    assert!(loss == 0.5 && counted < 0.1, "{loss} {counted}");
    assert_eq!(scattered(2, &[2; 10]).1, 0.5);
    // A receiver that answers rarely.
    assert_eq!(scattered(64, &[16; 10]).1, 0.2);
}

#[test]
fn most_of_many_packets_lost_is_not_the_paths_own_loss() {
    let loss = |packets: u64| {
        let mut model = Model::new(1250);
        for _ in 0..packets {
            model.on_ack(Instant::now(), 0.05, 1250, Load::Below);
            model.on_lost(1250, Load::Below);
        }
        model.end_round(0, 1, Window::Large);
        model.below.share()
    };
    assert_eq!(loss(10), 0.5);
    assert_eq!(loss(500), 0.0);
}
