//! Forward error correction below a node's QUIC, in virtual time.

use std::sync::Arc;
use std::time::Instant;

use rft::internals::transport::congestion::PathEstimate;
use rft::internals::transport::fec::RepairKey;
use rft::internals::transport::fec::encoder::Repairs;
use rft::internals::transport::fec::receiver::Recovery;
use rft::internals::transport::fec::sender::{AppData, NextStep, Sender};

/// The encoder and decoder of one node.
pub struct Repair {
    sender: Sender,
    recovery: Recovery,
    /// The open block, and when it ends.
    closes: Option<(u32, Instant)>,
}

impl Repair {
    /// For a new session.
    pub fn new() -> Self {
        // Both directions have one key: there is no attacker here.
        let key = || RepairKey::new(&[7; 32]);
        Self { sender: Sender::new(key()), recovery: Recovery::new(key()), closes: None }
    }

    /// Sets the session's path, before any data is written.
    pub fn follow(&mut self, path: Option<Arc<PathEstimate>>) {
        self.sender.follow(path, 0);
    }

    /// These packets of `size` bytes were sent: passes the repair packets that follow them to
    /// `send`.
    pub fn on_sent(
        &mut self,
        now: Instant,
        packets: &[u8],
        size: usize,
        data: AppData,
        send: &mut impl FnMut(&[u8]),
    ) {
        if !self.sender.repairs(packets.len(), size, data) {
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

    /// When the open block ends.
    pub fn due(&self) -> Option<Instant> {
        self.closes.map(|(_, due)| due)
    }

    /// Ends the open block if it is due.
    pub fn expire(&mut self, now: Instant, send: impl FnMut(&[u8])) {
        if let Some((number, _)) = self.closes.take_if(|(_, due)| *due <= now)
            && let Some(repairs) = self.sender.close(number)
        {
            each(&repairs, send);
        }
    }

    /// Takes a received packet. Returns whether it was a repair packet.
    pub fn on_received(&mut self, packet: &[u8]) -> bool {
        self.recovery.take(packet)
    }

    /// The next recovered packet.
    pub fn recovered(&mut self) -> Option<Vec<u8>> {
        self.recovery.recovered()
    }

    /// Number of recovered packets.
    pub fn recovered_count(&self) -> u64 {
        self.recovery.recovered_count()
    }
}

fn each(repairs: &Repairs, send: impl FnMut(&[u8])) {
    repairs.bytes.chunks(repairs.size).for_each(send);
}
