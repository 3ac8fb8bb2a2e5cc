//! Why there is no session: the findings of the probes and the dials of each address. Pure.

use crate::hindrance::{Finding, Hindrance};
use std::net::SocketAddr;

/// A port that answers this many probes in a row, without a handshake meanwhile, completes none.
const ANSWERS_WITHOUT_HANDSHAKE: u32 = 3;
/// Silent probes in a row that outweigh an ICMP message from before: a host that limits its ICMP
/// messages leaves some packets without one.
const SILENT_PROBES: u32 = 3;
/// Maximum number of addresses of a name that are probed.
pub(crate) const MAX_PROBED: usize = 8;

/// The findings since the last session.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    addresses: Vec<Address>,
    /// The name does not resolve any more.
    name_unknown: bool,
}

#[derive(Debug)]
struct Address {
    addr: SocketAddr,
    /// The result of the last probe.
    probe: Option<Hindrance>,
    /// Probes in a row that were answered.
    answers: u32,
    /// Probes in a row without an answer or an ICMP message.
    silent: u32,
    /// How the last completed dial ended.
    dial: Option<Hindrance>,
}

impl Findings {
    /// Sets the present addresses. Findings about addresses that stay are kept.
    pub(crate) fn set_addresses(&mut self, addresses: &[SocketAddr]) {
        let mut before = std::mem::take(&mut self.addresses);
        self.addresses = addresses
            .iter()
            .take(MAX_PROBED)
            .map(|addr| match before.iter().position(|address| address.addr == *addr) {
                Some(at) => before.swap_remove(at),
                None => Address { addr: *addr, probe: None, answers: 0, silent: 0, dial: None },
            })
            .collect();
    }

    /// The addresses to probe.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.iter().map(|address| address.addr).collect()
    }

    /// Whether the name resolved at the last attempt.
    pub(crate) fn name_resolves(&mut self, resolves: bool) {
        self.name_unknown = !resolves;
    }

    /// Takes the result of a probe.
    pub(crate) fn probed(&mut self, addr: SocketAddr, result: Result<(), Hindrance>) {
        let Some(address) = self.find(addr) else { return };
        address.silent = match result {
            Err(Hindrance::NoAnswer) => address.silent.saturating_add(1),
            _ => 0,
        };
        match result {
            Err(Hindrance::NoAnswer)
                if address.silent < SILENT_PROBES && address.probe.is_some_and(by_icmp) => {}
            Ok(()) => (address.probe, address.answers) = (None, address.answers.saturating_add(1)),
            // The peer that refused is no longer there.
            Err(hindrance) => {
                (address.probe, address.answers, address.dial) = (Some(hindrance), 0, None);
            }
        }
    }

    /// A dial of this address was answered, and led to no session for this reason.
    pub(crate) fn dialled(&mut self, addr: SocketAddr, hindrance: Hindrance) {
        if let Some(address) = self.find(addr) {
            address.dial = Some(hindrance);
        }
    }

    /// A session was adopted: nothing stands in its way.
    pub(crate) fn clear(&mut self) {
        for address in &mut self.addresses {
            (address.probe, address.answers, address.dial) = (None, 0, None);
            address.silent = 0;
        }
    }

    /// The hindrance that says most; `None` before anything is known.
    pub(crate) fn verdict(&self) -> Option<Finding> {
        let of = |address: &Address| {
            let stuck = address.answers >= ANSWERS_WITHOUT_HANDSHAKE;
            let hindrance =
                address.dial.or(address.probe).or(stuck.then_some(Hindrance::NoHandshake))?;
            Some(Finding { hindrance, address: address.addr })
        };
        let found: Option<Vec<Finding>> = self.addresses.iter().map(of).collect();
        // While an address has not been judged yet, only a final word counts.
        let found = found.unwrap_or_else(|| {
            let known = self.addresses.iter().filter_map(of);
            known
                .filter(|finding| finding.hindrance.weight() > Hindrance::NameUnknown.weight())
                .collect()
        });
        // `max_by_key` returns the last of several.
        let first = found.into_iter().rev().max_by_key(|finding| finding.hindrance.weight())?;
        let outdated =
            self.name_unknown && first.hindrance.weight() < Hindrance::NameUnknown.weight();
        // Without a network no name resolves either.
        Some(match first.hindrance {
            Hindrance::NoAnswer | Hindrance::HostUnreachable if outdated => {
                Finding { hindrance: Hindrance::NameUnknown, ..first }
            }
            _ => first,
        })
    }

    fn find(&mut self, addr: SocketAddr) -> Option<&mut Address> {
        let is_same = |one: &SocketAddr| {
            one.ip().to_canonical() == addr.ip().to_canonical() && one.port() == addr.port()
        };
        self.addresses.iter_mut().find(|address| is_same(&address.addr))
    }
}

/// Whether an ICMP message from elsewhere says it.
fn by_icmp(hindrance: Hindrance) -> bool {
    matches!(hindrance, Hindrance::PortClosed | Hindrance::Prohibited | Hindrance::HostUnreachable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 4000))
    }

    fn findings(count: u8) -> Findings {
        let mut findings = Findings::default();
        findings.set_addresses(&(1..=count).map(addr).collect::<Vec<_>>());
        findings
    }

    fn verdict(findings: &Findings) -> Option<Hindrance> {
        findings.verdict().map(|finding| finding.hindrance)
    }

    #[test]
    fn the_address_that_works_best_describes_the_peer() {
        let mut two = findings(2);
        assert_eq!(two.verdict(), None);
        two.probed(addr(1), Err(Hindrance::NoRoute));
        assert_eq!(two.verdict(), None, "the other one may answer");
        two.probed(addr(2), Err(Hindrance::NoAnswer));
        assert_eq!(
            two.verdict(),
            Some(Finding { hindrance: Hindrance::NoAnswer, address: addr(2) })
        );
        two.probed(addr(1), Err(Hindrance::PortClosed));
        assert_eq!(verdict(&two), Some(Hindrance::PortClosed));
        two.clear();
        assert_eq!(two.verdict(), None);
        two.probed(addr(1), Err(Hindrance::PortClosed));
        assert_eq!(verdict(&two), Some(Hindrance::PortClosed), "at once");
    }

    #[test]
    fn a_refusal_counts_until_the_port_no_longer_answers() {
        let mut one = findings(1);
        one.dialled(addr(1), Hindrance::OtherVersion);
        for _ in 0..5 {
            one.probed(addr(1), Ok(()));
            assert_eq!(verdict(&one), Some(Hindrance::OtherVersion));
        }
        one.probed(addr(1), Err(Hindrance::PortClosed));
        assert_eq!(verdict(&one), Some(Hindrance::PortClosed));
        for _ in 1..ANSWERS_WITHOUT_HANDSHAKE {
            one.probed(addr(1), Ok(()));
            assert_eq!(verdict(&one), None, "it may connect now");
        }
        one.probed(addr(1), Ok(()));
        assert_eq!(verdict(&one), Some(Hindrance::NoHandshake));
    }

    #[test]
    fn a_silent_probe_does_not_outweigh_an_icmp_message() {
        let mut one = findings(1);
        for met in [Hindrance::PortClosed, Hindrance::Prohibited, Hindrance::HostUnreachable] {
            one.probed(addr(1), Err(met));
            for _ in 1..SILENT_PROBES {
                one.probed(addr(1), Err(Hindrance::NoAnswer));
                assert_eq!(verdict(&one), Some(met));
            }
            one.probed(addr(1), Err(met));
            for _ in 0..SILENT_PROBES {
                one.probed(addr(1), Err(Hindrance::NoAnswer));
            }
            assert_eq!(verdict(&one), Some(Hindrance::NoAnswer));
        }
        // This host's own word is never limited.
        one.probed(addr(1), Err(Hindrance::NoRoute));
        one.probed(addr(1), Err(Hindrance::NoAnswer));
        assert_eq!(verdict(&one), Some(Hindrance::NoAnswer));
    }

    #[test]
    fn a_name_that_does_not_resolve_explains_silence_only() {
        let mut one = findings(1);
        one.name_resolves(false);
        for (met, told) in [
            (Hindrance::NoAnswer, Hindrance::NameUnknown),
            (Hindrance::HostUnreachable, Hindrance::NameUnknown),
            (Hindrance::NoRoute, Hindrance::NoRoute),
            (Hindrance::PortClosed, Hindrance::PortClosed),
        ] {
            one.probed(addr(1), Err(met));
            assert_eq!(verdict(&one), Some(told));
        }
        one.name_resolves(true);
        for _ in 0..SILENT_PROBES {
            one.probed(addr(1), Err(Hindrance::NoAnswer));
        }
        assert_eq!(verdict(&one), Some(Hindrance::NoAnswer));
    }

    #[test]
    fn addresses_that_stay_keep_their_findings() {
        let mut two = findings(2);
        two.probed(addr(2), Err(Hindrance::PortClosed));
        two.set_addresses(&[addr(2), addr(3)]);
        assert_eq!(verdict(&two), Some(Hindrance::PortClosed));
        two.set_addresses(&[addr(3)]);
        assert_eq!(two.verdict(), None);
    }
}
