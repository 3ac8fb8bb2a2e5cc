//! The state of a running process as text for people: the answer to SIGUSR1, and the remaining
//! files of a drain.

use super::text;
use rft::Name;
use rft::status::{OpenFileWait, PeerStatus, Status, WaitReason};
use std::fmt::Write as _;
use std::time::Duration;

/// Several lines, without the end of the last; `None` before the process has started.
pub(crate) fn text(status: Option<&Status>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let Some(status) = status else { return format!("state of rft {version}: starting") };
    let mut text = format!("state of rft {version}, running for {}", text::span(status.uptime));
    status.peers.iter().for_each(|peer| push_peer(&mut text, peer));
    text
}

fn push_peer(text: &mut String, peer: &PeerStatus) {
    let _ = match (&peer.session, &peer.last_end) {
        (Some(session), _) => write!(
            text,
            "\n  peer: connected to {} for {} ({}, session {})",
            session.address,
            text::span(session.age),
            text::role_name(session.role),
            text::printable(&session.id)
        ),
        (None, Some(last)) => write!(
            text,
            "\n  peer: none; the last session ended {} ago: {}",
            text::span(last.ago),
            text::printable(&last.reason.to_string())
        ),
        (None, None) => write!(text, "\n  peer: none yet"),
    };
    let amount = |files: u64, bytes: u64| format!("{}, {}", text::files(files), text::bytes(bytes));
    let (to_send, sent) = (&peer.to_send, &peer.sent);
    let _ = write!(text, "\n  to send: {}", amount(to_send.files, to_send.bytes));
    let _ = write!(text, " (sent so far: {})", amount(sent.files, sent.bytes));
    let to_receive = peer
        .to_receive
        .map_or_else(|| "not known".to_owned(), |backlog| amount(backlog.files, backlog.bytes));
    let arriving = text::files(peer.arriving as u64);
    let received = amount(peer.received.files, peer.received.bytes);
    let _ = write!(
        text,
        "\n  to receive: {to_receive}; arriving now: {arriving} (received so far: {received})"
    );
    for (name, why) in &peer.waiting {
        let _ = write!(text, "\n  waits: {name}: {}", waiting(*why));
    }
    if peer.more_waiting > 0 {
        let _ = write!(text, "\n  and {} more", text::count(peer.more_waiting));
    }
}

/// The reason why a drain is not done, as one sentence.
pub(crate) fn remaining(status: &Status) -> String {
    status.peers.iter().map(remaining_of).collect::<Vec<_>>().join("; ")
}

/// The reason why a drain with one peer is not done, as one sentence.
pub(crate) fn remaining_of(peer: &PeerStatus) -> String {
    let files = |n: u64| format!("{n} file{}", if n == 1 { "" } else { "s" });
    let connected = peer.session.is_some();
    let mut text = match (connected, peer.to_send.files, peer.to_receive.map(|left| left.files)) {
        (false, ..) => "no peer is connected".to_owned(),
        (true, _, None) => "the peer has not said what it has left".to_owned(),
        (true, 0, Some(0)) => "the last files are being received".to_owned(),
        (true, _, Some(0)) => "the peer has nothing left to send".to_owned(),
        (true, _, Some(theirs)) => format!("the peer has {} left to send", files(theirs)),
    };
    if peer.waiting.is_empty() {
        return text + "; nothing is left in Outgoing";
    }
    // More than the backlog, which leaves out refused files for example.
    let count = peer.waiting.len() as u64 + peer.more_waiting;
    let stay = if count == 1 { "stays" } else { "stay" };
    let named: Vec<String> = peer.waiting.iter().map(named).collect();
    let _ = write!(text, "; {} {stay} in Outgoing: {}", files(count), named.join(", "));
    if peer.more_waiting > 0 {
        let _ = write!(text, " and {} more", peer.more_waiting);
    }
    text
}

fn named((name, why): &(Name, WaitReason)) -> String {
    format!("{name} ({})", waiting(*why))
}

/// Why an entry of Outgoing is not delivered yet.
fn waiting(why: WaitReason) -> String {
    let after = |text: &str, time: Duration| format!("{text} in {} s", whole_seconds(time));
    match why {
        WaitReason::Settling(_) => "it was written a moment ago".into(),
        WaitReason::Folder => "a folder, sent after its contents".into(),
        WaitReason::Ready => "ready to be sent".into(),
        WaitReason::InFlight => "in flight".into(),
        WaitReason::CleaningUp => "received; it is being removed".into(),
        WaitReason::Open => "waiting: a program has it open".into(),
        WaitReason::DeliveredOpen => "received; waiting: a program has it open".into(),
        WaitReason::Lingering(left) => after("received; the folder is removed", left),
        WaitReason::Unfinished => "it holds an unfinished file, which is left alone".into(),
        WaitReason::LeftAlone => "left alone: the name of an unfinished file".into(),
        WaitReason::Backoff(left) => after("its delivery failed; tried again", left),
        WaitReason::Occupied(left) => {
            after("the peer has something else at its path; asked again", left)
        }
        WaitReason::Unreadable(left) => after("it cannot be read; tried again", left),
        WaitReason::Refused => "refused until it changes".into(),
        // A newer library's reason.
        _ => "it waits".into(),
    }
}

/// The event that an open file waits for.
pub(crate) fn open_file(reason: OpenFileWait) -> &'static str {
    match reason {
        OpenFileWait::Pause => {
            "a program has it open for writing; a snapshot is sent when it is quiet"
        }
        _ => "a program has it open for writing; it is sent when it is closed",
    }
}

/// Rounded up.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rft::config::PeerName;
    use rft::status::Backlog;

    #[test]
    fn a_drain_names_the_missing_peer_and_the_remaining_files() {
        let mut peer = PeerStatus::new(PeerName::new("bob"));
        peer.to_receive = Some(Backlog { files: 2, bytes: 9 });
        assert_eq!(remaining_of(&peer), "no peer is connected; nothing is left in Outgoing");
        let name = |text: &str| Name::parse(text.as_bytes()).unwrap();
        peer.waiting = vec![(name("f"), WaitReason::Ready)];
        let one = "no peer is connected; 1 file stays in Outgoing: f (ready to be sent)";
        assert_eq!(remaining_of(&peer), one);
        peer.waiting.push((name("g"), WaitReason::Backoff(Duration::from_millis(1500))));
        peer.more_waiting = 3;
        let many = "no peer is connected; 5 files stay in Outgoing: f (ready to be sent), \
                    g (its delivery failed; tried again in 2 s) and 3 more";
        assert_eq!(remaining_of(&peer), many);
    }
}
