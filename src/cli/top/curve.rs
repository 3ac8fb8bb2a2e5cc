//! The speeds of the last minutes.

use rft::Status;
use rft::config::PeerName;
use rft::event::Direction;
use std::collections::{BTreeMap, VecDeque};

/// Points that are kept: more than the columns of any terminal.
const MAX_POINTS: usize = 1000;

/// The speed of each direction of each peer, a point a look.
#[derive(Debug, Default)]
pub(super) struct Curves(BTreeMap<PeerName, Curve>);

/// One peer's. The oldest points come first.
#[derive(Debug, Default)]
struct Curve {
    send: VecDeque<u64>,
    receive: VecDeque<u64>,
}

impl Curves {
    /// Adds the speeds of a state, in bytes per second. Peers that it does not have are forgotten.
    pub(super) fn add(&mut self, status: &Status) {
        self.0.retain(|name, _| status.peers.iter().any(|peer| peer.name == *name));
        for peer in &status.peers {
            let curve = self.0.entry(peer.name.clone()).or_default();
            for direction in [Direction::Send, Direction::Receive] {
                let points = match direction {
                    Direction::Send => &mut curve.send,
                    Direction::Receive => &mut curve.receive,
                };
                if points.len() == MAX_POINTS {
                    points.pop_front();
                }
                points.push_back(peer.direction(direction).rate);
            }
        }
    }

    /// The last points of a peer, at most this many.
    pub(super) fn last(&self, peer: &PeerName, direction: Direction, count: usize) -> Vec<u64> {
        let Some(curve) = self.0.get(peer) else { return Vec::new() };
        let points = match direction {
            Direction::Send => &curve.send,
            Direction::Receive => &curve.receive,
        };
        points.iter().skip(points.len().saturating_sub(count)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::busy;
    use super::*;

    #[test]
    fn the_last_points_of_each_peer_are_kept() {
        let (mut curves, mut status) = (Curves::default(), busy());
        let name = status.peers[0].name.clone();
        for rate in 0..MAX_POINTS as u64 + 5 {
            status.peers[0].send.rate = rate;
            curves.add(&status);
        }
        let last = MAX_POINTS as u64 + 4;
        assert_eq!(curves.last(&name, Direction::Send, 2), [last - 1, last]);
        assert_eq!(curves.last(&name, Direction::Send, usize::MAX).len(), MAX_POINTS);
        assert_eq!(curves.last(&name, Direction::Receive, 1), [0]);
        status.peers[0].name = PeerName::new("carol");
        curves.add(&status);
        assert_eq!(curves.last(&name, Direction::Send, 2), [] as [u64; 0]);
        assert_eq!(curves.last(&status.peers[0].name, Direction::Send, 2), [last]);
    }
}
