//! Fuzz bodies of the inbox.

use super::active::{Active, Claim};
use super::reassembly::{Assembler, Layout};
use crate::crypto::seal::RECORD_OVERHEAD;
use crate::proto::codec::Reader;
use crate::proto::message::{CHUNK_SIZE, Trailer, TransferId};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Attempts at a few transfers begin, give up waiting, and end, in any order: at most one at a time
/// goes on with each, and one that waits gets its turn.
///
/// # Panics
/// When it does not hold.
pub fn claims(data: &[u8]) {
    type Waiting = Pin<Box<dyn Future<Output = Arc<Claim>>>>;
    let active = Arc::new(Active::default());
    let mut waiting: Vec<(u8, Waiting)> = Vec::new();
    let mut held: Vec<(u8, Arc<Claim>)> = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    for &choice in data.iter().take(400) {
        let (what, id) = (choice >> 4, choice & 3);
        match what {
            0..8 => {
                let active = active.clone();
                waiting
                    .push((id, Box::pin(async move { active.claim(TransferId([id; 16])).await })));
            }
            8 | 9 if !waiting.is_empty() => {
                drop(waiting.remove(usize::from(choice) % waiting.len()))
            }
            // Another holder of the same claim: the thread that writes.
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
            assert!(held.iter().any(|(other, _)| other == id), "transfer {id} waits for nobody");
        }
        let distinct: std::collections::BTreeSet<_> = held.iter().map(|(id, _)| id).collect();
        assert_eq!(active.len(), distinct.len());
    }
    held.clear();
    drop(waiting);
    assert_eq!(active.len(), 0);
}

/// Pieces of a stream in any order, cut anywhere, some of them beyond its end: every record comes
/// out once and whole, and what is held is bounded by the records that began.
///
/// # Panics
/// When it does not hold.
pub fn assemble(data: &[u8]) {
    let mut bytes = Reader::new(data);
    let mut number = |max: u64| bytes.u32().map_or(0, |n| u64::from(n) % max);
    nonsense(number(u64::MAX) << number(33), number(u64::MAX) << number(33));
    let chunk = CHUNK_SIZE as u64;
    let (position, index) = (number(1000), number(3));
    let size = number(4 * chunk);
    let offset = number(5) * chunk;
    let Some(layout) = Layout::new(position, index, size, offset) else {
        assert!(offset > size);
        return;
    };
    let stream: Vec<u8> =
        (0..layout.records()).flat_map(|k| vec![k as u8 + 1; layout.record_len(k)]).collect();
    let records = layout.records() as usize;
    assert_eq!(
        stream.len() as u64,
        size - offset + records as u64 * RECORD_OVERHEAD as u64 + TRAILER
    );
    let mut cuts: Vec<usize> =
        (0..number(20)).map(|_| number(stream.len() as u64 + 1) as usize).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    let mut pieces: Vec<_> = cuts.windows(2).map(|w| (w[0], w[1])).collect();
    let mut assembler = Assembler::new(layout);
    let mut whole = vec![0; records];
    while !pieces.is_empty() {
        let (start, end) = pieces.swap_remove(number(pieces.len() as u64) as usize);
        assembler
            .push(position + start as u64, &stream[start..end], |record| {
                assert_eq!(record.record.len(), layout.record_len(record.k));
                assert!(record.record.iter().all(|&byte| byte == record.k as u8 + 1));
                whole[record.k as usize] += 1;
            })
            .unwrap();
        assert!(assembler.held() <= stream.len());
    }
    assert!(assembler.is_complete() && whole.iter().all(|&n| n == 1) && assembler.held() == 0);
    let behind = position + stream.len() as u64 + number(1 << 30);
    assert!(assembler.push(behind, &[0], drop).is_err());
}

const TRAILER: u64 = Trailer::LEN as u64;

/// Whatever a peer claims, its layout can be reckoned with.
fn nonsense(size: u64, offset: u64) {
    if let Some(layout) = Layout::new(u64::MAX >> 1, 1, size, offset) {
        let last = layout.records() - 1;
        assert!(layout.is_last(last) && layout.record_len(last) >= RECORD_OVERHEAD);
        assert_eq!(layout.file_offset(last) + layout.data_len(last) as u64, size);
        assert_eq!(layout.index(last), 1 + last);
    }
}
