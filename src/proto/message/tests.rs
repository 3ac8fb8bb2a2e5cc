use super::*;
use crate::proto::chunk_set::ChunkSet;
use crate::proto::codec::Malformed;
use crate::proto::name::Name;
use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn bytes_of(encode: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    encode(&mut out);
    out
}

fn offer(kind: EntryKind) -> Offer {
    Offer {
        id: TransferId([7; 16]),
        name: name("a/b"),
        kind,
        modified: Timestamp { seconds: -5, nanos: 999_999_999 },
        mode: Some(0o644),
        inline: true,
    }
}

#[test]
fn an_offer_has_the_bytes_of_the_table() {
    let bytes = bytes_of(|out| offer(EntryKind::File { size: 258 }).encode(out));
    let mut expected = vec![0, 1];
    expected.extend([7; 16]);
    expected.extend([0, 0, 0, 0, 0, 0, 1, 2]);
    expected.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfb]);
    expected.extend([0x3b, 0x9a, 0xc9, 0xff]);
    expected.extend([0, 0, 1, 0xa4]);
    expected.extend([0, 3, b'a', b'/', b'b', 0, 0]);
    assert_eq!(bytes, expected);
}

#[test]
fn offers_with_invalid_fields_are_malformed() {
    let good = bytes_of(|out| offer(EntryKind::File { size: 1 }).encode(out));
    assert!(Offer::decode(&good).is_ok());
    for (at, value) in [(0, 3), (1, 2), (34, 0xff), (38, 1), (43, 0), (48, 9)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(Offer::decode(&bad), Err(Malformed), "byte {at} = {value}");
    }
    assert_eq!(Offer::decode(&good[..good.len() - 1]), Err(Malformed));
    let folder_with_a_size = {
        let mut bytes = bytes_of(|out| offer(EntryKind::Folder).encode(out));
        bytes[25] = 1;
        bytes
    };
    assert_eq!(Offer::decode(&folder_with_a_size), Err(Malformed));
    let link_to_nothing = bytes_of(|out| offer(EntryKind::Link { target: vec![] }).encode(out));
    assert_eq!(Offer::decode(&link_to_nothing), Err(Malformed));
}

#[test]
fn a_trailer_is_split_off_the_last_chunk() {
    let trailer = Trailer { size: 3, hash: [9; 32] };
    let mut plaintext = BytesMut::from(&b"abc"[..]);
    trailer.encode(&mut plaintext);
    assert_eq!(Trailer::split(&plaintext), Ok((&b"abc"[..], trailer)));
    assert_eq!(Trailer::split(&plaintext[4..]), Err(Malformed));
}

#[test]
fn an_accept_has_the_bytes_of_the_table() {
    assert_eq!(bytes_of(|out| Accept::NOTHING.encode(out)), [0, 0][..]);
    assert_eq!(Accept::prefix(0, [9; 32]), Accept::NOTHING);
    assert_eq!(Accept::NOTHING.held_prefix(), None);
    let accept = Accept::prefix(258, [9; 32]);
    let bytes = bytes_of(|out| accept.encode(out));
    let fields: [&[u8]; 5] = [&[0, 1], &[0; 8], &[0, 0, 0, 0, 0, 0], &[1, 2], &[9; 32]];
    assert_eq!(bytes, fields.concat());
    assert_eq!(Accept::decode(&bytes).as_ref(), Ok(&accept));
    assert_eq!(accept.held_prefix(), Some((ChunkSet::prefix(258), [9; 32])));
    for bad in [&bytes[..49], &[&bytes[..], &[0]].concat(), &bytes[..18], &[], &[0]] {
        assert_eq!(Accept::decode(bad), Err(Malformed), "{bad:?}");
    }
}

#[test]
fn an_accept_with_gaps_has_a_hash_for_each_range() {
    let held = ChunkSet::from_ranges(vec![0..2, 5..6]).unwrap();
    let accept = Accept { held, proofs: vec![[1; 32], [2; 32]] };
    assert_eq!(Accept::decode(&bytes_of(|out| accept.encode(out))).as_ref(), Ok(&accept));
    assert_eq!(accept.held_prefix(), Some((ChunkSet::prefix(2), [1; 32])));
    let held = ChunkSet::from_ranges(vec![1..2, 3..4]).unwrap();
    assert_eq!(Accept { held, proofs: vec![[1; 32]; 2] }.held_prefix(), None);
    let most = (0..ChunkSet::MAX_RANGES as u64).map(|n| 2 * n..2 * n + 1).collect();
    let held = ChunkSet::from_ranges(most).unwrap();
    let most = Accept { held, proofs: vec![[1; 32]; ChunkSet::MAX_RANGES] };
    assert!(bytes_of(|out| most.encode(out)).len() <= MAX_MESSAGE);
}

#[test]
fn a_begin_tells_compression_by_one_more_byte() {
    let plain = Begin { confirmed: ChunkSet::prefix(1), compressed: false };
    let compressed = Begin { compressed: true, ..plain.clone() };
    let bytes = bytes_of(|out| plain.encode(out));
    assert_eq!(bytes.len(), 18);
    assert_eq!(Begin::decode(&bytes), Ok(plain));
    let bytes = bytes_of(|out| compressed.encode(out));
    assert_eq!(bytes.len(), 19);
    assert_eq!(Begin::decode(&bytes), Ok(compressed));
    for bad in [
        &bytes[..17],
        &[&bytes[..18], &[0]].concat(),
        &[&bytes[..18], &[2]].concat(),
        &[&bytes[..], &[1]].concat(),
        &[1; 18],
    ] {
        assert_eq!(Begin::decode(bad), Err(Malformed), "{bad:?}");
    }
}

#[test]
fn settings_with_later_fields_are_accepted() {
    let settings = Settings {
        last_session: [1; 16],
        last_alive: true,
        streams: 4,
        capabilities: 3,
        installation: InstallationId([5; 16]),
        partner: Some(InstallationId([6; 16])),
        displaced: true,
        version: Label::new("1.2"),
        host: Label::new("bob"),
    };
    let mut bytes = bytes_of(|out| settings.encode(out));
    let fields: [&[u8]; 11] = [
        &[1; 16],
        &[1],
        &[0, 0, 0, 4],
        &[0, 0, 0, 3],
        &[5; 16],
        &[6; 16],
        &[1],
        &[3],
        b"1.2",
        &[3],
        b"bob",
    ];
    assert_eq!(bytes, fields.concat());
    assert_eq!(Settings::decode(&bytes[..57]), Err(Malformed));
    let unnamed = Settings { version: Label::default(), host: Label::default(), ..settings };
    assert_eq!(Settings::decode(&bytes[..58]), Ok(unnamed), "of an earlier version");
    assert_eq!(Settings::decode(&bytes[..60]), Err(Malformed), "a text that is cut off");
    bytes.put_u64(99);
    assert_eq!(Settings::decode(&bytes), Ok(settings));
}

proptest! {
    #[test]
    fn every_message_survives_encoding(
        id in any::<[u8; 16]>(), size in any::<u64>(), seconds in any::<i64>(), nanos in 0u32..1_000_000_000,
        mode in proptest::option::of(0u32..=0o777), inline in any::<bool>(), kind in 0u8..3,
        ids in proptest::collection::vec(any::<[u8; 16]>(), 0..MAX_FORGET), detail in "\\PC{0,100}",
    ) {
        let kind = match kind {
            0 => EntryKind::File { size },
            1 => EntryKind::Folder,
            _ => EntryKind::Link { target: b"x/y".to_vec() },
        };
        let offer = Offer {
            id: TransferId(id), name: name("n"), kind, modified: Timestamp { seconds, nanos }, mode, inline,
        };
        prop_assert_eq!(Offer::decode(&bytes_of(|o| offer.encode(o))), Ok(offer));
        for outcome in [
            Outcome::Done { hash: [1; 32], saved_as: name("a/b"), checked: true },
            Outcome::Have { hash: [2; 32], saved_as: name("c"), checked: false },
            Outcome::Refused { reason: Refusal::NoSpace, detail },
        ] {
            prop_assert_eq!(Outcome::decode(&bytes_of(|o| outcome.encode(o))), Ok(outcome));
        }
        for control in [
            Control::Adopt,
            Control::Backlog { files: size, bytes: size },
            Control::Forget(ids.into_iter().map(TransferId).collect()),
            Control::Goodbye,
            Control::Limits {
                sending: Constraint::ALL[usize::from(id[0] % 5)],
                receiving: Constraint::ALL[usize::from(id[1] % 5)],
            },
        ] {
            prop_assert_eq!(Control::decode(&bytes_of(|o| control.encode(o))), Ok(control));
        }
    }

    #[test]
    fn names_refusals_and_numbers_survive_encoding(
        bytes in proptest::collection::vec(any::<u8>(), 1..300), target in proptest::collection::vec(any::<u8>(), 1..300),
        chunks in 0..u64::MAX / CHUNK_SIZE as u64, hash in any::<[u8; 32]>(), size in any::<u64>(),
        last_session in any::<[u8; 16]>(), last_alive in any::<bool>(), streams in any::<u32>(), capabilities in any::<u32>(),
        data in proptest::collection::vec(any::<u8>(), 0..100), id in any::<[u8; 16]>(),
    ) {
        if let Ok(name) = Name::parse(&bytes) {
            let offer = Offer { name: name.clone(), ..offer(EntryKind::Link { target }) };
            prop_assert_eq!(Offer::decode(&bytes_of(|o| offer.encode(o))), Ok(offer));
            let done = Outcome::Done { hash, saved_as: name, checked: false };
            prop_assert_eq!(Outcome::decode(&bytes_of(|o| done.encode(o))), Ok(done));
        }
        for reason in Refusal::ALL {
            let refused = Outcome::Refused { reason, detail: String::new() };
            prop_assert_eq!(Outcome::decode(&bytes_of(|o| refused.encode(o))), Ok(refused));
        }
        let accept = Accept::prefix(chunks, hash);
        prop_assert_eq!(Accept::decode(&bytes_of(|o| accept.encode(o))), Ok(accept.clone()));
        let begin = Begin { confirmed: accept.held, compressed: data.len() % 2 == 1 };
        prop_assert_eq!(Begin::decode(&bytes_of(|o| begin.encode(o))), Ok(begin));
        let partner = Some(InstallationId(last_session)).filter(|id| last_alive && *id != InstallationId([0; 16]));
        let settings = Settings {
            last_session, last_alive, streams, capabilities, installation: InstallationId(id), partner,
            displaced: !last_alive, version: Label::new(&format!("{streams}")), host: Label::new(&"h".repeat(data.len())),
        };
        prop_assert_eq!(Settings::decode(&bytes_of(|o| settings.encode(o))), Ok(settings));
        let mut plaintext = BytesMut::from(&data[..]);
        let trailer = Trailer { size, hash };
        trailer.encode(&mut plaintext);
        prop_assert_eq!(Trailer::split(&plaintext), Ok((&data[..], trailer)));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Offer::decode(&bytes);
        let _ = Outcome::decode(&bytes);
        let _ = Control::decode(&bytes);
        let _ = Settings::decode(&bytes);
        let _ = Accept::decode(&bytes);
        let _ = Begin::decode(&bytes);
        let _ = Trailer::split(&bytes);
    }
}

#[test]
fn a_folder_has_no_size_and_a_second_less_than_a_second_of_nanoseconds() {
    let folder = bytes_of(|out| offer(EntryKind::Folder).encode(out));
    assert!(Offer::decode(&folder).is_ok());
    // The size stands after kind, flag and id; the nanoseconds after the seconds.
    let mut sized = folder.clone();
    sized[25] = 1;
    assert_eq!(Offer::decode(&sized), Err(Malformed));
    let mut late = folder.clone();
    late[34..38].copy_from_slice(&1_000_000_000u32.to_be_bytes());
    assert_eq!(Offer::decode(&late), Err(Malformed));
}

/// A refusal that ends by itself is offered again, one that a user must end is asked about.
#[test]
fn refusals_tell_whether_another_attempt_may_succeed() {
    use Refusal as R;
    let of = |is: fn(Refusal) -> bool| R::ALL.into_iter().filter(|r| is(*r)).collect::<Vec<_>>();
    assert_eq!(of(R::is_in_the_way), [R::Conflict, R::InTheWay]);
    assert_eq!(
        of(R::retry_helps),
        [R::NoSpace, R::Storage, R::Corrupt, R::Busy, R::Stopping, R::Full, R::Unchecked]
    );
}
