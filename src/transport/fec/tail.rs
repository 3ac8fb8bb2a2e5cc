//! The tail of a transfer: the last data, whose losses would cost the transfer a round trip.

/// Length of the tail, in BDP. Data before it is retransmitted in time if it is lost.
const TAIL: f64 = 1.25;
/// Bytes of a packet besides stream data: packet header, frame header and AEAD tag.
const OVERHEAD: u64 = 34;
/// Error of the estimate, as a share of the bytes written since the last rest.
const ERROR: f64 = 0.005;

/// The connection's counters, which only grow.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SentTotals {
    /// Bytes written to streams.
    pub written: u64,
    /// Bytes that the sender declared lost, and therefore retransmits.
    pub lost: u64,
    /// How often the connection sent again after a rest without data or bytes in flight.
    pub restarts: u64,
}

/// The counters at one moment, with the payload sent until then.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    totals: SentTotals,
    payload_sent: u64,
}

/// Estimates the data that QUIC still has to send, which quinn does not report: the bytes written
/// since the last rest, less the bytes sent since then, plus the bytes lost.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// At the last call.
    last: Mark,
    /// At the last rest.
    rest: Mark,
}

impl Tail {
    /// The connection is on another path, whose counters of losses and restarts begin anew: from
    /// here on the estimate assumes that no earlier data is left to send.
    pub(super) fn reset(&mut self, totals: SentTotals) {
        self.last.totals = totals;
        self.rest = self.last;
    }

    /// `packets` with `bytes` in total are sent; `bdp` is the path's BDP in bytes. Returns whether
    /// they belong to the tail, provided that no application waits to write more.
    pub(super) fn on_sent(
        &mut self,
        bytes: usize,
        packets: usize,
        totals: SentTotals,
        bdp: Option<u64>,
    ) -> bool {
        if totals.restarts != self.last.totals.restarts {
            self.rest = self.last;
        }
        let payload = (bytes as u64).saturating_sub(OVERHEAD * packets as u64);
        self.last = Mark { totals, payload_sent: self.last.payload_sent + payload };
        let Mark { totals: rest, payload_sent } = self.rest;
        let written = (totals.written - rest.written) as f64;
        let lost = (totals.lost - rest.lost) as f64;
        let sent = (self.last.payload_sent - payload_sent) as f64 - lost;
        bdp.is_none_or(|bdp| written * (1.0 - ERROR) - sent < TAIL * bdp as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: usize = 1452;
    const PAYLOAD: u64 = 1452 - OVERHEAD;

    /// Sends `written` bytes in packets, and every `nth` packet is lost and retransmitted. Returns
    /// the bytes that belonged to the tail.
    fn send(tail: &mut Tail, totals: &mut SentTotals, written: u64, nth: u64) -> u64 {
        totals.written += written;
        totals.restarts += 1;
        let mut last = 0;
        let (mut left, mut n) = (written, 0u64);
        while left > 0 {
            n += 1;
            if n.is_multiple_of(nth) {
                totals.lost += PACKET as u64;
            } else {
                left = left.saturating_sub(PAYLOAD);
            }
            last += u64::from(tail.on_sent(PACKET, 1, *totals, Some(1_000_000)));
        }
        last * PAYLOAD
    }

    #[test]
    fn the_last_bdp_belongs_to_the_tail() {
        let (mut tail, mut totals) = (Tail::default(), SentTotals::default());
        for written in [100_000_000, 300_000, 50_000_000, 100_000_000] {
            for nth in [u64::MAX, 50] {
                let last = send(&mut tail, &mut totals, written, nth);
                let expected = 1_250_000.min(written);
                let most = (expected + written / 190) * 103 / 100;
                assert!(
                    last + PAYLOAD >= expected && last < most,
                    "{written}, of {nth} one is lost: {last}"
                );
            }
        }
    }

    #[test]
    fn on_an_unknown_path_all_data_belongs_to_the_tail() {
        let totals = SentTotals { written: 1 << 30, ..SentTotals::default() };
        assert!(Tail::default().on_sent(PACKET, 1, totals, None));
    }

    #[test]
    fn a_new_path_counts_from_zero() {
        let (mut tail, mut totals) = (Tail::default(), SentTotals::default());
        send(&mut tail, &mut totals, 10_000_000, 50);
        totals = SentTotals { written: totals.written, ..SentTotals::default() };
        tail.reset(totals);
        let last = send(&mut tail, &mut totals, 10_000_000, 50);
        assert!((1_250_000..1_400_000).contains(&last), "{last}");
    }
}
