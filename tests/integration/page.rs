//! The page of `--metrics`, in Chromium.

use crate::harness::browser::{document, is_there, serve};
use crate::harness::files::drop_content;
use crate::harness::http::address;
use crate::harness::peer::{Pair, Running};
use crate::harness::status;
use serde_json::{Value, json};

/// Widths of a phone and of a desktop.
const WIDTHS: [u16; 2] = [360, 1280];

/// The place for the news that rft no longer answers, while it does.
const NO_ALARM: &str = "<p id=\"alarm\" role=\"alert\" hidden=\"\"></p>";

/// A peer whose page the tests show.
fn start() -> (Pair, Running, String) {
    let pair = Pair::new();
    let a = pair.a.start(&["--metrics", "0"]);
    let url = format!("http://{}/", address(&pair.a));
    (pair, a, url)
}

/// A busy state, as its JSON.
fn busy() -> Value {
    serde_json::from_str(include_str!("../../src/cli/output/busy.json")).unwrap()
}

/// The text of a document, without its elements and its script.
fn text(document: &str) -> String {
    let body = document.split_once("<body>").unwrap().1.split("<script>").next().unwrap();
    let mut text = String::new();
    for part in body.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, text)| text));
        text.push(' ');
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace("&gt;", ">").replace("&lt;", "<")
}

#[test]
fn it_shows_the_state_of_a_real_peer() {
    if !is_there() {
        return;
    }
    let pair = Pair::new();
    let (_a, mut b) = pair.connected(&["--metrics", "0"], &[]);
    drop_content(&pair.a, "x", [7; 1234]);
    drop_content(&pair.a, "film.mp4.part", "x");
    b.waits_for("file_done", |event| event["path"] == "x");
    status::wait(&pair.a, std::time::Duration::from_secs(20), |status| {
        let peer = &status["peers"][0];
        (peer["send"]["in_all"]["files"] == 1
            && peer["send"]["limit"] == "nothing_to_send"
            && !peer["waiting"].as_array()?.is_empty())
        .then_some(())
    });
    let document = document(&format!("http://{}/", address(&pair.a)), 3);
    let (shown, of_command) = (text(&document), status::text(&pair.a));
    for words in [
        "connected to 127.0.0.2:",
        "sent 1 file (1.23 kB), last ",
        "nothing to send",
        "nothing to receive",
        "received 0 files (0 B)",
        "left alone: the name of an unfinished file",
        "X25519MLKEM768",
    ] {
        assert!(shown.contains(words), "{words:?} is missing: {shown}");
        let command: String = of_command.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(command.contains(words), "{words:?} is not said by rft status: {of_command}");
    }
    assert!(document.contains("<title>127.0.0.2: connected – rft</title>"), "{document}");
    assert!(document.contains(NO_ALARM), "{document}");
}

#[test]
fn it_says_what_rft_status_says() {
    if !is_there() {
        return;
    }
    let (_pair, _a, _) = start();
    let url = serve(address(&_pair.a), vec![busy().to_string(); 2], "");
    let shown = text(&document(&url, 1));
    for words in [
        "rft 1.2.3 running for 3:00:00, UDP [::]:4000",
        "connected to 192.0.2.7:4000 for 3 d, since ",
        "rft 1.2.3 on the host bob.example.org",
        "41 ms, 0.5 % lost, about 12.3 MB/s, packets of 1,452",
        "X25519MLKEM768, initiator, 5e55",
        "2.10 MB/s, 9 s",
        "28 left, 17.0 MB, limited by the path (about 12.3 MB/s, 0.5 % lost)",
        "photos/summer/beach.jpg",
        "45.2 MB/100 MB, 2.10 MB/s",
        "sent 303 files (1.20 GB), 12 folders, last ",
        "nothing to receive",
        "report.odt : waiting: a program has it open",
        "big.iso : the peer's disk is full; tried again in 5 s",
        "film.mp4.part : left alone: the name of an unfinished file",
        "and 107 more",
    ] {
        assert!(shown.contains(words), "{words:?} is missing: {shown}");
    }
}

/// A peer chooses its version and its host, and the names of the files that it sends.
#[test]
fn texts_of_a_peer_stay_texts() {
    if !is_there() {
        return;
    }
    let mut state = busy();
    let markup =
        "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>";
    let peer = &mut state["peers"][0];
    peer["name"] = json!(format!("bob{markup}"));
    peer["session"]["host"] = json!(format!("{markup}\u{202e}\u{1b}[2J"));
    peer["session"]["version"] = json!(markup);
    peer["session"]["id"] = json!(markup);
    peer["in_flight"][0]["path"] = json!(format!("a{markup}"));
    peer["waiting"][0]["path"] = json!(markup);
    peer["waiting"][1]["setback_text"] = json!(markup);
    let (pair, _a, _) = start();
    let gone = json!({"ago_seconds": 5, "reason": "lost", "detail": markup});
    let mut ended = state.clone();
    ended["peers"][0]["session"] = Value::Null;
    ended["peers"][0]["last_end"] = gone;
    for state in [state, ended] {
        let url = serve(address(&pair.a), vec![state.to_string(); 3], "");
        let document = document(&url, 1);
        assert!(!document.contains("<img"), "{document}");
        // The page's own, and no other.
        assert_eq!(document.matches("<script>").count(), 1, "{document}");
        assert!(!document.contains("<title>taken"), "{document}");
        assert!(document.contains("&lt;img src=x onerror="), "{document}");
        assert!(!document.contains(['\u{202e}', '\u{1b}']), "{document}");
    }
}

#[test]
fn it_is_live_and_says_when_rft_no_longer_answers() {
    if !is_there() {
        return;
    }
    let (pair, _a, _) = start();
    let mut later = busy();
    later["peers"][0]["send"]["files_left"] = json!(27);
    let states = |of_later| {
        let later = std::iter::repeat_n(later.to_string(), of_later);
        std::iter::once(busy().to_string()).chain(later).collect()
    };
    let live = document(&serve(address(&pair.a), states(10), ""), 3);
    assert!(text(&live).contains("27 left, 17.0 MB"), "{live}");
    assert!(live.contains(NO_ALARM), "{live}");
    let ended = document(&serve(address(&pair.a), states(1), ""), 6);
    let shown = text(&ended);
    assert!(shown.contains("27 left, 17.0 MB"), "{shown}");
    assert!(shown.contains("rft has not answered for "), "{shown}");
    assert!(
        shown.contains("It has ended, or cannot be reached. Above is its state of "),
        "{shown}"
    );
    assert!(!ended.contains(NO_ALARM), "{ended}");
    let never = document(&serve(address(&pair.a), Vec::new(), ""), 4);
    assert!(text(&never).contains("rft has not answered. It has ended"), "{never}");
}

#[test]
fn it_fits_a_phone() {
    if !is_there() {
        return;
    }
    let (pair, _a, _) = start();
    let mut long = busy();
    let peer = &mut long["peers"][0];
    peer["in_flight"][0]["path"] = json!("a".repeat(200));
    peer["waiting"][0]["path"] = json!("b/".repeat(100) + &"c".repeat(200));
    peer["session"]["host"] = json!("d".repeat(200));
    peer["name"] = json!("e".repeat(200));
    for width in WIDTHS {
        // The window of a browser without a screen is at least 500 pixels wide, a frame in it is not.
        let measure = format!(
            "<script>if (top === window) {{
                const frame = document.createElement('iframe');
                frame.src = '/';
                frame.style = 'width: {width}px; height: 5000px; max-width: none; border: 0';
                document.body.append(frame);
                setInterval(() => {{
                    // It has none while it loads.
                    const root = frame.contentDocument.documentElement;
                    if (!root) return;
                    const peers = frame.contentDocument.querySelectorAll('.peer').length;
                    const over = root.scrollWidth - root.clientWidth;
                    document.body.dataset.over = [peers, over, root.clientWidth].join(' ');
                }}, 100);
            }}</script>"
        );
        for state in [&busy(), &long] {
            let url = serve(address(&pair.a), vec![state.to_string(); 20], &measure);
            let document = document(&url, 3);
            assert!(document.contains(&format!("data-over=\"1 0 {width}\"")), "{document}");
        }
    }
}
