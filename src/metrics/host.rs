//! Pure: which names of this server a request may use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The names that a request may give to this server, besides addresses and `localhost`.
///
/// Without this check any site on the Web could read the answers: once its page is loaded, it lets
/// its name resolve to 127.0.0.1 (DNS rebinding), and the browser takes this server for a part of
/// that site. The browser still sends the site's name. No site has an address or `localhost` as its
/// name.
#[derive(Debug, Clone, Default)]
pub(super) struct HostNames(Vec<String>);

impl HostNames {
    /// Those of a server at `address` on the host `name`. Its own name leads to this server only if
    /// other hosts reach it too; then a scrape may use it.
    pub(super) fn new(address: IpAddr, name: &str) -> Self {
        if address.to_canonical().is_loopback() || name.is_empty() {
            return Self::default();
        }
        let first = name.split('.').next().unwrap_or(name);
        Self([name, first].map(str::to_owned).into())
    }

    /// Whether a request may name this host: `NAME` or `NAME:PORT`.
    pub(super) fn allow(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else { return false };
        let is = |own: &str| own.eq_ignore_ascii_case(name);
        is_address(name) || is("localhost") || self.0.iter().any(|own| is(own))
    }
}

/// `None` if the text after the name is not a port.
fn without_port(host: &str) -> Option<&str> {
    let end = match host.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let is_port = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    is_port.then_some(name)
}

fn is_address(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_and_localhost_are_allowed_and_other_names_are_not() {
        let local = HostNames::new(Ipv4Addr::LOCALHOST.into(), "alice.example.org");
        for good in [
            "127.0.0.1",
            "127.0.0.1:9100",
            "192.0.2.7:80",
            "[::1]",
            "[::1]:9100",
            "[2001:db8::7]:9100",
            "localhost",
            "LocalHost:9100",
            "localhost:",
        ] {
            assert!(local.allow(good), "{good}");
        }
        for bad in [
            "",
            ":9100",
            "evil.example",
            "evil.example:9100",
            "127.0.0.1.evil.example",
            "127.0.0.1:9100.evil.example",
            "localhost.evil.example",
            "localhost.",
            "a.localhost",
            "user@127.0.0.1",
            "127.0.0.1:9100:9100",
            "127.0.0.1:x",
            "127.1",
            "0x7f000001",
            "2130706433",
            "::1",
            "[::1",
            "[::1]x",
            "[127.0.0.1]",
            "[]",
            "alice.example.org",
            "alice",
        ] {
            assert!(!local.allow(bad), "{bad}");
        }
    }

    #[test]
    fn the_hosts_own_name_is_allowed_where_other_hosts_reach_the_server() {
        let open = HostNames::new(Ipv6Addr::UNSPECIFIED.into(), "alice.example.org");
        for good in ["alice.example.org:9100", "ALICE:9100", "127.0.0.1"] {
            assert!(open.allow(good), "{good}");
        }
        for bad in ["alice.evil.example", "example.org", "bob"] {
            assert!(!open.allow(bad), "{bad}");
        }
        let mapped = "::ffff:127.0.0.1".parse().unwrap();
        assert!(!HostNames::new(mapped, "alice").allow("alice"));
        assert!(!HostNames::new(Ipv4Addr::UNSPECIFIED.into(), "").allow(""));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(host in "\\PC{0,40}|[\\[\\]:.0-9a-f]{0,20}") {
            let _ = HostNames::default().allow(&host);
        }
    }
}
