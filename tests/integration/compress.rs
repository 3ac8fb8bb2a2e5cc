//! Compression in the real program over a slow link: how many bytes cross it, and that the results
//! are the same.

use crate::harness::files::{drop_content, hash_of};
use crate::harness::peer::Pair;
use crate::harness::relay::{Relay, Way};
use std::fs;
use std::time::Duration;

const MIB: usize = 1 << 20;

/// Pseudo-random bytes from a seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new_derive_key("rft tests/compressed");
    hasher.update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Words in an order that follows from a seed. They compress to about a third.
fn text(seed: u64, len: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "stream",
        "record",
        "the",
        "of",
        "folder",
        "receipt",
        "is",
        "a",
        "chunk",
        "sealed",
        "and",
        "written",
        "peer",
        "before",
        "link",
        "connection",
    ];
    let dice = noise(seed, len / 3);
    let words = dice.iter().flat_map(|die| {
        let end = if die & 0xf0 == 0 { ".\n" } else { " " };
        [WORDS[usize::from(die & 15)].as_bytes(), end.as_bytes()].concat()
    });
    let text: Vec<u8> = words.take(len).collect();
    assert_eq!(text.len(), len);
    text
}

/// A pair with a link of 20 Mbit/s and a round-trip time of 20 ms.
fn slow_pair(seed: u64) -> (Pair, Relay) {
    let (pair, link) = Pair::linked(seed);
    link.edit_both(|line| (line.rate, line.delay) = (Some(2_500_000), Duration::from_millis(10)));
    (pair, link)
}

/// Bytes sent from A towards B.
fn crossed(link: &Relay) -> usize {
    usize::try_from(link.counts(Way::AToB).bytes).unwrap()
}

#[test]
fn text_takes_less_than_half_its_bytes_and_resumes_after_a_kill() {
    let (pair, link) = slow_pair(71);
    // The chunks in the middle are incompressible.
    let content = [text(1, 9 * MIB), noise(2, MIB), text(3, 5 * MIB + 12_345)].concat();
    drop_content(&pair.a, "book", &content);
    let sender = pair.a.start(&["--drain"]);
    let mut receiver = pair.b.start(&[]);
    receiver.waits_for("file_progress", |event| event["bytes"].as_u64().unwrap() > 7 << 20);
    receiver.kill();
    let mut receiver = pair.b.start(&["--drain"]);
    receiver.waits_for("file_done", |event| event["direction"] == "receive");
    let done = receiver.ends(0);
    sender.ends(0);
    let done = done.iter().find(|event| event["event"] == "file_done").unwrap();
    assert!(done["offset"].as_u64().unwrap() > 0, "it began anew: {done}");
    assert_eq!(hash_of(&pair.b.incoming().join("book")), blake3::hash(&content));
    pair.b.left_nothing_over();
    let crossed = crossed(&link);
    assert!(crossed * 2 < content.len(), "{crossed} of {} bytes", content.len());
}

#[test]
fn small_texts_take_less_than_half_their_bytes() {
    let (pair, link) = slow_pair(72);
    let texts: Vec<_> = (0..200).map(|n| text(n, 16 << 10)).collect();
    for (n, text) in texts.iter().enumerate() {
        drop_content(&pair.a, &format!("note {n}"), text);
    }
    let (sender, receiver) = (pair.a.start(&["--drain"]), pair.b.start(&["--drain"]));
    receiver.ends(0);
    sender.ends(0);
    for (n, text) in texts.iter().enumerate() {
        assert_eq!(
            fs::read(pair.b.incoming().join(format!("note {n}"))).unwrap(),
            *text,
            "note {n}"
        );
    }
    let (crossed, all) = (crossed(&link), texts.concat().len());
    assert!(crossed * 2 < all, "{crossed} of {all} bytes");
}

#[test]
fn compress_never_sends_the_bytes_as_they_are() {
    let (pair, link) = slow_pair(73);
    let content = text(4, 3 * MIB);
    drop_content(&pair.a, "book", &content);
    drop_content(&pair.a, "note", &content[..20_000]);
    let (sender, receiver) =
        (pair.a.start(&["--drain", "--compress", "never"]), pair.b.start(&["--drain"]));
    receiver.ends(0);
    sender.ends(0);
    assert_eq!(hash_of(&pair.b.incoming().join("book")), blake3::hash(&content));
    assert!(crossed(&link) > content.len() + 20_000, "{}", crossed(&link));
}
