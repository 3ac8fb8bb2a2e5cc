//! Messages of every kind: out of order, of wrong length, in the wrong place.

use super::enemy::{Enemy, Heard, RawOffer, fresh_id, last_chunk};
use super::ground::Ground;
use super::{CHUNK, Said, begin, bytes_of};
use bytes::BufMut;
use rft::internals::compress::{Effort, FrameCompressor};
use rft::internals::crypto::seal::RecordKind as Kind;
use rft::internals::proto::chunk_set::ChunkSet;
use rft::internals::proto::message::{
    Accept, Begin, CHUNK_SIZE, Control, MAX_FORGET, Outcome, Trailer,
};
use rft::internals::proto::name::Name;
use rft::internals::transport::close_code::CloseCode;
use rft::internals::transport::stream::StreamCode;

/// An answer that announces compressed chunks.
fn begin_packed() -> Said {
    (
        Kind::Answer,
        bytes_of(|out| Begin { confirmed: ChunkSet::EMPTY, compressed: true }.encode(out)),
    )
}

/// `len` zeros, compressed to a few bytes.
fn packed_zeros(len: usize) -> Vec<u8> {
    bytes_of(|out| assert!(FrameCompressor::default().compress(&vec![0; len], Effort::Much, out)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_out_of_order_end_their_stream_and_no_more() {
    let ground = Ground::new();
    let (running, at) = ground.listens(&[]);
    let enemy = Enemy::join(at).await;
    let small = || RawOffer::file("small", 5).bytes();
    let large = || RawOffer::large("large", 3 * CHUNK).bytes();
    let chunk = || (Kind::Data, vec![7; CHUNK_SIZE]);
    let last = |content: &[u8]| (Kind::Final, last_chunk(content, None));
    let accept = || (Kind::Answer, bytes_of(|out| Accept::prefix(1, [0; 32]).encode(out)));
    let gap = ChunkSet::from_ranges(vec![1..2, 3..4]).unwrap();
    let begin_with_gap = bytes_of(|out| Begin { confirmed: gap, compressed: false }.encode(out));
    let done =
        Outcome::Done { hash: [0; 32], saved_as: Name::parse(b"x").unwrap(), checked: false };
    let cases: Vec<(&str, Vec<Said>)> = vec![
        ("a chunk first", vec![chunk()]),
        ("the last chunk first", vec![last(b"hello")]),
        ("an answer first", vec![begin(0)]),
        ("the other side's answer first", vec![accept()]),
        ("a receipt first", vec![(Kind::Receipt, bytes_of(|out| done.encode(out)))]),
        ("settings on a file stream", vec![(Kind::Settings, vec![0; 25])]),
        ("a goodbye on a file stream", vec![(Kind::Control, vec![4])]),
        ("nothing where an offer should be", vec![(Kind::Offer, vec![])]),
        ("an offer cut short", vec![(Kind::Offer, small()[..20].to_vec())]),
        ("an offer and more", vec![(Kind::Offer, [small(), vec![0]].concat())]),
        ("two offers", vec![(Kind::Offer, small()), (Kind::Offer, small())]),
        (
            "a chunk that is not the last of a small file",
            vec![(Kind::Offer, small()), (Kind::Data, vec![7; 5])],
        ),
        (
            "chunks without the answer",
            vec![(Kind::Offer, large()), chunk(), chunk(), last(&[7; CHUNK_SIZE])],
        ),
        ("an answer where nothing is held", vec![(Kind::Offer, large()), begin(1)]),
        ("an answer beyond the end", vec![(Kind::Offer, large()), begin(4)]),
        ("an answer with a gap", vec![(Kind::Offer, large()), (Kind::Answer, begin_with_gap)]),
        ("an answer between chunks", vec![(Kind::Offer, large()), (Kind::Answer, vec![0; 8])]),
        ("two answers", vec![(Kind::Offer, large()), begin(0), begin(0)]),
        (
            "the last chunk first of all",
            vec![(Kind::Offer, large()), begin(0), last(&[7; CHUNK_SIZE])],
        ),
        (
            "chunks too short",
            vec![
                (Kind::Offer, large()),
                begin(0),
                (Kind::Data, vec![7; CHUNK_SIZE - 1]),
                chunk(),
                chunk(),
            ],
        ),
        (
            "a small file that unpacks into more",
            vec![
                (Kind::Offer, RawOffer::file("small", 100).bytes()),
                (
                    Kind::Final,
                    last_chunk(&packed_zeros(8 << 20), Some(Trailer { size: 100, hash: [0; 32] })),
                ),
            ],
        ),
        (
            "a chunk that unpacks into more",
            vec![(Kind::Offer, large()), begin_packed(), (Kind::Data, packed_zeros(8 << 20))],
        ),
        (
            "a chunk that unpacks into less",
            vec![
                (Kind::Offer, large()),
                begin_packed(),
                (Kind::Data, packed_zeros(CHUNK_SIZE - 1)),
            ],
        ),
        (
            "a chunk of nonsense",
            vec![(Kind::Offer, large()), begin_packed(), (Kind::Data, vec![7; 1000])],
        ),
        ("a chunk of nothing", vec![(Kind::Offer, large()), begin_packed(), (Kind::Data, vec![])]),
    ];
    for (what, records) in cases {
        let cut = what == "two answers";
        let mut stream = enemy.open().await;
        for (kind, plaintext) in &records {
            stream.says(*kind, plaintext).await;
        }
        stream.writer.stream().finish().await;
        let heard = loop {
            match stream.hears().await {
                Heard::Accept(_) => {}
                heard => break heard,
            }
        };
        // In place of the second answer, half of a chunk could still follow.
        assert!(
            heard.is_gone(StreamCode::Protocol) || cut && matches!(heard, Heard::Gone(_)),
            "{what}: {heard:?}"
        );
    }
    // Bytes without a seal, or with the seal of another place.
    let header = |kind: u8, zero: u8, len: u32| {
        let mut header = vec![kind, zero, 0, 0];
        header.put_u32(len);
        header.put_u64(0);
        header
    };
    for (what, raw) in [
        ("noise", vec![0x5a; 300]),
        ("a kind that there is not", [header(0x7f, 0, 8), vec![0; 56]].concat()),
        ("reserved bytes", [header(0, 1, 8), vec![0; 56]].concat()),
        ("all the length that there is", header(0, 0, u32::MAX)),
        ("more than a message", header(0, 0, 16_385)),
        ("a forged seal", [header(0, 0, 8), vec![0; 56]].concat()),
    ] {
        let mut stream = enemy.open().await;
        let _ = stream.says_raw(raw).await;
        let heard = stream.hears().await;
        assert!(heard.is_gone(StreamCode::Protocol), "{what}: {heard:?}");
    }
    assert_eq!(enemy.connection.close_reason(), None, "the session goes on");
    assert!(enemy.sends(&RawOffer::file("good", 4), b"good").await.is_done());
    assert_eq!(ground.arrived(), ["good"]);
    drop(enemy);
    ground.survives(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_on_the_control_stream_ends_the_session() {
    let ground = Ground::new();
    let (running, at) = ground.listens(&[]);
    for (what, kind, plaintext) in [
        ("settings again", Kind::Settings, vec![0; 25]),
        ("an offer", Kind::Offer, RawOffer::file("x", 1).bytes()),
        ("a chunk", Kind::Data, vec![0; 100]),
        ("an outcome", Kind::Receipt, vec![2, 1, 0, 0]),
        ("nothing", Kind::Control, vec![]),
        ("no such message", Kind::Control, vec![0]),
        ("no such message either", Kind::Control, vec![255; 100]),
        ("half a backlog", Kind::Control, vec![2, 0, 0]),
        ("half an id", Kind::Control, [&[3][..], &[0; 17]].concat()),
        ("too many ids", Kind::Control, [&[3][..], &vec![0; (MAX_FORGET + 1) * 16][..]].concat()),
        ("a goodbye and more", Kind::Control, vec![4, 0]),
        ("more than a message", Kind::Control, vec![3; 16_385]),
    ] {
        let mut enemy = Enemy::join(at).await;
        let _ = enemy.control.send(kind, |out| out.put_slice(&plaintext)).await;
        assert_eq!(enemy.is_closed_with().await, Some(CloseCode::Protocol), "{what}");
    }
    // Messages that are permitted at any time but have no effect, or hold the largest numbers.
    let mut enemy = Enemy::join(at).await;
    for message in [
        Control::Adopt,
        Control::Backlog { files: u64::MAX, bytes: u64::MAX },
        Control::Forget(vec![]),
        Control::Forget(vec![fresh_id(); MAX_FORGET]),
        Control::Backlog { files: 1, bytes: u64::MAX },
        Control::Backlog { files: u64::MAX, bytes: 0 },
    ] {
        enemy.control.send(Kind::Control, |out| message.encode(out)).await.unwrap();
    }
    assert!(enemy.sends(&RawOffer::file("good", 4), b"good").await.is_done());
    drop(enemy);
    ground.survives(running);
}
