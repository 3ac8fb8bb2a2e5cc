//! Links in the folders, planted by the peer or by another program on the host.

use super::enemy::{Enemy, Heard, RawOffer, Stream, last_chunk};
use super::ground::Ground;
use super::{CHUNK, begin, refused};
use rft::internals::crypto::seal::RecordKind as Kind;
use rft::internals::proto::message::{Accept, CHUNK_SIZE, Refusal, Trailer};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_links_lead_nowhere() {
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
        let (small, large) =
            (RawOffer::file("staged small", 1), RawOffer::large("staged large", 6 << 20));
        for id in [small.id.to_string(), large.id.to_string(), format!("{}.prefix", large.id)] {
            symlink(outside.join("canary"), stage.join(id)).unwrap();
        }
        ground.is_so_from_now_on();
        let (running, at) = ground.listens(&["--on-conflict", on_conflict]);
        let enemy = Enemy::join(at).await;
        for name in
            ["out/x", "out/canary", "out/new/x", "real/out/x", "leaf/x", "loop/x", "dangling/x"]
        {
            for (offer, then) in [
                (RawOffer::file(name, 1), vec![(Kind::Final, last_chunk(b"x", None))]),
                (RawOffer::folder(name), vec![]),
                (RawOffer::link(name, "x"), vec![]),
            ] {
                let heard = enemy.offers(&offer, &then).await;
                assert_eq!(
                    refused(&heard),
                    Some(Refusal::InTheWay),
                    "{name} {on_conflict}: {heard:?}"
                );
            }
        }
        assert_eq!(
            refused(&enemy.offers(&RawOffer::folder("out"), &[]).await),
            Some(Refusal::InTheWay)
        );
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
            assert_eq!(accept, Accept::NOTHING);
            stream.says(Kind::Answer, &begin(0).1).await;
            for _ in 0..23 {
                stream.says(Kind::Data, &[7; CHUNK_SIZE]).await;
            }
            let whole =
                Trailer { size: 6 << 20, hash: *blake3::hash(&vec![7; 6 << 20]).as_bytes() };
            stream.says(Kind::Final, &last_chunk(&[7; CHUNK_SIZE], Some(whole))).await;
            let _ = stream.hears().await;
        }
        // A link that the peer sent is not followed either.
        assert!(enemy.offers(&RawOffer::link("own", "real"), &[]).await.is_done());
        let heard = enemy.sends(&RawOffer::file("own/x", 1), b"x").await;
        assert_eq!(refused(&heard), Some(Refusal::InTheWay), "{heard:?}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        drop(enemy);
        ground.survives(running);
    }
}

/// Another program on the host puts a link in the place of a folder, or of a missing name, while
/// the peer works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_planted_during_a_transfer_lead_nowhere() {
    for on_conflict in ["rename", "overwrite"] {
        let ground = Ground::new();
        let (incoming, outside) = (ground.host.incoming(), ground.outside());
        let (folder, aside) = (incoming.join("dir"), incoming.join("aside"));
        let (running, at) = ground.listens(&["--on-conflict", on_conflict]);
        let enemy = Enemy::join(at).await;
        assert!(enemy.sends(&RawOffer::file("dir/first", 1), b"x").await.is_done());

        // In the middle of a file, in place of its folder; and before the next file.
        let large = begun(&enemy, "dir/large").await;
        fs::rename(&folder, &aside).unwrap();
        symlink(&outside, &folder).unwrap();
        let heard = ended(large).await;
        assert_eq!(refused(&heard), Some(Refusal::InTheWay), "{on_conflict}: {heard:?}");
        for offer in [RawOffer::file("dir/second", 1), RawOffer::file("dir/canary", 1)] {
            let heard = enemy.sends(&offer, b"x").await;
            assert_eq!(refused(&heard), Some(Refusal::InTheWay), "{on_conflict}: {heard:?}");
        }
        fs::remove_file(&folder).unwrap();
        fs::rename(&aside, &folder).unwrap();

        // In place of the file itself.
        let large = begun(&enemy, "dir/leaf").await;
        symlink(outside.join("canary"), folder.join("leaf")).unwrap();
        let heard = ended(large).await;
        assert!(heard.is_done(), "{on_conflict}: {heard:?}");
        assert_eq!(fs::read(outside.join("canary")).unwrap(), b"alive");

        // At any moment of many files.
        let stop = Arc::new(AtomicBool::new(false));
        let swapper = tokio::task::spawn_blocking({
            let (stop, folder, aside, outside) =
                (stop.clone(), folder.clone(), aside.clone(), outside.clone());
            move || swap(&stop, &folder, &aside, &outside)
        });
        let mut done = 0;
        for n in 0..300 {
            let heard = enemy.sends(&RawOffer::file(format!("dir/f{n}"), 1), b"x").await;
            done += usize::from(heard.is_done());
        }
        stop.store(true, Ordering::Relaxed);
        let swaps = swapper.await.unwrap();
        eprintln!("{on_conflict}: {done} of 300 files landed, {swaps} swaps");
        assert!(swaps > 10);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        drop(enemy);
        ground.survives(running);
    }
}

/// A file of two chunks; one is sent.
async fn begun(enemy: &Enemy, name: &str) -> Stream {
    let mut stream = enemy.open().await;
    stream.says(Kind::Offer, &RawOffer::large(name, 2 * CHUNK).bytes()).await;
    let heard = stream.hears().await;
    assert!(matches!(heard, Heard::Accept(_)), "{heard:?}");
    for (kind, plaintext) in [begin(0), (Kind::Data, vec![7; CHUNK_SIZE])] {
        stream.says(kind, &plaintext).await;
    }
    stream
}

/// The second chunk.
async fn ended(mut stream: Stream) -> Heard {
    let whole =
        Trailer { size: 2 * CHUNK, hash: *blake3::hash(&vec![7; 2 * CHUNK_SIZE]).as_bytes() };
    stream.says(Kind::Final, &last_chunk(&[7; CHUNK_SIZE], Some(whole))).await;
    stream.hears().await
}

/// Replaces the folder by a link that leads out, and removes the link again, repeatedly. If the
/// program makes the folder anew meanwhile, the swap goes on with that one. Returns the number of
/// swaps.
fn swap(stop: &AtomicBool, folder: &Path, aside: &Path, outside: &Path) -> usize {
    let mut swaps = 0;
    while !stop.load(Ordering::Relaxed) {
        if fs::rename(folder, aside).is_ok() && symlink(outside, folder).is_ok() {
            swaps += 1;
            std::thread::yield_now();
        }
        if folder.is_symlink() {
            fs::remove_file(folder).unwrap();
        }
        if fs::rename(aside, folder).is_err() && aside.exists() {
            fs::remove_dir_all(aside).unwrap();
        }
    }
    swaps
}
