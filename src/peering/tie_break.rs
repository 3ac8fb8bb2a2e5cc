//! Which connection is the session, when there may be several (protocol.md section 3.5). Pure.
//!
//! Both peers dial, so two connections may come up at once; and a peer that lost its session dials
//! again while the other still holds the old one. One side decides for both: the leader, whose
//! `peer_id` is the greater. It adopts a connection or closes it as a duplicate, and the other side
//! waits for its word. So both always hold the same one.

use crate::crypto::handshake::{PeerId, Role};
use crate::proto::message::Settings;
use crate::session::installation::{Clash, Identity};
use std::cmp::Ordering;
use std::time::Duration;

/// Two authenticated connections within this time, one dialled by each side, are taken for dials
/// that crossed.
const CROSSING: Duration = Duration::from_secs(3);

/// Whether this side decides. Equal ids are the same process and never get here.
pub fn leads(own: PeerId, peer: PeerId) -> bool {
    own.cmp(&peer) == Ordering::Greater
}

/// The session that the leader holds when another connection comes up.
#[derive(Debug, Clone, Copy)]
pub struct Current {
    /// Whose it is.
    pub peer: Identity,
    /// Its id.
    pub session: [u8; 16],
    /// Who dialled it: our role on it.
    pub role: Role,
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
    /// The current one is kept, as it is another installation's, or that of another process which
    /// is alive too. The follower comes to this verdict as well.
    Refuse(Clash),
}

/// The newest authenticated session wins, unless the peer holds the current one, or cannot have
/// heard of it yet, or the current one is another installation's. `role` is ours on the new
/// connection; `displaced` says that another process of the peer's installation has taken the
/// peer's place before.
pub fn decide(
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
        // Who dialled both has given up the first, and one that is dead may have died with our word
        // on it.
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

    /// Of the peer's settings on a connection that it dialled.
    fn verdict(current: Option<Current>, last_session: [u8; 16], last_alive: bool) -> Verdict {
        let installation = PEER.installation;
        let settings =
            Settings { last_session, last_alive, installation, streams: 1, ..Settings::default() };
        decide(current, PEER.process, false, Role::Responder, &settings)
    }

    /// One that we dialled.
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
    fn a_session_on_which_only_the_follower_hears_is_replaced() {
        assert_eq!(verdict(deaf(30), [7; 16], true), Verdict::Adopt);
    }

    /// A link that is cut again in the midst of a handshake: the leader has adopted, and the
    /// follower never heard.
    #[test]
    fn a_lost_adoption_holds_up_nobody() {
        // The follower dialled, gave up and dialled again.
        let dialled_by_peer =
            current(0).map(|current| Current { role: Role::Responder, ..current });
        assert_eq!(verdict(dialled_by_peer, [9; 16], false), Verdict::Adopt);
        assert_eq!(verdict(dialled_by_peer, [0; 16], false), Verdict::Adopt);
        // The leader dialled, and hears nothing more on it.
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
