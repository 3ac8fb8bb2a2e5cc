//! A malicious peer that knows the password: it can fill Incoming and do nothing else. Each test
//! ends with an honest transfer, an orderly stop and a check of everything around the peer's
//! folders.

mod enemy;
mod files;
mod ground;
mod links;
mod messages;
mod names;
mod offers;
mod receiver;

use enemy::Heard;
use rft::internals::crypto::seal::RecordKind as Kind;
use rft::internals::proto::chunk_set::ChunkSet;
use rft::internals::proto::message::{Begin, CHUNK_SIZE, Outcome, Refusal};

const CHUNK: u64 = CHUNK_SIZE as u64;
/// Most memory by which the process may grow. Its quota is 32 MiB.
const GROWTH: u64 = 64 << 20;

/// A record before it is sealed.
type Said = (Kind, Vec<u8>);

/// The plaintext of a message.
fn bytes_of(encode: impl FnOnce(&mut bytes::BytesMut)) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    encode(&mut out);
    out.to_vec()
}

fn begin(chunks: u64) -> Said {
    let confirmed = ChunkSet::prefix(chunks);
    (Kind::Answer, bytes_of(|out| Begin { confirmed, compressed: false }.encode(out)))
}

fn refused(heard: &Heard) -> Option<Refusal> {
    if let Heard::Outcome(Outcome::Refused { reason, .. }) = heard { Some(*reason) } else { None }
}
