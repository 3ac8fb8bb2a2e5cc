//! Limits on messages that strangers cause, on the screen and in the log. Pure: time is passed in.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Wrong passwords of one source are reported once in this time. Log lines are limited per this
/// time.
const INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of remembered sources. The guess limit allows far fewer within [`INTERVAL`].
const MAX_SOURCES: usize = 64;
/// Maximum number of log lines within [`INTERVAL`] about connections that were not accepted. More
/// would rotate the log, and lose its lines about the peer.
const MAX_LINES: u32 = 30;

/// Wrong passwords by source. The first of a source is reported at once, the following ones within
/// a minute together.
#[derive(Debug, Default)]
pub(crate) struct FailedGuesses(Vec<GuessSource>);

#[derive(Debug)]
struct GuessSource {
    network: IpAddr,
    peer: SocketAddr,
    told: Instant,
    untold: u32,
}

impl FailedGuesses {
    /// Counts one. Returns the number to report now.
    pub(crate) fn count(&mut self, peer: SocketAddr, now: Instant) -> Option<u32> {
        let network = network(peer.ip());
        let Some(source) = self.0.iter_mut().find(|source| source.network == network) else {
            if self.0.len() >= MAX_SOURCES {
                return None;
            }
            self.0.push(GuessSource { network, peer, told: now, untold: 0 });
            return Some(1);
        };
        source.peer = peer;
        source.untold = source.untold.saturating_add(1);
        source.due(now)
    }

    /// Reports whose minute has passed: the last address of the source, and the number.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(SocketAddr, u32)> {
        let due =
            self.0.iter_mut().filter_map(|source| Some((source.peer, source.due(now)?))).collect();
        // After a minute without a wrong password, the next one is reported at once.
        self.0.retain(|source| now.saturating_duration_since(source.told) < INTERVAL);
        due
    }
}

impl GuessSource {
    fn due(&mut self, now: Instant) -> Option<u32> {
        let over = now.saturating_duration_since(self.told) >= INTERVAL;
        let untold = Some(self.untold).filter(|untold| over && *untold > 0)?;
        (self.told, self.untold) = (now, 0);
        Some(untold)
    }
}

/// The part of an address that one host cannot change at will: an IPv4 address, or the first 64
/// bits of IPv6.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

/// The limit on log lines that strangers cause.
#[derive(Debug)]
pub(crate) struct LogLines {
    since: Instant,
    written: u32,
    left_out: u64,
}

impl LogLines {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, written: 0, left_out: 0 }
    }

    /// Whether one more line may be written. Returns the number of lines left out before it.
    pub(crate) fn take(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= INTERVAL {
            (self.since, self.written) = (now, 0);
        }
        if self.written >= MAX_LINES {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_is_told_of_once_a_minute_with_a_count() {
        let (mut failed, begin) = (FailedGuesses::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(failed.count(addr("192.0.2.1:1"), at(0)), Some(1));
        for n in 1..=20 {
            assert_eq!(failed.count(addr(&format!("192.0.2.1:{n}")), at(n)), None);
            assert_eq!(failed.due(at(n)), []);
        }
        assert_eq!(failed.count(addr("192.0.2.2:1"), at(30)), Some(1), "another source");
        assert_eq!(failed.due(at(60)), [(addr("192.0.2.1:20"), 20)]);
        assert_eq!(failed.due(at(61)), []);
        assert_eq!(failed.count(addr("192.0.2.1:1"), at(62)), None);
        assert_eq!(
            failed.count(addr("192.0.2.1:2"), at(120)),
            Some(2),
            "also when nobody asked in time"
        );
        assert_eq!(failed.due(at(300)), []);
        assert_eq!(failed.count(addr("192.0.2.1:1"), at(300)), Some(1), "long quiet");
    }

    #[test]
    fn one_host_is_one_source() {
        let (mut failed, now) = (FailedGuesses::default(), Instant::now());
        assert_eq!(failed.count(addr("[2001:db8::1]:1"), now), Some(1));
        assert_eq!(failed.count(addr("[2001:db8::ffff:2]:2"), now), None);
        assert_eq!(failed.count(addr("[2001:db8:0:1::1]:1"), now), Some(1));
        assert_eq!(failed.count(addr("[::ffff:192.0.2.1]:1"), now), Some(1));
        assert_eq!(failed.count(addr("192.0.2.1:2"), now), None);
    }

    #[test]
    fn sources_are_bounded() {
        let (mut failed, now) = (FailedGuesses::default(), Instant::now());
        let told = (0..10_000u32).filter(|n| {
            failed.count(SocketAddr::new(std::net::Ipv4Addr::from(*n).into(), 1), now).is_some()
        });
        assert_eq!(told.count(), MAX_SOURCES);
    }

    #[test]
    fn the_log_takes_a_few_lines_a_minute() {
        let begin = Instant::now();
        let mut lines = LogLines::new(begin);
        let written = (0..10_000).filter(|_| lines.take(begin).is_some()).count();
        assert_eq!(written, MAX_LINES as usize);
        assert_eq!(lines.take(begin + INTERVAL), Some(10_000 - u64::from(MAX_LINES)));
        assert_eq!(lines.take(begin + INTERVAL), Some(0));
    }
}
