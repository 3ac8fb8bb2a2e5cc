//! Why there is no session, as sentences for people.

use rft::hindrance::{Finding, Hindrance};

/// Maximum packet that QUIC needs, IP and UDP headers included (RFC 9000 section 14).
const SMALLEST_MTU: [(&str, u32); 2] = [("IPv4", 1228), ("IPv6", 1248)];

/// The hindrance on the way to `peer`, the name that the user gave, and the remedy.
pub(crate) fn sentence(finding: &Finding, peer: &str) -> String {
    let Finding { hindrance, address } = finding;
    let (ip, port) = (address.ip().to_canonical(), address.port());
    let ip_text = ip.to_string();
    // The address too, if the user gave a name.
    let named = if peer == ip_text { peer.to_owned() } else { format!("{peer} ({ip_text})") };
    match hindrance {
        Hindrance::NameUnknown => format!(
            "the name {peer} does not resolve any more; rft still dials {ip_text}, its address from before"
        ),
        Hindrance::NoZone => {
            format!("{ip_text} is a link-local address and needs its zone, as in {ip_text}%eth0")
        }
        Hindrance::NoRoute => {
            let command = match cfg!(windows) {
                true => format!("Find-NetRoute -RemoteIPAddress {ip_text}"),
                false => format!("ip route get {ip_text}"),
            };
            format!("this host has no route to {named}: is its network up? See: {command}")
        }
        Hindrance::HostUnreachable => format!(
            "{named} cannot be reached, says the network: is that host switched on, and is this its address?"
        ),
        Hindrance::Prohibited => format!(
            "a firewall forbids UDP to {named} port {port}: allow it on this host, on that one, and between them"
        ),
        Hindrance::PortClosed => format!(
            "{peer} is up, but nothing listens on UDP {port} there: is rft started there, with port {port}?"
        ),
        Hindrance::PathTooSmall { mtu } => {
            let (family, needed) = SMALLEST_MTU[usize::from(ip.is_ipv6())];
            let carries = match mtu {
                Some(mtu) if *mtu < needed => format!("only packets of up to {mtu} bytes"),
                _ => "no large packets".to_owned(),
            };
            format!(
                "the path to {named} carries {carries}, and QUIC over {family} needs {}: raise the MTU of the interface, VPN or tunnel on the way",
                super::text::count(needed.into())
            )
        }
        Hindrance::NoAnswer => format!(
            "no answer from {named}: that host is down or has another address, or a firewall drops UDP {port}"
        ),
        Hindrance::OtherVersion => format!(
            "{address} answers, but not as rft/1: another program or another version of rft runs there; run the \
             same version of rft on both sides. Dialling goes on"
        ),
        Hindrance::NoHandshake => format!(
            "{named} answers on UDP {port}, but no handshake is completed: that host may be too busy, or something on the way drops packets; dialling goes on"
        ),
        Hindrance::WrongPassword => {
            format!("{named} does not accept the password; start both sides with the same one")
        }
        Hindrance::Occupied => format!("{named} keeps a session with another installation"),
        // A newer library's hindrance.
        other => format!("there is no session with {named} ({})", other.word()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(hindrance: Hindrance, address: &str, peer: &str) -> String {
        sentence(&Finding { hindrance, address: address.parse().unwrap() }, peer)
    }

    #[test]
    fn a_closed_port_names_the_peer_and_the_port() {
        let expected = "bob is up, but nothing listens on UDP 4000 there: is rft started there, with port 4000?";
        assert_eq!(told(Hindrance::PortClosed, "192.0.2.7:4000", "bob"), expected);
    }

    #[test]
    fn an_address_stands_beside_the_name_and_only_once() {
        let named = told(Hindrance::NoAnswer, "[::ffff:192.0.2.7]:4000", "bob");
        assert!(named.starts_with("no answer from bob (192.0.2.7): "), "{named}");
        let bare = told(Hindrance::NoAnswer, "192.0.2.7:4000", "192.0.2.7");
        assert!(bare.starts_with("no answer from 192.0.2.7: "), "{bare}");
    }

    #[test]
    fn a_small_path_has_its_size_and_the_needed_one() {
        let small = Hindrance::PathTooSmall { mtu: Some(1000) };
        let text = told(small, "192.0.2.7:4000", "bob");
        assert!(text.contains("up to 1000 bytes, and QUIC over IPv4 needs 1,228"), "{text}");
        let unknown = Hindrance::PathTooSmall { mtu: None };
        let text = told(unknown, "[2001:db8::7]:4000", "bob");
        assert!(text.contains("no large packets, and QUIC over IPv6 needs 1,248"), "{text}");
    }
}
