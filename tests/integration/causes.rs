//! While rft waits it says why: each cause is put in place, and the real program names it.

use crate::harness::connector::ANY_PORT;
use crate::harness::peer::{Host, Pair, Running};
use crate::harness::raw::server_of;
use crate::harness::relay::BOTH;
use crate::harness::status;
use serde_json::Value;
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

/// The user is told of a change of the cause within this time: two probes, and a busy machine.
const TOLD_WITHIN: Duration = Duration::from_secs(20);
/// A cut is told within this time.
const CUT_TOLD_WITHIN: Duration = Duration::from_secs(3);
/// The same on a machine whose processors are busy.
const BUSY: Duration = Duration::from_secs(2);

/// Waits until the program names this cause, and returns the event.
fn names(peer: &mut Running, cause: &str) -> Value {
    let is_named = |event: &Value| event["event"] == "waiting" && event["cause"] == cause;
    let seen = peer.sees_within(TOLD_WITHIN, is_named);
    seen.unwrap_or_else(|| panic!("{cause} is not named: {:#?}", peer.events())).event
}

#[test]
fn a_closed_port_is_told_from_silence_and_each_change_is_named() {
    let pair = Pair::new();
    let mut a = pair.a.start(&[]);
    let event = names(&mut a, "port_closed");
    let port = pair.a.port;
    let sentence = format!(
        "127.0.0.2 is up, but nothing listens on UDP {port} there: is rft started there, with port {port}?"
    );
    assert_eq!(event["message"], sentence.as_str());
    assert_eq!(event["address"], format!("127.0.0.2:{port}").as_str());
    let silent = UdpSocket::bind(("127.0.0.2", port)).unwrap();
    assert!(names(&mut a, "no_answer")["seconds"].as_f64() > Some(1.5));
    drop(silent);
    names(&mut a, "port_closed");
    let _b = pair.b.start(&[]);
    a.waits_for("connected", |_| true);
}

#[test]
fn plain_lines_have_the_cause() {
    let pair = Pair::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rft"));
    command.args(["--progress", "never", "--bind", "127.0.0.1", "--dir"]).arg(&pair.a.dir);
    command.args(["127.0.0.2", &pair.a.port.to_string()]).env("RFT_PASSWORD", "a password");
    let mut a = Running::spawn(command);
    std::thread::sleep(Duration::from_secs(4));
    a.terminate();
    let (code, text) = a.wait();
    let port = pair.a.port;
    let expected = format!("127.0.0.2 is up, but nothing listens on UDP {port} there");
    assert!(code == Some(0) && text.contains(&expected), "{code:?}: {text}");
}

#[test]
fn a_peer_of_another_version_is_named() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _context = runtime.enter();
    let later = server_of(b"rft/2", ANY_PORT);
    let address = later.local_addr().unwrap();
    runtime.spawn(async move {
        while let Some(incoming) = later.accept().await {
            let _ = incoming.await;
        }
    });
    let base = tempfile::tempdir().unwrap();
    let host = Host::new(base.path().join("a"), "127.0.0.1:0", "127.0.0.1", address.port());
    let mut a = host.start(&[]);
    let event = names(&mut a, "other_version");
    let message = event["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("{address} answers, but not as rft/1")), "{message}");
}

#[test]
fn a_link_local_address_without_its_zone_is_refused_at_once() {
    let pair = Pair::new();
    let port = pair.a.port.to_string();
    let events = pair.a.start_raw(&["fe80::1", &port]).ends(3);
    let reason = events.last().unwrap()["reason"].as_str().unwrap();
    assert!(reason.contains("needs its zone") && reason.contains("fe80::1%"), "{reason}");
}

/// A host in a network namespace of its own, which the script prepares.
struct Alone {
    host: Host,
    _base: tempfile::TempDir,
}

impl Alone {
    /// `None` where only root may make a namespace.
    fn new(script: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("not run: only root may make a network namespace");
            return None;
        }
        let base = tempfile::tempdir().unwrap();
        let mut host = Host::new(base.path().join("a"), "0.0.0.0", "192.0.2.2", 4000);
        let script = format!("set -e; {script}; exec \"$0\" \"$@\"");
        host.wrapper = ["unshare", "--net", "sh", "-c", &script].map(str::to_owned).to_vec();
        Some(Self { host, _base: base })
    }
}

/// An interface with a neighbour that takes packets and answers nothing.
const LINK: &str = "ip link set lo up; ip link add v0 type veth peer name v1; ip addr add 192.0.2.1/24 dev v0; \
                    ip link set v0 up; ip link set v1 up";

/// A router on the way to the peer, in a namespace of its own, with this route.
fn router(route: &str) -> String {
    let script = format!(
        "ip link set v1 up; ip addr add 198.51.100.2/24 dev v1; \
         echo 1 >/proc/sys/net/ipv4/ip_forward; ip route add {route} 192.0.2.2"
    );
    format!(
        "ip link add v0 type veth peer name v1; unshare --net sleep 60 & router=$!; \
         until ip link set v1 netns $router && ! ip link show v1 >/dev/null 2>&1; do sleep 0.1; done; \
         nsenter -t $router -n sh -ec '{script}'; ip addr add 198.51.100.1/24 dev v0; \
         ip link set v0 up; ip route add 192.0.2.2 via 198.51.100.2"
    )
}

#[test]
fn a_firewall_that_rejects_is_told_from_a_host_that_is_off() {
    for (route, cause) in [("prohibit", "prohibited"), ("unreachable", "host_unreachable")] {
        let Some(alone) = Alone::new(&router(route)) else { return };
        names(&mut alone.host.start(&[]), cause);
    }
}

#[test]
fn a_missing_route_a_firewall_and_a_small_mtu_are_named() {
    let neighbour = "ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev v0";
    for (script, cause, text) in [
        ("true".to_owned(), "no_route", "has no route to 192.0.2.2"),
        (
            format!("{LINK}; ip route add unreachable 192.0.2.2"),
            "host_unreachable",
            "cannot be reached",
        ),
        (
            format!("{LINK}; ip route add prohibit 192.0.2.2"),
            "prohibited",
            "a firewall forbids UDP",
        ),
        (format!("{LINK}; ip link set v0 mtu 1000"), "path_too_small", "up to 1000 bytes"),
        (format!("{LINK}; {neighbour}"), "no_answer", "a firewall drops UDP 4000"),
        // No neighbour answers: the kernel gives up after three questions.
        (LINK.to_owned(), "host_unreachable", "is that host switched on"),
    ] {
        let Some(alone) = Alone::new(&script) else { return };
        let event = names(&mut alone.host.start(&[]), cause);
        let message = event["message"].as_str().unwrap();
        assert!(message.contains(text), "{script}: {message}");
    }
}

/// The time from a cut until the program says that the peer is silent.
fn silence_is_told(options: &[&str], size: usize) {
    let (pair, link) = Pair::linked(1);
    link.edit_both(|line| {
        (line.delay, line.rate) = (Duration::from_millis(20), Some(1 << 20));
    });
    let (mut a, mut b) = (pair.a.start(options), pair.b.start(options));
    for peer in [&mut a, &mut b] {
        peer.waits_for("connected", |_| true);
    }
    if size > 0 {
        std::fs::write(pair.a.outgoing().join("big"), vec![7; size]).unwrap();
        b.waits_for("file_progress", |event| event["bytes"].as_u64() > Some(1 << 20));
    } else {
        // The session is idle, and the checks are rare.
        std::thread::sleep(Duration::from_secs(4));
    }
    // A gap of a mobile link is no cut. QUIC's probes are heard again after up to twice the gap.
    link.cut(&BOTH);
    std::thread::sleep(Duration::from_millis(1000));
    link.restore();
    std::thread::sleep(Duration::from_secs(3));
    let told = |peer: &mut Running| {
        peer.events().iter().filter(|seen| seen.event["event"] == "silent").count()
    };
    assert_eq!((told(&mut a), told(&mut b)), (0, 0), "a short gap");
    link.cut(&BOTH);
    let cut = Instant::now();
    for peer in [&mut a, &mut b] {
        let seen = peer.waits_for("silent", |_| true);
        let after = seen.at.saturating_duration_since(cut);
        assert!(after < CUT_TOLD_WITHIN + BUSY, "told after {after:?}");
        if after > CUT_TOLD_WITHIN {
            println!("late: {after:?}");
        }
        assert!(seen.event["seconds"].as_f64() < Some(3.0), "{}", seen.event);
    }
    let silent = |state: &Value| {
        state["peers"][0]["session"]["silent_seconds"].as_f64().filter(|seconds| *seconds > 2.0)
    };
    status::wait(&pair.a, BUSY, silent);
    link.restore();
    for peer in [&mut a, &mut b] {
        let again = |event: &Value| event["event"] == "heard" || event["event"] == "connected";
        assert!(peer.sees_within(TOLD_WITHIN, again).is_some(), "{:#?}", peer.events());
    }
}

#[test]
fn a_cut_of_an_idle_session_is_told_and_a_short_gap_is_not() {
    silence_is_told(&[], 0);
}

#[test]
fn a_cut_during_a_transfer_is_told_and_a_short_gap_is_not() {
    silence_is_told(&["--compress", "never"], 64 << 20);
}
