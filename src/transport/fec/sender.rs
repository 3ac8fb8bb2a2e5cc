//! The sending half without socket and clock: decides which packets are repaired, and ends blocks.

use super::encoder::{Repairs, SourceBlock};
use super::key::RepairKey;
use super::packet::MAX_PACKETS;
use super::tail::{SentTotals, Tail};
use crate::transport::congestion::PathEstimate;
use std::sync::Arc;
use std::time::Duration;

/// On a path with a shorter RTT a retransmission comes soon enough.
const MIN_RTT: Duration = Duration::from_millis(10);
/// Path loss above which repair is worth its bytes. At one packet in a thousand the last round trip
/// on a fast path loses a packet nearly every time.
const MIN_LOSS: f64 = 0.0003;
/// A block that is not full ends this share of an RTT after its first packet, within the limits of
/// [`MIN_BLOCK_TIME`] and [`MAX_BLOCK_TIME`].
const BLOCK_TIME: f64 = 1.0 / 8.0;
const MIN_BLOCK_TIME: Duration = Duration::from_millis(1);
const MAX_BLOCK_TIME: Duration = Duration::from_millis(15);

/// The data that the application wrote to QUIC.
#[derive(Debug, Clone, Copy)]
pub struct AppData {
    /// Bytes that QUIC took so far.
    pub written: u64,
    /// The application has more, and waits for QUIC to take it.
    pub blocked: bool,
}

/// The next step after a source packet.
#[derive(Debug)]
pub enum NextStep {
    /// Nothing.
    Nothing,
    /// The packet began a block: call [`Sender::close`] with its number after this time.
    CloseLater(u32, Duration),
    /// The packet filled a block: send its repair symbols.
    Send(Repairs),
}

/// Follows all packets that are sent on a session's path.
pub struct Sender {
    block: SourceBlock,
    tail: Tail,
    path: Option<Arc<PathEstimate>>,
}

impl Sender {
    /// A sender for a new session. It repairs nothing before [`Sender::follow`].
    pub fn new(key: RepairKey) -> Self {
        Self { block: SourceBlock::new(key), tail: Tail::default(), path: None }
    }

    /// The session uses `path` now, and QUIC took `written` bytes so far. Without an estimate the
    /// sender repairs nothing.
    pub fn follow(&mut self, path: Option<Arc<PathEstimate>>, written: u64) {
        self.path = path;
        if let Some(totals) = self.totals(written) {
            self.tail.reset(totals);
        }
    }

    /// QUIC sends `bytes` in packets of up to `size` bytes. Returns whether they are to be
    /// repaired: if so, call [`Sender::add`] with each.
    pub fn repairs(&mut self, bytes: usize, size: usize, data: AppData) -> bool {
        let Some((path, totals)) = self.path.as_ref().zip(self.totals(data.written)) else {
            return false;
        };
        let in_tail = self.tail.on_sent(bytes, bytes.div_ceil(size), totals, path.bdp());
        let lossy = path.loss() > MIN_LOSS && path.min_rtt() >= Some(MIN_RTT);
        let wanted = lossy && in_tail && !data.blocked;
        if !wanted {
            path.set_repair_share(0.0);
        }
        wanted
    }

    /// Adds one of these packets to the current block.
    pub fn add(&mut self, packet: &[u8]) -> NextStep {
        // Path MTU discovery sends larger packets to see whether they arrive. Repair would recover
        // them, since its own packets are half as large, and so falsify the answer.
        if packet.len() > self.path.as_ref().map_or(0, |path| path.mtu()) {
            return NextStep::Nothing;
        }
        let was_empty = self.block.packets() == 0;
        if self.block.add(packet) {
            return self.end().map_or(NextStep::Nothing, NextStep::Send);
        }
        match was_empty && self.block.packets() == 1 {
            true => NextStep::CloseLater(self.block.number(), self.block_time()),
            false => NextStep::Nothing,
        }
    }

    /// Ends the block with this number if it is still open. Returns its repair symbols, to be sent.
    pub fn close(&mut self, number: u32) -> Option<Repairs> {
        if self.block.number() == number { self.end() } else { None }
    }

    fn totals(&self, written: u64) -> Option<SentTotals> {
        let (lost, restarts) = self.path.as_ref()?.lost_and_restarts();
        Some(SentTotals { written, lost, restarts })
    }

    fn block_time(&self) -> Duration {
        let rtt = self.path.as_ref().and_then(|path| path.min_rtt()).unwrap_or_default();
        rtt.mul_f64(BLOCK_TIME).clamp(MIN_BLOCK_TIME, MAX_BLOCK_TIME)
    }

    fn end(&mut self) -> Option<Repairs> {
        let path = self.path.as_ref()?;
        let full = self.block.packets() >= MAX_PACKETS;
        let repairs = self.block.close(path.loss())?;
        // A sender that does not fill a block does not fill the path either: its window may stay.
        path.set_repair_share(if full { repairs.share } else { 0.0 });
        Some(repairs)
    }
}
