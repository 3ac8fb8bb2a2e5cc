//! Valid QUIC packets that no honest peer sends. With the first destination ID of a connection
//! anyone can derive the keys of its Initial packets (RFC 9001 section 5.2).

use rustls::Side;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::Version;

/// Smallest size of a client's first datagram (RFC 9000 section 14.1).
const DATAGRAM: usize = 1200;
/// Lengths in bytes: a packet number, an AEAD tag, which is also the sample for header protection.
const NUMBER: usize = 4;
const TAG: usize = 16;

/// A variable-length integer (RFC 9000 section 16).
pub fn varint(n: u64) -> Vec<u8> {
    match n {
        0..0x40 => vec![n as u8],
        0x40..0x4000 => (n as u16 | 0x4000).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (n as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (n | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

/// CONNECTION_CLOSE of the application (0x1d), which an Initial packet must not carry.
pub fn application_close(code: u64, reason: &[u8]) -> Vec<u8> {
    [&[0x1d], &varint(code)[..], &varint(reason.len() as u64), reason].concat()
}

/// CONNECTION_CLOSE of QUIC (0x1c).
pub fn transport_close(code: u64, reason: &[u8]) -> Vec<u8> {
    [&[0x1c], &varint(code)[..], &[0], &varint(reason.len() as u64), reason].concat()
}

/// An Initial packet of this side with these frames, padded to a whole datagram. `first` is the
/// destination ID of the client's first packet, from which the keys follow; `to` and `from` are the
/// IDs in the header.
pub fn initial(side: Side, first: &[u8], to: &[u8], from: &[u8], frames: &[u8]) -> Vec<u8> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap().quic_suite().unwrap();
    let keys = suite.keys(first, side, Version::V1).local;
    let mut packet = vec![0xc0 | (NUMBER as u8 - 1), 0, 0, 0, 1];
    for id in [to, from] {
        packet.push(id.len() as u8);
        packet.extend_from_slice(id);
    }
    // An empty token, and a length field of two bytes.
    let begin = packet.len() + 3;
    let length = (DATAGRAM - begin).max(NUMBER + frames.len() + TAG);
    packet.push(0);
    packet.extend_from_slice(&(length as u16 | 0x4000).to_be_bytes());
    packet.extend_from_slice(&[0; NUMBER]);
    let mut payload = frames.to_vec();
    payload.resize(length - NUMBER - TAG, 0);
    let tag = keys.packet.encrypt_in_place(0, &packet, &mut payload).unwrap();
    payload.extend_from_slice(tag.as_ref());
    let (head, number) = packet.split_at_mut(begin);
    keys.header.encrypt_in_place(&payload[..TAG], &mut head[0], number).unwrap();
    packet.extend(payload);
    packet
}

/// The first packet of a client, for a connection of its own.
pub fn first_packet(id: u64, frames: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes();
    initial(Side::Client, &id, &id, &id, frames)
}

/// The destination and source IDs in a client's Initial packet of version 1.
pub fn ids(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let initial =
        packet.len() >= DATAGRAM && packet[0] & 0xf0 == 0xc0 && packet[1..5] == [0, 0, 0, 1];
    let (length, rest) = packet.get(5..).filter(|_| initial)?.split_first()?;
    let (destination, rest) = rest.split_at_checked((*length).into())?;
    let (length, rest) = rest.split_first()?;
    Some((destination, rest.get(..(*length).into())?))
}

/// A forged answer to a client, sent in the server's name by an off-path observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// CONNECTION_CLOSE 0x1d with the code for a wrong password.
    Authentication,
    /// The same with the code for refused session keys.
    KeysRefused,
    /// TLS alert 120: no common application protocol.
    Alert,
    /// Version negotiation that does not offer version 1.
    Versions,
}

impl Forgery {
    /// Answers first packets of clients and ignores all others.
    pub fn answer(self) -> super::relay::Answer {
        match self {
            Self::Authentication => |packet| Self::Authentication.to(packet),
            Self::KeysRefused => |packet| Self::KeysRefused.to(packet),
            Self::Alert => |packet| Self::Alert.to(packet),
            Self::Versions => |packet| Self::Versions.to(packet),
        }
    }

    fn to(self, packet: &[u8]) -> Option<Vec<u8>> {
        let (destination, source) = ids(packet)?;
        let frames = match self {
            Self::Authentication => application_close(1, b"forged"),
            Self::KeysRefused => application_close(5, b"forged"),
            Self::Alert => transport_close(0x178, b"forged"),
            Self::Versions => {
                let mut packet = vec![0xc0, 0, 0, 0, 0];
                for id in [source, destination] {
                    packet.push(id.len() as u8);
                    packet.extend_from_slice(id);
                }
                packet.extend_from_slice(&[0x6b, 0x33, 0x43, 0xcf, 0x1a, 0x2a, 0x3a, 0x4a]);
                return Some(packet);
            }
        };
        Some(initial(Side::Server, destination, source, destination, &frames))
    }
}
