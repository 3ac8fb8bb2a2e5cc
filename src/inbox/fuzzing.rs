//! Bodies of the inbox's fuzz targets.

use super::active::{ActiveTransfers, Claim};
use super::layout::Layout;
use super::reassembly::Reassembler;
use super::variable_layout::PIECE_COST;
use crate::crypto::seal::{HEADER_LEN, RECORD_OVERHEAD};
use crate::proto::chunk_set::ChunkSet;
use crate::proto::codec::Reader;
use crate::proto::message::{CHUNK_SIZE, Trailer, TransferId};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Attempts at a few transfers begin, give up waiting, and end, in any order: at most one attempt
/// at each transfer is active, and a waiting one gets its turn.
///
/// # Panics
/// If that does not hold.
pub fn active_transfers(data: &[u8]) {
    type PendingClaim = Pin<Box<dyn Future<Output = Arc<Claim>>>>;
    let active = Arc::new(ActiveTransfers::default());
    let mut waiting: Vec<(u8, PendingClaim)> = Vec::new();
    let mut held: Vec<(u8, Arc<Claim>)> = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    for &choice in data.iter().take(400) {
        let (action, id) = (choice >> 4, choice & 3);
        match action {
            0..8 => {
                let active = active.clone();
                waiting
                    .push((id, Box::pin(async move { active.claim(TransferId([id; 16])).await })));
            }
            8 | 9 if !waiting.is_empty() => {
                drop(waiting.remove(usize::from(choice) % waiting.len()))
            }
            // A second holder of the same claim, as the writing thread is.
            10 if !held.is_empty() => held.push(held[usize::from(choice) % held.len()].clone()),
            _ if !held.is_empty() => drop(held.remove(usize::from(choice) % held.len())),
            _ => {}
        }
        let mut at = 0;
        while at < waiting.len() {
            let (id, attempt) = &mut waiting[at];
            match attempt.as_mut().poll(&mut context) {
                Poll::Ready(claim) => {
                    assert!(held.iter().all(|(other, _)| other != id), "transfer {id} twice");
                    held.push((*id, claim));
                    drop(waiting.remove(at));
                }
                Poll::Pending => at += 1,
            }
        }
        for (id, _) in &waiting {
            assert!(
                held.iter().any(|(other, _)| other == id),
                "transfer {id} waits although no attempt is active"
            );
        }
        let distinct: std::collections::BTreeSet<_> = held.iter().map(|(id, _)| id).collect();
        assert_eq!(active.len(), distinct.len());
    }
    held.clear();
    drop(waiting);
    assert_eq!(active.len(), 0);
}

/// Pieces of a stream in any order, cut anywhere, with full records or with compressed ones: every
/// record is complete once, the memory is bounded by the stream, and bytes beyond its end are
/// refused.
///
/// # Panics
/// If that does not hold.
pub fn reassembly(data: &[u8]) {
    let mut bytes = Reader::new(data);
    let mut number = |max: u64| bytes.u32().map_or(0, |n| u64::from(n) % max);
    any_claimed_layout(number(u64::MAX) << number(33), number(u64::MAX) << number(33));
    let (position, index) = (number(1000), number(3));
    let size = number(4 * CHUNK_SIZE as u64);
    let held = ChunkSet::prefix(number(5));
    let Some(layout) = Layout::new(position, index, size, &held) else {
        assert!(held.prefix_bytes() > size);
        return;
    };
    let records: Vec<_> = (0..layout.records()).map(|k| record(&layout, k, 0)).collect();
    assert_eq!(
        records.concat().len() as u64,
        size - held.prefix_bytes()
            + layout.records() * RECORD_OVERHEAD as u64
            + Trailer::LEN as u64
    );
    let pieces = cuts(&mut number, records.concat().len());
    let shrunk: Vec<_> =
        (0..layout.records()).map(|k| record(&layout, k, number(1 << 18))).collect();
    let shrunk_pieces = cuts(&mut number, shrunk.concat().len());
    for (compressed, records, mut pieces) in
        [(false, records, pieces), (true, shrunk, shrunk_pieces)]
    {
        let stream = records.concat();
        let mut reassembler = Reassembler::new(layout, compressed);
        let mut complete = vec![0; records.len()];
        let pieces_cost = pieces.len() * PIECE_COST;
        while !pieces.is_empty() {
            let (start, end) = pieces.swap_remove(number(pieces.len() as u64) as usize);
            reassembler
                .push(position + start as u64, &stream[start..end], |record| {
                    assert_eq!(record.bytes, records[record.k as usize]);
                    complete[record.k as usize] += 1;
                })
                .unwrap();
            assert!(reassembler.held() <= stream.len() + pieces_cost);
        }
        assert!(reassembler.is_complete() && complete.iter().all(|&n| n == 1));
        assert_eq!(reassembler.held(), 0);
        let beyond = position + stream.len() as u64 + number(1 << 30);
        assert!(reassembler.push(beyond, &[0], drop).is_err());
    }
}

/// Record `k` with its header, filled with `k`. Its data is `less` bytes shorter than the chunk,
/// but has a byte if the chunk has one.
fn record(layout: &Layout, k: u64, less: u64) -> Vec<u8> {
    let chunk = layout.data_len(k);
    let data = chunk.saturating_sub(less as usize).max(chunk.min(1));
    let mut record = vec![k as u8; data + layout.trailer_len(k) + RECORD_OVERHEAD];
    record[..HEADER_LEN].fill(0);
    record[0] = if layout.is_last(k) { 2 } else { 1 };
    record[4..8].copy_from_slice(&((data + layout.trailer_len(k)) as u32).to_be_bytes());
    record[8..HEADER_LEN].copy_from_slice(&layout.index(k).to_be_bytes());
    record
}

/// Up to twenty places at which a stream of `len` bytes is cut, as pieces.
fn cuts(number: &mut impl FnMut(u64) -> u64, len: usize) -> Vec<(usize, usize)> {
    let mut cuts: Vec<usize> = (0..number(20)).map(|_| number(len as u64 + 1) as usize).collect();
    cuts.extend([0, len]);
    cuts.sort_unstable();
    cuts.windows(2).map(|w| (w[0], w[1])).collect()
}

/// A layout from any values that a peer may claim: no calculation overflows.
fn any_claimed_layout(size: u64, offset: u64) {
    let held = ChunkSet::prefix(offset / CHUNK_SIZE as u64);
    if let Some(layout) = Layout::new(u64::MAX >> 1, 1, size, &held) {
        let last = layout.records() - 1;
        assert!(layout.is_last(last) && layout.record_len(last) >= RECORD_OVERHEAD);
        assert_eq!(layout.file_offset(last) + layout.data_len(last) as u64, size);
        assert_eq!(layout.index(last), 1 + last);
    }
}
