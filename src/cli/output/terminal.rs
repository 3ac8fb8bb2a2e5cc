//! Events as lines for people, and the progress below them, on stderr.

use super::failures::{Failures, Trouble};
use super::limit::Limit;
use super::progress::{Progress, arrow};
use super::text::{self, Palette};
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rft::event::{Cause, Direction, Event};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Time between two drawings.
const FRAME: Duration = Duration::from_millis(100);
/// Drawings a second at most, as indicatif limits them; so far above what [`FRAME`] asks for that
/// none is left out.
const MAX_HZ: u8 = 100;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Only why the command failed.
    Errors,
    /// What happened, as lines.
    Lines,
    /// Lines, and progress below them.
    Progress,
}

/// Prints for people. Only one thread has it.
pub(crate) struct Terminal {
    show: Show,
    palette: Palette,
    out: Box<dyn Write + Send>,
    area: Option<Area>,
    progress: Progress,
    /// Lines to print at the next drawing.
    lines: Vec<String>,
    limit: Option<Limit>,
    failures: Failures,
    drawn: Instant,
}

/// The part of the screen below the lines: one indicatif bar whose message is all of it, so that a
/// frame is one write.
struct Area {
    bar: ProgressBar,
    term: Term,
    empty: bool,
}

impl Terminal {
    /// The process's stderr. `force` draws progress where no terminal was recognised.
    pub(crate) fn stderr(show: Show, force: bool) -> Self {
        let term = Term::buffered_stderr();
        let is_terminal = term.is_term();
        let palette = Palette { colours: is_terminal && console::colors_enabled_stderr() };
        let mut terminal = Self::new(show, palette, is_terminal, io::stderr());
        if show == Show::Progress {
            let target = if force && !is_terminal {
                ProgressDrawTarget::term_like_with_hz(Box::new(term.clone()), MAX_HZ)
            } else {
                ProgressDrawTarget::term(term.clone(), MAX_HZ)
            };
            let bar = ProgressBar::with_draw_target(None, target).with_style(message_only());
            terminal.area = Some(Area { bar, term, empty: true });
        }
        terminal
    }

    fn new(
        show: Show,
        palette: Palette,
        is_terminal: bool,
        out: impl Write + Send + 'static,
    ) -> Self {
        let now = Instant::now();
        Self {
            show,
            palette,
            out: Box::new(out),
            area: None,
            progress: Progress::default(),
            lines: Vec::new(),
            limit: is_terminal.then(|| Limit::new(now)),
            failures: Failures::default(),
            drawn: now,
        }
    }

    /// Time until [`Terminal::draw`] is due, `None` when there is nothing to draw.
    pub(crate) fn due_in(&self, now: Instant) -> Option<Duration> {
        let suppressed = self.limit.as_ref().is_some_and(Limit::has_more);
        let moving =
            self.area.as_ref().is_some_and(|area| !area.empty || self.progress.is_moving());
        let due = !self.lines.is_empty() || suppressed || moving || self.failures.is_pending();
        due.then(|| FRAME.saturating_sub(now.duration_since(self.drawn)))
    }

    /// Takes an event.
    pub(crate) fn event(&mut self, event: &Event, now: Instant) {
        if self.show == Show::Errors {
            return;
        }
        self.progress.note(event, now);
        if let Event::FileDone { path, .. } = event {
            self.failures.done(path);
        }
        if let Event::FileDone { direction, size, .. } = event
            && let Some(limit) = &mut self.limit
            && !limit.admit(*direction, *size, now)
        {
            return;
        }
        let palette = self.palette;
        match event {
            Event::Listening { local } => self.line(format!("listening on {local} (UDP)")),
            Event::Waiting { peer, local } => self.waiting(peer.as_deref(), local),
            Event::Connected { peer, role, session, .. } => {
                let role = text::role_name(*role);
                let session =
                    palette.dim(&format!("({role}, session {})", text::printable(session)));
                self.line(format!("{} to {peer} {session}", palette.good("connected")));
            }
            Event::AuthFailed { peer, count } => {
                let advice = "if that is your peer, check the password on both responders";
                let times = if *count > 1 { format!(" ({count} tries)") } else { String::new() };
                self.line(format!(
                    "{}; {advice}",
                    palette.warn(&format!("{peer} does not know the password{times}"))
                ));
            }
            Event::Disconnected { peer, reason } => {
                self.line(format!(
                    "{} from {peer}: {}",
                    palette.warn("disconnected"),
                    text::printable(reason)
                ));
            }
            Event::FileDone { .. } => self.lines.extend(done_line(event, palette)),
            Event::FileFailed { cause: Cause::Withdrawn, .. } => {}
            Event::FileFailed {
                direction, path, error, cause: Cause::Fault(cause), retry, ..
            } => {
                let trouble = if *direction == Direction::Send {
                    Trouble::NotSent
                } else {
                    Trouble::NotReceived
                };
                let again = if *retry { " (it will be tried again)" } else { "" };
                self.failures.add(trouble, path, cause, format!("{error}{again}"), now);
            }
            Event::Warning { path: Some(path), message } => {
                self.failures.add(Trouble::Warning, path, message, message.clone(), now);
            }
            Event::Warning { path: None, message } => {
                self.line(format!("{} {}", palette.warn("warning:"), text::printable(message)));
            }
            Event::FileWaiting { path, reason, .. } => {
                self.line(format!(
                    "{}: {path}: {}",
                    palette.warn("waiting"),
                    text::printable(reason)
                ));
            }
            Event::Drained { files, bytes, elapsed, .. } => self.line(format!(
                "{}: {} sent, {}, in {}",
                palette.good("drained"),
                text::files(*files),
                text::bytes(*bytes),
                text::span(*elapsed)
            )),
            _ => {}
        }
    }

    fn waiting(&mut self, peer: Option<&str>, local: &[SocketAddr]) {
        let whom = peer.map_or_else(|| "a peer".to_owned(), text::printable);
        self.line(format!("waiting for {whom}"));
        if let Some((first, others)) = local.split_first() {
            let command = self.palette.bold(&format!("rft {} {}", first.ip(), first.port()));
            let others: Vec<String> = others.iter().map(|addr| addr.ip().to_string()).collect();
            let or = if others.is_empty() {
                String::new()
            } else {
                format!("   (or {})", others.join(", "))
            };
            self.line(format!("  on the other host: {command}{or}"));
        }
    }

    /// Takes a whole line, that of the log for example.
    pub(crate) fn line(&mut self, line: String) {
        if self.show != Show::Errors {
            self.lines.push(line);
        }
    }

    /// Takes lines that the user asked for: they are shown in any case.
    pub(crate) fn report(&mut self, text: String) {
        self.lines.extend(text.lines().map(str::to_owned));
    }

    /// The terminal has shown a ^C. The bars end at its right edge, so that went one line below
    /// them; the cursor goes back to where the bars are taken away from.
    pub(crate) fn interrupted(&mut self) {
        if let Some(area) = &self.area
            && !area.empty
            && area.term.is_term()
            && shows_control_characters()
        {
            let _ = area.term.move_cursor_up(1);
        }
    }

    /// Counts what the queue before this could not take.
    pub(crate) fn missed(&mut self, direction: Direction, files: u64, bytes: u64) {
        self.progress.missed(direction, files, bytes);
        if let Some(limit) = &mut self.limit {
            limit.count(direction, files, bytes);
        }
    }

    /// Prints the lines so far and draws the progress anew, when it is time.
    pub(crate) fn draw(&mut self, now: Instant) {
        let elapsed = now.duration_since(self.drawn);
        if self.area.is_some() && elapsed < FRAME {
            return;
        }
        self.drawn = now;
        if let Some(limit) = &mut self.limit {
            self.lines.extend(limit.renew(now, self.palette));
        }
        self.lines.extend(self.failures.due(now, self.palette));
        self.progress.tick(elapsed);
        if let Some(area) = &mut self.area {
            let width = usize::from(area.term.size().1);
            let lines = self.progress.lines(width.saturating_sub(1), now, self.palette);
            let lines: Vec<_> =
                lines.iter().map(|line| text::for_terminal(line, self.palette.colours)).collect();
            area.empty = lines.is_empty();
            area.bar.set_message(lines.join("\n"));
        }
        // After the message: lines are always drawn, and what is drawn below them is the message.
        self.print();
    }

    /// Prints the lines so far; nothing that a terminal does about it can end the program.
    pub(crate) fn print(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let lines =
            self.lines.drain(..).map(|line| text::for_terminal(&line, self.palette.colours));
        let text = lines.collect::<Vec<_>>().join("\n");
        match &self.area {
            Some(area) => area.bar.println(text),
            None => drop(writeln!(self.out, "{text}")),
        }
    }

    /// Prints all that is left: what was counted only, what went in all, and why the command
    /// failed.
    pub(crate) fn end(&mut self, failure: Option<&str>) {
        if let Some(limit) = &mut self.limit {
            self.lines.extend(limit.summary(self.palette));
        }
        self.lines.extend(self.failures.all(self.palette));
        if self.show != Show::Errors {
            let lines: Vec<String> = [Direction::Send, Direction::Receive]
                .into_iter()
                .filter_map(|way| self.total(way))
                .collect();
            self.lines.extend((!lines.is_empty()).then(|| lines.join(", ")));
        }
        if let Some(area) = self.area.take() {
            area.bar.finish_and_clear();
        }
        if let Some(reason) = failure {
            self.lines.push(format!("{} {}", self.palette.bad("rft:"), text::printable(reason)));
        }
        self.print();
    }

    fn total(&mut self, direction: Direction) -> Option<String> {
        let done = if direction == Direction::Send { "sent" } else { "received" };
        let totals = self.progress.totals(direction);
        let (files, bytes) = (totals.files, totals.bytes);
        (files > 0).then(|| format!("{done} {} ({})", text::files(files), text::bytes(bytes)))
    }
}

/// Whether the terminal echoes a Ctrl-C as two characters.
#[cfg(unix)]
fn shows_control_characters() -> bool {
    use rustix::termios::{LocalModes, tcgetattr};
    tcgetattr(io::stdin())
        .is_ok_and(|modes| modes.local_modes.contains(LocalModes::ECHO | LocalModes::ECHOCTL))
}

#[cfg(not(unix))]
fn shows_control_characters() -> bool {
    false
}

/// An area whose lines are the message alone. indicatif's own template parser has nothing to refuse
/// here.
fn message_only() -> ProgressStyle {
    ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// `sent      photos/a.jpg  2.10 MB, 0.30 s, 7.00 MB/s`
pub(crate) fn done_line(event: &Event, palette: Palette) -> Option<String> {
    let Event::FileDone { direction, path, size, blake3, elapsed, offset, saved_as, .. } = event
    else {
        return None;
    };
    let what = if *direction == Direction::Send { "sent    " } else { "received" };
    let mut details = Vec::new();
    if *blake3 != [0; 32] {
        details.push(text::bytes(*size));
        details.push(text::span(*elapsed));
        if *size >= 1_000_000 {
            let moved = size.saturating_sub(*offset) as f64;
            details.push(text::rate(moved / elapsed.as_secs_f64().max(0.001)));
        }
    }
    if *offset > 0 {
        details.push(format!("{} were there from before", text::bytes(*offset)));
    }
    if let Some(name) = saved_as.as_ref().filter(|name| *name != path) {
        details.push(format!("saved as {name}"));
    }
    let details = palette.dim(&details.join(", "));
    let gap = if details.is_empty() { "" } else { "  " };
    Some(format!(
        "{} {} {path}{gap}{details}",
        palette.accent(arrow(*direction)),
        palette.good(what)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::sample;
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
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn plain(show: Show, is_terminal: bool) -> (Terminal, Screen) {
        let screen = Screen::default();
        (Terminal::new(show, Palette { colours: false }, is_terminal, screen.clone()), screen)
    }

    #[test]
    fn plain_lines() {
        let (mut terminal, screen) = plain(Show::Lines, false);
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
192.0.2.7:4000 does not know the password; if that is your peer, check the password on both responders
connected to 192.0.2.7:4000 (initiator, session 5e55)
↑ sent     big  3.00 MB, 1.5 s, 2.00 MB/s
↓ received a/b.txt  12 B, 1.5 s, saved as a/b (1).txt
warning: disk\\x07 is slow
disconnected from 192.0.2.7:4000: timed out
not sent: \\x1b[2J: permission denied (it will be tried again)
sent 1 file (3.00 MB), received 1 file (12 B)
rft: the port 4000 is taken; name another one
";
        assert_eq!(screen.text(), expected);
    }

    /// Whatever text is in an event, a line of the log or the last message.
    #[test]
    fn nothing_but_styles_and_lines_reaches_the_screen() {
        let hostile = "a\u{1b}[2J\u{1b}]0;title\u{7}\rb\n\u{9b}31m\u{202e}\u{7f}";
        for colours in [false, true] {
            let screen = Screen::default();
            let mut terminal =
                Terminal::new(Show::Lines, Palette { colours }, false, screen.clone());
            let events = [
                Event::Waiting { peer: Some(hostile.into()), local: vec![] },
                Event::Connected {
                    peer: ([192, 0, 2, 7], 1).into(),
                    role: rft::event::SessionRole::Responder,
                    session: hostile.into(),
                    kx: "X25519",
                    installation: rft::proto::message::InstallationId([7; 16]),
                },
                Event::Disconnected { peer: ([192, 0, 2, 7], 1).into(), reason: hostile.into() },
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
            assert_eq!(text.lines().count(), events.len() + 3, "{text:?}");
            let plain = console::strip_ansi_codes(&text).replace('\n', "");
            assert_eq!(
                plain.chars().find(|c| rft::proto::name::is_unprintable(*c)),
                None,
                "{text:?}"
            );
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
        let (mut terminal, screen) = plain(Show::Lines, true);
        let start = Instant::now();
        for i in 0..1254 {
            terminal.event(&sample::done(Direction::Send, &format!("f{i}"), 1000), start);
        }
        terminal.draw(start + Duration::from_millis(500));
        assert_eq!(screen.text().lines().count(), 20);
        terminal.draw(start + Duration::from_secs(1));
        assert_eq!(screen.text().lines().last(), Some("↑ … and 1,234 more files sent, 1.23 MB"));
        terminal
            .event(&sample::done(Direction::Send, "later", 1000), start + Duration::from_secs(1));
        terminal.end(None);
        let text = screen.text();
        assert!(text.contains("later") && text.ends_with("sent 1,255 files (1.25 MB)\n"), "{text}");
    }

    #[test]
    fn a_pipe_gets_every_file() {
        let (mut terminal, screen) = plain(Show::Lines, false);
        for i in 0..100 {
            terminal.event(&sample::done(Direction::Receive, &format!("f{i}"), 1), Instant::now());
        }
        terminal.end(None);
        assert_eq!(screen.text().lines().count(), 101);
    }
}
