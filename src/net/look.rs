//! A look at the path before there is anything to send: a few short trains of packets, by whose arrival start-up knows
//! what the path carries when the first file comes (docs/congestion.md). They are unreliable datagrams (RFC 9221) that say
//! nothing, and nobody reads them.

use bytes::Bytes;
use quinn::Connection;
use std::time::Duration;

/// On a shorter round trip start-up takes no time that anybody notices.
const LEAST_RTT: Duration = Duration::from_millis(20);
/// More than make an estimate: some are lost in part.
const TRAINS: u32 = 10;
/// Packets of a train: as many as leave at once without being paced.
const PACKETS: u32 = 10;
/// Between two trains at least, and a round trip: at most 70 kB a second are sent for them, so that who wants to send
/// something meanwhile over a slow link hardly notices.
const PAUSE: Duration = Duration::from_millis(200);
/// Round trips that became longer by so much, and by half, show that even this is too much for the link.
const MOST_QUEUE: Duration = Duration::from_millis(50);

/// Sends the trains, until they have been sent or there is something else to send: that tells as much.
pub(super) async fn at_path(connection: Connection) {
    let first = connection.rtt();
    if first < LEAST_RTT {
        return;
    }
    let frames = || connection.stats().frame_tx.stream;
    for _ in 0..TRAINS {
        let before = frames();
        tokio::time::sleep(PAUSE.max(connection.rtt())).await;
        // A message on the control stream now and then is one or two frames.
        let busy = frames() - before > u64::from(PACKETS);
        if busy || connection.rtt() > first * 3 / 2 + MOST_QUEUE {
            return;
        }
        let Some(size) = connection.max_datagram_size() else { return };
        let nothing = Bytes::from(vec![0; size]);
        for _ in 0..PACKETS {
            if connection.send_datagram(nothing.clone()).is_err() {
                return;
            }
        }
    }
}
