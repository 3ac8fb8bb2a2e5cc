//! Tie-break: which of several connections is the session (protocol.md section 3.5). Pure.
//!
//! Both peers dial, so two connections can come up at once. And a peer that lost its session dials
//! again while the other still holds the old one. One side decides for both: the leader, which has
//! the greater `peer_id`. It adopts a connection or closes it as a duplicate, and the follower
//! waits for that. So both sides always hold the same connection.

use crate::crypto::handshake::{PeerId, Role};
use crate::proto::message::Settings;
use crate::session::installation::{Clash, Identity};
use std::cmp::Ordering;
use std::time::Duration;

/// Two authenticated connections within this time, one dialled by each side, count as crossed
/// dials.
const CROSSING: Duration = Duration::from_secs(3);

/// Whether this side is the leader. Equal ids are the same process; they are refused earlier.
pub(crate) fn leads(own: PeerId, peer: PeerId) -> bool {
    own.cmp(&peer) == Ordering::Greater
}

/// The session that the leader holds when another connection comes up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Current {
    /// The peer of the session.
    pub peer: Identity,
    /// Its id.
    pub session: [u8; 16],
    /// This side's role on it.
    pub role: Role,
    /// Time since its adoption.
    pub age: Duration,
    /// Whether packets arrive in both directions.
    pub alive: bool,
}

/// The leader's decision on a new authenticated connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The connection becomes the session at once; an older session ends.
    Adopt,
    /// The connection is the second of two crossed dials, and is closed.
    Duplicate,
    /// The current session is kept, because its peer is another installation, or another process of
    /// the same installation that is alive, too. The follower reaches the same verdict.
    Refuse(Clash),
}

/// The newest authenticated connection wins, unless the peer holds the current session, or cannot
/// know of it yet, or the current session belongs to another installation. `role` is this side's
/// role on the new connection. `displaced` says that another process of the peer's installation has
/// taken the peer's place before.
pub(crate) fn decide(
    current: Option<Current>,
    peer: PeerId,
    displaced: bool,
    role: Role,
    settings: &Settings,
) -> Verdict {
    let Some(current) = current else { return Verdict::Adopt };
    if current.peer.process != peer {
        return match current.alive {
            true if current.peer.installation != settings.installation => {
                Verdict::Refuse(Clash::Occupied)
            }
            true if displaced => Verdict::Refuse(Clash::Copied),
            _ => Verdict::Adopt,
        };
    }
    let keep = if settings.last_session == current.session {
        settings.last_alive && current.alive
    } else {
        // A peer that dialled both connections has given up the first. A dead session may have died
        // before the peer learnt of its adoption.
        current.age < CROSSING && current.role != role && current.alive
    };
    if keep { Verdict::Duplicate } else { Verdict::Adopt }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::message::InstallationId;

    const PEER: Identity =
        Identity { process: PeerId([1; 16]), installation: InstallationId([2; 16]) };

    /// The verdict on the peer's settings, for a connection that the peer dialled.
    fn verdict(current: Option<Current>, last_session: [u8; 16], last_alive: bool) -> Verdict {
        let installation = PEER.installation;
        let settings =
            Settings { last_session, last_alive, installation, streams: 1, ..Settings::default() };
        decide(current, PEER.process, false, Role::Responder, &settings)
    }

    /// A session that this side dialled.
    fn current(seconds: u64) -> Option<Current> {
        let age = Duration::from_secs(seconds);
        Some(Current { peer: PEER, session: [7; 16], role: Role::Initiator, age, alive: true })
    }

    fn deaf(seconds: u64) -> Option<Current> {
        current(seconds).map(|current| Current { alive: false, ..current })
    }

    #[test]
    fn exactly_one_side_leads() {
        let (a, b) = (PeerId([1; 16]), PeerId([2; 16]));
        assert!(leads(b, a) && !leads(a, b));
    }

    #[test]
    fn the_first_connection_is_adopted() {
        assert_eq!(verdict(None, [0; 16], false), Verdict::Adopt);
    }

    #[test]
    fn dials_that_crossed_collapse() {
        assert_eq!(verdict(current(1), [0; 16], false), Verdict::Duplicate);
        assert_eq!(verdict(current(1), [9; 16], false), Verdict::Duplicate);
        assert_eq!(verdict(current(100), [7; 16], true), Verdict::Duplicate);
    }

    #[test]
    fn a_peer_that_lost_the_session_is_not_locked_out() {
        assert_eq!(verdict(current(0), [7; 16], false), Verdict::Adopt);
        assert_eq!(verdict(current(30), [0; 16], false), Verdict::Adopt);
    }

    #[test]
    fn a_session_that_works_in_one_direction_only_is_replaced() {
        assert_eq!(verdict(deaf(30), [7; 16], true), Verdict::Adopt);
    }

    /// The path is cut again during a handshake: the leader has adopted the connection, and the
    /// follower never learnt of it.
    #[test]
    fn a_lost_adoption_does_not_delay_the_next_session() {
        // The follower dialled, gave up and dialled again.
        let dialled_by_peer =
            current(0).map(|current| Current { role: Role::Responder, ..current });
        assert_eq!(verdict(dialled_by_peer, [9; 16], false), Verdict::Adopt);
        assert_eq!(verdict(dialled_by_peer, [0; 16], false), Verdict::Adopt);
        // The leader dialled, and receives no more packets on it.
        assert_eq!(verdict(deaf(1), [9; 16], false), Verdict::Adopt);
    }

    #[test]
    fn a_restarted_peer_takes_over_at_once() {
        let settings =
            Settings { installation: PEER.installation, streams: 1, ..Settings::default() };
        assert_eq!(
            decide(current(0), PeerId([9; 16]), false, Role::Responder, &settings),
            Verdict::Adopt
        );
    }

    #[test]
    fn another_installation_or_a_displaced_process_waits_until_the_session_is_dead() {
        let other = InstallationId([7; 16]);
        for role in [Role::Responder, Role::Initiator] {
            for (installation, displaced, clash) in [
                (other, false, Clash::Occupied),
                (other, true, Clash::Occupied),
                (PEER.installation, true, Clash::Copied),
            ] {
                let settings = Settings { installation, streams: 1, ..Settings::default() };
                let verdict =
                    |current| decide(current, PeerId([9; 16]), displaced, role, &settings);
                for seconds in [0, 100] {
                    assert_eq!(verdict(current(seconds)), Verdict::Refuse(clash));
                    assert_eq!(verdict(deaf(seconds)), Verdict::Adopt);
                }
                assert_eq!(verdict(None), Verdict::Adopt);
            }
        }
    }
}
