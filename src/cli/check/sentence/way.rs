//! The steps about the peer and the way to it.

use super::{Said, as_millis, millis};
use crate::cli::output::hindrance;
use crate::cli::output::text;
use rft::check::{Found, Inbound, PathSample};
use rft::hindrance::{Finding, Hindrance};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// The sentence of one of these steps.
pub(super) fn of(found: &Found) -> Said {
    match found {
        Found::Name { .. } | Found::NameUnknown { .. } => name(found),
        Found::Route { .. } | Found::Answer { .. } | Found::Version { .. } => way(found),
        Found::Path { to, sample } => path_of(*to, sample),
        Found::Mtu { to, mtu } => mtu_of(*to, *mtu),
        Found::Inbound { port, state } => inbound(*port, *state),
        // A newer library's step.
        _ => Said::new(found.step(), Value::Null),
    }
}

/// The address and port, without the mapping of IPv4 addresses into IPv6.
fn show(to: SocketAddr) -> String {
    SocketAddr::new(to.ip().to_canonical(), to.port()).to_string()
}

fn name(found: &Found) -> Said {
    match found {
        Found::Name { host, addresses, took } => {
            let shown: Vec<String> = addresses.iter().map(|addr| addr.ip().to_string()).collect();
            let message = match &shown[..] {
                [one] if one == host => format!("{host} is an address"),
                _ => format!(
                    "{host} has the address {}, found in {}",
                    shown.join(", "),
                    millis(*took)
                ),
            };
            Said::new(message, json!({ "host": host, "addresses": shown }))
        }
        Found::NameUnknown { host, reason } => Said::new(
            format!("{host} does not resolve: {reason}"),
            json!({ "host": host, "reason": reason }),
        )
        .fix(match cfg!(windows) {
            true => format!("Resolve-DnsName {host}; or name the peer by its IP address"),
            false => format!("getent ahosts {host}; or name the peer by its IP address"),
        }),
        _ => Said::new(found.step(), Value::Null),
    }
}

fn way(found: &Found) -> Said {
    let hindered = |to: SocketAddr, hindrance: Hindrance| {
        let finding = Finding { hindrance, address: to };
        let peer = to.ip().to_canonical().to_string();
        let values = json!({ "address": to.to_string(), "cause": hindrance.word() });
        Said::new(hindrance::sentence(&finding, &peer), values).fix(remedy(to, hindrance))
    };
    match found {
        Found::Route { to, from: Err(hindrance) } => hindered(*to, *hindrance),
        Found::Route { to, from: Ok(from) } => Said::new(
            format!("packets to {} leave from {}", to.ip().to_canonical(), from.to_canonical()),
            json!({ "address": to.to_string(), "from": from.to_canonical().to_string() }),
        ),
        Found::Answer { to, result: Err(hindrance), .. } => hindered(*to, *hindrance),
        Found::Answer { to, result: Ok(rtt), quic } => {
            let values =
                json!({ "address": to.to_string(), "rtt_ms": as_millis(*rtt), "quic": quic });
            let text = match quic {
                true => format!(
                    "{} answers in {}: packets cross in both directions",
                    show(*to),
                    millis(*rtt)
                ),
                false => format!(
                    "{} answers, but that is no QUIC: another program has the port there",
                    show(*to)
                ),
            };
            Said::new(text, values)
                .fix("stop that program on the peer's host, or choose another port on both")
        }
        Found::Version { to, result: Err(hindrance) } => hindered(*to, *hindrance),
        Found::Version { to, result: Ok(()) } => Said::new(
            format!("{} speaks rft/1; the password was not tried", show(*to)),
            json!({ "address": to.to_string(), "protocol": "rft/1" }),
        ),
        _ => Said::new(found.step(), Value::Null),
    }
}

/// The command or action against a hindrance.
fn remedy(to: SocketAddr, hindrance: Hindrance) -> String {
    let (ip, port) = (to.ip().to_canonical(), to.port());
    match hindrance {
        Hindrance::NoRoute if cfg!(windows) => format!("Find-NetRoute -RemoteIPAddress {ip}"),
        Hindrance::NoRoute => format!("ip route get {ip}; ip addr"),
        Hindrance::HostUnreachable if cfg!(windows) => format!("ping {ip}; arp -a"),
        Hindrance::HostUnreachable => format!("ping {ip}; ip neigh show {ip}"),
        Hindrance::PortClosed => format!("on that host: rft THIS-HOST {port}"),
        Hindrance::PathTooSmall { .. } => "ip link; ip link set dev INTERFACE mtu 1500".to_owned(),
        Hindrance::OtherVersion => {
            "rft --version on both hosts; the same release on both".to_owned()
        }
        Hindrance::NoZone => format!("name the interface: {ip}%eth0"),
        _ if cfg!(windows) => format!(
            "let UDP {port} in on that host: New-NetFirewallRule -DisplayName rft -Direction Inbound -Protocol UDP -LocalPort {port} -Action Allow"
        ),
        _ => format!(
            "let UDP {port} in on that host: ufw allow {port}/udp, or firewall-cmd --add-port={port}/udp; and in its router"
        ),
    }
}

fn path_of(to: SocketAddr, sample: &PathSample) -> Said {
    let PathSample { sent, lost, min_rtt, median_rtt } = sample;
    let message = format!(
        "{}: RTT {} (half within {}), {lost} of {sent} packets lost",
        show(to),
        millis(*min_rtt),
        millis(*median_rtt)
    );
    let values = json!({
        "address": to.to_string(),
        "sent": sent,
        "lost": lost,
        "min_rtt_ms": as_millis(*min_rtt),
        "median_rtt_ms": as_millis(*median_rtt),
    });
    let ip = to.ip().to_canonical();
    Said::new(message, values).fix(format!(
        "find the place: mtr -u {ip}; rft works with loss, Wi-Fi and mobile links have it"
    ))
}

fn mtu_of(to: SocketAddr, mtu: u32) -> Said {
    Said::new(
        format!(
            "packets of up to {} bytes reach {} and are answered",
            text::count(mtu.into()),
            show(to)
        ),
        json!({ "address": to.to_string(), "mtu": mtu }),
    )
    .fix("raise the MTU of the VPN or tunnel on the way; rft works with this one, more slowly")
}

fn inbound(port: u16, state: Inbound) -> Said {
    let (word, text) = match state {
        Inbound::Arrived => {
            ("arrived", format!("the peer dials: its packets arrive on UDP {port}"))
        }
        Inbound::Nothing => (
            "nothing",
            format!(
                "the peer did not dial UDP {port} here; one direction suffices. If it should: is it started, and does this host's firewall let UDP {port} in?"
            ),
        ),
    };
    Said::new(text, json!({ "port": port, "state": word }))
}
