use super::*;
use crate::cli::output::sample;
use rft::event::HookEnd;
use rft::hindrance::Hindrance;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Screen {
    /// Without the times of plain lines, which each has.
    fn text(&self) -> String {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| without_time(line).to_owned() + "\n").collect()
    }
}

/// The rest of `2026-03-01 23:14:05 text`; the whole line if there is no time.
fn without_time(line: &str) -> &str {
    let is_digit_or_mark = |byte: u8| byte.is_ascii_digit() || b"-: ".contains(&byte);
    match line.split_at_checked("2026-03-01 23:14:05 ".len()) {
        Some((time, rest)) if time.bytes().all(is_digit_or_mark) => rest,
        _ => line,
    }
}

fn plain(show: Show, is_terminal: bool) -> (Terminal, Screen) {
    counted(show, is_terminal, (0, 0), (0, 0))
}

/// A terminal of a process that has sent and received these files and bytes.
fn counted(
    show: Show,
    is_terminal: bool,
    sent: (u64, u64),
    received: (u64, u64),
) -> (Terminal, Screen) {
    let screen = Screen::default();
    let mut status = sample::busy();
    let totals = |(files, bytes)| Totals { files, folders: 0, bytes };
    status.peers[0].send.since_start = totals(sent);
    status.peers[0].receive.since_start = totals(received);
    let source: StatusSource = Box::new(move || Some(status.clone()));
    (Terminal::new(show, Palette { colours: false }, is_terminal, screen.clone(), source), screen)
}

#[test]
fn plain_lines() {
    let (mut terminal, screen) = counted(Show::Lines, false, (1, 3_000_000), (1, 12));
    let now = Instant::now();
    let mut saved = sample::done(Direction::Receive, "a/b.txt", 12);
    if let Event::FileDone { saved_as, .. } = &mut saved {
        *saved_as = Some(sample::name("a/b (1).txt"));
    }
    let steps = [
        sample::listening(),
        sample::waiting(),
        sample::auth_failed(),
        sample::connected(),
        sample::started(Direction::Send, "big", 3_000_000),
        sample::progress(Direction::Send, "big", 1_000_000, 3_000_000),
        sample::done(Direction::Send, "big", 3_000_000),
        saved,
        sample::failed(Direction::Send, "\u{1b}[2J"),
        sample::hook_done("a/b.txt", HookEnd::Exit(0)),
        Event::Warning { path: None, message: "disk\u{7} is slow".into() },
        sample::disconnected(),
    ];
    for event in steps {
        terminal.event(&event, now);
        terminal.draw(now);
    }
    terminal.end(Some("the port 4000 is taken; name another one"));
    let expected = "\
listening on [::]:4000 (UDP)
waiting for bob
  on the other host: rft 192.0.2.7 4000   (or 2001:db8::7)
192.0.2.7:4000 does not know the password; if that is your peer, check the password on both hosts
connected to 192.0.2.7:4000 (initiator, session 5e55)
↑ sent     big  3.00 MB, 1.5 s, 2.00 MB/s
↓ received a/b.txt  12 B, 1.5 s, saved as a/b (1).txt
warning: disk\\x07 is slow
disconnected from 192.0.2.7:4000: the peer stopped answering
not sent: \\x1b[2J: permission denied (it will be tried again)
sent 1 file (3.00 MB), received 1 file (12 B)
rft: the port 4000 is taken; name another one
";
    assert_eq!(screen.text(), expected);
    let raw = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
    let timed = raw.lines().filter(|line| without_time(line) != *line).count();
    assert_eq!(timed, expected.lines().count() - 1, "all but the failure: {raw}");
}

#[test]
fn waiting_has_its_cause_and_the_silence_of_a_peer_its_time() {
    let (mut terminal, screen) = plain(Show::Lines, false);
    let now = Instant::now();
    let steps = [
        sample::waiting_because(Hindrance::PortClosed, Occasion::Begins),
        sample::waiting_because(Hindrance::NoAnswer, Occasion::Changes),
        sample::waiting_because(Hindrance::NoAnswer, Occasion::Continues),
        // The refusal has a line of its own.
        sample::waiting_because(Hindrance::WrongPassword, Occasion::Changes),
        sample::silent(),
        sample::heard(),
    ];
    for event in steps {
        terminal.event(&event, now);
    }
    terminal.end(None);
    let expected = "\
waiting for bob: bob is up, but nothing listens on UDP 4000 there: is rft started there, with port 4000?
  on the other host: rft 192.0.2.7 4000
waiting for bob: no answer from bob (192.0.2.7): that host is down or has another address, or a firewall drops UDP 4000
waiting for bob for 1:01: no answer from bob (192.0.2.7): that host is down or has another address, or a firewall drops UDP 4000
no answer from bob for 3 s; dialling
bob answers again after 4.2 s
";
    assert_eq!(screen.text(), expected);
}

/// For any text in an event, a line of the log or the last message.
#[test]
fn only_styles_and_line_ends_control_the_screen() {
    let hostile = "a\u{1b}[2J\u{1b}]0;title\u{7}\rb\n\u{9b}31m\u{202e}\u{7f}";
    for colours in [false, true] {
        let screen = Screen::default();
        let mut terminal = Terminal::new(
            Show::Lines,
            Palette { colours },
            false,
            screen.clone(),
            Box::new(|| None),
        );
        let events = [
            Event::Waiting {
                peer: Some(hostile.into()),
                local: vec![],
                finding: Some(rft::hindrance::Finding {
                    hindrance: Hindrance::NameUnknown,
                    address: ([192, 0, 2, 7], 1).into(),
                }),
                elapsed: Duration::from_secs(2),
                occasion: Occasion::Begins,
            },
            Event::Silent {
                peer: ([192, 0, 2, 7], 1).into(),
                host: Some(hostile.into()),
                elapsed: Duration::from_secs(3),
            },
            Event::Heard {
                peer: ([192, 0, 2, 7], 1).into(),
                host: Some(hostile.into()),
                elapsed: Duration::from_secs(3),
            },
            Event::Connected {
                peer: ([192, 0, 2, 7], 1).into(),
                role: rft::event::SessionRole::Responder,
                session: hostile.into(),
                kx: "X25519",
                installation: rft::event::InstallationId([7; 16]),
                version: hostile.into(),
                host: hostile.into(),
            },
            Event::Disconnected {
                peer: ([192, 0, 2, 7], 1).into(),
                reason: rft::status::SessionEnd::Lost(hostile.into()),
            },
            Event::Warning { path: Some(sample::name(hostile)), message: hostile.into() },
            sample::failed(Direction::Send, hostile),
            sample::done(Direction::Receive, hostile, 1),
        ];
        for event in &events {
            terminal.event(event, Instant::now());
        }
        terminal.line(hostile.into());
        terminal.end(Some(hostile));
        let text = screen.text();
        assert_eq!(text.lines().count(), events.len() + 2, "{text:?}");
        let plain = console::strip_ansi_codes(&text).replace('\n', "");
        assert_eq!(plain.chars().find(|c| rft::is_unprintable(*c)), None, "{text:?}");
        let others = text.replace("\u{1b}[0m", "").split('\u{1b}').skip(1).find_map(|after| {
            let style = after.strip_prefix('[')?.split('m').next()?;
            style.parse::<u8>().is_err().then(|| after.to_owned())
        });
        assert_eq!(others, None, "{text:?}");
    }
}

#[test]
fn quiet_shows_only_the_failure() {
    let (mut terminal, screen) = plain(Show::Errors, true);
    terminal.event(&sample::connected(), Instant::now());
    terminal.event(&sample::done(Direction::Send, "a", 1), Instant::now());
    terminal.end(Some("failed"));
    assert_eq!(screen.text(), "rft: failed\n");
}

#[test]
fn a_terminal_gets_a_sum_of_many_files() {
    let (mut terminal, screen) = counted(Show::Lines, true, (1255, 1_255_000), (0, 0));
    let start = Instant::now();
    for i in 0..1254 {
        terminal.event(&sample::done(Direction::Send, &format!("f{i}"), 1000), start);
    }
    terminal.draw(start + Duration::from_millis(500));
    assert_eq!(screen.text().lines().count(), 20);
    terminal.draw(start + Duration::from_secs(1));
    assert_eq!(screen.text().lines().last(), Some("↑ … and 1,234 more files sent, 1.23 MB"));
    terminal.event(&sample::done(Direction::Send, "later", 1000), start + Duration::from_secs(1));
    terminal.end(None);
    let text = screen.text();
    assert!(text.contains("later") && text.ends_with("sent 1,255 files (1.25 MB)\n"), "{text}");
}

#[test]
fn a_pipe_gets_every_file() {
    let (mut terminal, screen) = counted(Show::Lines, false, (0, 0), (100, 100));
    for i in 0..100 {
        terminal.event(&sample::done(Direction::Receive, &format!("f{i}"), 1), Instant::now());
    }
    terminal.end(None);
    assert_eq!(screen.text().lines().count(), 101);
}

#[test]
fn progress_in_a_file_is_a_few_plain_lines() {
    let (mut terminal, screen) = plain(Show::Progress, false);
    let start = Instant::now();
    for tenth in 0..=210 {
        terminal.draw(start + Duration::from_millis(100 * tenth));
    }
    let text = screen.text();
    let bars = text.lines().filter(|line| line.contains("photos/summer/beach.jpg")).count();
    assert_eq!(bars, 2, "{text}");
    assert!(text.contains("limited by the path") && !text.contains('\u{1b}'), "{text}");
    assert!(terminal.due_in(start).is_some(), "the next ones come by themselves");
}

#[test]
fn a_failed_program_is_told_with_its_last_line() {
    let (mut terminal, screen) = plain(Show::Lines, false);
    terminal.event(&sample::hook_done("a/b.txt", HookEnd::Exit(1)), Instant::now());
    terminal.end(None);
    let expected =
        "warning: a/b.txt: the program of --on-received failed: exit code 1: found \\x1b[31mEicar";
    assert!(screen.text().contains(expected), "{}", screen.text());
}
