//! The path probe of an idle session, in virtual time.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::Connection;
use rft::internals::transport::congestion::{PathEstimate, estimate};
use rft::internals::transport::path_probe::{PathProbe, ProbeSample};

/// A running path probe.
pub struct Probing {
    probe: PathProbe,
    path: Arc<PathEstimate>,
    due: Instant,
}

fn sample(connection: &mut Connection) -> ProbeSample {
    ProbeSample {
        rtt: connection.rtt(),
        frames: connection.stats().frame_tx.stream,
        largest: connection.datagrams().max_size(),
    }
}

impl Probing {
    /// Starts a probe, if the path gets one.
    pub fn begin(now: Instant, connection: &mut Connection) -> Option<Self> {
        let path = estimate(connection.congestion_state().clone_box().into_any())?;
        Self { probe: PathProbe::new(connection.rtt(), connection.side())?, path, due: now }
            .pause(now, connection)
    }

    /// When the next train leaves.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Sends the train that is due. Returns the rest of the probe.
    pub fn send(self, now: Instant, connection: &mut Connection) -> Option<Self> {
        if now < self.due {
            return Some(self);
        }
        let train = self.probe.train(sample(connection), &self.path)?;
        let nothing = Bytes::from(vec![0; train.size]);
        for _ in 0..train.packets {
            connection.datagrams().send(nothing.clone(), true).ok()?;
        }
        self.pause(now, connection)
    }

    fn pause(mut self, now: Instant, connection: &mut Connection) -> Option<Self> {
        self.due = now + self.probe.pause(sample(connection))?;
        Some(self)
    }
}
