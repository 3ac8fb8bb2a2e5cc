//! A probe at the path before there is anything to send: a few short trains of packets, by whose
//! arrival start-up knows what the path carries when the first file comes (docs/congestion.md).
//! They are unreliable datagrams (RFC 9221) that say nothing, and nobody reads them.
//!
//! [`PathProbe`] decides which trains there are, and when; the session, or a simulator, has the
//! connection and the clock.

use super::congestion;
use super::congestion::PathEstimate;
use bytes::Bytes;
use quinn::{Connection, Side};
use std::time::Duration;

/// On a shorter round trip start-up takes no time that anybody notices.
const MIN_RTT: Duration = Duration::from_millis(20);
/// More than make an estimate: some are lost in part.
const TRAINS: u32 = 12;
/// Packets of a train: ten, and once the first trains said what the path carries, as many as it
/// carries within `LENGTH`. Timers and batches on the way distort a short train more than a long
/// one.
const PACKETS: [f64; 2] = [10.0, 64.0];
const LENGTH: Duration = Duration::from_millis(2);
/// Between two trains at least, and a round trip: so that who wants to send something meanwhile
/// over a slow link hardly notices, who has no more than 70 kB of them a second.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);
/// The responder's are longer by so many eighths. Else its trains would leave just when the
/// initiator's come, every time, as the one's session begins with the other's word: the
/// acknowledgements, which wait behind a train, then say that the path is some fifty times as fast.
const SERVER_EIGHTHS: u32 = 9;
/// Round trips that became longer by so much, and by half, show that even this is too much for the
/// link.
const MAX_QUEUE: Duration = Duration::from_millis(50);
/// Bytes by which a datagram stays below the limit that the peer announced. quinn counts its own
/// bookkeeping of a datagram (32 bytes) against that limit, and closes the connection when the two
/// together are larger.
const MARGIN: usize = 32;

/// The trains that are still to be sent. It has neither socket nor clock.
#[derive(Debug)]
pub struct PathProbe {
    /// The round trip before the first of them.
    first: Duration,
    side: Side,
    left: u32,
    /// STREAM frames that had been sent when the last pause began.
    frames: u64,
}

/// What a connection says of itself.
#[derive(Debug, Clone, Copy)]
pub struct ProbeSample {
    /// Its round trip.
    pub rtt: Duration,
    /// STREAM frames that it sent so far.
    pub frames: u64,
    /// Bytes of the largest datagram that fits into its packets; `None` if the peer takes none.
    pub largest: Option<usize>,
}

/// Datagrams that are to be sent at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Train {
    /// How many.
    pub packets: u32,
    /// Bytes of each.
    pub size: usize,
}

impl PathProbe {
    /// This side's probe at an idle path whose round trip is `rtt`; `None` if it is too short for
    /// one.
    pub fn new(rtt: Duration, side: Side) -> Option<Self> {
        (rtt >= MIN_RTT).then_some(Self { first: rtt, side, left: TRAINS, frames: 0 })
    }

    /// How long to wait for the next train, from now on; `None` when all have been sent.
    pub fn pause(&mut self, now: ProbeSample) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        self.frames = now.frames;
        let pause = PROBE_INTERVAL.max(now.rtt);
        Some(if self.side == Side::Server { pause * SERVER_EIGHTHS / 8 } else { pause })
    }

    /// The train that is to leave after the pause, which `path` is told to let out at once; `None`
    /// if the probe is over: there is something else to send, which tells as much, or the link has
    /// too much of it.
    pub fn train(&self, now: ProbeSample, path: &PathEstimate) -> Option<Train> {
        // A message on the control stream now and then is one or two frames.
        let busy = now.frames - self.frames > PACKETS[0] as u64;
        if busy || now.rtt > self.first * 3 / 2 + MAX_QUEUE {
            return None;
        }
        let size = now.largest?.checked_sub(MARGIN)?;
        let carried = path.probed_rate().unwrap_or(0) as f64 * LENGTH.as_secs_f64() / size as f64;
        // No more than may leave in the first round: that much is no load yet.
        let most =
            congestion::first_window(self.first.as_secs_f64(), size as f64) / size as f64 - 2.0;
        let packets = carried.min(most).clamp(PACKETS[0], PACKETS[1]) as u32;
        path.burst_credit(packets);
        Some(Train { packets, size })
    }
}

/// Sends the trains of a session that begins.
pub(crate) async fn run(connection: Connection) {
    let Some(path) = congestion::estimate(connection.congestion_state().into_any()) else { return };
    let seen = || ProbeSample {
        rtt: connection.rtt(),
        frames: connection.stats().frame_tx.stream,
        largest: connection.max_datagram_size(),
    };
    let Some(mut probe) = PathProbe::new(connection.rtt(), connection.side()) else { return };
    while let Some(pause) = probe.pause(seen()) {
        tokio::time::sleep(pause).await;
        let Some(train) = probe.train(seen(), &path) else { return };
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

    /// The next train, if one comes: `before` is what the connection says when the pause begins,
    /// `now` when it is over.
    fn train(
        probe: &mut PathProbe,
        path: &PathEstimate,
        before: ProbeSample,
        now: ProbeSample,
    ) -> Option<Train> {
        probe.pause(before).and_then(|_| probe.train(now, path))
    }

    #[test]
    fn twelve_trains_cross_an_idle_path_and_none_a_short_one() {
        let (mut probe, path) =
            (PathProbe::new(RTT, Side::Client).unwrap(), PathEstimate::default());
        for _ in 0..12 {
            let train = train(&mut probe, &path, IDLE, IDLE);
            assert_eq!(train, Some(Train { packets: 10, size: 1400 - MARGIN }));
        }
        assert_eq!(probe.pause(IDLE), None);
        assert!(PathProbe::new(Duration::from_millis(19), Side::Client).is_none());
    }

    #[test]
    fn a_pause_is_a_round_trip_or_more() {
        let mut probe = PathProbe::new(RTT, Side::Client).unwrap();
        assert_eq!(probe.pause(IDLE), Some(Duration::from_millis(200)));
        assert_eq!(probe.pause(ProbeSample { rtt: 3 * RTT, ..IDLE }), Some(3 * RTT));
    }

    /// However long the way is, and whoever begins first: nearly all of one's trains come when the
    /// other's do not leave.
    #[test]
    fn the_two_sides_trains_seldom_meet() {
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
                    come.iter().any(|come| (*come + way).abs_diff(**at) < 2 * LENGTH)
                };
                let met = leave.iter().filter(meets).count();
                assert!(met <= 2, "{way:?} later {met} meet");
            }
        }
    }

    #[test]
    fn what_is_sent_besides_or_a_queue_ends_the_look() {
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
        assert!(!goes_on(ProbeSample { largest: None, ..IDLE }), "the peer takes no datagrams");
        assert!(
            !goes_on(ProbeSample { largest: Some(MARGIN - 1), ..IDLE }),
            "it takes none of any use"
        );
    }
}
