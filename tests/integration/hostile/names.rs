//! Names that lead out of the folder, have a meaning on other systems, or are too long; and numbers
//! at their limits.

use super::enemy::{Enemy, RawOffer, last_chunk};
use super::ground::Ground;
use super::{CHUNK, refused};
use rft::internals::crypto::seal::RecordKind as Kind;
use rft::internals::proto::message::Refusal;
use rft::internals::transport::stream::StreamCode;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_names_and_numbers_stay_inside_incoming() {
    hostile_names("rename").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_names_stay_inside_incoming_with_overwrite() {
    hostile_names("overwrite").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_names_stay_inside_incoming_with_skip() {
    hostile_names("skip").await;
}

async fn hostile_names(on_conflict: &str) {
    let mut ground = Ground::new();
    ground.is_so_from_now_on();
    let (running, at) = ground.listens(&["--on-conflict", on_conflict]);
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
    // Some file systems do not distinguish `.RFT` from `.rft`.
    for name in [".RFT/ledger.redb", ".Rft"] {
        let heard = enemy.sends(&RawOffer::file(name, 1), b"x").await;
        assert_eq!(refused(&heard), Some(Refusal::Name), "{name:?}: {heard:?}");
    }
    // Odd names, and names with a meaning on other systems, are ordinary names here. Only `.rft` at
    // the top is rft's own.
    let odd: [&[u8]; 14] = [
        b"a/.rft/x",
        b"a/.rftignore",
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
    // Two of them in one folder.
    assert_eq!(ground.arrived().len(), odd.len() - 1);
    let most = ["d".repeat(255), "e".repeat(255)].join("/");
    assert!(enemy.sends(&RawOffer::file(most, 1), b"x").await.is_done());

    // Numbers at their limits.
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
        let offer =
            RawOffer { seconds, nanos: 999_999_999, ..RawOffer::file(format!("at {seconds}"), 1) };
        let heard = enemy.sends(&offer, b"x").await;
        assert!(
            heard.is_done() || refused(&heard) == Some(Refusal::Storage),
            "{seconds}: {heard:?}"
        );
    }
    for mode in [0, 0o777] {
        for offer in
            [RawOffer::file(format!("mode {mode}"), 1), RawOffer::folder(format!("folder {mode}"))]
        {
            let offer = RawOffer { mode, ..offer };
            let then = [(Kind::Final, last_chunk(b"x", None))];
            let heard = enemy.offers(&offer, if offer.kind == 0 { &then } else { &[] }).await;
            assert!(heard.is_done(), "{heard:?}");
        }
    }
    for target in [
        "/etc/passwd",
        "..",
        "../canary",
        "a/../../canary",
        "a/..",
        "\0",
        ".rft/ledger.redb",
        "../.rft",
    ] {
        let heard = enemy.offers(&RawOffer::link("link", target), &[]).await;
        assert_eq!(refused(&heard), Some(Refusal::Link), "{target:?}: {heard:?}");
    }
    assert!(!ground.arrived().contains(&"link".to_owned()));
    assert_eq!(ground.staged(), 0);
    drop(enemy);
    ground.survives(running);
}
