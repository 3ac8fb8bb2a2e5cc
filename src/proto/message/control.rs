//! The messages of the control stream (protocol.md section 4.5).

use super::constraint::Constraint;
use super::id::{InstallationId, TransferId};
use super::label::Label;
use crate::proto::codec::{Malformed, Reader};
use bytes::{BufMut, BytesMut};

/// Maximum number of ids in one [`Control::Forget`].
pub const MAX_FORGET: usize = 512;

/// The first record each way on the control stream. The initiator's acknowledges the session keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// The session that this side adopted last; all zero for none. It distinguishes crossed dials
    /// from a peer that lost its session (protocol.md section 3.5).
    pub last_session: [u8; 16],
    /// Whether that session is alive for this side.
    pub last_alive: bool,
    /// Number of file streams that the other side may have open at once; 0 if this side receives
    /// no files.
    pub streams: u32,
    /// Optional abilities of this side, as bits. Unknown bits are ignored.
    pub capabilities: u32,
    /// This side's installation.
    pub installation: InstallationId,
    /// The installation with which this side has a live session, in any of its processes.
    pub partner: Option<InstallationId>,
    /// Whether that session is with another process, which has displaced the receiver of this
    /// message (protocol.md section 3.5).
    pub displaced: bool,
    /// The version of this side's program, for people.
    pub version: Label,
    /// The name of this side's host, for people.
    pub host: Label,
}

impl Settings {
    /// Capability: this side accepts compressed chunks (protocol.md section 4.6).
    pub const ACCEPTS_COMPRESSED: u32 = 1;
    /// Capability: this side recovers lost packets from repair (protocol.md section 7).
    pub const ACCEPTS_REPAIR: u32 = 2;
    /// Capability: this side takes [`Control::Limits`].
    pub const ACCEPTS_LIMITS: u32 = 4;

    /// Appends the message's encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.last_session);
        out.put_u8(u8::from(self.last_alive));
        out.put_u32(self.streams);
        out.put_u32(self.capabilities);
        out.put_slice(&self.installation.0);
        out.put_slice(&self.partner.unwrap_or_default().0);
        out.put_u8(u8::from(self.displaced));
        self.version.encode(out);
        self.host.encode(out);
    }

    /// Decodes the known fields. Bytes after them are ignored, so that a later version may add
    /// fields.
    ///
    /// # Errors
    /// [`Malformed`] if the message is too short or a text is invalid.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        Ok(Self {
            last_session: r.array()?,
            last_alive: r.bool()?,
            streams: r.u32()?,
            capabilities: r.u32()?,
            installation: InstallationId(r.array()?),
            partner: Some(InstallationId(r.array()?)).filter(|id| *id != InstallationId::default()),
            displaced: r.bool()?,
            version: Label::decode(&mut r)?,
            host: Label::decode(&mut r)?,
        })
    }
}

/// The later messages of the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// The leader adopts this connection as the session; file streams may open.
    Adopt,
    /// The work that this side still has to send. The peer shows it, and `--drain` waits for zero.
    Backlog {
        /// Entries in Outgoing that the peer does not hold yet, including settling ones.
        files: u64,
        /// Their total size in bytes.
        bytes: u64,
    },
    /// The sender is done with these transfers: the receipt arrived and the file was removed, or
    /// the file is gone. The receiver may forget them.
    Forget(Vec<TransferId>),
    /// This side ends the session in order.
    Goodbye,
    /// What limits each direction at this side, for people. Only a peer with
    /// [`Settings::ACCEPTS_LIMITS`] gets it.
    Limits {
        /// The files that this side sends.
        sending: Constraint,
        /// The files that it receives.
        receiving: Constraint,
    },
}

impl Control {
    /// Appends the message's encoding.
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
            Self::Limits { sending, receiving } => {
                out.put_slice(&[5, sending.number(), receiving.number()]);
            }
        }
    }

    /// Decodes a message.
    ///
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
            5 => Self::Limits {
                sending: Constraint::from_number(r.u8()?)?,
                receiving: Constraint::from_number(r.u8()?)?,
            },
            _ => return Err(Malformed),
        };
        r.end()?;
        Ok(message)
    }
}
