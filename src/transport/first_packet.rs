//! Recognises first packets that open a connection only to close it, below QUIC. Pure.
//!
//! Anyone can derive the keys of a connection's first packet (RFC 9001, section 5.2), and so put
//! CONNECTION_CLOSE into it. quinn opens a connection for such a packet and keeps it for the idle
//! timeout of 30 s, since it starts no timer for a connection that its first packet closes. A few a
//! second from any address occupy some MiB and all slots. Such a packet has no legitimate use, so
//! QUIC does not get it.
//!
//! A packet that closes an existing connection has other keys or another destination id, and
//! passes.

use rustls::Side;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{Keys, Version};

/// Minimum length of a datagram with a client's Initial packet. QUIC drops smaller ones (RFC 9000,
/// section 14.1).
const MIN_DATAGRAM: usize = 1200;
/// Maximum length of a connection id (RFC 9000, section 17.2).
const MAX_ID: usize = 20;
/// The sample of header protection, in bytes after the start of the packet number (RFC 9001,
/// section 5.4.2).
const SAMPLE: std::ops::Range<usize> = 4..20;

/// Whether this datagram is a client's Initial packet, under the keys of its own destination id,
/// that closes the connection.
pub(crate) fn only_closes(datagram: &[u8]) -> bool {
    let initial = datagram.len() >= MIN_DATAGRAM
        && datagram[0] & 0xf0 == 0xc0
        && datagram[1..5] == 1u32.to_be_bytes();
    initial && payload(datagram).is_some_and(|frames| has_close(&frames))
}

/// The packet's payload; `None` if it is malformed or has other keys.
fn payload(datagram: &[u8]) -> Option<Vec<u8>> {
    let mut rest = datagram.get(5..)?;
    let destination = take_id(&mut rest)?;
    take_id(&mut rest)?;
    let token = varint(&mut rest)?;
    rest = rest.get(usize::try_from(token).ok()?..)?;
    let length = usize::try_from(varint(&mut rest)?).ok()?;
    let at = datagram.len() - rest.len();
    let mut packet = datagram.get(..at.checked_add(length)?)?.to_vec();

    let suite = TLS13_AES_128_GCM_SHA256.tls13()?;
    let keys =
        Keys::initial(Version::V1, suite, suite.quic_suite()?.quic, destination, Side::Server)
            .remote;
    let sample = packet.get(at + SAMPLE.start..at + SAMPLE.end)?.to_vec();
    let (head, protected) = packet.split_at_mut(at);
    keys.header.decrypt_in_place(&sample, head.first_mut()?, protected.get_mut(..4)?).ok()?;
    let number_length = usize::from(packet[0] & 0x03) + 1;
    // The packet number of a first packet is close to 0, so it is not truncated.
    let number = packet[at..at + number_length]
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte));
    let (header, sealed) = packet.split_at_mut(at + number_length);
    Some(keys.packet.decrypt_in_place(number, header, sealed).ok()?.to_vec())
}

/// Whether one of the frames is CONNECTION_CLOSE. A frame that an Initial packet must not contain
/// (RFC 9000, section 12.4) ends the search: QUIC rejects the packet.
fn has_close(mut frames: &[u8]) -> bool {
    let frames = &mut frames;
    while let Some(kind) = varint(frames) {
        let skipped = match kind {
            0x00 | 0x01 => Some(()),
            0x02 | 0x03 => skip_ack(frames, kind == 0x03),
            0x06 => skip_crypto(frames),
            0x1c | 0x1d => return true,
            _ => None,
        };
        if skipped.is_none() {
            return false;
        }
    }
    false
}

/// ACK (RFC 9000 section 19.3).
fn skip_ack(frames: &mut &[u8], counts: bool) -> Option<()> {
    varint(frames)?;
    varint(frames)?;
    let ranges = varint(frames)?;
    varint(frames)?;
    let numbers = ranges.checked_mul(2)?.checked_add(if counts { 3 } else { 0 })?;
    (0..numbers).try_for_each(|_| varint(frames).map(drop))
}

/// CRYPTO (RFC 9000 section 19.6).
fn skip_crypto(frames: &mut &[u8]) -> Option<()> {
    varint(frames)?;
    let length = varint(frames)?;
    *frames = frames.get(usize::try_from(length).ok()?..)?;
    Some(())
}

fn take_id<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first()?;
    let (id, behind) =
        behind.split_at_checked((*length).into()).filter(|(id, _)| id.len() <= MAX_ID)?;
    *rest = behind;
    Some(id)
}

/// A variable-length integer (RFC 9000, section 16).
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let first = *rest.first()?;
    let (bytes, behind) = rest.split_at_checked(1 << (first >> 6))?;
    *rest = behind;
    let head = u64::from(first & 0x3f);
    Some(bytes[1..].iter().fold(head, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A client's first packet with these frames.
    fn first(frames: &[u8]) -> Vec<u8> {
        let id = [7; 8];
        let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
        let quic = suite.quic_suite().unwrap().quic;
        let keys = Keys::initial(Version::V1, suite, quic, &id, Side::Client).local;
        let mut packet = [&[0xc3, 0, 0, 0, 1, 8][..], &id, &[8], &id, &[0]].concat();
        let length = MIN_DATAGRAM - packet.len() - 2;
        packet.extend_from_slice(&(length as u16 | 0x4000).to_be_bytes());
        let at = packet.len();
        packet.extend_from_slice(&[0; 4]);
        let mut payload = frames.to_vec();
        payload.resize(length - 4 - 16, 0);
        let tag = keys.packet.encrypt_in_place(0, &packet, &mut payload).unwrap();
        payload.extend_from_slice(tag.as_ref());
        let (head, number) = packet.split_at_mut(at);
        keys.header.encrypt_in_place(&payload[..16], &mut head[0], number).unwrap();
        packet.extend(payload);
        packet
    }

    #[test]
    fn a_close_is_found_at_any_position() {
        let close: &[u8] = &[0x1d, 5, 0];
        let transport: &[u8] = &[0x1c, 0x41, 0x78, 0, 0];
        let crypto: &[u8] = &[0x06, 0, 3, 0x1d, 0x1d, 0x1d];
        let ack: &[u8] = &[0x02, 9, 0, 1, 2, 0x1d, 0x1d];
        let counted: &[u8] = &[0x03, 9, 0, 0, 2, 0x1d, 0x1d, 0x1d];
        for before in [&[][..], &[0; 100], &[1], crypto, ack, counted, &[ack, crypto].concat()] {
            for close in [close, transport] {
                assert!(only_closes(&first(&[before, close].concat())), "{before:?}");
            }
            assert!(!only_closes(&first(before)), "{before:?}");
        }
        // A frame that QUIC rejects, and a truncated one.
        assert!(!only_closes(&first(&[&[0x08, 0, 0][..], close].concat())));
        assert!(!only_closes(&first(&[&[0x06, 0, 0x7f, 0xff][..], close].concat())));
    }

    #[test]
    fn other_packets_pass() {
        let packet = first(&[0x1d, 5, 0]);
        assert!(only_closes(&packet));
        assert!(!only_closes(&packet[..MIN_DATAGRAM - 1]), "too small for QUIC");
        for at in [0, 1, 4, 6, 20, 30, MIN_DATAGRAM - 1] {
            let mut changed = packet.clone();
            changed[at] ^= 0x10;
            assert!(!only_closes(&changed), "{at}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..1500), frames in prop::collection::vec(any::<u8>(), 0..200)) {
            only_closes(&bytes);
            if let Some(head) = bytes.get_mut(..5) {
                head.copy_from_slice(&[0xc3, 0, 0, 0, 1]);
                only_closes(&bytes);
            }
            let _ = has_close(&frames);
            let _ = only_closes(&first(&frames));
        }
    }
}
