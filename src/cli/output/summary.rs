//! The state of a process in one line, for a service manager. It has no ages: it changes only when
//! something happens.

use super::clock::Clock;
use super::state::{left, speed};
use super::{hindrance, text};
use rft::Status;
use rft::event::Direction;
use rft::status::PeerStatus;

/// `bob: connected to 192.0.2.7:4000 since 23:14; sending 28 left, 17.0 MB, 2.10 MB/s, 9 s`.
pub(crate) fn line(status: &Status, clock: &Clock) -> String {
    let peers = status.peers.iter().map(|peer| of_peer(peer, status, clock));
    text::printable(&peers.collect::<Vec<_>>().join("; "))
}

fn of_peer(peer: &PeerStatus, status: &Status, clock: &Clock) -> String {
    let name = match peer.name.as_str() {
        // A peer that comes by itself.
        "peer" => "a peer",
        name => name,
    };
    let Some(session) = &peer.session else {
        let finding = peer.no_session.as_ref().and_then(|apart| apart.finding);
        let why = finding.map(|found| format!(": {}", hindrance::sentence(&found, name)));
        return format!("waiting for {name}{}", why.unwrap_or_default());
    };
    let mut parts = vec![match session.silent_for {
        Some(_) => format!("{name}: no answer from {}, dialling", session.address),
        None => {
            let since = clock.short(session.since, status.time);
            format!("{name}: connected to {} since {since}", session.address)
        }
    }];
    for (direction, word) in [(Direction::Send, "sending"), (Direction::Receive, "receiving")] {
        let moving = peer.direction(direction);
        if let Some(left) = left(moving) {
            let speed = speed(moving).map(|speed| format!(", {speed}")).unwrap_or_default();
            parts.push(format!("{word} {left}{speed}"));
        }
    }
    if peer.paused {
        parts.push("paused".to_owned());
    }
    if parts.len() == 1 {
        parts.push("idle".to_owned());
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::sample;

    #[test]
    fn a_busy_and_a_waiting_process_are_one_line_each() {
        let mut status = sample::busy();
        let busy = line(&status, &Clock::utc());
        assert!(busy.contains(": connected to ") && busy.contains("; sending "), "{busy}");
        assert!(!busy.contains('\n'), "{busy}");
        let peer = &mut status.peers[0];
        peer.session = None;
        let waiting = line(&status, &Clock::utc());
        assert!(waiting.starts_with("waiting for "), "{waiting}");
    }
}
