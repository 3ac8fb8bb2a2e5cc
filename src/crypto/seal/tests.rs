use std::time::{Duration, Instant};

use super::*;
use crate::crypto::fuzzing::is_as_it_was_or_wiped;
use crate::crypto::schedule::SessionSecret;
use crate::crypto::vectors::Vectors;

const LAST_OF_EPOCH: u64 = (1 << EPOCH_BITS) - 1;

fn session() -> SessionKeys {
    SessionKeys::new(SessionSecret::from_bytes(&Vectors::rft1().array("s")))
}

fn filled(plaintext: &[u8]) -> BytesMut {
    let mut buffer = Sealer::buffer(plaintext.len());
    buffer.extend_from_slice(plaintext);
    buffer
}

fn seal(sealer: &mut Sealer, kind: RecordKind, plaintext: &[u8]) -> Vec<u8> {
    sealer.seal(kind, filled(plaintext)).unwrap().to_vec()
}

/// `count` data records whose plaintext is their index.
fn records(count: u64) -> Vec<Vec<u8>> {
    let mut sealer = session().sealer(Role::Initiator, Numbered((), 4)).1;
    (0..count).map(|i| seal(&mut sealer, RecordKind::Data, &i.to_be_bytes())).collect()
}

fn open(
    opener: &mut Opener,
    index: u64,
    record: &[u8],
) -> Result<(RecordKind, Vec<u8>), OpenError> {
    let mut copy = record.to_vec();
    let opened = opener.open(index, &mut copy).map(|(kind, plaintext)| (kind, plaintext.to_vec()));
    if opened.is_err() {
        assert!(is_as_it_was_or_wiped(&copy, record), "a refused record reveals nothing");
    }
    opened
}

#[test]
fn known_answers() {
    let keys = session();
    for v in Vectors::rft1().list("records") {
        let sender = if v.text("role") == "R" { Role::Responder } else { Role::Initiator };
        let (stream, index) = (v.number("stream"), v.number("index"));
        let kind = RecordKind::from_wire(v.number("kind") as u8).unwrap();
        let (plaintext, record) = (v.bytes("plaintext"), v.bytes("record"));

        let mut sealer = keys.sealer(sender, Numbered((), stream)).1;
        sealer.next = index;
        assert_eq!(
            seal(&mut sealer, kind, &plaintext),
            record,
            "record {index} of stream {stream}"
        );
        assert_eq!(sealer.next_index(), index + 1);
        assert_eq!(open(&mut keys.opener(sender, stream), index, &record), Ok((kind, plaintext)));
    }
}

#[test]
fn sealed_in_place() {
    let mut buffer = Sealer::buffer(1000);
    assert_eq!((buffer.len(), buffer.capacity() >= 1000 + RECORD_OVERHEAD), (HEADER_LEN, true));
    buffer.resize(HEADER_LEN + 1000, 7);
    let at = buffer.as_ptr();
    let record = session()
        .sealer(Role::Responder, Numbered((), 0))
        .1
        .seal(RecordKind::Data, buffer)
        .unwrap();
    assert_eq!(record.as_ptr(), at);
    assert_eq!(record.len(), 1000 + RECORD_OVERHEAD);
    let header = Header::parse(record.first_chunk().unwrap(), 1000).unwrap();
    assert_eq!(header, Header { kind: RecordKind::Data, len: 1000, index: 0 });
    assert_eq!(header.record_len(), record.len() as u64);
}

#[test]
fn an_empty_record_is_a_record() {
    let record =
        seal(&mut session().sealer(Role::Responder, Numbered((), 0)).1, RecordKind::Final, b"");
    assert_eq!(record.len(), RECORD_OVERHEAD);
    assert_eq!(
        open(&mut session().opener(Role::Responder, 0), 0, &record),
        Ok((RecordKind::Final, vec![]))
    );
}

#[test]
fn any_order_opens_and_each_only_once() {
    let records = records(5);
    let mut opener = session().opener(Role::Initiator, 4);
    for (index, contiguous) in [(3, 0), (0, 1), (4, 1), (1, 2), (2, 5)] {
        let record = &records[index as usize];
        assert_eq!(
            open(&mut opener, index, record),
            Ok((RecordKind::Data, index.to_be_bytes().to_vec()))
        );
        assert_eq!(opener.contiguous(), contiguous);
        assert_eq!(open(&mut opener, index, record), Err(OpenError::Replayed));
    }
    assert!(opener.ahead.is_empty());
    assert!(!opener.is_complete());
    for (index, record) in records.iter().enumerate() {
        assert_eq!(open(&mut opener, index as u64, record), Err(OpenError::Replayed));
    }
}

#[test]
fn a_record_at_another_place_is_refused() {
    let mut records = records(2);
    let mut opener = session().opener(Role::Initiator, 4);
    assert_eq!(open(&mut opener, 1, &records[0]), Err(OpenError::WrongIndex));
    assert_eq!(open(&mut opener, 0, &records[1]), Err(OpenError::WrongIndex));
    // Also with a header that is rewritten for this index.
    records[1][15] = 0;
    assert_eq!(open(&mut opener, 0, &records[1]), Err(OpenError::Forged));
    // After a refusal the true record still opens.
    assert!(open(&mut opener, 0, &records[0]).is_ok());
}

#[test]
fn a_record_of_another_stream_sender_or_session_is_refused() {
    let record = &records(1)[0];
    let other = SessionKeys::new(SessionSecret::from_bytes(&[1; 32]));
    let openers = [
        session().opener(Role::Initiator, 8),
        session().opener(Role::Responder, 4),
        other.opener(Role::Initiator, 4),
    ];
    for mut opener in openers {
        assert_eq!(open(&mut opener, 0, record), Err(OpenError::Forged));
    }
    assert!(open(&mut session().opener(Role::Initiator, 4), 0, record).is_ok());
}

/// Parts of two records do not form a third.
#[test]
fn spliced_parts_are_refused() {
    let records = records(2);
    let mut opener = session().opener(Role::Initiator, 4);
    let len = records[0].len();
    let parts = [0..16, 16..24, 24..40, 40..len];
    for part in parts {
        let mut spliced = records[0].clone();
        spliced[part.clone()].copy_from_slice(&records[1][part]);
        assert!(matches!(
            open(&mut opener, 0, &spliced),
            Err(OpenError::Forged | OpenError::WrongIndex)
        ));
    }
}

#[test]
fn every_single_bit_counts() {
    let record = &records(1)[0];
    let mut opener = session().opener(Role::Initiator, 4);
    for bit in 0..8 * record.len() {
        let mut changed = record.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let refused = open(&mut opener, 0, &changed).unwrap_err();
        if bit / 8 >= HEADER_LEN {
            assert_eq!(refused, OpenError::Forged, "bit {bit}");
        }
    }
    assert!(open(&mut opener, 0, record).is_ok());
}

#[test]
fn a_cut_or_padded_record_is_refused() {
    let record = &records(1)[0];
    let mut opener = session().opener(Role::Initiator, 4);
    for len in 0..record.len() {
        assert_eq!(open(&mut opener, 0, &record[..len]), Err(OpenError::Truncated), "{len} bytes");
    }
    assert_eq!(open(&mut opener, 0, &[record, &[0][..]].concat()), Err(OpenError::Truncated));
}

#[test]
fn nothing_follows_the_final_record() {
    let mut sealer = session().sealer(Role::Initiator, Numbered((), 4)).1;
    let data = seal(&mut sealer, RecordKind::Data, b"a");
    let last = seal(&mut sealer, RecordKind::Final, b"b");
    assert_eq!(sealer.seal(RecordKind::Data, filled(b"c")).err(), Some(SealError::Ended));
    // A malicious peer sends one nevertheless.
    sealer.ended = false;
    let more = seal(&mut sealer, RecordKind::Data, b"c");

    let mut opener = session().opener(Role::Initiator, 4);
    assert!(open(&mut opener, 1, &last).is_ok());
    assert!(!opener.is_complete());
    assert_eq!(open(&mut opener, 2, &more), Err(OpenError::AfterFinal));
    assert!(open(&mut opener, 0, &data).is_ok());
    assert!(opener.is_complete());

    let mut opener = session().opener(Role::Initiator, 4);
    assert!(open(&mut opener, 2, &more).is_ok());
    assert_eq!(open(&mut opener, 1, &last), Err(OpenError::AfterFinal));
}

#[test]
fn keys_change_with_the_epoch() {
    let keys = session();
    let mut sealer = keys.sealer(Role::Initiator, Numbered((), 4)).1;
    sealer.next = LAST_OF_EPOCH - 1;
    let records: Vec<_> = (0..4).map(|_| seal(&mut sealer, RecordKind::Data, b"x")).collect();
    let mut opener = keys.opener(Role::Initiator, 4);
    // Back and forth over the change of epoch, and then a later epoch in the same slot.
    for at in [2, 0, 3, 1] {
        assert!(
            open(&mut opener, LAST_OF_EPOCH - 1 + at as u64, &records[at]).is_ok(),
            "record {at}"
        );
    }
    sealer.next = 2 * (LAST_OF_EPOCH + 1);
    let far = seal(&mut sealer, RecordKind::Data, b"y");
    assert!(open(&mut opener, 2 * (LAST_OF_EPOCH + 1), &far).is_ok());
    let mut fresh = keys.opener(Role::Initiator, 4);
    assert!(open(&mut fresh, 2 * (LAST_OF_EPOCH + 1), &far).is_ok(), "no key of an earlier epoch");

    // The keys of two epochs differ.
    let (before, after) = (
        keys.0.stream(Role::Initiator, 4).chunk_aes(0),
        keys.0.stream(Role::Initiator, 4).chunk_aes(1),
    );
    assert_ne!(before, after);
}

/// No record has the greatest index, since the end of the stream could not be told.
#[test]
fn the_greatest_index_is_refused_before_the_cipher() {
    let mut record = records(1).remove(0);
    record[8..16].fill(0xff);
    let mut opener = session().opener(Role::Initiator, 4);
    assert_eq!(open(&mut opener, u64::MAX, &record), Err(OpenError::AfterFinal));
}

#[test]
fn a_sealer_does_not_wrap_around() {
    let mut sealer = session().sealer(Role::Initiator, Numbered((), 4)).1;
    sealer.next = u64::MAX;
    assert_eq!(sealer.seal(RecordKind::Data, filled(b"x")).err(), Some(SealError::Ended));
    assert_eq!(sealer.seal(RecordKind::Data, filled(b"x")).err(), Some(SealError::Ended));
    assert_eq!(sealer.next_index(), u64::MAX);
}

#[test]
fn a_buffer_without_room_is_refused() {
    let mut sealer = session().sealer(Role::Initiator, Numbered((), 4)).1;
    assert_eq!(
        sealer.seal(RecordKind::Data, BytesMut::zeroed(15)).err(),
        Some(SealError::NoHeaderRoom)
    );
    assert_eq!(sealer.next_index(), 0);
}

#[test]
fn headers_are_checked_before_anything_is_allocated() {
    let good = Header { kind: RecordKind::Data, len: 1000, index: 0x0102_0304_0506_0708 };
    let bytes = good.to_bytes();
    assert_eq!(bytes, [1, 0, 0, 0, 0, 0, 3, 0xe8, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(Header::parse(&bytes, 1000), Ok(good));
    assert_eq!(Header::parse(&bytes, 999), Err(OpenError::TooLong));
    for reserved in 1..4 {
        let mut bytes = bytes;
        bytes[reserved] = 1;
        assert_eq!(Header::parse(&bytes, 1000), Err(OpenError::BadHeader));
    }
    let known = (0..=u8::MAX).filter(|kind| {
        let mut bytes = bytes;
        bytes[0] = *kind;
        Header::parse(&bytes, 1000).is_ok()
    });
    assert_eq!(known.collect::<Vec<_>>(), [0x00, 0x01, 0x02, 0x10, 0x11, 0x20, 0x21]);
    for kind in [0x00, 0x01, 0x02, 0x10, 0x11, 0x20, 0x21] {
        assert_eq!(RecordKind::from_wire(kind).unwrap().to_wire(), kind);
    }
}

#[test]
fn memory_ahead_of_a_gap_is_bounded() {
    let mut sealer = session().sealer(Role::Initiator, Numbered((), 4)).1;
    let mut opener = session().opener(Role::Initiator, 4);
    let first = seal(&mut sealer, RecordKind::Data, b"");
    for index in 1..=MAX_AHEAD as u64 {
        let mut record = seal(&mut sealer, RecordKind::Data, b"");
        opener.open(index, &mut record).unwrap();
    }
    let beyond = seal(&mut sealer, RecordKind::Data, b"");
    let index = MAX_AHEAD as u64 + 1;
    assert_eq!(open(&mut opener, index, &beyond), Err(OpenError::TooFarAhead));
    assert!(open(&mut opener, 0, &first).is_ok());
    assert!(open(&mut opener, index, &beyond).is_ok());
    assert_eq!(opener.contiguous(), index + 1);
}

/// Thousands of streams are opened in a second. The bound is a hundred times the usual duration.
#[test]
fn a_stream_is_cheap() {
    let keys = session();
    let start = Instant::now();
    for stream in 0..1000 {
        seal(&mut keys.sealer(Role::Initiator, Numbered((), stream)).1, RecordKind::Offer, b"");
    }
    assert!(start.elapsed() < Duration::from_secs(2));
}
