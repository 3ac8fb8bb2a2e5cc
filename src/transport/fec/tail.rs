//! Whether what QUIC has not sent yet is little enough that its losses would be waited for.

/// So many bandwidth-delay products before the end, what is lost is sent again in time.
const TAIL: f64 = 1.25;
/// Bytes of a packet that are not the streams': header, frame header, tag.
const OVERHEAD: u64 = 34;
/// What this may be wrong by, of what was written since all was sent.
const ERROR: f64 = 0.005;

/// Counts of bytes, which only grow.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Written to streams.
    pub written: u64,
    /// Lost, as the sender takes it, and so sent again.
    pub lost: u64,
    /// How often something was sent after all had arrived and there was nothing more.
    pub flights: u64,
}

/// QUIC does not tell what it still has to send. It is what was written since it last had nothing,
/// less what was sent since.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    sent: u64,
    before: (Counts, u64),
    /// When there was nothing left to send.
    begun: (Counts, u64),
}

impl Tail {
    /// Lost packets are counted from these counts on, as another path counts anew. What is still to
    /// be sent is forgotten.
    pub fn begin(&mut self, now: Counts) {
        self.before = (now, self.sent);
        self.begun = self.before;
    }

    /// So many bytes leave in some packets; `product` is the path's bandwidth-delay product in
    /// bytes. Whether they belong to the end, if nobody writes any more.
    pub fn sends(
        &mut self,
        bytes: usize,
        packets: usize,
        now: Counts,
        product: Option<u64>,
    ) -> bool {
        if now.flights != self.before.0.flights {
            self.begun = self.before;
        }
        self.sent += (bytes as u64).saturating_sub(OVERHEAD * packets as u64);
        self.before = (now, self.sent);
        let (counts, sent) = self.begun;
        let written = (now.written - counts.written) as f64;
        let sent = (self.sent - sent) as f64 - (now.lost - counts.lost) as f64;
        product.is_none_or(|product| written * (1.0 - ERROR) - sent < TAIL * product as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: usize = 1452;
    const PAYLOAD: u64 = 1452 - OVERHEAD;

    /// Sends all of `written` in packets, of which every `nth` is lost and sent again; how many
    /// belonged to the end.
    fn send(tail: &mut Tail, counts: &mut Counts, written: u64, nth: u64) -> u64 {
        counts.written += written;
        counts.flights += 1;
        let mut last = 0;
        let (mut left, mut n) = (written, 0u64);
        while left > 0 {
            n += 1;
            if n.is_multiple_of(nth) {
                counts.lost += PACKET as u64;
            } else {
                left = left.saturating_sub(PAYLOAD);
            }
            last += u64::from(tail.sends(PACKET, 1, *counts, Some(1_000_000)));
        }
        last * PAYLOAD
    }

    #[test]
    fn the_last_product_belongs_to_the_end() {
        let (mut tail, mut counts) = (Tail::default(), Counts::default());
        for written in [100_000_000, 300_000, 50_000_000, 100_000_000] {
            for nth in [u64::MAX, 50] {
                let last = send(&mut tail, &mut counts, written, nth);
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
    fn of_a_path_of_which_nothing_is_known_all_does() {
        assert!(Tail::default().sends(
            PACKET,
            1,
            Counts { written: 1 << 30, ..Counts::default() },
            None
        ));
    }

    #[test]
    fn another_path_counts_anew() {
        let (mut tail, mut counts) = (Tail::default(), Counts::default());
        send(&mut tail, &mut counts, 10_000_000, 50);
        counts = Counts { written: counts.written, ..Counts::default() };
        tail.begin(counts);
        let last = send(&mut tail, &mut counts, 10_000_000, 50);
        assert!((1_250_000..1_400_000).contains(&last), "{last}");
    }
}
