//! A peer that knows the password and does as it likes: it can fill Incoming, and nothing else. Each test ends
//! with an honest transfer, an orderly stop, and a look at everything around the peer's folders.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test's own helpers

#[path = "hostile/enemy.rs"]
mod enemy;
#[path = "hostile/ground.rs"]
mod ground;
mod harness;

use bytes::BufMut;
use enemy::{Enemy, Heard, RawOffer, Stream, fresh_id, last_chunk};
use ground::Ground;
use rft::crypto::seal::RecordKind as Kind;
use rft::net::endpoint::CloseCode;
use rft::net::stream::StreamCode;
use rft::pack::{Effort, Packer};
use rft::proto::message::{Accept, Begin, CHUNK_SIZE, Control, MAX_FORGET, Outcome, Refusal, Trailer};
use rft::proto::name::Name;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

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

fn begin(offset: u64) -> Said {
    (Kind::Answer, bytes_of(|out| Begin { offset, packed: false }.encode(out)))
}

/// Says that chunks may be packed.
fn begin_packed() -> Said {
    (Kind::Answer, bytes_of(|out| Begin { offset: 0, packed: true }.encode(out)))
}

/// So many zeros, packed: a few bytes.
fn packed_zeros(len: usize) -> Vec<u8> {
    bytes_of(|out| assert!(Packer::default().pack(&vec![0; len], Effort::Much, out)))
}

fn refused(heard: &Heard) -> Option<Refusal> {
    if let Heard::Outcome(Outcome::Refused { reason, .. }) = heard { Some(*reason) } else { None }
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
    let accept = || (Kind::Answer, bytes_of(|out| Accept { offset: 0, prefix: [0; 32] }.encode(out)));
    let done = Outcome::Done { hash: [0; 32], saved_as: Name::parse(b"x").unwrap() };
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
        ("chunks without the answer", vec![(Kind::Offer, large()), chunk(), chunk(), last(&[7; CHUNK_SIZE])]),
        ("an answer where nothing is held", vec![(Kind::Offer, large()), begin(CHUNK)]),
        ("an answer beyond the end", vec![(Kind::Offer, large()), begin(3 * CHUNK)]),
        ("an answer between chunks", vec![(Kind::Offer, large()), begin(1)]),
        ("two answers", vec![(Kind::Offer, large()), begin(0), begin(0)]),
        ("the last chunk first of all", vec![(Kind::Offer, large()), begin(0), last(&[7; CHUNK_SIZE])]),
        (
            "chunks too short",
            vec![(Kind::Offer, large()), begin(0), (Kind::Data, vec![7; CHUNK_SIZE - 1]), chunk(), chunk()],
        ),
        (
            "a small file that unpacks into more",
            vec![
                (Kind::Offer, RawOffer::file("small", 100).bytes()),
                (Kind::Final, last_chunk(&packed_zeros(8 << 20), Some(Trailer { size: 100, hash: [0; 32] }))),
            ],
        ),
        (
            "a chunk that unpacks into more",
            vec![(Kind::Offer, large()), begin_packed(), (Kind::Data, packed_zeros(8 << 20))],
        ),
        (
            "a chunk that unpacks into less",
            vec![(Kind::Offer, large()), begin_packed(), (Kind::Data, packed_zeros(CHUNK_SIZE - 1))],
        ),
        ("a chunk of nonsense", vec![(Kind::Offer, large()), begin_packed(), (Kind::Data, vec![7; 1000])]),
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
        // Where a second answer stands, half of a chunk could still follow.
        assert!(
            heard.is_gone(StreamCode::Protocol) || cut && matches!(heard, Heard::Gone(_)),
            "{what}: {heard:?}"
        );
    }
    // Bytes that nobody sealed, or not for this place.
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
    // What may be said at any time, but means nothing, or the most that numbers can mean.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_numbers_lead_nowhere_else() {
    let mut ground = Ground::new();
    ground.is_so_from_now_on();
    let (running, at) = ground.listens(&[]);
    let enemy = Enemy::join(at).await;
    let long = "n".repeat(256);
    let deep = [&"d/".repeat(2048)[..], "f"].concat();
    for name in [
        "",
        ".",
        "..",
        "../canary",
        "a/../../canary",
        "a/..",
        "/etc/passwd",
        "/",
        "a//b",
        "a/",
        "a/./b",
        "nul\0",
        "\0",
        ".rft",
        ".rft/ledger.redb",
        ".rftignore",
        ".rft-probe",
        "a/.rft/x",
        &long,
        &deep,
    ] {
        for offer in [
            RawOffer::file(name, 1),
            RawOffer::large(name, CHUNK),
            RawOffer::folder(name),
            RawOffer::link(name, "x"),
        ] {
            let heard = enemy.offers(&offer, &[]).await;
            assert!(heard.is_gone(StreamCode::Protocol), "{name:?}: {heard:?}");
        }
    }
    // `.RFT` is `.rft` on some file systems.
    for name in [".RFT/ledger.redb", ".Rft"] {
        let heard = enemy.sends(&RawOffer::file(name, 1), b"x").await;
        assert_eq!(refused(&heard), Some(Refusal::Name), "{name:?}: {heard:?}");
    }
    // Names that are odd, or mean something elsewhere, are names here.
    let odd: [&[u8]; 12] = [
        b"CON",
        b"NUL.txt",
        b"C:\\x",
        b"..\\canary",
        b"\\\\host\\share",
        b"a:stream",
        b"~",
        b"-rf",
        b"new\nline",
        b"\x1b]0;title\x07",
        b"\xff\xfe",
        "\u{202e}cod.exe".as_bytes(),
    ];
    for name in odd {
        let heard = enemy.sends(&RawOffer::file(name, 1), b"x").await;
        assert!(heard.is_done(), "{name:?}: {heard:?}");
    }
    assert_eq!(ground.arrived().len(), odd.len());
    let most = ["d".repeat(255), "e".repeat(255)].join("/");
    assert!(enemy.sends(&RawOffer::file(most, 1), b"x").await.is_done());

    // Numbers at their ends.
    let base = RawOffer::file("numbers", 1);
    for (what, offer) in [
        ("no such kind", RawOffer { kind: 3, ..base.clone() }),
        ("neither yes nor no", RawOffer { inline: 2, ..base.clone() }),
        ("a folder of some size", RawOffer { kind: 1, ..base.clone() }),
        ("a link to nothing", RawOffer { kind: 2, size: 0, ..base.clone() }),
        ("a file with a target", RawOffer { target: b"x".to_vec(), ..base.clone() }),
        ("a whole second of nanoseconds", RawOffer { nanos: 1_000_000_000, ..base.clone() }),
        ("set-user-id", RawOffer { mode: 0o4755, ..base.clone() }),
        ("all the mode that there is", RawOffer { mode: u32::MAX - 1, ..base.clone() }),
        ("a chunk and a byte at once", RawOffer { size: CHUNK + 1, ..base.clone() }),
    ] {
        let heard = enemy.sends(&offer, b"x").await;
        assert!(heard.is_gone(StreamCode::Protocol), "{what}: {heard:?}");
    }
    for size in [u64::MAX, u64::MAX - CHUNK, i64::MAX as u64, 1 << 60] {
        for offer in [RawOffer::large("numbers", size), RawOffer::file("numbers", size)] {
            let heard = enemy.offers(&offer, &[]).await;
            assert_eq!(refused(&heard), Some(Refusal::NoSpace), "{size}: {heard:?}");
        }
    }
    for seconds in [i64::MIN, -1, i64::MAX, 1 << 40] {
        let offer = RawOffer { seconds, nanos: 999_999_999, ..RawOffer::file(format!("at {seconds}"), 1) };
        let heard = enemy.sends(&offer, b"x").await;
        assert!(heard.is_done() || refused(&heard) == Some(Refusal::Storage), "{seconds}: {heard:?}");
    }
    for mode in [0, 0o777] {
        for offer in [RawOffer::file(format!("mode {mode}"), 1), RawOffer::folder(format!("folder {mode}"))] {
            let offer = RawOffer { mode, ..offer };
            let then = [(Kind::Final, last_chunk(b"x", None))];
            let heard = enemy.offers(&offer, if offer.kind == 0 { &then } else { &[] }).await;
            assert!(heard.is_done(), "{heard:?}");
        }
    }
    for target in
        ["/etc/passwd", "..", "../canary", "a/../../canary", "a/..", "\0", ".rft/ledger.redb", "../.rft"]
    {
        let heard = enemy.offers(&RawOffer::link("link", target), &[]).await;
        assert_eq!(refused(&heard), Some(Refusal::Link), "{target:?}: {heard:?}");
    }
    assert!(!ground.arrived().contains(&"link".to_owned()));
    assert_eq!(ground.staged(), 0);
    drop(enemy);
    ground.survives(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_and_hashes_that_lie_bring_nothing_in() {
    let ground = Ground::new();
    let (running, at) = ground.listens(&[]);
    let enemy = Enemy::join(at).await;
    let truth = Trailer { size: 5, hash: *blake3::hash(b"hello").as_bytes() };
    for (what, size, content, trailer) in [
        ("less than announced", 6, &b"hello"[..], truth),
        ("more than announced", 4, b"hello", truth),
        ("another size at the end", 5, b"hello", Trailer { size: 6, ..truth }),
        ("no size at the end", 5, b"hello", Trailer { size: 0, ..truth }),
        ("something in nothing", 0, b"hello", truth),
        ("nothing in something", 5, b"", truth),
    ] {
        let final_record = (Kind::Final, last_chunk(content, Some(trailer)));
        let heard = enemy.offers(&RawOffer::file("lie", size), &[final_record]).await;
        assert!(heard.is_gone(StreamCode::Protocol), "{what}: {heard:?}");
    }
    let wrong = last_chunk(b"hello", Some(Trailer { hash: [0; 32], ..truth }));
    let heard = enemy.offers(&RawOffer::file("lie", 5), &[(Kind::Final, wrong)]).await;
    assert_eq!(refused(&heard), Some(Refusal::Corrupt), "{heard:?}");

    // The same of a large file, whose chunks are all there.
    let (size, half) = (CHUNK + 5, vec![7; CHUNK_SIZE]);
    let whole = *blake3::hash(&[&half[..], b"hello"].concat()).as_bytes();
    for (what, trailer) in [
        ("another hash", Trailer { size, hash: [0; 32] }),
        ("another size", Trailer { size: size + 1, hash: whole }),
        ("the size of the last chunk", Trailer { size: 5, hash: whole }),
    ] {
        let mut stream = enemy.open().await;
        stream.says(Kind::Offer, &RawOffer::large("lie", size).bytes()).await;
        assert!(matches!(stream.hears().await, Heard::Accept(_)));
        for (kind, plaintext) in
            [begin(0), (Kind::Data, half.clone()), (Kind::Final, last_chunk(b"hello", Some(trailer)))]
        {
            stream.says(kind, &plaintext).await;
        }
        let heard = stream.hears().await;
        assert_eq!(refused(&heard), Some(Refusal::Corrupt), "{what}: {heard:?}");
    }
    assert_eq!(ground.arrived(), [""; 0]);
    assert_eq!(ground.staged(), 0, "nothing of them is kept");
    drop(enemy);
    ground.survives(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_without_end_ends_where_it_said() {
    /// Far beyond all windows.
    const MOST: u64 = 512 << 20;
    let ground = Ground::new();
    let (running, at) = ground.listens(&[]);
    let enemy = Enemy::join(at).await;
    let before = running.memory();
    for (what, sealed) in [("more chunks", true), ("noise", false)] {
        let mut stream = enemy.open().await;
        stream.says(Kind::Offer, &RawOffer::large("endless", 2 * CHUNK).bytes()).await;
        assert!(matches!(stream.hears().await, Heard::Accept(_)));
        stream.says(Kind::Answer, &begin(0).1).await;
        let (mut send, mut sealer) = stream.writer.into_parts();
        let (mut sent, chunk) = (0, vec![7; CHUNK_SIZE]);
        while sent < MOST {
            let bytes = if sealed { enemy::sealed(&mut sealer, Kind::Data, &chunk) } else { chunk.clone() };
            sent += bytes.len() as u64;
            let written = tokio::time::timeout(enemy::PATIENCE, send.write(bytes.into()))
                .await
                .expect("an end in time");
            if written.is_err() {
                break;
            }
        }
        assert!(sent < MOST, "{what}: {sent} bytes were taken");
    }
    assert_eq!(ground.arrived(), [""; 0]);
    let most = running.peak();
    assert!(most < before + GROWTH, "from {before} to {most} bytes");
    let stage = fs::read_dir(ground.host.state().join("stage")).unwrap();
    assert!(stage.into_iter().all(|file| file.unwrap().metadata().unwrap().len() <= 2 * CHUNK));
    drop(enemy);
    ground.survives(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_transfer_many_times_at_once_lands_once() {
    let ground = Ground::new();
    let (running, at) = ground.listens(&[]);
    let mut enemy = Enemy::join(at).await;
    let offer = RawOffer::large("twice", CHUNK + 5);
    let mut first = enemy.open().await;
    first.says(Kind::Offer, &offer.bytes()).await;
    assert!(matches!(first.hears().await, Heard::Accept(_)));
    // The second waits for the first for a while, and is told so.
    let heard = enemy.offers(&offer, &[]).await;
    assert_eq!(refused(&heard), Some(Refusal::Busy), "{heard:?}");
    // To forget what is under way does not take it away.
    enemy.control.send(Kind::Control, |out| Control::Forget(vec![offer.id]).encode(out)).await.unwrap();
    assert!(enemy.sends(&RawOffer::file("between", 1), b"x").await.is_done());
    for (kind, plaintext) in [begin(0), (Kind::Data, vec![7; CHUNK_SIZE])] {
        first.says(kind, &plaintext).await;
    }
    let whole = [&[7; CHUNK_SIZE][..], b"hello"].concat();
    let trailer = Trailer { size: CHUNK + 5, hash: *blake3::hash(&whole).as_bytes() };
    first.says(Kind::Final, &last_chunk(b"hello", Some(trailer))).await;
    let heard = first.hears().await;
    assert!(heard.is_done(), "{heard:?}");
    let heard = enemy.offers(&offer, &[]).await;
    assert!(matches!(heard, Heard::Outcome(Outcome::Have { .. })), "{heard:?}");

    // As many as may be open, all of one small file.
    let small = RawOffer::file("small", 5);
    let mut streams = Vec::new();
    for _ in 0..300 {
        let mut stream = enemy.open().await;
        stream.says(Kind::Offer, &small.bytes()).await;
        stream.says(Kind::Final, &last_chunk(b"hello", None)).await;
        streams.push(stream);
    }
    let mut done = 0;
    for mut stream in streams {
        match stream.hears().await {
            Heard::Outcome(Outcome::Done { .. }) => done += 1,
            Heard::Outcome(Outcome::Have { .. }) => {}
            other => assert_eq!(refused(&other), Some(Refusal::Busy), "{other:?}"),
        }
    }
    assert_eq!(done, 1);
    assert_eq!(ground.arrived(), ["between", "small", "twice"]);
    assert_eq!(ground.staged(), 0);
    drop(enemy);
    ground.survives(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_without_end_cost_neither_memory_nor_disk() {
    const OFFERS: usize = 10_000;
    let ground = Ground::new();
    let (running, at) = ground.listens(&[]);
    let mut enemy = Enemy::join(at).await;
    assert!(enemy.sends(&RawOffer::file("first", 1), b"x").await.is_done());
    let before = running.memory();
    let mut most_staged = 0;
    let mut waiting = std::collections::VecDeque::new();
    for n in 0..OFFERS {
        let mut stream = enemy.open().await;
        stream.says(Kind::Offer, &RawOffer::large(format!("d{}/f{n}", n % 7), 1 << 20).bytes()).await;
        waiting.push_back(stream);
        // Some answers are waited for, for a moment, and then nothing follows.
        if n % 100 == 0 {
            let mut stream: Stream = waiting.pop_front().unwrap();
            let _ = tokio::time::timeout(Duration::from_millis(100), stream.hears()).await;
            most_staged = most_staged.max(ground.staged());
        }
        if waiting.len() > 500 {
            waiting.pop_front();
        }
    }
    // More than may be written at once, all of them staged and none going on.
    assert!(most_staged > 0 && most_staged < 300, "{most_staged} files in the stage at once");
    for _ in 0..20_000 {
        let message = Control::Backlog { files: u64::MAX, bytes: u64::MAX };
        enemy.control.send(Kind::Control, |out| message.encode(out)).await.unwrap();
    }
    for _ in 0..100 {
        let ids = (0..MAX_FORGET).map(|_| fresh_id()).collect();
        enemy.control.send(Kind::Control, |out| Control::Forget(ids).encode(out)).await.unwrap();
    }
    drop(waiting);
    assert!(enemy.sends(&RawOffer::file("last", 1), b"x").await.is_done());
    let most = running.peak();
    assert!(most < before + GROWTH, "from {before} to {most} bytes");
    drop(enemy);
    let deadline = Instant::now() + enemy::PATIENCE;
    while ground.staged() > 0 {
        assert!(Instant::now() < deadline, "{} files are left in the stage", ground.staged());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(ground.arrived(), ["first", "last"]);
    ground.survives(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_links_lead_nobody_out() {
    for on_conflict in ["rename", "overwrite", "skip"] {
        let mut ground = Ground::new();
        let (incoming, outside, stage) =
            (ground.host.incoming(), ground.outside(), ground.host.state().join("stage"));
        fs::create_dir_all(&stage).unwrap();
        fs::create_dir(incoming.join("real")).unwrap();
        for (link, target) in [
            ("out", outside.clone()),
            ("real/out", outside.clone()),
            ("leaf", outside.join("canary")),
            ("dangling", outside.join("new")),
        ] {
            symlink(target, incoming.join(link)).unwrap();
        }
        symlink("loop", incoming.join("loop")).unwrap();
        let (small, large) = (RawOffer::file("staged small", 1), RawOffer::large("staged large", 6 << 20));
        for id in [small.id.to_string(), large.id.to_string(), format!("{}.prefix", large.id)] {
            symlink(outside.join("canary"), stage.join(id)).unwrap();
        }
        ground.is_so_from_now_on();
        let (running, at) = ground.listens(&["--on-conflict", on_conflict]);
        let enemy = Enemy::join(at).await;
        for name in ["out/x", "out/canary", "out/new/x", "real/out/x", "leaf/x", "loop/x", "dangling/x"] {
            for (offer, then) in [
                (RawOffer::file(name, 1), vec![(Kind::Final, last_chunk(b"x", None))]),
                (RawOffer::folder(name), vec![]),
                (RawOffer::link(name, "x"), vec![]),
            ] {
                let heard = enemy.offers(&offer, &then).await;
                assert_eq!(refused(&heard), Some(Refusal::InTheWay), "{name} {on_conflict}: {heard:?}");
            }
        }
        assert_eq!(refused(&enemy.offers(&RawOffer::folder("out"), &[]).await), Some(Refusal::InTheWay));
        for name in ["leaf", "dangling", "loop", "out"] {
            let heard = enemy.sends(&RawOffer::file(name, 1), b"x").await;
            let taken = if on_conflict == "skip" {
                refused(&heard) == Some(Refusal::Conflict)
            } else {
                heard.is_done()
            };
            assert!(taken, "{name} {on_conflict}: {heard:?}");
        }
        let _ = enemy.sends(&small, b"x").await;
        let mut stream = enemy.open().await;
        stream.says(Kind::Offer, &large.bytes()).await;
        if let Heard::Accept(accept) = stream.hears().await {
            assert_eq!(accept, Accept { offset: 0, prefix: [0; 32] });
            stream.says(Kind::Answer, &begin(0).1).await;
            for _ in 0..23 {
                stream.says(Kind::Data, &[7; CHUNK_SIZE]).await;
            }
            let whole = Trailer { size: 6 << 20, hash: *blake3::hash(&vec![7; 6 << 20]).as_bytes() };
            stream.says(Kind::Final, &last_chunk(&[7; CHUNK_SIZE], Some(whole))).await;
            let _ = stream.hears().await;
        }
        // A link of the peer's own is as little followed as one of somebody else.
        assert!(enemy.offers(&RawOffer::link("own", "real"), &[]).await.is_done());
        let heard = enemy.sends(&RawOffer::file("own/x", 1), b"x").await;
        assert_eq!(refused(&heard), Some(Refusal::InTheWay), "{heard:?}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        drop(enemy);
        ground.survives(running);
    }
}

/// A stream on which the peer offers this file; others are read to the end and never answered.
async fn offered(enemy: &Enemy, names: &[&str]) -> Vec<(String, Stream)> {
    let mut found = Vec::new();
    while found.len() < names.len() {
        let mut stream = enemy.accept().await;
        let offer = stream.reader.message(Kind::Offer, rft::proto::message::Offer::decode).await.unwrap();
        let name = offer.name.to_string();
        assert!(names.contains(&&*name), "{name} is offered");
        found.push((name, stream));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_lies_gets_no_file_removed() {
    const SIZE: u64 = 2 * CHUNK + 5;
    let mut ground = Ground::new();
    let content: Vec<u8> = (0..SIZE).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let names = ["beyond", "early", "prefix", "uneven", "wrong hash", "none"];
    for name in names {
        fs::write(ground.host.outgoing().join(name), &content).unwrap();
    }
    ground.is_so_from_now_on();
    let (running, at) = ground.listens(&[]);
    let enemy = Enemy::join(at).await;
    for (name, mut stream) in offered(&enemy, &names).await {
        let accept = |offset, prefix| bytes_of(|out| Accept { offset, prefix }.encode(out));
        let done =
            |hash| bytes_of(|out| Outcome::Done { hash, saved_as: Name::parse(b"x").unwrap() }.encode(out));
        let right = *blake3::hash(&content).as_bytes();
        match &*name {
            // More than there is, and a prefix that is not the file's: it begins at the start, and says no more.
            "beyond" | "prefix" => {
                let offset = if name == "beyond" { u64::MAX - (u64::MAX % CHUNK) } else { CHUNK };
                stream.says(Kind::Answer, &accept(offset, [9; 32])).await;
                let heard = stream.hears().await;
                assert!(matches!(heard, Heard::Begin(Begin { offset: 0, packed: false })), "{heard:?}");
            }
            "uneven" => {
                stream.says(Kind::Answer, &accept(1, [0; 32])).await;
                let heard = stream.hears().await;
                assert!(heard.is_gone(StreamCode::Protocol), "{heard:?}");
            }
            // A receipt before there is anything to receipt.
            "early" => {
                stream.says(Kind::Receipt, &done(right)).await;
                let heard = stream.hears().await;
                assert!(heard.is_gone(StreamCode::Protocol), "{heard:?}");
            }
            "wrong hash" => {
                stream.says(Kind::Answer, &accept(0, [0; 32])).await;
                assert!(matches!(stream.hears().await, Heard::Begin(_)));
                for _ in 0..2 {
                    stream.reader.next(CHUNK_SIZE).await.unwrap();
                }
                stream.reader.next(CHUNK_SIZE).await.unwrap();
                stream.says(Kind::Receipt, &done([9; 32])).await;
            }
            _ => {}
        }
    }
    // It is all offered again, from the beginning, by the time an honest one comes.
    drop(enemy);
    assert!(names.iter().all(|name| fs::read(ground.host.outgoing().join(name)).unwrap() == content));
    ground.is_as_before();
    let guest = ground.guest();
    guest.start(&["--drain", "--no-sandbox"]).ends(0);
    for name in names {
        assert_eq!(fs::read(guest.incoming().join(name)).unwrap(), content, "{name}");
        assert!(!ground.host.outgoing().join(name).exists(), "{name}");
    }
    fs::remove_dir_all(&guest.dir).unwrap();
    ground.is_so_from_now_on();
    ground.survives(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_that_never_come_cost_little_and_drain_nothing() {
    const FILES: usize = 1500;
    let mut ground = Ground::new();
    for n in 0..FILES {
        fs::write(ground.host.outgoing().join(format!("f{n}")), vec![7; 20_000]).unwrap();
    }
    ground.is_so_from_now_on();
    let (mut running, at) = ground.listens(&["--drain"]);
    let mut enemy = Enemy::join(at).await;
    enemy
        .control
        .send(Kind::Control, |out| Control::Backlog { files: 0, bytes: 0 }.encode(out))
        .await
        .unwrap();
    let before = running.memory();
    // As many as it will have under way at once: whoever gives no receipts gets no more.
    let mut streams = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_secs(3), enemy.connection.accept_bi()).await {
        let (send, mut recv) = stream.unwrap();
        recv.read_to_end(1 << 20).await.unwrap();
        streams.push((send, recv));
    }
    assert_eq!(streams.len(), enemy::STREAMS as usize);
    let most = running.peak();
    assert!(most < before + GROWTH, "from {before} to {most} bytes");
    ground.is_as_before();
    drop((streams, enemy));
    running.waits_for("disconnected", |_| true);
    let guest = ground.guest();
    let other = guest.start(&["--drain", "--no-sandbox"]);
    let events = running.ends(0);
    other.ends(0);
    assert_eq!(events.iter().filter(|event| event["event"] == "drained").count(), 1);
    assert_eq!(fs::read_dir(guest.incoming()).unwrap().count(), FILES);
}
