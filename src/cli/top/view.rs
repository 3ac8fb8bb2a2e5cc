//! The screen, from top to bottom: the peers, a panel for each direction, the files in flight, and
//! the waiting entries.

use super::curve::Curves;
use crate::cli::output::bottleneck;
use crate::cli::output::clock::Clock;
use crate::cli::output::state;
use crate::cli::output::text::{self, arrow, fit, percent, printable, rtt};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Sparkline};
use rft::Status;
use rft::event::Direction;
use rft::status::{FileInFlight, PeerStatus, WaitReason};

/// A screen of at least this many columns has the two directions side by side.
const WIDE: u16 = 100;
/// Rows of a direction's panel, with its frame.
const PANEL_ROWS: u16 = 7;
/// Rows of the text in a panel.
const PANEL_TEXT_ROWS: u16 = 3;
/// Columns of a file's progress bar.
const BAR: usize = 10;

/// The facts to show.
pub(super) struct View<'a> {
    /// The last answer; `None` before the first.
    pub(super) status: Option<&'a Status>,
    /// Why there is no newer answer.
    pub(super) trouble: Option<&'a str>,
    pub(super) curves: &'a Curves,
    pub(super) clock: &'a Clock,
    pub(super) colours: bool,
}

impl View<'_> {
    /// Draws the screen. All texts that come from elsewhere have been escaped.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let head = self.head(frame.area().width.into());
        let panels = if frame.area().width >= WIDE { PANEL_ROWS } else { 2 * PANEL_ROWS };
        let [top, middle, bottom] = Layout::vertical([
            Constraint::Length(head.len() as u16),
            Constraint::Length(panels),
            Constraint::Min(0),
        ])
        .areas(frame.area());
        frame.render_widget(Paragraph::new(head), top);
        let [send, receive] = if frame.area().width >= WIDE {
            Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(middle)
        } else {
            Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(middle)
        };
        self.direction(frame, send, Direction::Send);
        self.direction(frame, receive, Direction::Receive);
        let (width, height) = (bottom.width.into(), bottom.height.into());
        frame.render_widget(Paragraph::new(self.files(width, height)), bottom);
    }

    /// The program, and a line or two for each peer.
    fn head(&self, width: usize) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        let first = match self.status {
            Some(status) => format!(
                "rft {}, running for {}, UDP {}",
                printable(&status.version),
                text::span(status.uptime),
                status.local
            ),
            None => "rft".to_owned(),
        };
        let keys = "q: quit";
        let room = width.saturating_sub(keys.len() + 1);
        lines.push(Line::from(vec![
            Span::styled(fit(&first, room), self.style(Modifier::BOLD, None)),
            Span::raw(" "),
            Span::styled(keys, self.style(Modifier::DIM, None)),
        ]));
        if let Some(trouble) = self.trouble {
            let red = self.style(Modifier::BOLD, Some(Color::Red));
            let words = printable(trouble);
            lines.extend(folded(&words, width).into_iter().map(|line| Line::styled(line, red)));
        }
        for peer in self.peers() {
            let heard = peer.session.as_ref().is_some_and(|session| session.silent_for.is_none());
            let colour = if heard { Color::Green } else { Color::Yellow };
            let style = self.style(Modifier::empty(), Some(colour));
            let about = self.about(peer);
            lines.extend(folded(&about, width).into_iter().map(|line| Line::styled(line, style)));
        }
        lines
    }

    /// The connection to a peer, and its path.
    fn about(&self, peer: &PeerStatus) -> String {
        let now = self.status.map_or(std::time::UNIX_EPOCH, |status| status.time);
        let name = printable(peer.name.as_str());
        let mut parts = state::connection(peer, &name, now, self.clock);
        if let Some(session) = &peer.session {
            parts.push(rtt(session.path.rtt));
            parts.push(format!("{} lost", percent(session.path.loss)));
        }
        parts.join(", ")
    }

    fn peers(&self) -> &[PeerStatus] {
        self.status.map_or(&[], |status| &status.peers)
    }

    /// A direction: its backlog, the speed, its limit, the totals, and the curve of the speed.
    fn direction(&self, frame: &mut Frame<'_>, area: Rect, direction: Direction) {
        let title = match direction {
            Direction::Send => " ↑ sending ",
            Direction::Receive => " ↓ receiving ",
        };
        let block = Block::bordered().title(title);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let [words, curve] =
            Layout::vertical([Constraint::Length(PANEL_TEXT_ROWS), Constraint::Min(0)])
                .areas(inner);
        let width = usize::from(inner.width);
        let mut lines = Vec::new();
        for peer in self.peers() {
            let status = peer.direction(direction);
            let session = peer.session.as_ref();
            let numbers: Vec<_> =
                state::left(status).into_iter().chain(state::speed(status)).collect();
            lines.push(numbers.join(", "));
            lines.push(bottleneck::sentence(status.limit, direction, session));
            let mut totals = state::totals(status.in_all);
            if let (Some(last), Some(now)) = (status.last, self.status.map(|status| status.time)) {
                totals.push_str(&format!(", last {}", self.clock.short(last, now)));
            }
            lines.push(totals);
        }
        let lines: Vec<_> = lines.iter().map(|line| Line::raw(fit(line, width))).collect();
        frame.render_widget(Paragraph::new(lines), words);
        let points = self.curves.last(direction, width);
        let most = points.iter().copied().max().unwrap_or(0);
        let style = self.style(Modifier::empty(), Some(Color::Cyan));
        frame.render_widget(Sparkline::default().data(&points).style(style), curve);
        if most > 0 {
            let label = format!(" at most {} ", text::rate(most as f64));
            let columns = (console::measure_text_width(&label) as u16).min(area.width);
            let at =
                Rect { x: area.right() - columns, y: area.bottom() - 1, width: columns, height: 1 };
            frame.render_widget(
                Paragraph::new(label),
                Rect { x: at.x.saturating_sub(1).max(area.x), ..at },
            );
        }
    }

    /// The files in flight, then the waiting entries with their reasons, as far as the rows go.
    fn files(&self, width: usize, rows: usize) -> Vec<Line<'static>> {
        let (mut lines, mut left_out) = (Vec::new(), 0);
        for peer in self.peers() {
            lines.extend(peer.in_flight.iter().map(|file| Line::raw(in_flight(file, width))));
            let waiting =
                peer.waiting.iter().filter(|waiting| waiting.reason != WaitReason::InFlight);
            for waiting in waiting {
                let why = state::why(waiting);
                lines.push(Line::raw(named("waits: ", &waiting.path.to_string(), &why, width)));
            }
            left_out += peer.more_in_flight + peer.more_waiting;
        }
        if lines.len() > rows || left_out > 0 {
            let shown = rows.saturating_sub(1).min(lines.len());
            left_out += (lines.len() - shown) as u64;
            lines.truncate(shown);
            lines.push(Line::raw(fit(&format!("and {} more", text::count(left_out)), width)));
        }
        lines
    }

    /// A style, without its colour if there are to be none.
    fn style(&self, modifier: Modifier, colour: Option<Color>) -> Style {
        let style = Style::new().add_modifier(modifier);
        match colour.filter(|_| self.colours) {
            Some(colour) => style.fg(colour),
            None => style,
        }
    }
}

/// `↑ photos/beach.jpg  ####------  45.2 MB/100 MB, 2.10 MB/s`, in one line.
fn in_flight(file: &FileInFlight, width: usize) -> String {
    let share = file.bytes.checked_mul(BAR as u64).and_then(|bytes| bytes.checked_div(file.size));
    let full = share.unwrap_or(0).min(BAR as u64) as usize;
    let numbers =
        format!("  {}{}{}", "━".repeat(full), "┄".repeat(BAR - full), state::numbers(file));
    let mark = format!("{} ", arrow(file.direction));
    let room = width.saturating_sub(console::measure_text_width(&mark));
    let needs = console::measure_text_width(&numbers);
    let name = file.path.to_string();
    let columns = console::measure_text_width(&name).min(room.saturating_sub(needs));
    fit(&format!("{mark}{}{numbers}", fit(&name, columns)), width)
}

/// A name and a text about it. A long name is shortened first, then the text is cut.
fn named(mark: &str, name: &str, said: &str, width: usize) -> String {
    let room = width.saturating_sub(mark.len() + 2);
    let said_columns = console::measure_text_width(said);
    let columns =
        console::measure_text_width(name).min(room.saturating_sub(said_columns).max(room / 3));
    let line = format!("{mark}{}: {said}", fit(name, columns));
    console::truncate_str(&line, width, "…").into_owned()
}

/// The words in lines of at most `width` columns.
fn folded(words: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words.split(' ') {
        let line = lines.last().map_or(0, |line| console::measure_text_width(line));
        if line > 0 && line + 1 + console::measure_text_width(word) > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    /// A state with everything in it.
    pub(in crate::cli::top) fn busy() -> Status {
        serde_json::from_str(include_str!("../output/busy.json")).unwrap()
    }

    fn screen(
        status: Option<&Status>,
        trouble: Option<&str>,
        width: u16,
        height: u16,
    ) -> Vec<String> {
        let mut curves = Curves::default();
        status.into_iter().for_each(|status| (0..500).for_each(|_| curves.add(status)));
        let view = View { status, trouble, curves: &curves, clock: &Clock::utc(), colours: false };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let rows = buffer.content().chunks(width.into());
        let text = |row: &[ratatui::buffer::Cell]| -> String {
            row.iter().map(ratatui::buffer::Cell::symbol).collect()
        };
        rows.map(|row| text(row).trim_end().to_owned()).collect()
    }

    #[test]
    fn everything_is_on_the_screen() {
        for (width, height) in [(60, 40), (80, 40), (200, 40)] {
            let shown = screen(Some(&busy()), None, width, height).join("\n");
            for words in [
                "q: quit",
                "bob: connected to 192.0.2.7:4000 for 3 d",
                "41 ms",
                "↑ sending",
                "28 left, 17.0 MB, 2.10 MB/s, 9 s",
                "limited by the path",
                "303 files (1.20 GB), 12 folders",
                "nothing to receive",
                "at most 2.10 MB/s",
                "45.2 MB/100 MB",
                "waits: report.odt: waiting: open in soffice.bin",
                "and 107 more",
            ] {
                assert!(shown.contains(words), "{width}: {words}\n{shown}");
            }
        }
    }

    #[test]
    fn a_screen_of_any_size_is_drawn() {
        let mut status = busy();
        let many = status.peers[0].in_flight[0].clone();
        status.peers[0].in_flight = vec![many; 50];
        for (width, height) in [(1, 1), (5, 3), (10, 50), (60, 10), (300, 5)] {
            let shown = screen(Some(&status), Some("no rft runs there"), width, height);
            assert_eq!(shown.len(), usize::from(height));
        }
        let rows = screen(Some(&status), None, 80, 30);
        assert!(rows.last().unwrap().starts_with("and "), "{rows:#?}");
    }

    #[test]
    fn an_rft_that_has_ended_is_told() {
        let shown = screen(None, Some("no rft runs in \u{1b}[2J/srv"), 60, 20).join("\n");
        assert!(shown.contains("no rft runs in \\x1b[2J/srv"), "{shown}");
    }
}
