//! Which connection is the session, when there may be several (protocol.md section 3.5). Pure.
//!
//! Both peers dial, so two connections may come up at once; and a peer that lost its session dials
//! again while the other still holds the old one. One side decides for both: the leader, whose
//! `peer_id` is the greater. It adopts a connection or closes it as a duplicate, and the other side
//! waits for its word. So both always hold the same one.

use crate::crypto::handshake::PeerId;
use crate::proto::message::Settings;
use std::cmp::Ordering;
use std::time::Duration;

/// Two authenticated connections within this time are taken for dials that crossed.
const CROSSING: Duration = Duration::from_secs(3);

/// Whether this side decides. Equal ids are the same process and never get here.
pub fn leads(own: PeerId, peer: PeerId) -> bool {
    own.cmp(&peer) == Ordering::Greater
}

/// The session that the leader holds when another connection comes up.
#[derive(Debug, Clone, Copy)]
pub struct Current {
    /// Whose it is.
    pub peer: PeerId,
    /// Its id.
    pub session: [u8; 16],
    /// How long ago it was adopted.
    pub age: Duration,
    /// Whether the leader hears the peer on it, and is heard.
    pub alive: bool,
}

/// The leader's decision on a new authenticated connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It becomes the session, at once; an older one ends.
    Adopt,
    /// It is the other dial of a pair that crossed; it is closed.
    Duplicate,
}

/// The newest authenticated session wins, unless the peer holds the current one, or cannot have
/// heard of it yet.
pub fn decide(current: Option<Current>, peer: PeerId, settings: &Settings) -> Verdict {
    let Some(current) = current else { return Verdict::Adopt };
    if current.peer != peer {
        return Verdict::Adopt;
    }
    let knows_current = settings.last_session == current.session;
    match (knows_current, settings.last_alive && current.alive) {
        (true, true) => Verdict::Duplicate,
        (true, false) => Verdict::Adopt,
        (false, _) if current.age < CROSSING => Verdict::Duplicate,
        (false, _) => Verdict::Adopt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId([1; 16]);

    fn settings(last_session: [u8; 16], last_alive: bool) -> Settings {
        Settings { last_session, last_alive, streams: 1, capabilities: 0 }
    }

    fn current(seconds: u64) -> Option<Current> {
        Some(Current { peer: PEER, session: [7; 16], age: Duration::from_secs(seconds), alive: true })
    }

    #[test]
    fn exactly_one_side_leads() {
        let (a, b) = (PeerId([1; 16]), PeerId([2; 16]));
        assert!(leads(b, a) && !leads(a, b));
    }

    #[test]
    fn the_first_connection_is_adopted() {
        assert_eq!(decide(None, PEER, &settings([0; 16], false)), Verdict::Adopt);
    }

    #[test]
    fn dials_that_crossed_collapse() {
        assert_eq!(decide(current(1), PEER, &settings([0; 16], false)), Verdict::Duplicate);
        assert_eq!(decide(current(1), PEER, &settings([9; 16], false)), Verdict::Duplicate);
        assert_eq!(decide(current(100), PEER, &settings([7; 16], true)), Verdict::Duplicate);
    }

    #[test]
    fn a_peer_that_lost_the_session_is_not_locked_out() {
        assert_eq!(decide(current(0), PEER, &settings([7; 16], false)), Verdict::Adopt);
        assert_eq!(decide(current(30), PEER, &settings([0; 16], false)), Verdict::Adopt);
    }

    #[test]
    fn a_session_on_which_only_the_follower_hears_is_replaced() {
        let deaf = current(30).map(|current| Current { alive: false, ..current });
        assert_eq!(decide(deaf, PEER, &settings([7; 16], true)), Verdict::Adopt);
        // Dials that crossed collapse all the same.
        let deaf = current(1).map(|current| Current { alive: false, ..current });
        assert_eq!(decide(deaf, PEER, &settings([9; 16], true)), Verdict::Duplicate);
    }

    #[test]
    fn a_restarted_peer_takes_over_at_once() {
        assert_eq!(decide(current(0), PeerId([9; 16]), &settings([0; 16], false)), Verdict::Adopt);
    }
}
