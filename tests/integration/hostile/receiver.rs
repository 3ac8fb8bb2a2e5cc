//! A malicious receiver: receipts that are false, early or never sent.

use super::enemy::{Enemy, Heard, Stream};
use super::ground::Ground;
use super::{CHUNK, GROWTH, bytes_of, enemy};
use rft::internals::crypto::seal::RecordKind as Kind;
use rft::internals::proto::chunk_set::ChunkSet;
use rft::internals::proto::message::{Accept, CHUNK_SIZE, Control, Outcome, Refusal, Trailer};
use rft::internals::proto::name::Name;
use rft::internals::transport::stream::StreamCode;
use std::fs;
use std::time::Duration;

/// A stream on which the peer offers this file. All other streams are read to the end and never
/// answered.
async fn offered(enemy: &Enemy, names: &[&str]) -> Vec<(String, Stream)> {
    let mut found = Vec::new();
    while found.len() < names.len() {
        let mut stream = enemy.accept().await;
        let offer = stream
            .reader
            .message(Kind::Offer, rft::internals::proto::message::Offer::decode)
            .await
            .unwrap();
        let name = offer.name.to_string();
        assert!(names.contains(&&*name), "{name} is offered");
        found.push((name, stream));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn false_receipts_remove_no_file() {
    const SIZE: u64 = 2 * CHUNK + 5;
    let mut ground = Ground::new();
    let content: Vec<u8> = (0..SIZE).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let names = ["beyond", "early", "gaps", "prefix", "malformed", "wrong hash", "none"];
    for name in names {
        fs::write(ground.host.outgoing().join(name), &content).unwrap();
    }
    ground.is_so_from_now_on();
    let (running, at) = ground.listens(&[]);
    let enemy = Enemy::join(at).await;
    for (name, mut stream) in offered(&enemy, &names).await {
        let accept = |chunks, hash| bytes_of(|out| Accept::prefix(chunks, hash).encode(out));
        let done = |hash| {
            bytes_of(|out| {
                Outcome::Done { hash, saved_as: Name::parse(b"x").unwrap(), checked: false }
                    .encode(out)
            })
        };
        let right = *blake3::hash(&content).as_bytes();
        match &*name {
            // More chunks than the file has, or the hash of a wrong prefix: the peer sends the file from
            // its start.
            "beyond" | "prefix" => {
                let chunks = if name == "beyond" { u64::MAX / CHUNK } else { 1 };
                stream.says(Kind::Answer, &accept(chunks, [9; 32])).await;
                assert!(stream.hears().await.is_begin(&ChunkSet::EMPTY));
            }
            // Of a set with gaps the sender uses the part before the first one.
            "gaps" => {
                let held = ChunkSet::from_ranges(vec![0..1, 2..3]).unwrap();
                let proofs = vec![*blake3::hash(&content[..CHUNK_SIZE]).as_bytes(), [9; 32]];
                let accept = bytes_of(|out| Accept { held, proofs }.encode(out));
                stream.says(Kind::Answer, &accept).await;
                assert!(stream.hears().await.is_begin(&ChunkSet::prefix(1)));
            }
            "malformed" => {
                stream.says(Kind::Answer, &[0, 1]).await;
                let heard = stream.hears().await;
                assert!(heard.is_gone(StreamCode::Protocol), "{heard:?}");
            }
            // A receipt before the file is complete.
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
    // Everything is offered again, from the beginning, when an honest receiver comes.
    drop(enemy);
    assert!(
        names.iter().all(|name| fs::read(ground.host.outgoing().join(name)).unwrap() == content)
    );
    ground.is_as_before();
    let initiator = ground.honest_peer();
    initiator.start(&["--drain", "--no-sandbox"]).ends(0);
    for name in names {
        assert_eq!(fs::read(initiator.incoming().join(name)).unwrap(), content, "{name}");
        assert!(!ground.host.outgoing().join(name).exists(), "{name}");
    }
    fs::remove_dir_all(&initiator.dir).unwrap();
    ground.is_so_from_now_on();
    ground.survives(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_receipts_cost_little_and_keep_the_files() {
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
    // As many as the peer sends at once: a receiver that sends no receipts gets no more.
    let mut streams = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_secs(3), enemy.connection.accept_bi()).await
    {
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
    let initiator = ground.honest_peer();
    let other = initiator.start(&["--drain", "--no-sandbox"]);
    let events = running.ends(0);
    other.ends(0);
    assert_eq!(events.iter().filter(|event| event["event"] == "drained").count(), 1);
    assert_eq!(fs::read_dir(initiator.incoming()).unwrap().count(), FILES);
}

/// A new file is sent before the receiver's answer, but only up to a limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_file_is_sent_before_the_answer_up_to_a_limit() {
    const AHEAD: usize = 128;
    const SIZE: usize = (AHEAD + 8) * CHUNK_SIZE;
    let ground = Ground::new();
    let (running, at) = ground.listens(&[]);
    let enemy = Enemy::join(at).await;
    let mut content = vec![0; SIZE];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    let names = ["refused", "taken"];
    for name in names {
        fs::write(ground.host.outgoing().join(name), &content).unwrap();
    }
    for (name, mut stream) in offered(&enemy, &names).await {
        assert!(stream.hears().await.is_begin(&ChunkSet::EMPTY));
        for _ in 0..AHEAD {
            let (kind, chunk) = stream.reader.next(CHUNK_SIZE).await.unwrap();
            assert_eq!((kind, chunk.len()), (Kind::Data, CHUNK_SIZE));
        }
        // More would come at once, if at all.
        let more =
            tokio::time::timeout(Duration::from_secs(1), stream.reader.next(CHUNK_SIZE)).await;
        assert!(more.is_err(), "{name}: it goes on without a word");
        if name == "refused" {
            let refused = Outcome::Refused { reason: Refusal::TooLarge, detail: String::new() };
            stream.says(Kind::Receipt, &bytes_of(|out| refused.encode(out))).await;
            assert!(matches!(stream.hears().await, Heard::Gone(_)));
            continue;
        }
        stream.says(Kind::Answer, &bytes_of(|out| Accept::NOTHING.encode(out))).await;
        let left = (SIZE - AHEAD * CHUNK_SIZE) / CHUNK_SIZE;
        for n in 0..left {
            let (kind, _) = stream.reader.next(CHUNK_SIZE + Trailer::LEN).await.unwrap();
            assert_eq!(kind, if n + 1 == left { Kind::Final } else { Kind::Data });
        }
        let hash = *blake3::hash(&content).as_bytes();
        let done =
            Outcome::Done { hash, saved_as: Name::parse(name.as_bytes()).unwrap(), checked: false };
        stream.says(Kind::Receipt, &bytes_of(|out| done.encode(out))).await;
        let path = ground.host.outgoing().join(name);
        tokio::time::timeout(enemy::TIMEOUT, async {
            while path.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("it is removed in time");
    }
    assert!(ground.host.outgoing().join("refused").exists());
    fs::remove_file(ground.host.outgoing().join("refused")).unwrap();
    drop(enemy);
    ground.survives(running);
}
