//! The entries of the ledger as they are written: their states, their fields and their age.

use crate::proto::codec::{Reader, put_bytes};
use crate::proto::message::{Timestamp, TransferId};
use crate::proto::name::Name;
use crate::store::state::age;
use bytes::BufMut;
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
    /// A program accepted it before it was placed (`--quarantine`).
    pub checked: bool,
}

/// A file in Incoming for which a program of `--on-received` is still to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingHook {
    /// The transfer.
    pub transfer: TransferId,
    /// Bytes of the file.
    pub size: u64,
    /// BLAKE3 of the file.
    pub hash: [u8; 32],
    /// Time of the last modification at the sender.
    pub modified: Timestamp,
    /// The peer that sent it.
    pub peer: String,
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
    /// A [`PendingHook`], under a key of its own.
    HookPending = 4,
}

/// Added to the state of a transfer whose file a program has accepted.
const CHECKED: u8 = 0x10;
/// Maximum length of a peer's name in a record, in bytes.
const MAX_PEER: usize = 1024;

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

/// The key of a pending hook in the table of the transfers.
pub(super) fn hook_key(transfer: TransferId) -> [u8; 16] {
    let hash = blake3::derive_key("rft 1 pending hook", &transfer.0);
    let mut key = [0; 16];
    key.copy_from_slice(&hash[..16]);
    key
}

/// State, seconds since 1970 (little-endian), then the fields in the encoding of `proto::codec`.
pub(super) fn encode_hook(hook: &PendingHook) -> Vec<u8> {
    let mut value = vec![RecordState::HookPending as u8];
    value.extend_from_slice(&now().to_le_bytes());
    value.put_slice(&hook.transfer.0);
    value.put_u64(hook.size);
    value.put_slice(&hook.hash);
    value.put_i64(hook.modified.seconds);
    value.put_u32(hook.modified.nanos);
    put_bytes(&mut value, hook.peer.as_bytes(), MAX_PEER);
    value.put_slice(hook.saved_as.as_bytes());
    value
}

/// The time of the record, and the hook; `None` for a record of another kind.
pub(super) fn decode_hook(value: &[u8]) -> Option<(u64, PendingHook)> {
    let (&state, rest) = value.split_first()?;
    let (when, rest) = rest.split_first_chunk::<8>()?;
    if state != RecordState::HookPending as u8 {
        return None;
    }
    let mut r = Reader::new(rest);
    let hook = PendingHook {
        transfer: TransferId(r.array().ok()?),
        size: r.u64().ok()?,
        hash: r.array().ok()?,
        modified: Timestamp { seconds: r.i64().ok()?, nanos: r.u32().ok()? },
        peer: String::from_utf8_lossy(r.bytes(MAX_PEER).ok()?).into_owned(),
        saved_as: Name::parse(r.rest()).ok()?,
    };
    Some((u64::from_le_bytes(*when), hook))
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
        &Received { hash: [0; 32], saved_as: name.clone(), checked: false },
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

/// The fields: state with [`CHECKED`], seconds since 1970 (little-endian), hash, name.
pub(super) fn encode(value: &mut Vec<u8>, state: RecordState, when: u64, received: &Received) {
    value.clear();
    value.push(state as u8 | if received.checked { CHECKED } else { 0 });
    value.extend_from_slice(&when.to_le_bytes());
    value.extend_from_slice(&received.hash);
    value.extend_from_slice(received.saved_as.as_bytes());
}

pub(super) fn decode(value: &[u8]) -> Option<(RecordState, Received)> {
    let (&state, rest) = value.split_first()?;
    let checked = state & CHECKED != 0;
    let state = match state & !CHECKED {
        0 => RecordState::Committing,
        1 => RecordState::Committed,
        2 => RecordState::Filling,
        3 => RecordState::NumberedFolder,
        _ => return None,
    };
    let (_when, rest) = rest.split_first_chunk::<8>()?;
    let (hash, name) = rest.split_first_chunk::<32>()?;
    Some((state, Received { hash: *hash, saved_as: Name::parse(name).ok()?, checked }))
}

/// Whether a record is of a committed transfer.
pub(super) fn is_committed(value: &[u8]) -> bool {
    value.first().is_some_and(|state| state & !CHECKED == RecordState::Committed as u8)
}

/// Whether an entry has expired. An unfinished one never does, nor does a pending hook.
pub(super) fn too_old(value: &[u8], as_of: u64) -> bool {
    match value.split_first() {
        Some((&state, rest))
            if state & !CHECKED != RecordState::Committing as u8
                && state & !CHECKED <= RecordState::NumberedFolder as u8 =>
        {
            let when = rest.first_chunk::<8>().map(|when| u64::from_le_bytes(*when));
            when.is_none_or(|when| age::is_older(when, as_of, MAX_AGE))
        }
        _ => false,
    }
}
