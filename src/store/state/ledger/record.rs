//! The entries of the ledger as they are written: their states, their fields and their age.

use crate::proto::message::{Timestamp, TransferId};
use crate::proto::name::Name;
use crate::store::state::age;
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// How long a received transfer is recorded, in seconds, if its sender never has it forgotten.
pub(super) const MAX_AGE: u64 = 180 * 24 * 60 * 60;

/// Changes of the received transfers: a new value, or none.
pub(super) type Changes = HashMap<[u8; 16], Option<Vec<u8>>>;

/// A transfer whose file is in Incoming, or is about to be placed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// BLAKE3 hash of the file (zero for folders and links).
    pub hash: [u8; 32],
    /// Its name in Incoming.
    pub saved_as: Name,
}

/// A file that the peer has and that stays in Outgoing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivered {
    /// Its change time at the delivery. A later one means that the file was modified since.
    pub changed: Timestamp,
    /// BLAKE3 hash of its content; `None` for folders and links.
    pub hash: Option<[u8; 32]>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum RecordState {
    Committing = 0,
    Committed = 1,
    /// A folder that this program created, and whose own permissions have not arrived yet.
    Filling = 2,
    /// A folder that has another name in Incoming than it was offered with.
    NumberedFolder = 3,
}

/// The changes that write these entries with one state.
pub(super) fn changes(entries: &[(TransferId, Received)], state: RecordState) -> Changes {
    let when = now();
    let value = |received| {
        let mut value = Vec::new();
        encode(&mut value, state, when, received);
        value
    };
    entries.iter().map(|(id, received)| (id.0, Some(value(received)))).collect()
}

/// The key of a folder in the table of the transfers. It is a hash like their ids, so they do not
/// collide.
pub(super) fn folder_key(name: &Name) -> [u8; 16] {
    let hash = *blake3::Hasher::new_derive_key("rft 1 folder that fills")
        .update(name.as_bytes())
        .finalize()
        .as_bytes();
    let mut key = [0; 16];
    key.copy_from_slice(&hash[..16]);
    key
}

pub(super) fn filling(name: &Name) -> Vec<u8> {
    let mut value = Vec::new();
    encode(
        &mut value,
        RecordState::Filling,
        now(),
        &Received { hash: [0; 32], saved_as: name.clone() },
    );
    value
}

pub(super) fn now() -> u64 {
    seconds(SystemTime::now())
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Change time (seconds and nanoseconds, little-endian), and the hash if there is one.
pub(super) fn encode_delivered(delivered: &Delivered) -> Vec<u8> {
    let mut value = delivered.changed.seconds.to_le_bytes().to_vec();
    value.extend_from_slice(&delivered.changed.nanos.to_le_bytes());
    value.extend_from_slice(delivered.hash.as_ref().map_or(&[], |hash| &hash[..]));
    value
}

pub(super) fn decode_delivered(value: &[u8]) -> Option<Delivered> {
    let (seconds, rest) = value.split_first_chunk::<8>()?;
    let (nanos, hash) = rest.split_first_chunk::<4>()?;
    let changed =
        Timestamp { seconds: i64::from_le_bytes(*seconds), nanos: u32::from_le_bytes(*nanos) };
    let hash = if hash.is_empty() { None } else { Some(hash.try_into().ok()?) };
    Some(Delivered { changed, hash })
}

/// The fields: state, seconds since 1970 (little-endian), hash, name.
pub(super) fn encode(value: &mut Vec<u8>, state: RecordState, when: u64, received: &Received) {
    value.clear();
    value.push(state as u8);
    value.extend_from_slice(&when.to_le_bytes());
    value.extend_from_slice(&received.hash);
    value.extend_from_slice(received.saved_as.as_bytes());
}

pub(super) fn decode(value: &[u8]) -> Option<(RecordState, Received)> {
    let (state, rest) = value.split_first()?;
    let state = match state {
        0 => RecordState::Committing,
        1 => RecordState::Committed,
        2 => RecordState::Filling,
        3 => RecordState::NumberedFolder,
        _ => return None,
    };
    let (_when, rest) = rest.split_first_chunk::<8>()?;
    let (hash, name) = rest.split_first_chunk::<32>()?;
    Some((state, Received { hash: *hash, saved_as: Name::parse(name).ok()? }))
}

/// Whether an entry has expired. An unfinished one never does.
pub(super) fn too_old(value: &[u8], as_of: u64) -> bool {
    match value.split_first() {
        Some((&state, rest))
            if state != RecordState::Committing as u8
                && state <= RecordState::NumberedFolder as u8 =>
        {
            let when = rest.first_chunk::<8>().map(|when| u64::from_le_bytes(*when));
            when.is_none_or(|when| age::is_older(when, as_of, MAX_AGE))
        }
        _ => false,
    }
}
