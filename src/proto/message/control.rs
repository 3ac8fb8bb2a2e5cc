//! What is said beside the files.

use super::{InstallationId, MAX_FORGET, TransferId, flag};
use crate::proto::codec::{Malformed, Reader};
use bytes::{BufMut, BytesMut};

/// The first record each way on the control stream. The initiator's is its receipt for the session
/// keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// The last session that this side knows to be adopted, all zero for none: tells two dials that
    /// crossed from a peer that lost its session (protocol.md section 3.5).
    pub last_session: [u8; 16],
    /// Whether this side still holds that session for good.
    pub last_alive: bool,
    /// How many file streams this side lets the other have open at once.
    pub streams: u32,
    /// What this side can do beside the rest; unknown bits are ignored.
    pub capabilities: u32,
    /// This side's installation.
    pub installation: InstallationId,
    /// The installation that this side has a session with which is alive, whichever process of it.
    pub partner: Option<InstallationId>,
    /// Whether this side has that session with another process, which has displaced the one it
    /// tells this to (protocol.md section 3.5).
    pub displaced: bool,
}

impl Settings {
    /// Capability: takes compressed chunks.
    pub const UNPACKS: u32 = 1;
    /// Capability: makes lost packets of repair (protocol.md section 7).
    pub const RECOVERS: u32 = 2;

    /// Appends the message's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.last_session);
        out.put_u8(u8::from(self.last_alive));
        out.put_u32(self.streams);
        out.put_u32(self.capabilities);
        out.put_slice(&self.installation.0);
        out.put_slice(&self.partner.unwrap_or_default().0);
        out.put_u8(u8::from(self.displaced));
    }

    /// What follows the known fields is ignored, so that a later version may add to them.
    ///
    /// # Errors
    /// [`Malformed`] when the message is too short or grants no streams.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let settings = Self {
            last_session: r.array()?,
            last_alive: flag(r.u8()?)?,
            streams: r.u32()?,
            capabilities: r.u32()?,
            installation: InstallationId(r.array()?),
            partner: Some(InstallationId(r.array()?)).filter(|id| *id != InstallationId::default()),
            displaced: flag(r.u8()?)?,
        };
        if settings.streams == 0 { Err(Malformed) } else { Ok(settings) }
    }
}

/// What the peers tell each other beside the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// From the leader: this connection is the session; file streams may open.
    Adopt,
    /// How much this side still has to send: the peer shows it, and `--drain` waits for zero.
    Backlog {
        /// Entries in Outgoing that the peer does not hold yet, settling ones included.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The sender is done with these transfers for good (receipt taken and file removed, or the
    /// file is gone): the receiver may drop what it keeps about them.
    Forget(Vec<TransferId>),
    /// This side leaves in order.
    Goodbye,
}

impl Control {
    /// Appends the message's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Adopt => out.put_u8(1),
            Self::Backlog { files, bytes } => {
                out.put_u8(2);
                out.put_u64(*files);
                out.put_u64(*bytes);
            }
            Self::Forget(ids) => {
                out.put_u8(3);
                for id in ids.iter().take(MAX_FORGET) {
                    out.put_slice(&id.0);
                }
            }
            Self::Goodbye => out.put_u8(4),
        }
    }

    /// # Errors
    /// [`Malformed`] for anything that [`Control::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let message = match r.u8()? {
            1 => Self::Adopt,
            2 => Self::Backlog { files: r.u64()?, bytes: r.u64()? },
            3 => {
                let (ids, rest) = bytes[1..].as_chunks::<16>();
                if !rest.is_empty() || ids.len() > MAX_FORGET {
                    return Err(Malformed);
                }
                return Ok(Self::Forget(ids.iter().copied().map(TransferId).collect()));
            }
            4 => Self::Goodbye,
            _ => return Err(Malformed),
        };
        r.end()?;
        Ok(message)
    }
}
