//! The peer: its name, the way to it, and the program at its port.

use super::{Found, Inbound, PathSample, Subject};
use crate::cause;
use crate::config::{Bind, Config, PeerAddress};
use crate::hindrance::Hindrance;
use crate::peering;
use crate::transport::endpoint::Endpoint;
use crate::transport::port::Port;
use crate::transport::reach::{PROBE_LEN, Prober, probe};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

/// Maximum number of addresses of the name that are looked at.
const MAX_ADDRESSES: usize = 8;
/// Probes for RTT and loss, and the time between two of them.
const PROBES: u32 = 20;
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// An answer that takes longer is lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Sizes of UDP payloads in bytes that are tried after [`PROBE_LEN`]: the least MTU of IPv6,
/// tunnels, PPPoE, Ethernet, jumbo frames.
const SIZES: [usize; 7] = [1232, 1300, 1372, 1412, 1444, 1472, 8952];
/// A peer that dials does so every second, in its first hour.
const INBOUND_TIME: Duration = Duration::from_millis(2500);
/// Time of the look-up of a name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn look(
    subject: &Subject,
    peer: &PeerAddress,
    port: u16,
    tell: &mut impl FnMut(Found),
) {
    let named = name(peer).await;
    let addresses = match &named {
        Found::Name { addresses, .. } => addresses.clone(),
        _ => Vec::new(),
    };
    tell(named);
    // Before this host has sent anything to the peer: no firewall takes it for an answer.
    if let Some(state) = inbound(subject, port, &addresses).await {
        tell(Found::Inbound { port, state });
    }
    let local = subject.bind.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |bind| bind.addr);
    for to in addresses.into_iter().take(MAX_ADDRESSES) {
        look_at(local, to, tell).await;
    }
}

async fn name(peer: &PeerAddress) -> Found {
    let begun = Instant::now();
    let host = peer.host.clone();
    let lookup = tokio::net::lookup_host((peer.host.as_str(), peer.port));
    match tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await {
        Ok(Ok(found)) => {
            let mut addresses: Vec<_> = found.collect();
            addresses.dedup();
            Found::Name { host, addresses, took: begun.elapsed() }
        }
        Ok(Err(error)) => Found::NameUnknown { host, reason: cause::of(&error) },
        Err(_) => Found::NameUnknown { host, reason: "the resolver does not answer".into() },
    }
}

/// Whether the peer dials this host: a packet of its comes to the own port. `None` if the port is
/// taken, by a running rft for example.
async fn inbound(subject: &Subject, port: u16, addresses: &[SocketAddr]) -> Option<Inbound> {
    let mut config = Config::new(None, port, "unused");
    config.bind = subject.bind;
    let socket = Port::bind(&config).ok()?.into_socket();
    let socket = UdpSocket::from_std(socket).ok()?;
    let is_peer =
        |from: IpAddr| addresses.iter().any(|addr| addr.ip().to_canonical() == from.to_canonical());
    let mut packet = vec![0; 1 << 16];
    let arrival = async {
        loop {
            match socket.recv_from(&mut packet).await {
                Ok((_, from)) if is_peer(from.ip()) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    };
    Some(match tokio::time::timeout(INBOUND_TIME, arrival).await {
        Ok(true) => Inbound::Arrived,
        Ok(false) | Err(_) => Inbound::Nothing,
    })
}

async fn look_at(local: IpAddr, to: SocketAddr, tell: &mut impl FnMut(Found)) {
    let prober = match Prober::open(local, to).await {
        Ok(prober) => prober,
        Err(hindrance) => return tell(Found::Route { to, from: Err(hindrance) }),
    };
    let from = prober.source().unwrap_or(local);
    tell(Found::Route { to, from: Ok(from) });
    match probe(local, to).await {
        Ok(answered) => {
            let quic = answered.versions.is_some();
            tell(Found::Answer { to, result: Ok(answered.rtt), quic });
            if !quic {
                return;
            }
        }
        Err(hindrance) => return tell(Found::Answer { to, result: Err(hindrance), quic: false }),
    }
    tell(Found::Version { to, result: version(from, to).await });
    tell(Found::Path { to, sample: path(&prober).await });
    tell(Found::Mtu { to, mtu: mtu(&prober, to).await });
}

/// Whether a connection of this protocol version can be opened. It is closed before the password.
async fn version(local: IpAddr, to: SocketAddr) -> Result<(), Hindrance> {
    let mut config = Config::new(None, 0, "unused");
    config.bind = Some(Bind { addr: local, port: Some(0) });
    let endpoint = Endpoint::open(&config).map_err(|_| Hindrance::NoHandshake)?;
    peering::try_handshake(&endpoint, to).await
}

async fn path(prober: &Prober) -> PathSample {
    let mut rtts = Vec::new();
    for _ in 0..PROBES {
        if let Ok(answered) = prober.ask(PROBE_LEN, ANSWER_TIMEOUT).await {
            rtts.push(answered.rtt);
        }
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
    rtts.sort_unstable();
    let lost = PROBES - u32::try_from(rtts.len()).unwrap_or(PROBES);
    let of = |rtt: Option<&Duration>| rtt.copied().unwrap_or_default();
    PathSample {
        sent: PROBES,
        lost,
        min_rtt: of(rtts.first()),
        median_rtt: of(rtts.get(rtts.len() / 2)),
    }
}

/// The size of the largest packet that was answered.
async fn mtu(prober: &Prober, to: SocketAddr) -> u32 {
    let mut largest = PROBE_LEN;
    for size in SIZES {
        // One of two may be lost.
        let mut carried = false;
        for _ in 0..2 {
            carried = carried || prober.ask(size, ANSWER_TIMEOUT).await.is_ok();
        }
        if !carried {
            break;
        }
        largest = size;
    }
    let headers = if to.ip().to_canonical().is_ipv4() { 28 } else { 48 };
    u32::try_from(largest).unwrap_or(u32::MAX) + headers
}
