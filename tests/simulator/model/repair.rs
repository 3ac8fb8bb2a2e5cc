//! Forward error correction below a node's QUIC, in virtual time.

use std::sync::Arc;
use std::time::Instant;

use rft::transport::congestion::PathEstimate;
use rft::transport::fec::RepairKey;
use rft::transport::fec::encoder::Repairs;
use rft::transport::fec::receiver::Recovery;
use rft::transport::fec::sender::{Handed, Next, Sender};

/// The encoder and decoder of one node.
pub struct Repair {
    sender: Sender,
    recovery: Recovery,
    /// The block being filled, and the time of its end.
    closes: Option<(u32, Instant)>,
}

impl Repair {
    /// For a session that begins.
    pub fn new() -> Self {
        // No packet is forged here, so both directions share one key.
        let key = || RepairKey::new(&[7; 32]);
        Self { sender: Sender::new(key()), recovery: Recovery::new(key()), closes: None }
    }

    /// Sets the path of the session, before anything is written.
    pub fn follow(&mut self, path: Option<Arc<PathEstimate>>) {
        self.sender.follow(path, 0);
    }

    /// These packets of `size` bytes were sent. Passes the repair packets that follow them to
    /// `send`.
    pub fn sent(
        &mut self,
        now: Instant,
        packets: &[u8],
        size: usize,
        handed: Handed,
        send: &mut impl FnMut(&[u8]),
    ) {
        if !self.sender.repairs(packets.len(), size, handed) {
            return;
        }
        for packet in packets.chunks(size) {
            match self.sender.add(packet) {
                Next::Nothing => {}
                Next::Close(number, delay) => self.closes = Some((number, now + delay)),
                Next::Send(repairs) => each(&repairs, &mut *send),
            }
        }
    }

    /// When a partly filled block ends.
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

    /// Takes a received packet. Returns whether it was a repair packet.
    pub fn came(&mut self, packet: &[u8]) -> bool {
        self.recovery.take(packet)
    }

    /// The next recovered packet.
    pub fn recovered(&mut self) -> Option<Vec<u8>> {
        self.recovery.recovered()
    }

    /// Number of recovered packets.
    pub fn made(&self) -> u64 {
        self.recovery.made()
    }
}

fn each(repairs: &Repairs, send: impl FnMut(&[u8])) {
    repairs.bytes.chunks(repairs.size).for_each(send);
}
