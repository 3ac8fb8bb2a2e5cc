use crate::inbox::variable_layout::*;
use proptest::prelude::*;

/// The header of record `k` with this much data.
fn header(layout: &Layout, k: u64, data: usize) -> [u8; HEADER_LEN] {
    let (kind, trailer) = if layout.is_last(k) { (2, Trailer::LEN) } else { (1, 0) };
    let mut header = [0; HEADER_LEN];
    header[0] = kind;
    header[4..8].copy_from_slice(&((data + trailer) as u32).to_be_bytes());
    header[8..].copy_from_slice(&layout.index(k).to_be_bytes());
    header
}

/// A record: its header, and then k as a byte.
fn record(layout: &Layout, k: u64, data: usize) -> Vec<u8> {
    let header = header(layout, k, data);
    let trailer = if layout.is_last(k) { Trailer::LEN } else { 0 };
    let mut record = vec![k as u8; data + trailer + RECORD_OVERHEAD];
    record[..HEADER_LEN].copy_from_slice(&header);
    record
}

/// A file of three chunks, the last of 10 bytes, whose first record is number 2 and stands at 100.
fn three() -> Layout {
    Layout::new(100, 2, 2 * CHUNK_SIZE as u64 + 10, 0).unwrap()
}

/// What comes out, by number.
fn push(walker: &mut VariableLayout, position: u64, piece: &[u8]) -> Result<Vec<u64>, OutOfPlace> {
    let mut out = Vec::new();
    walker.push(position, piece, |whole| out.push(whole.k)).map(|()| out)
}

#[test]
fn a_lost_header_holds_up_what_follows_and_no_more() {
    let layout = three();
    let records: Vec<_> =
        [(0, 500), (1, 700), (2, 9)].map(|(k, len)| record(&layout, k, len)).into();
    let [first, second, third] = [100, 100 + 564, 100 + 564 + 764];
    let mut walker = VariableLayout::new(layout);
    // The packet with the second header is lost.
    assert_eq!(push(&mut walker, first, &records[0][..100]), Ok(vec![]));
    assert_eq!(push(&mut walker, second + 10, &records[1][10..]), Ok(vec![]));
    assert_eq!(push(&mut walker, third, &records[2]), Ok(vec![]));
    assert_eq!(push(&mut walker, first + 100, &records[0][100..]), Ok(vec![0]));
    assert!(walker.held() > 764);
    assert_eq!(push(&mut walker, second + 5, &records[1][5..10]), Ok(vec![]));
    assert_eq!(push(&mut walker, second, &records[1][..5]), Ok(vec![1, 2]));
    assert!(walker.is_complete());
    assert_eq!(walker.held(), 0);
}

#[test]
fn a_header_that_does_not_belong_there_is_refused_before_anything_is_allocated() {
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
        let mut walker = VariableLayout::new(layout);
        assert_eq!(push(&mut walker, 100, &header), Err(OutOfPlace), "{header:?}");
        assert_eq!(walker.held(), 0);
        // In two pieces it is no better.
        let mut walker = VariableLayout::new(layout);
        assert_eq!(push(&mut walker, 107, &header[7..]), Ok(vec![]));
        assert_eq!(push(&mut walker, 100, &header[..7]), Err(OutOfPlace), "{header:?}");
    }
    assert_eq!(push(&mut VariableLayout::new(layout), 100, &good), Ok(vec![]));
    // The last may not lack its trailer.
    let one = Layout::new(0, 0, 10, 0).unwrap();
    let mut short = header(&one, 0, 10);
    short[4..8].copy_from_slice(&40u32.to_be_bytes());
    assert_eq!(push(&mut VariableLayout::new(one), 0, &short), Err(OutOfPlace));
}

#[test]
fn bytes_outside_every_record_are_refused() {
    let layout = Layout::new(10, 0, 5, 0).unwrap();
    let whole = record(&layout, 0, 5);
    assert_eq!(push(&mut VariableLayout::new(layout), 9, &[0]), Err(OutOfPlace));
    assert_eq!(push(&mut VariableLayout::new(layout), 10 + 2 * FULL, &[0]), Err(OutOfPlace));
    assert_eq!(push(&mut VariableLayout::new(layout), u64::MAX, &[0]), Err(OutOfPlace));
    assert_eq!(
        push(&mut VariableLayout::new(layout), 10, &[&whole[..], &[0]].concat()),
        Err(OutOfPlace)
    );
    let mut walker = VariableLayout::new(layout);
    assert_eq!(push(&mut walker, 10, &whole), Ok(vec![0]));
    assert_eq!(push(&mut walker, 10 + whole.len() as u64, &[0]), Err(OutOfPlace));
    // Kept bytes that turn out to lie behind the end.
    let mut walker = VariableLayout::new(layout);
    assert_eq!(push(&mut walker, 10 + whole.len() as u64, &[0; 20]), Ok(vec![]));
    assert_eq!(push(&mut walker, 10, &whole), Err(OutOfPlace));
}

#[test]
fn bytes_that_come_twice_are_refused() {
    let layout = three();
    let mut walker = VariableLayout::new(layout);
    assert_eq!(push(&mut walker, 200, &[1; 50]), Ok(vec![]));
    for (position, len) in [(200, 50), (190, 11), (249, 5), (210, 10), (190, 100)] {
        assert_eq!(push(&mut walker, position, &vec![1; len]), Err(OutOfPlace), "{position}+{len}");
    }
    assert_eq!(push(&mut walker, 190, &[1; 10]), Ok(vec![]));
}

#[test]
fn what_is_held_for_crumbs_is_counted_with_their_cost() {
    let mut walker = VariableLayout::new(three());
    for at in 0..100 {
        push(&mut walker, 1000 + 2 * at, &[0]).unwrap();
    }
    assert_eq!(walker.held(), 100 * (1 + PIECE_COST));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_order_of_any_pieces_gives_every_record_once(
        size in 0u64..5 * CHUNK_SIZE as u64, position in 0u64..1000, shrink in any::<u64>(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..60), order in any::<u64>(),
    ) {
        let layout = Layout::new(position, 1, size, 0).unwrap();
        let records: Vec<_> = (0..layout.records()).map(|k| {
            let most = layout.data_len(k);
            // Some whole, some nearly nothing, some in between.
            let data = match shrink.rotate_left(13 * k as u32) % 4 {
                0 => most,
                1 => most.min(1),
                _ => (shrink.rotate_right(7 * k as u32) as usize % (most + 1)).max(most.min(1)),
            };
            record(&layout, k, data)
        }).collect();
        let stream = records.concat();
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        ends.extend([0, stream.len()]);
        ends.sort_unstable();
        let mut pieces: Vec<_> = ends.windows(2).map(|w| (w[0], w[1])).collect();
        pieces.sort_by_key(|(start, _)| (*start as u64).wrapping_mul(order | 1).rotate_left(17));
        let mut walker = VariableLayout::new(layout);
        let mut seen = vec![0; records.len()];
        for (start, end) in pieces {
            walker.push(position + start as u64, &stream[start..end], |whole| {
                assert_eq!(whole.record, records[whole.k as usize]);
                seen[whole.k as usize] += 1;
            }).unwrap();
        }
        prop_assert!(seen.iter().all(|&n| n == 1));
        prop_assert!(walker.is_complete());
        prop_assert_eq!(walker.held(), 0);
    }
}
