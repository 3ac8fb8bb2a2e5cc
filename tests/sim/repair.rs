//! Repair below a node's QUIC, with virtual time for its clock.

use std::sync::Arc;
use std::time::Instant;

use rft::transport::congestion::PathEstimate;
use rft::transport::fec::RepairKey;
use rft::transport::fec::encoder::Repairs;
use rft::transport::fec::receiver::Recovery;
use rft::transport::fec::sender::{AppData, NextStep, Sender};

/// Both halves of one node.
pub struct Repair {
    sender: Sender,
    recovery: Recovery,
    /// The block that is being filled, and when it ends.
    closes: Option<(u32, Instant)>,
}

impl Repair {
    /// Of a session that begins.
    pub fn new() -> Self {
        // Nobody forges anything here: both directions have one key.
        let key = || RepairKey::new(&[7; 32]);
        Self { sender: Sender::new(key()), recovery: Recovery::new(key()), closes: None }
    }

    /// The session's path, before anything was written.
    pub fn follow(&mut self, path: Option<Arc<PathEstimate>>) {
        self.sender.follow(path, 0);
    }

    /// These packets of `size` bytes left: hands the repair that follows them to `send`.
    pub fn sent(
        &mut self,
        now: Instant,
        packets: &[u8],
        size: usize,
        handed: AppData,
        send: &mut impl FnMut(&[u8]),
    ) {
        if !self.sender.repairs(packets.len(), size, handed) {
            return;
        }
        for packet in packets.chunks(size) {
            match self.sender.add(packet) {
                NextStep::Nothing => {}
                NextStep::CloseLater(number, delay) => self.closes = Some((number, now + delay)),
                NextStep::Send(repairs) => each(&repairs, &mut *send),
            }
        }
    }

    /// When a block ends that did not fill.
    pub fn due(&self) -> Option<Instant> {
        self.closes.map(|(_, due)| due)
    }

    /// Ends the block that is due.
    pub fn expire(&mut self, now: Instant, send: impl FnMut(&[u8])) {
        if let Some((number, _)) = self.closes.take_if(|(_, due)| *due <= now)
            && let Some(repairs) = self.sender.close(number)
        {
            each(&repairs, send);
        }
    }

    /// This came; whether it was repair.
    pub fn came(&mut self, packet: &[u8]) -> bool {
        self.recovery.take(packet)
    }

    /// The next packet that was lost and is here again.
    pub fn recovered(&mut self) -> Option<Vec<u8>> {
        self.recovery.recovered()
    }

    /// How many there were.
    pub fn recovered_count(&self) -> u64 {
        self.recovery.recovered_count()
    }
}

fn each(repairs: &Repairs, send: impl FnMut(&[u8])) {
    repairs.bytes.chunks(repairs.size).for_each(send);
}
