//! The format of a repair packet (protocol.md section 7.2), and the packets that it can repair.

use super::key::{RepairKey, TAG_LEN};

/// Maximum packets of a source block. QUIC drops packets that arrive over 128 packets late as
/// duplicates.
pub(super) const MAX_PACKETS: usize = 64;
/// Minimum length of a source packet, bytes. Smaller packets are acknowledgements, which the next
/// ones repeat, and receipts, which nothing waits for.
pub(super) const MIN_PACKET_LEN: usize = 300;
/// The first byte of a repair packet. QUIC's fixed bit (RFC 9000, section 17) is clear, so QUIC
/// drops it.
const KIND: u8 = 0x01;
/// Bytes before the ids.
const HEADER_LEN: usize = 1 + TAG_LEN + 7;
/// Length of a packet id, bytes: the end of a packet, which is the end of an AEAD tag and therefore
/// practically random.
pub(crate) const ID_LEN: usize = 4;

/// A repair packet: one repair symbol, and the description of its source block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Repair<'a> {
    /// The sender's block number.
    pub number: u32,
    /// Number of the block's repair symbols.
    pub symbols: u8,
    /// Index of this symbol.
    pub index: u8,
    /// Ids of the block's packets, in order.
    pub ids: &'a [u8],
    /// The symbol: half as long as the block's longest packet with its length.
    pub symbol: &'a [u8],
}

/// Whether this is a repair packet, to be decoded by [`Repair::decode`].
pub(crate) fn is_repair(packet: &[u8]) -> bool {
    packet.first() == Some(&KIND)
}

/// Whether this is a source packet: it has QUIC's short header, and is more than an
/// acknowledgement.
pub(crate) fn is_source(packet: &[u8]) -> bool {
    packet.len() >= MIN_PACKET_LEN && packet[0] & 0xc0 == 0x40
}

/// The packet's id.
pub(crate) fn id(packet: &[u8]) -> [u8; ID_LEN] {
    packet.last_chunk().copied().unwrap_or_default()
}

impl<'a> Repair<'a> {
    /// Appends the packet to `out`.
    pub(super) fn encode(&self, key: &RepairKey, out: &mut Vec<u8>) {
        let begin = out.len();
        out.push(KIND);
        out.extend_from_slice(&[0; TAG_LEN]);
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&[(self.ids.len() / ID_LEN) as u8, self.symbols, self.index]);
        out.extend_from_slice(self.ids);
        out.extend_from_slice(self.symbol);
        let (tag, rest) = out[begin + 1..].split_at_mut(TAG_LEN);
        tag.copy_from_slice(&key.tag(rest));
    }

    /// Decodes a packet; `None` if it is malformed or not authentic.
    pub(super) fn decode(key: &RepairKey, packet: &'a [u8]) -> Option<Self> {
        let (tag, rest) = packet.get(1..)?.split_first_chunk::<TAG_LEN>()?;
        if !is_repair(packet) || packet.len() < HEADER_LEN || !key.verify(rest, tag) {
            return None;
        }
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (&[packets, symbols, index], rest) = rest.split_first_chunk::<3>()?;
        let (ids, symbol) = rest.split_at_checked(usize::from(packets) * ID_LEN)?;
        let bounds = (1..=MAX_PACKETS).contains(&usize::from(packets)) && index < symbols;
        let even = !symbol.is_empty() && symbol.len() % 2 == 0;
        (bounds && even).then_some(Self {
            number: u32::from_be_bytes(*number),
            symbols,
            index,
            ids,
            symbol,
        })
    }
}
