//! Packet sizes: jumbo frames on the local interface, and the system's limit for one call.

use quinn::udp::Transmit;
use std::net::SocketAddr;

/// Largest UDP payload that path MTU discovery tries where the route takes jumbo frames: 9,000
/// bytes less the headers of IPv6 and UDP.
pub(crate) const JUMBO_PAYLOAD: u16 = 8952;
/// The same on all other routes: Ethernet's 1,500 bytes less these headers.
pub(crate) const ETHERNET_PAYLOAD: u16 = 1452;
/// Bytes of UDP payload that the system takes in one call (GSO): 64 KiB less the headers of IP and
/// UDP.
pub(crate) const MAX_BATCH_BYTES: usize = 65_000;
/// MTU of an interface that is configured for jumbo frames, bytes.
#[cfg(target_os = "linux")]
const JUMBO_FRAME: u32 = 9000;

/// Whether the route to `peer` begins on an interface with jumbo frames: loopback, or a network
/// that is configured for them. Path MTU discovery (RFC 8899) finds out whether the rest of the
/// path takes them. Only Linux reports the MTU; elsewhere the answer is no.
pub(crate) fn takes_jumbo_frames(peer: SocketAddr) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::net::sockopt::{ip_mtu, ipv6_mtu};
        use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let any = if peer.is_ipv4() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        // A connected UDP socket knows its route. Nothing is sent.
        let probe = std::net::UdpSocket::bind((any, 0))
            .and_then(|probe| probe.connect(peer).map(|()| probe));
        let mtu = |probe| if peer.is_ipv4() { ip_mtu(&probe) } else { ipv6_mtu(&probe) }.ok();
        probe.ok().and_then(mtu).is_some_and(|mtu| mtu >= JUMBO_FRAME)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = peer;
        false
    }
}

/// A batch in parts that the system takes in one call each.
pub(crate) fn parts<'a>(batch: &Transmit<'a>) -> impl Iterator<Item = Transmit<'a>> + use<'a> {
    let (destination, ecn, src_ip) = (batch.destination, batch.ecn, batch.src_ip);
    let packet = batch.segment_size;
    // A single packet is never split.
    let size = packet.map_or(usize::MAX, |packet| (MAX_BATCH_BYTES / packet).max(1) * packet);
    batch.contents.chunks(size).map(move |contents| Transmit {
        destination,
        ecn,
        contents,
        segment_size: packet.filter(|packet| contents.len() > *packet),
        src_ip,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn loopback_takes_jumbo_frames() {
        for addr in ["127.0.0.1:1", "[::ffff:127.0.0.1]:1"] {
            assert!(takes_jumbo_frames(addr.parse().unwrap()), "{addr}");
        }
    }
}
