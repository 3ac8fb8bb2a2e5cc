use super::super::layout::FULL_RECORD;
use super::super::variable_layout::PIECE_COST;
use super::*;
use crate::crypto::seal::{HEADER_LEN, RECORD_OVERHEAD};
use crate::proto::chunk_set::ChunkSet;
use crate::proto::message::CHUNK_SIZE;
use proptest::prelude::*;

/// The header of record `k` with `data` bytes of data.
fn header(layout: &Layout, k: u64, data: usize) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[0] = if layout.is_last(k) { 2 } else { 1 };
    header[4..8].copy_from_slice(&((data + layout.trailer_len(k)) as u32).to_be_bytes());
    header[8..].copy_from_slice(&layout.index(k).to_be_bytes());
    header
}

/// A record with `data` bytes of data: its header, and then k as a byte.
fn record(layout: &Layout, k: u64, data: usize) -> Vec<u8> {
    let header = header(layout, k, data);
    let mut record = vec![k as u8; data + layout.trailer_len(k) + RECORD_OVERHEAD];
    record[..HEADER_LEN].copy_from_slice(&header);
    record
}

/// A file of three chunks, the last of 10 bytes. Its first record has index 2 and stream offset
/// 100.
fn three() -> Layout {
    Layout::new(100, 2, 2 * CHUNK_SIZE as u64 + 10, &ChunkSet::EMPTY).unwrap()
}

fn variable(layout: Layout) -> Reassembler {
    Reassembler::new(layout, true)
}

/// The numbers of the records that a piece completes.
fn push(
    reassembler: &mut Reassembler,
    position: u64,
    piece: &[u8],
) -> Result<Vec<u64>, OutOfPlace> {
    let mut out = Vec::new();
    reassembler.push(position, piece, |record| out.push(record.k)).map(|()| out)
}

#[test]
fn a_lost_header_delays_the_records_after_it_and_no_other() {
    let layout = three();
    let records: Vec<_> =
        [(0, 500), (1, 700), (2, 9)].map(|(k, len)| record(&layout, k, len)).into();
    let [first, second, third] = [100, 100 + 564, 100 + 564 + 764];
    let mut reassembler = variable(layout);
    // The packet with the second header is lost.
    assert_eq!(push(&mut reassembler, first, &records[0][..100]), Ok(vec![]));
    assert_eq!(push(&mut reassembler, second + 10, &records[1][10..]), Ok(vec![]));
    assert_eq!(push(&mut reassembler, third, &records[2]), Ok(vec![]));
    assert_eq!(push(&mut reassembler, first + 100, &records[0][100..]), Ok(vec![0]));
    assert!(reassembler.held() > 764);
    assert_eq!(push(&mut reassembler, second + 5, &records[1][5..10]), Ok(vec![]));
    assert_eq!(push(&mut reassembler, second, &records[1][..5]), Ok(vec![1, 2]));
    assert!(reassembler.is_complete());
    assert_eq!(reassembler.held(), 0);
}

#[test]
fn an_invalid_header_is_refused_before_memory_is_allocated() {
    let layout = three();
    let good = header(&layout, 0, 500);
    let mut bad = vec![
        header(&layout, 0, CHUNK_SIZE + 1),
        header(&layout, 0, u32::MAX as usize),
        header(&layout, 0, 0),
        header(&layout, 1, 500), // another index
        header(&layout, 2, 500), // the last
    ];
    for (at, value) in [(0, 0x10), (0, 0x77), (1, 1)] {
        let mut header = good;
        header[at] = value;
        bad.push(header);
    }
    for header in bad {
        let mut reassembler = variable(layout);
        assert_eq!(push(&mut reassembler, 100, &header), Err(OutOfPlace), "{header:?}");
        assert_eq!(reassembler.held(), 0);
        // The same header in two pieces.
        let mut reassembler = variable(layout);
        assert_eq!(push(&mut reassembler, 107, &header[7..]), Ok(vec![]));
        assert_eq!(push(&mut reassembler, 100, &header[..7]), Err(OutOfPlace), "{header:?}");
    }
    assert_eq!(push(&mut variable(layout), 100, &good), Ok(vec![]));
    // The last record without room for its trailer.
    let one = Layout::new(0, 0, 10, &ChunkSet::EMPTY).unwrap();
    let mut short = header(&one, 0, 10);
    short[4..8].copy_from_slice(&40u32.to_be_bytes());
    assert_eq!(push(&mut variable(one), 0, &short), Err(OutOfPlace));
}

#[test]
fn bytes_outside_every_record_are_refused() {
    let layout = Layout::new(10, 0, 5, &ChunkSet::EMPTY).unwrap();
    let whole = record(&layout, 0, 5);
    assert_eq!(push(&mut variable(layout), 9, &[0]), Err(OutOfPlace));
    assert_eq!(push(&mut variable(layout), 10 + 2 * FULL_RECORD, &[0]), Err(OutOfPlace));
    assert_eq!(push(&mut variable(layout), u64::MAX, &[0]), Err(OutOfPlace));
    assert_eq!(push(&mut variable(layout), 10, &[&whole[..], &[0]].concat()), Err(OutOfPlace));
    let mut reassembler = variable(layout);
    assert_eq!(push(&mut reassembler, 10, &whole), Ok(vec![0]));
    assert_eq!(push(&mut reassembler, 10 + whole.len() as u64, &[0]), Err(OutOfPlace));
    // Kept bytes that lie behind the end, as the header before them shows.
    let mut reassembler = variable(layout);
    assert_eq!(push(&mut reassembler, 10 + whole.len() as u64, &[0; 20]), Ok(vec![]));
    assert_eq!(push(&mut reassembler, 10, &whole), Err(OutOfPlace));
}

#[test]
fn bytes_that_arrive_twice_are_refused() {
    let layout = three();
    let mut reassembler = variable(layout);
    assert_eq!(push(&mut reassembler, 200, &[1; 50]), Ok(vec![]));
    for (position, len) in [(200, 50), (190, 11), (249, 5), (210, 10), (190, 100)] {
        assert_eq!(
            push(&mut reassembler, position, &vec![1; len]),
            Err(OutOfPlace),
            "{position}+{len}"
        );
    }
    assert_eq!(push(&mut reassembler, 190, &[1; 10]), Ok(vec![]));
}

#[test]
fn kept_pieces_count_with_their_overhead() {
    let mut reassembler = variable(three());
    for at in 0..100 {
        push(&mut reassembler, 1000 + 2 * at, &[0]).unwrap();
    }
    assert_eq!(reassembler.held(), 100 * (1 + PIECE_COST));
}

#[test]
fn bytes_beyond_the_end_are_refused() {
    let layout = Layout::new(10, 0, 5, &ChunkSet::EMPTY).unwrap();
    let all = vec![0; layout.record_len(0) + 1];
    assert_eq!(push(&mut Reassembler::new(layout, false), 10, &all), Err(OutOfPlace));
    assert_eq!(push(&mut Reassembler::new(layout, false), 9, &[0]), Err(OutOfPlace));
}

/// The data lengths of a file's records: those of the chunks, or with `shrink` some of them nearly
/// nothing and others in between.
fn data_lens(layout: &Layout, shrink: Option<u64>) -> Vec<usize> {
    let lens = (0..layout.records()).map(|k| {
        let max = layout.data_len(k);
        let Some(shrink) = shrink else { return max };
        match shrink.rotate_left(13 * k as u32) % 4 {
            0 => max,
            1 => max.min(1),
            _ => (shrink.rotate_right(7 * k as u32) as usize % (max + 1)).max(max.min(1)),
        }
    });
    lens.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn pieces_in_any_order_give_every_record_once(
        size in 0u64..5 * CHUNK_SIZE as u64, position in 0u64..1000, shrink in any::<Option<u64>>(),
        held in 0u64..3, cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..60),
        order in any::<u64>(),
    ) {
        let Some(layout) = Layout::new(position, 1, size, &ChunkSet::prefix(held)) else {
            return Ok(());
        };
        let lens = data_lens(&layout, shrink);
        let records: Vec<_> = (0..).zip(lens).map(|(k, len)| record(&layout, k, len)).collect();
        let stream = records.concat();
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        ends.extend([0, stream.len()]);
        ends.sort_unstable();
        let mut pieces: Vec<_> = ends.windows(2).map(|w| (w[0], w[1])).collect();
        pieces.sort_by_key(|(start, _)| (*start as u64).wrapping_mul(order | 1).rotate_left(17));
        let mut reassembler = Reassembler::new(layout, shrink.is_some());
        let mut seen = vec![0; records.len()];
        for (start, end) in pieces {
            reassembler.push(position + start as u64, &stream[start..end], |record| {
                assert_eq!(record.bytes, records[record.k as usize]);
                seen[record.k as usize] += 1;
            }).unwrap();
        }
        prop_assert!(seen.iter().all(|&n| n == 1));
        prop_assert!(reassembler.is_complete());
        prop_assert_eq!(reassembler.held(), 0);
    }
}
