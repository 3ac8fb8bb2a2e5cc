//! Endless offers.

use super::enemy::{self, Enemy, Heard, RawOffer, Stream, fresh_id, last_chunk};
use super::ground::Ground;
use super::{CHUNK, GROWTH, refused};
use rft::internals::crypto::seal::RecordKind as Kind;
use rft::internals::proto::message::{Control, MAX_FORGET, Outcome, Refusal, Trailer};
use rft::internals::transport::stream::StreamCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_offers_cost_neither_memory_nor_disk() {
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
        stream
            .says(Kind::Offer, &RawOffer::large(format!("d{}/f{n}", n % 7), 1 << 20).bytes())
            .await;
        waiting.push_back(stream);
        // Waits briefly for some of the answers, and then sends nothing more.
        if n % 100 == 0 {
            let mut stream: Stream = waiting.pop_front().unwrap();
            let _ = tokio::time::timeout(Duration::from_millis(100), stream.hears()).await;
            most_staged = most_staged.max(ground.staged());
        }
        if waiting.len() > 500 {
            waiting.pop_front();
        }
    }
    // More than may be written at once; all are staged and none continues.
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
    let deadline = Instant::now() + enemy::TIMEOUT;
    while ground.staged() > 0 {
        assert!(Instant::now() < deadline, "{} files are left in the stage", ground.staged());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(ground.arrived(), ["first", "last"]);
    ground.survives(running);
}

/// Offers in the next tests.
const MILLION: usize = 1_000_000;
/// Most memory by which the process may grow during the second half of them.
const SECOND_HALF: u64 = 8 << 20;

/// One offer that stores nothing: for a file that exists, a name that is refused, a file that is
/// too large, an empty file with a wrong hash, or one that is withdrawn.
async fn cheap_offer(enemy: &Enemy, n: usize, there: &RawOffer) {
    let (heard, as_it_should) = match n % 5 {
        0 => {
            let heard = enemy.offers(there, &[]).await;
            let have = matches!(heard, Heard::Outcome(Outcome::Have { .. }));
            (heard, have)
        }
        1 => {
            let heard = enemy.sends(&RawOffer::file(format!(".RFT/{n}"), 1), b"x").await;
            let name = refused(&heard) == Some(Refusal::Name);
            (heard, name)
        }
        2 => {
            let heard = enemy.offers(&RawOffer::large(format!("f{n}"), 4 * CHUNK), &[]).await;
            let too_large = refused(&heard) == Some(Refusal::TooLarge);
            (heard, too_large)
        }
        3 => {
            let lie = last_chunk(&[], Some(Trailer { size: 1, hash: [0; 32] }));
            let heard =
                enemy.offers(&RawOffer::file(format!("f{n}"), 0), &[(Kind::Final, lie)]).await;
            let gone = heard.is_gone(StreamCode::Protocol);
            (heard, gone)
        }
        _ => {
            let mut stream = enemy.open().await;
            stream.says(Kind::Offer, &RawOffer::large(format!("f{n}"), CHUNK).bytes()).await;
            stream.writer.stream().reset(StreamCode::Stopping);
            return;
        }
    };
    assert!(as_it_should, "{n}: {heard:?}");
}

/// Slow: as many as possible within 20 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_cheap_offers_leave_nothing_behind() {
    make_cheap_offers(Duration::from_secs(20), 5000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_million_cheap_offers_leave_nothing_behind() {
    make_cheap_offers(Duration::from_secs(1200), MILLION).await;
}

/// Makes a million offers, or as many as possible within `time`, but no fewer than `at_least`.
async fn make_cheap_offers(time: Duration, at_least: usize) {
    let ground = Ground::new();
    let (running, at) = ground.listens(&["--max-file-size", "600K"]);
    let enemy = Arc::new(Enemy::join(at).await);
    let there = RawOffer::file("there", 1);
    assert!(enemy.sends(&there, b"x").await.is_done());
    let (before, begun, made) = (running.memory(), Instant::now(), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let (enemy, there, made) = (enemy.clone(), there.clone(), made.clone());
        tasks.spawn(async move {
            while begun.elapsed() < time {
                let n = made.fetch_add(1, Ordering::Relaxed);
                if n >= MILLION {
                    break;
                }
                cheap_offer(&enemy, n, &there).await;
            }
        });
    }
    while begun.elapsed() < time / 2 && made.load(Ordering::Relaxed) < MILLION / 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (first_half, half) = (running.peak(), running.memory());
    tasks.join_all().await;
    let (most, made) = (running.peak(), made.load(Ordering::Relaxed));
    let report = format!(
        "{made} offers in {:.1?}: from {before} bytes to {half}, then {most}, at most {first_half}",
        begun.elapsed()
    );
    eprintln!("{report}");
    assert!(first_half.max(most) < before + GROWTH, "{report}");
    assert!(most < half + SECOND_HALF, "{report}");
    assert!(made >= at_least, "{report}");
    drop(enemy);
    let deadline = Instant::now() + enemy::TIMEOUT;
    while ground.staged() > 0 {
        assert!(Instant::now() < deadline, "{} files are left in the stage", ground.staged());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(ground.arrived(), ["there"]);
    ground.survives(running);
}

/// The limit of `peering/connector.rs`.
const STREAMS: usize = 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_offers_hold_only_their_streams() {
    let ground = Ground::new();
    let (running, at) = ground.listens(&[]);
    let enemy = Enemy::join(at).await;
    assert!(enemy.sends(&RawOffer::file("first", 1), b"x").await.is_done());
    let before = running.memory();
    let mut unfinished = Vec::new();
    while let Ok(opened) =
        tokio::time::timeout(Duration::from_secs(3), enemy.connection.open_bi()).await
    {
        let Stream { writer, reader, .. } = enemy.stream(opened.unwrap());
        let (mut send, mut sealer) = writer.into_parts();
        // With the longest name, and without its last byte.
        let name = vec![b"n".repeat(200); 20].join(&b'/');
        let mut offer = enemy::sealed(&mut sealer, Kind::Offer, &RawOffer::file(name, 1).bytes());
        offer.pop();
        send.write(offer.into()).await.unwrap();
        unfinished.push((send, reader));
        assert!(unfinished.len() <= STREAMS, "there is no end to the streams");
    }
    assert!(unfinished.len() > STREAMS / 2, "only {} streams", unfinished.len());
    assert_eq!(ground.staged(), 0);
    let most = running.peak();
    assert!(most < before + GROWTH, "from {before} to {most} bytes");
    // A new session of the same peer is not bound by the streams of the old one.
    let again = Enemy::join(at).await;
    assert!(again.sends(&RawOffer::file("second", 1), b"x").await.is_done());
    drop((unfinished, enemy));
    assert!(again.sends(&RawOffer::file("last", 1), b"x").await.is_done());
    assert_eq!(ground.arrived(), ["first", "last", "second"]);
    // This session would keep out the next peer, which is another installation.
    drop(again);
    ground.survives(running);
}
