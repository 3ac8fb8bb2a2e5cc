use super::*;
use crate::cli::output::sample::{self, name};
use rft::config::PeerName;
use rft::status::{Backlog, Bottleneck, SessionEnd};

fn waiting(path: &str, reason: WaitReason) -> Waiting {
    Waiting::new(name(path), reason)
}

#[test]
fn a_drain_names_the_missing_peer_and_the_remaining_files() {
    let mut peer = PeerStatus::new(PeerName::new("bob"));
    peer.receive.backlog = Some(Backlog { files: 2, bytes: 9 });
    assert_eq!(remaining_of(&peer), "no peer is connected; nothing is left in Outgoing");
    assert_eq!(remaining_in_one(&peer), "no peer is connected; nothing is left to send");
    peer.waiting = vec![waiting("f", WaitReason::Ready)];
    let one = "no peer is connected; 1 file stays in Outgoing: f (ready to be sent)";
    assert_eq!(remaining_of(&peer), one);
    peer.waiting.push(waiting("g", WaitReason::Backoff(Duration::from_millis(1500))));
    peer.more_waiting = 3;
    let many = "no peer is connected; 5 files stay in Outgoing: f (ready to be sent), \
                g (its delivery failed; tried again in 2 s) and 3 more";
    assert_eq!(remaining_of(&peer), many);
}

/// The view of a busy peer, at this width.
fn busy(width: usize) -> Vec<String> {
    let text = text(Some(&sample::busy()), &Clock::utc(), width);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_view_names_the_peer_the_files_and_the_reasons() {
    let expected = "\
state of rft 1.2.3, running for 3:00:00, UDP [::]:4000
peer       bob: connected to 192.0.2.7:4000 for 3 d, since Feb 26 23:50,
           rft 1.2.3 on the host bob.example.org
path       41 ms, 0.5 % lost, about 12.3 MB/s, packets of 1,452
session    X25519MLKEM768, initiator, 5e55
sending    28 left, 17.0 MB, 2.10 MB/s, 9 s, limited by the path (about 12.3 MB/s, 0.5 % lost)
           ↑ photos/summer/beach.jpg  45.2 MB/100 MB, 2.10 MB/s
sent       303 files (1.20 GB), 12 folders, last 23:14
receiving  nothing to receive
received   0 files (0 B)
waits:     report.odt: waiting: open in soffice.bin
waits:     big.iso: the peer's disk is full; tried again in 5 s
waits:     film.mp4.part: left alone: the name of an unfinished file
           and 107 more";
    assert_eq!(busy(100).join("\n"), expected);
}

#[test]
fn a_silent_peer_is_not_shown_as_connected_only() {
    let mut status = sample::busy();
    status.peers[0].session.as_mut().unwrap().silent_for = Some(Duration::from_secs(5));
    let text = text(Some(&status), &Clock::utc(), 100);
    let first = "bob: no answer for 5 s, dialling, connected to 192.0.2.7:4000 for 3 d";
    assert!(text.contains(first), "{text}");
}

#[test]
fn lines_fit_the_width_if_it_is_not_tiny() {
    let mut long = sample::busy();
    long.peers[0].name = PeerName::new("bob.a-long-name.example.org");
    for width in [60, 80, 200] {
        for status in [&sample::busy(), &long] {
            for line in text(Some(status), &Clock::utc(), width).lines() {
                assert!(console::measure_text_width(line) <= width, "{width}: {line}");
            }
        }
    }
    let narrow = text(Some(&long), &Clock::utc(), 60);
    let folded = "\
peer       bob.a-long-name.example.org: connected to
           192.0.2.7:4000 for 3 d, since Feb 26 23:50,
";
    assert!(narrow.contains(folded), "{narrow}");
}

#[test]
fn each_bottleneck_has_its_words() {
    let status = sample::busy();
    let session = status.peers[0].session.as_ref();
    for (limit, words) in [
        (Bottleneck::NothingToSend, "nothing to send"),
        (Bottleneck::Waiting, "waiting"),
        (Bottleneck::Starting, "starting"),
        (Bottleneck::Path, "limited by the path (about 12.3 MB/s, 0.5 % lost)"),
        (Bottleneck::Disk, "limited by this disk"),
        (Bottleneck::PeerDisk, "limited by the peer's disk"),
        (Bottleneck::Processor, "limited by this processor"),
        (Bottleneck::PeerProcessor, "limited by the peer's processor"),
        (Bottleneck::RateLimit, "limited by --limit-rate"),
        (Bottleneck::PeerRateLimit, "limited by the peer's --limit-rate"),
        (Bottleneck::Check, "waits for the check here (--quarantine)"),
        (Bottleneck::PeerCheck, "waits for the receiver's check (--quarantine)"),
    ] {
        assert_eq!(bottleneck::sentence(limit, Direction::Send, session), words);
    }
    assert_eq!(
        bottleneck::sentence(Bottleneck::Path, Direction::Receive, session),
        "limited by the path",
        "its loss is that of the other direction"
    );
}

#[test]
fn text_of_a_peer_is_escaped() {
    let mut status = sample::busy();
    let hostile = "a\u{1b}[2J\rb\n\u{9b}31m\u{202e}";
    let peer = &mut status.peers[0];
    peer.waiting[0].program = Some(hostile.into());
    if let Some(session) = &mut peer.session {
        (session.version, session.host) = (hostile.into(), hostile.into());
    }
    let lines = text(Some(&status), &Clock::utc(), 100).lines().count();
    let shown = text(Some(&status), &Clock::utc(), 100).replace('\n', "");
    assert_eq!(shown.chars().find(|c| rft::is_unprintable(*c)), None, "{shown:?}");
    assert!(lines <= 16, "{shown:?}");
}

/// The page of `--metrics` has its own script, and says the same.
#[test]
fn the_page_of_metrics_has_the_same_words() {
    const SCRIPT: &str = include_str!("../../../metrics/page.js");
    let has = |sentence: &str| {
        // Times are no words.
        let sentence = sentence.trim_end_matches(" in 7 s").trim_end_matches("7.0 s");
        for part in sentence.split("; ").flat_map(|part| part.split(": ")) {
            let part = part.strip_prefix("limited by ").unwrap_or(part);
            let part = part.split(" (").next().unwrap();
            assert!(SCRIPT.contains(part), "{part:?} of {sentence:?}");
        }
    };
    let status = sample::busy();
    let session = status.peers[0].session.as_ref();
    for limit in Bottleneck::ALL {
        for direction in [Direction::Send, Direction::Receive] {
            has(&bottleneck::sentence(limit, direction, session));
            has(&bottleneck::sentence(limit, direction, None));
        }
    }
    for end in [
        SessionEnd::Stopped,
        SessionEnd::PeerLeft,
        SessionEnd::Superseded,
        SessionEnd::Duplicate,
        SessionEnd::Occupied,
        SessionEnd::Copied,
        SessionEnd::ProtocolBrokenHere,
        SessionEnd::ProtocolBrokenByPeer,
        SessionEnd::TimedOut,
    ] {
        // A whole literal, since it has no variable part.
        assert!(SCRIPT.contains(&format!("\"{end}\"")), "{end}");
    }
    let time = Duration::from_secs(7);
    for reason in [
        WaitReason::Settling(time),
        WaitReason::Folder,
        WaitReason::Ready,
        WaitReason::InFlight,
        WaitReason::CleaningUp,
        WaitReason::Open,
        WaitReason::DeliveredOpen,
        WaitReason::Lingering(time),
        WaitReason::Unfinished,
        WaitReason::LeftAlone,
        WaitReason::Backoff(time),
        WaitReason::Occupied(time),
        WaitReason::Unreadable(time),
        WaitReason::Refused,
    ] {
        has(&why(&waiting("f", reason)));
        assert!(SCRIPT.contains(&format!("case \"{}\":", reason.kind().as_str())), "{reason:?}");
    }
    for words in ["not connected yet", "the peer has not told what it has left", "dialling"] {
        has(words);
    }
}
