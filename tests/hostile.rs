//! A peer that knows the password and does as it likes: it can fill Incoming, and nothing else.
//! Each test ends with an honest transfer, an orderly stop, and a look at everything around the
//! peer's folders.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test's own helpers

#[path = "hostile/enemy.rs"]
mod enemy;
#[path = "hostile/files.rs"]
mod files;
#[path = "hostile/ground.rs"]
mod ground;
mod harness;
#[path = "hostile/links.rs"]
mod links;
#[path = "hostile/messages.rs"]
mod messages;
#[path = "hostile/names.rs"]
mod names;
#[path = "hostile/offers.rs"]
mod offers;
#[path = "hostile/receiver.rs"]
mod receiver;

use enemy::Heard;
use rft::crypto::seal::RecordKind as Kind;
use rft::proto::chunk_set::ChunkSet;
use rft::proto::message::{Begin, CHUNK_SIZE, Outcome, Refusal};

const CHUNK: u64 = CHUNK_SIZE as u64;
/// By which the process may grow; it is told to hold 32 MiB.
const GROWTH: u64 = 64 << 20;

/// A record, before it is sealed.
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
