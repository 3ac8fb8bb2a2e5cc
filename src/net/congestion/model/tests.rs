use super::*;

/// What is known of a path of 10 MB/s and 50 ms after a round with 20 ms of queue in which 4 MB/s came.
fn after_a_slow_round(window: Window) -> f64 {
    let mut model = Model::new(1250);
    let now = Instant::now();
    let mut round = |rtt, rate, window| {
        let delivered = model.round_end + 1;
        for _ in 0..20 {
            model.on_ack(now, rtt, 1250, Load::Full);
        }
        model.on_rate(rate, 0.05, false);
        model.end_round(model.round_end, delivered, window);
        model.rate()
    };
    assert_eq!(round(0.05, 10e6, Window::Level), 10e6);
    round(0.07, 4e6, window)
}

#[test]
fn less_arrives_and_there_is_a_queue_so_the_path_has_become_slower() {
    assert_eq!(after_a_slow_round(Window::Small), 4e6);
    assert_eq!(after_a_slow_round(Window::Level), 4e6);
}

#[test]
fn less_arrives_where_less_is_sent_and_the_path_is_what_it_was() {
    assert_eq!(after_a_slow_round(Window::Tiny), 10e6);
}
