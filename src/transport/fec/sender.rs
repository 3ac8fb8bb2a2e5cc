//! What of that which leaves is repaired, and when: the sender's half without its socket and its
//! clock.

use super::encoder::{Repairs, SourceBlock};
use super::key::RepairKey;
use super::tail::{Counts, Tail};
use super::{DELAY, DELAYS, LOSSY, MAX_PACKETS, MIN_RTT};
use crate::transport::congestion::PathEstimate;
use std::sync::Arc;
use std::time::Duration;

/// What the application handed to QUIC.
#[derive(Debug, Clone, Copy)]
pub struct Handed {
    /// Bytes that QUIC took so far.
    pub written: u64,
    /// There is more than QUIC takes at the moment.
    pub waits: bool,
}

/// What follows from a packet that left.
#[derive(Debug)]
pub enum Next {
    /// Nothing.
    Nothing,
    /// It is a block's first: [`Sender::close`] is to be called with the block's number after this
    /// time.
    Close(u32, Duration),
    /// It filled a block: its repair is to be sent.
    Send(Repairs),
}

/// Follows all packets that leave on a session's path.
pub struct Sender {
    block: SourceBlock,
    tail: Tail,
    path: Option<Arc<PathEstimate>>,
}

impl Sender {
    /// Before the session's first packet; nothing is repaired before [`Sender::follow`].
    pub fn new(key: RepairKey) -> Self {
        Self { block: SourceBlock::new(key), tail: Tail::default(), path: None }
    }

    /// The session's path is this one now, and QUIC took `written` bytes so far. Without an
    /// estimate nothing is repaired.
    pub fn follow(&mut self, path: Option<Arc<PathEstimate>>, written: u64) {
        self.path = path;
        if let Some(counts) = self.counts(written) {
            self.tail.begin(counts);
        }
    }

    /// So many bytes leave in packets of up to `size`: whether they are to be repaired, so that
    /// [`Sender::add`] has to be called with each.
    pub fn repairs(&mut self, bytes: usize, size: usize, handed: Handed) -> bool {
        let Some((path, counts)) = self.path.as_ref().zip(self.counts(handed.written)) else {
            return false;
        };
        let ends = self.tail.sends(bytes, bytes.div_ceil(size), counts, path.bdp());
        let wanted =
            path.loss() > LOSSY && path.min_rtt() >= Some(MIN_RTT) && ends && !handed.waits;
        if !wanted {
            path.set_repair_share(0.0);
        }
        wanted
    }

    /// One of these packets.
    pub fn add(&mut self, packet: &[u8]) -> Next {
        // QUIC asks with larger ones whether they arrive. The answer is the path's: repair, whose
        // packets are half as large, would bring all of them.
        if packet.len() > self.path.as_ref().map_or(0, |path| path.mtu()) {
            return Next::Nothing;
        }
        let was_empty = self.block.packets() == 0;
        if self.block.add(packet) {
            return self.end().map_or(Next::Nothing, Next::Send);
        }
        match was_empty && self.block.packets() == 1 {
            true => Next::Close(self.block.number(), self.delay()),
            false => Next::Nothing,
        }
    }

    /// Ends the block of this number if it did not fill: its repair, which is to be sent.
    pub fn close(&mut self, number: u32) -> Option<Repairs> {
        if self.block.number() == number { self.end() } else { None }
    }

    fn counts(&self, written: u64) -> Option<Counts> {
        let (lost, flights) = self.path.as_ref()?.lost_and_restarts();
        Some(Counts { written, lost, flights })
    }

    fn delay(&self) -> Duration {
        let rtt = self.path.as_ref().and_then(|path| path.min_rtt()).unwrap_or_default();
        rtt.mul_f64(DELAY).clamp(DELAYS[0], DELAYS[1])
    }

    fn end(&mut self) -> Option<Repairs> {
        let path = self.path.as_ref()?;
        let full = self.block.packets() >= MAX_PACKETS;
        let repairs = self.block.close(path.loss())?;
        // What does not even fill a block fills no link.
        path.set_repair_share(if full { repairs.share } else { 0.0 });
        Some(repairs)
    }
}
