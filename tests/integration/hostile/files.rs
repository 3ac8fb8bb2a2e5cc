//! Files that differ from their offers, files without an end, and one file many times at once.

use super::enemy::{self, Enemy, Heard, RawOffer, last_chunk};
use super::ground::Ground;
use super::{CHUNK, GROWTH, begin, refused};
use rft::internals::crypto::seal::RecordKind as Kind;
use rft::internals::proto::message::{CHUNK_SIZE, Control, Outcome, Refusal, Trailer};
use rft::internals::transport::stream::StreamCode;
use std::fs;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn false_sizes_and_hashes_store_nothing() {
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

    // The same for a large file with all its chunks.
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
        for (kind, plaintext) in [
            begin(0),
            (Kind::Data, half.clone()),
            (Kind::Final, last_chunk(b"hello", Some(trailer))),
        ] {
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
async fn an_endless_file_ends_at_its_offered_size() {
    /// Far beyond all windows.
    const MAX_BYTES: u64 = 512 << 20;
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
        while sent < MAX_BYTES {
            let bytes =
                if sealed { enemy::sealed(&mut sealer, Kind::Data, &chunk) } else { chunk.clone() };
            sent += bytes.len() as u64;
            let written = tokio::time::timeout(enemy::TIMEOUT, send.write(bytes.into()))
                .await
                .expect("an end in time");
            if written.is_err() {
                break;
            }
        }
        assert!(sent < MAX_BYTES, "{what}: {sent} bytes were taken");
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
async fn one_transfer_offered_many_times_is_stored_once() {
    let ground = Ground::new();
    let (running, at) = ground.listens(&[]);
    let mut enemy = Enemy::join(at).await;
    let offer = RawOffer::large("twice", CHUNK + 5);
    let mut first = enemy.open().await;
    first.says(Kind::Offer, &offer.bytes()).await;
    assert!(matches!(first.hears().await, Heard::Accept(_)));
    // The second one waits for the first for a while and is then told so.
    let heard = enemy.offers(&offer, &[]).await;
    assert_eq!(refused(&heard), Some(Refusal::Busy), "{heard:?}");
    // Forgetting a running transfer does not remove it.
    enemy
        .control
        .send(Kind::Control, |out| Control::Forget(vec![offer.id]).encode(out))
        .await
        .unwrap();
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

    // As many streams as may be open, all with one small file.
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
