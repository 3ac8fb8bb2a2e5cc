//! A repair packet's bytes (protocol.md section 7.2).

use super::key::{RepairKey, TAG_LEN};

/// Its first byte. QUIC's fixed bit (RFC 9000, section 17) is clear, so it is no packet of QUIC's.
const KIND: u8 = 0x01;
/// Bytes before the ids.
const HEAD: usize = 1 + TAG_LEN + 7;
/// Bytes of an id: the end of a packet, which is the end of an AEAD's tag and so as good as random.
pub(crate) const ID_LEN: usize = 4;

/// One symbol of a source block's repair, and what block that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Repair<'a> {
    /// The sender's number of the block.
    pub number: u32,
    /// Repair symbols of the block, …
    pub symbols: u8,
    /// … and which of them this is.
    pub index: u8,
    /// Ids of the block's packets, in their order.
    pub ids: &'a [u8],
    /// Half as long as the block's longest packet with its length.
    pub symbol: &'a [u8],
}

/// Whether these bytes are meant for [`Repair::decode`].
pub(crate) fn is_repair(packet: &[u8]) -> bool {
    packet.first() == Some(&KIND)
}

/// Whether the packet can be one of a source block: QUIC's short header, and no mere
/// acknowledgement.
pub(crate) fn is_source(packet: &[u8]) -> bool {
    packet.len() >= super::MIN_PACKET_LEN && packet[0] & 0xc0 == 0x40
}

/// The packet's id.
pub(crate) fn id(packet: &[u8]) -> [u8; ID_LEN] {
    packet.last_chunk().copied().unwrap_or_default()
}

impl<'a> Repair<'a> {
    /// Appends the packet.
    pub fn encode(&self, key: &RepairKey, out: &mut Vec<u8>) {
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

    /// What the packet says, if it is whole and the peer's.
    pub fn decode(key: &RepairKey, packet: &'a [u8]) -> Option<Self> {
        let (tag, rest) = packet.get(1..)?.split_first_chunk::<TAG_LEN>()?;
        if !is_repair(packet) || packet.len() < HEAD || !key.verify(rest, tag) {
            return None;
        }
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (&[packets, symbols, index], rest) = rest.split_first_chunk::<3>()?;
        let (ids, symbol) = rest.split_at_checked(usize::from(packets) * ID_LEN)?;
        let bounds = (1..=super::MAX_PACKETS).contains(&usize::from(packets)) && index < symbols;
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
