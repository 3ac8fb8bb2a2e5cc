//! The path probe of an idle session: a few short packet trains, whose dispersion tells Startup the
//! path's rate before the first file (docs/congestion.md). The packets are unreliable datagrams
//! (RFC 9221) of zeros, which the receiver does not read.
//!
//! [`PathProbe`] decides the size and time of each train. The session, or the simulator, has the
//! connection and the clock.

use super::congestion;
use super::congestion::PathEstimate;
use super::rate_limit::{PathState, RateLimit};
use bytes::Bytes;
use quinn::{Connection, Side};
use std::time::Duration;

/// On a path with a shorter RTT Startup is short enough without a probe.
const MIN_RTT: Duration = Duration::from_millis(20);
/// Number of trains: more than an estimate needs, because some lose packets.
const TRAINS: u32 = 12;
/// Packets of a train: the minimum, and once the first trains have shown the path's rate, as many
/// as the path carries in [`TRAIN_TIME`], up to the maximum. Timers and batching on the way distort
/// a short train more than a long one.
const MIN_TRAIN_PACKETS: f64 = 10.0;
const MAX_TRAIN_PACKETS: f64 = 64.0;
const TRAIN_TIME: Duration = Duration::from_millis(2);
/// Minimum gap between trains (never less than one RTT). Keeps probing below 70 kB/s.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);
/// The responder's gaps are this many eighths of the initiator's. With equal gaps every train of
/// one side would leave while a train of the other arrives, because both sessions begin with the
/// same message. Then acknowledgements wait behind a train, and the estimate is fifty times too
/// high.
const SERVER_EIGHTHS: u32 = 9;
/// The probe stops when the RTT exceeds 1.5 times its first value by this: even the trains are too
/// much for the path.
const MAX_QUEUE: Duration = Duration::from_millis(50);
/// Bytes that a datagram leaves of the peer's limit. quinn counts its own bookkeeping of a datagram
/// (32 bytes) against that limit, and closes the connection if the sum exceeds it.
const MARGIN: usize = 32;

/// The trains that are still to be sent. Uses no socket and no clock.
#[derive(Debug)]
pub struct PathProbe {
    /// RTT before the first train.
    first_rtt: Duration,
    side: Side,
    left: u32,
    /// STREAM frames sent when the last pause began.
    frames: u64,
}

/// A connection's state before a train.
#[derive(Debug, Clone, Copy)]
pub struct ProbeSample {
    /// RTT of the connection.
    pub rtt: Duration,
    /// STREAM frames sent so far.
    pub frames: u64,
    /// Size of the largest datagram that fits into a packet; `None` if the peer accepts none.
    pub largest: Option<usize>,
}

/// Datagrams to be sent at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeTrain {
    /// Number of datagrams.
    pub packets: u32,
    /// Size of each, bytes.
    pub size: usize,
}

impl PathProbe {
    /// This side's probe of an idle path with this RTT; `None` if the RTT is too short.
    pub fn new(rtt: Duration, side: Side) -> Option<Self> {
        (rtt >= MIN_RTT).then_some(Self { first_rtt: rtt, side, left: TRAINS, frames: 0 })
    }

    /// The wait before the next train; `None` after the last one.
    pub fn pause(&mut self, now: ProbeSample) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        self.frames = now.frames;
        let pause = PROBE_INTERVAL.max(now.rtt);
        Some(if self.side == Side::Server { pause * SERVER_EIGHTHS / 8 } else { pause })
    }

    /// The train after the pause. Gives `path` the burst credit to send it unpaced. `None` ends the
    /// probe: the session sends data, which shows the path's rate as well, or the path is
    /// overloaded.
    pub fn train(&self, now: ProbeSample, path: &PathEstimate) -> Option<ProbeTrain> {
        // A message on the control stream takes one or two frames.
        let busy = now.frames - self.frames > MIN_TRAIN_PACKETS as u64;
        if busy || now.rtt > self.first_rtt * 3 / 2 + MAX_QUEUE {
            return None;
        }
        let size = now.largest?.checked_sub(MARGIN)?;
        let carried =
            path.probed_rate().unwrap_or(0) as f64 * TRAIN_TIME.as_secs_f64() / size as f64;
        // At most the initial window, which is no load for the path.
        let most =
            congestion::first_window(self.first_rtt.as_secs_f64(), size as f64) / size as f64 - 2.0;
        let packets = carried.min(most).clamp(MIN_TRAIN_PACKETS, MAX_TRAIN_PACKETS) as u32;
        path.burst_credit(packets);
        Some(ProbeTrain { packets, size })
    }
}

/// Sends the trains of a new session. A rate limit that would spread even the shortest train leaves
/// nothing to measure.
pub(crate) async fn run(connection: Connection, limit: RateLimit) {
    let shortest = MIN_TRAIN_PACKETS as usize * connection.max_datagram_size().unwrap_or(0);
    if !limit.allows_burst(shortest) {
        return;
    }
    let state = PathState::of(&connection);
    let Some(path) = state.and_then(|state| congestion::estimate(state.controller)) else { return };
    let sample = || ProbeSample {
        rtt: connection.rtt(),
        frames: connection.stats().frame_tx.stream,
        largest: connection.max_datagram_size(),
    };
    let Some(mut probe) = PathProbe::new(connection.rtt(), connection.side()) else { return };
    while let Some(pause) = probe.pause(sample()) {
        tokio::time::sleep(pause).await;
        let Some(train) = probe.train(sample(), &path) else { return };
        let nothing = Bytes::from(vec![0; train.size]);
        for _ in 0..train.packets {
            if connection.send_datagram(nothing.clone()).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);
    const IDLE: ProbeSample = ProbeSample { rtt: RTT, frames: 7, largest: Some(1400) };

    /// The next train, if there is one: `before` is the connection's state when the pause begins,
    /// `now` when it ends.
    fn train(
        probe: &mut PathProbe,
        path: &PathEstimate,
        before: ProbeSample,
        now: ProbeSample,
    ) -> Option<ProbeTrain> {
        probe.pause(before).and_then(|_| probe.train(now, path))
    }

    #[test]
    fn an_idle_path_gets_twelve_trains_and_a_short_one_none() {
        let (mut probe, path) =
            (PathProbe::new(RTT, Side::Client).unwrap(), PathEstimate::default());
        for _ in 0..12 {
            let train = train(&mut probe, &path, IDLE, IDLE);
            assert_eq!(train, Some(ProbeTrain { packets: 10, size: 1400 - MARGIN }));
        }
        assert_eq!(probe.pause(IDLE), None);
        assert!(PathProbe::new(Duration::from_millis(19), Side::Client).is_none());
    }

    #[test]
    fn a_pause_lasts_at_least_one_rtt() {
        let mut probe = PathProbe::new(RTT, Side::Client).unwrap();
        assert_eq!(probe.pause(IDLE), Some(Duration::from_millis(200)));
        assert_eq!(probe.pause(ProbeSample { rtt: 3 * RTT, ..IDLE }), Some(3 * RTT));
    }

    /// For every delay and either side first: nearly all trains of one side arrive while no train
    /// of the other leaves.
    #[test]
    fn trains_of_the_two_sides_seldom_coincide() {
        let times = |side| {
            let (mut probe, mut at, mut times) =
                (PathProbe::new(RTT, side).unwrap(), Duration::ZERO, Vec::new());
            while let Some(pause) = probe.pause(IDLE) {
                at += pause;
                times.push(at);
            }
            times
        };
        let (client, server) = (times(Side::Client), times(Side::Server));
        for way in (0..1000).map(Duration::from_millis) {
            for (leave, come) in [(&client, &server), (&server, &client)] {
                let meets = |at: &&Duration| {
                    come.iter().any(|come| (*come + way).abs_diff(**at) < 2 * TRAIN_TIME)
                };
                let met = leave.iter().filter(meets).count();
                assert!(met <= 2, "{way:?} later {met} meet");
            }
        }
    }

    #[test]
    fn other_data_or_a_queue_ends_the_probe() {
        let path = PathEstimate::default();
        let goes_on = |now| {
            train(&mut PathProbe::new(RTT, Side::Client).unwrap(), &path, IDLE, now).is_some()
        };
        assert!(goes_on(ProbeSample { frames: IDLE.frames + 10, ..IDLE }), "a few messages");
        assert!(!goes_on(ProbeSample { frames: IDLE.frames + 11, ..IDLE }), "a file");
        assert!(goes_on(ProbeSample { rtt: 2 * RTT, ..IDLE }));
        assert!(
            !goes_on(ProbeSample { rtt: 2 * RTT + Duration::from_millis(1), ..IDLE }),
            "a queue"
        );
        assert!(!goes_on(ProbeSample { largest: None, ..IDLE }), "the peer accepts no datagrams");
        assert!(
            !goes_on(ProbeSample { largest: Some(MARGIN - 1), ..IDLE }),
            "it accepts only tiny ones"
        );
    }
}
