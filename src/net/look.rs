//! A look at the path before there is anything to send: a few short trains of packets, by whose arrival start-up knows
//! what the path carries when the first file comes (docs/congestion.md). They are unreliable datagrams (RFC 9221) that say
//! nothing, and nobody reads them.

use super::congestion;
use bytes::Bytes;
use quinn::Connection;
use std::time::Duration;

/// On a shorter round trip start-up takes no time that anybody notices.
const LEAST_RTT: Duration = Duration::from_millis(20);
/// More than make an estimate: some are lost in part.
const TRAINS: u32 = 12;
/// Packets of a train: ten, and once the first trains said what the path carries, as many as it carries within `LENGTH`.
/// Timers and batches on the way distort a short train more than a long one.
const PACKETS: [f64; 2] = [10.0, 64.0];
const LENGTH: Duration = Duration::from_millis(2);
/// Between two trains at least, and a round trip: so that who wants to send something meanwhile over a slow link hardly
/// notices, who has no more than 70 kB of them a second.
const PAUSE: Duration = Duration::from_millis(200);
/// Round trips that became longer by so much, and by half, show that even this is too much for the link.
const MOST_QUEUE: Duration = Duration::from_millis(50);

/// Sends the trains, until they have been sent or there is something else to send: that tells as much.
pub(super) async fn at_path(connection: Connection) {
    let first = connection.rtt();
    let Some(path) = congestion::estimate(connection.congestion_state().into_any()) else { return };
    if first < LEAST_RTT {
        return;
    }
    let frames = || connection.stats().frame_tx.stream;
    for _ in 0..TRAINS {
        let before = frames();
        tokio::time::sleep(PAUSE.max(connection.rtt())).await;
        // A message on the control stream now and then is one or two frames.
        let busy = frames() - before > PACKETS[0] as u64;
        if busy || connection.rtt() > first * 3 / 2 + MOST_QUEUE {
            return;
        }
        let Some(size) = connection.max_datagram_size() else { return };
        let nothing = Bytes::from(vec![0; size]);
        let carried = path.seen().unwrap_or(0) as f64 * LENGTH.as_secs_f64() / size as f64;
        // No more than may leave in the first round: that much is no load yet.
        let most = congestion::first_window(first.as_secs_f64(), size as f64) / size as f64 - 2.0;
        let packets = carried.min(most).clamp(PACKETS[0], PACKETS[1]) as u32;
        path.allow_burst(packets);
        for _ in 0..packets {
            if connection.send_datagram(nothing.clone()).is_err() {
                return;
            }
        }
    }
}
