//! The speeds of the last minutes.

use rft::Status;
use rft::event::Direction;
use std::collections::VecDeque;

/// Points that are kept: more than the columns of any terminal.
const MAX_POINTS: usize = 1000;

/// The speed of each direction, over all peers, a point a look. The oldest come first.
#[derive(Debug, Default)]
pub(super) struct Curves {
    send: VecDeque<u64>,
    receive: VecDeque<u64>,
}

impl Curves {
    /// Adds the speeds of a state, in bytes per second.
    pub(super) fn add(&mut self, status: &Status) {
        for direction in [Direction::Send, Direction::Receive] {
            let rate = status.peers.iter().map(|peer| peer.direction(direction).rate).sum();
            let points = self.points_mut(direction);
            if points.len() == MAX_POINTS {
                points.pop_front();
            }
            points.push_back(rate);
        }
    }

    /// The last points, at most this many.
    pub(super) fn last(&self, direction: Direction, count: usize) -> Vec<u64> {
        let points = match direction {
            Direction::Send => &self.send,
            Direction::Receive => &self.receive,
        };
        points.iter().skip(points.len().saturating_sub(count)).copied().collect()
    }

    fn points_mut(&mut self, direction: Direction) -> &mut VecDeque<u64> {
        match direction {
            Direction::Send => &mut self.send,
            Direction::Receive => &mut self.receive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::busy;
    use super::*;

    #[test]
    fn the_last_points_are_kept() {
        let (mut curves, mut status) = (Curves::default(), busy());
        for rate in 0..MAX_POINTS as u64 + 5 {
            status.peers[0].send.rate = rate;
            curves.add(&status);
        }
        let last = MAX_POINTS as u64 + 4;
        assert_eq!(curves.last(Direction::Send, 2), [last - 1, last]);
        assert_eq!(curves.last(Direction::Send, usize::MAX).len(), MAX_POINTS);
        assert_eq!(curves.last(Direction::Receive, 1), [0]);
    }
}
