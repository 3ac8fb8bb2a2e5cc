//! Parses PEER, PORT, `--bind` and `--metrics`. Nothing here asks a resolver.

use crate::cli::exit::{self, Failure};
use rft::config::Bind;
use rft::escape;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest host name, in bytes (RFC 1035 section 2.3.4, as text).
const MAX_HOST: usize = 253;
/// Longest label of a host name, in bytes.
const MAX_LABEL: usize = 63;

/// Parses PEER: an IPv4 or IPv6 address (with brackets or a `%` zone, if any) or a host name.
///
/// # Errors
/// Exit code 3 if the text can be none of these.
pub(crate) fn peer(text: &str) -> Result<String, Failure> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let (addr, zone) = bare.split_once('%').map_or((bare, None), |(addr, zone)| (addr, Some(zone)));
    let parsed = match addr.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) if zone.is_some() || bare != text => None,
        Ok(ip) if zone == Some("") => {
            return Err(invalid_peer(text, &format!("the zone after {ip}% is empty")));
        }
        Ok(ip) => Some(ip),
        Err(_) => None,
    };
    match parsed {
        Some(ip) if ip.is_unspecified() || ip.is_multicast() => {
            Err(invalid_peer(text, "it is not the address of a single host"))
        }
        Some(_) => Ok(bare.to_owned()),
        None if is_host_name(text) => Ok(text.to_owned()),
        None => Err(invalid_peer(text, "it is neither an IP address nor a host name")),
    }
}

fn invalid_peer(text: &str, why: &str) -> Failure {
    let text = escape(text.as_bytes());
    Failure::new(
        exit::PEER,
        format!("peer {text:?}: {why}; give the other host's IP address or name"),
    )
}

/// Whether every label has letters, digits and `-` (RFC 1123 section 2.1), or `_`, which local
/// networks use. A last label of digits only is a mistyped IPv4 address.
fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= MAX_HOST
        && name.split('.').all(is_label)
        && !last.bytes().all(|b| b.is_ascii_digit())
}

/// Parses PORT: 1 to 65535.
///
/// # Errors
/// Exit code 4.
pub(crate) fn port(text: &str) -> Result<u16, Failure> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(invalid_port(text)),
    }
}

fn invalid_port(text: &str) -> Failure {
    let text = escape(text.as_bytes());
    Failure::new(
        exit::PORT,
        format!(
            "port {text:?}: it is not a UDP port; give the same number from 1 to 65535 on both hosts"
        ),
    )
}

/// Parses `--bind`: `ADDR`, `ADDR:PORT`, `[IPV6]` or `[IPV6]:PORT`. With port 0 the system chooses
/// one.
///
/// # Errors
/// Exit code 2 for an invalid address, 4 for an invalid port.
pub(crate) fn bind(text: &str) -> Result<Bind, Failure> {
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Ok(Bind { addr, port: None });
    }
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok(Bind { addr: addr.ip(), port: Some(addr.port()) });
    }
    let in_brackets = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    if let Some((addr, rest)) = in_brackets.filter(|(addr, _)| addr.parse::<Ipv6Addr>().is_ok()) {
        return match (rest, addr.parse()) {
            ("", Ok(addr)) => Ok(Bind { addr: IpAddr::V6(addr), port: None }),
            _ => Err(invalid_port(rest.trim_start_matches(':'))),
        };
    }
    if let Some((_, port)) = text.split_once(':').filter(|(addr, _)| addr.parse::<IpAddr>().is_ok())
    {
        return Err(invalid_port(port));
    }
    let text = escape(text.as_bytes());
    Err(Failure::usage(format!(
        "--bind {text}: it is not a local address; give an IP address of this host, such as 192.0.2.7, 192.0.2.7:4000 or [2001:db8::7]:4000"
    )))
}

/// Parses the address of a server: `PORT` on this host alone, `ADDR:PORT` or `[IPV6]:PORT`. With
/// port 0 the system chooses one.
///
/// # Errors
/// Exit code 14, naming the option.
pub(crate) fn listener(option: &str, text: &str) -> Result<SocketAddr, Failure> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let port = text.parse::<u16>().ok().filter(|_| digits);
    let local = port.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    local.or_else(|| text.parse().ok()).ok_or_else(|| {
        let text = escape(text.as_bytes());
        let reason = format!(
            "{option} {text}: not a TCP port of this host, such as 9100, or an IP address with one, such as 192.0.2.7:9100 or [::1]:9100"
        );
        Failure::new(exit::NUMBER, reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_port_is_one_of_this_host_alone() {
        let parsed = |text: &str| {
            listener("--metrics", text).map(|addr| addr.to_string()).map_err(|e| e.code)
        };
        for (text, addr) in [
            ("9100", "127.0.0.1:9100"),
            ("0", "127.0.0.1:0"),
            ("0.0.0.0:9100", "0.0.0.0:9100"),
            ("192.0.2.7:80", "192.0.2.7:80"),
            ("[::1]:9100", "[::1]:9100"),
            ("[::]:0", "[::]:0"),
        ] {
            assert_eq!(parsed(text), Ok(addr.into()));
        }
        for bad in [
            "",
            "+80",
            "-1",
            "65536",
            "http",
            "localhost",
            "127.0.0.1",
            "::1",
            "[::1]",
            ":9100",
            "127.0.0.1:",
            "127.0.0.1:65536",
            "127.0.0.1:x",
            "::1:9100x",
            "\u{1b}[2J",
        ] {
            assert_eq!(parsed(bad), Err(14), "{bad:?}");
        }
    }

    #[test]
    fn peers() {
        for good in [
            "10.0.0.2",
            "::1",
            "2001:db8::7",
            "fe80::1%eth0",
            "localhost",
            "a-b.example.org",
            "host_1",
            "x.",
            "3com.com",
        ] {
            assert_eq!(peer(good).unwrap(), good);
        }
        assert_eq!(peer("[2001:db8::7]").unwrap(), "2001:db8::7");
        let long = format!("{}.org", "a".repeat(64));
        let longer = vec!["abcdefg"; 40].join(".");
        for bad in [
            "",
            ".",
            "..",
            "a..b",
            "256.1.1.1",
            "1.2.3",
            "10.0.0.2:4000",
            "a b",
            "-a",
            "a-",
            "münchen.de",
            "a/b",
            "http://a",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "[10.0.0.2]",
            "fe80::1%",
            "1.2.3.4%eth0",
            &long,
            &longer,
            "\u{1b}[2J",
        ] {
            assert_eq!(peer(bad).map_err(|e| e.code), Err(3), "{bad:?}");
        }
    }

    #[test]
    fn ports() {
        assert_eq!(port("1").unwrap(), 1);
        assert_eq!(port("65535").unwrap(), 65535);
        for bad in ["0", "65536", "70000", "-1", "+80", "http", "", " 80", "80 ", "0x50", "4000.0"]
        {
            assert_eq!(port(bad).map_err(|e| e.code), Err(4), "{bad:?}");
        }
    }

    #[test]
    fn binds() {
        let bound =
            |text: &str| bind(text).map(|b| (b.addr.to_string(), b.port)).map_err(|e| e.code);
        assert_eq!(bound("127.0.0.1"), Ok(("127.0.0.1".into(), None)));
        assert_eq!(bound("127.0.0.1:4000"), Ok(("127.0.0.1".into(), Some(4000))));
        assert_eq!(bound("127.0.0.1:0"), Ok(("127.0.0.1".into(), Some(0))));
        assert_eq!(bound("::1"), Ok(("::1".into(), None)));
        assert_eq!(bound("[::1]"), Ok(("::1".into(), None)));
        assert_eq!(bound("[::1]:4000"), Ok(("::1".into(), Some(4000))));
        for bad in ["", "localhost", "eth0", "1.2.3", "[127.0.0.1]", "[::1", ":4000"] {
            assert_eq!(bound(bad), Err(2), "{bad:?}");
        }
        for bad in ["127.0.0.1:70000", "127.0.0.1:x", "127.0.0.1:", "[::1]:70000", "[::1]4000"] {
            assert_eq!(bound(bad), Err(4), "{bad:?}");
        }
    }
}
