//! The screen, from top to bottom: the peers, two panels for each of them, the files in flight, the
//! waiting entries, and a line about the keys.

use super::curve::Curves;
use super::keys::{HELP, Keys, Mode};
use crate::cli::output::bottleneck;
use crate::cli::output::clock::Clock;
use crate::cli::output::state;
use crate::cli::output::text::{self, fit, percent, printable, rtt};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Sparkline};
use rft::Status;
use rft::event::Direction;
use rft::status::PeerStatus;

/// A screen of at least this many columns has the two directions side by side.
const WIDE: u16 = 100;
/// Rows of a direction's panel, with its frame.
const PANEL_ROWS: u16 = 7;
/// Rows of the text in a panel.
const PANEL_TEXT_ROWS: u16 = 3;
/// Rows of files that the panels of further peers leave.
const MIN_FILE_ROWS: u16 = 3;

/// The facts to show.
pub(super) struct View<'a> {
    /// The last answer; `None` before the first.
    pub(super) status: Option<&'a Status>,
    /// Why there is no newer answer.
    pub(super) trouble: Option<&'a str>,
    pub(super) curves: &'a Curves,
    pub(super) keys: &'a Keys,
    pub(super) clock: &'a Clock,
    pub(super) colours: bool,
}

impl View<'_> {
    /// Draws the screen. All texts that come from elsewhere have been escaped.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let (width, is_wide) = (usize::from(area.width), area.width >= WIDE);
        let (head, foot) = (self.head(width), self.foot(width));
        let (head_rows, foot_rows) = (head.len() as u16, foot.len() as u16);
        let rows = if is_wide { PANEL_ROWS } else { 2 * PANEL_ROWS };
        let room = area.height.saturating_sub(head_rows + foot_rows);
        let is_help = self.keys.mode == Mode::Help;
        // The first peer has its panels on any screen.
        let fitting = usize::from(room.saturating_sub(MIN_FILE_ROWS) / rows).max(1);
        let shown = if is_help { 0 } else { self.peers().len().min(fitting) };
        let panels = if is_help { 0 } else { rows * shown.max(1) as u16 };
        let [top, middle, bottom, last] = Layout::vertical([
            Constraint::Length(head_rows),
            Constraint::Length(panels),
            Constraint::Min(0),
            Constraint::Length(foot_rows),
        ])
        .areas(area);
        frame.render_widget(Paragraph::new(head), top);
        frame.render_widget(Paragraph::new(foot), last);
        if is_help {
            frame.render_widget(Paragraph::new(HELP.map(Line::raw).to_vec()), bottom);
            return;
        }
        let each = Layout::vertical(vec![Constraint::Length(rows); shown.max(1)]).split(middle);
        for (at, area) in each.iter().enumerate() {
            let pair = [Constraint::Fill(1), Constraint::Fill(1)];
            let layout = if is_wide { Layout::horizontal(pair) } else { Layout::vertical(pair) };
            let [send, receive] = layout.areas(*area);
            self.direction(frame, send, Direction::Send, self.peers().get(at));
            self.direction(frame, receive, Direction::Receive, self.peers().get(at));
        }
        frame.render_widget(Paragraph::new(self.files(width, bottom.height.into())), bottom);
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
        let limit = self.status.and_then(|status| state::limit(status, self.clock));
        lines.extend(limit.map(|limit| Line::raw(fit(&limit, width))));
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

    /// A direction of a peer: its backlog, the speed, its limit, the totals, and the curve of the
    /// speed.
    fn direction(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        direction: Direction,
        peer: Option<&PeerStatus>,
    ) {
        let (mark, verb) = match direction {
            Direction::Send => ("↑", "sending to"),
            Direction::Receive => ("↓", "receiving from"),
        };
        let name = peer.filter(|_| self.peers().len() > 1).map(|peer| &peer.name);
        let title = match name {
            Some(name) => format!(" {mark} {verb} {} ", printable(name.as_str())),
            None => format!(" {mark} {} ", verb.split(' ').next().unwrap_or_default()),
        };
        let block = Block::bordered().title(fit(&title, title_width(&title, area)));
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let Some(peer) = peer else { return };
        let [words, curve] =
            Layout::vertical([Constraint::Length(PANEL_TEXT_ROWS), Constraint::Min(0)])
                .areas(inner);
        let width = usize::from(inner.width);
        let lines: Vec<_> = self.facts(peer, direction);
        let lines: Vec<_> = lines.iter().map(|line| Line::raw(fit(line, width))).collect();
        frame.render_widget(Paragraph::new(lines), words);
        let points = self.curves.last(&peer.name, direction, width);
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

    /// The text of a panel.
    fn facts(&self, peer: &PeerStatus, direction: Direction) -> Vec<String> {
        let (status, session) = (peer.direction(direction), peer.session.as_ref());
        let is_paused = peer.paused && direction == Direction::Send;
        let paused = is_paused.then(|| "paused (p)".to_owned());
        let numbers: Vec<_> =
            paused.into_iter().chain(state::left(status)).chain(state::speed(status)).collect();
        let mut totals = state::totals(status.in_all);
        if let (Some(last), Some(now)) = (status.last, self.status.map(|status| status.time)) {
            totals.push_str(&format!(", last {}", self.clock.short(last, now)));
        }
        vec![numbers.join(", "), bottleneck::sentence(status.limit, direction, session), totals]
    }

    /// A style, without its colour if there are to be none.
    pub(super) fn style(&self, modifier: Modifier, colour: Option<Color>) -> Style {
        let style = Style::new().add_modifier(modifier);
        match colour.filter(|_| self.colours) {
            Some(colour) => style.fg(colour),
            None => style,
        }
    }
}

/// Columns for the title of a panel, between its corners.
fn title_width(title: &str, area: Rect) -> usize {
    console::measure_text_width(title).min(usize::from(area.width.saturating_sub(2)))
}

/// The words in lines of at most `width` columns.
pub(super) fn folded(words: &str, width: usize) -> Vec<String> {
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
    use crate::cli::top::rows;
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
        screen_with(Keys::default(), status, trouble, width, height)
    }

    fn screen_with(
        keys: Keys,
        status: Option<&Status>,
        trouble: Option<&str>,
        width: u16,
        height: u16,
    ) -> Vec<String> {
        let mut curves = Curves::default();
        status.into_iter().for_each(|status| (0..500).for_each(|_| curves.add(status)));
        let (clock, keys) = (&Clock::utc(), &keys);
        let view = View { status, trouble, curves: &curves, keys, clock, colours: false };
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
        assert!(rows[28].starts_with("and "), "{rows:#?}");
        assert!(rows[29].starts_with("p pause  l limit"), "{rows:#?}");
    }

    #[test]
    fn each_peer_has_its_panels_and_the_limit_a_line() {
        let mut status = busy();
        let mut other = status.peers[0].clone();
        other.name = rft::config::PeerName::new("car\u{1b}ol");
        status.peers.push(other);
        status.limit_rate = Some(2_000_000);
        for (width, height) in [(60, 60), (80, 60), (120, 40)] {
            let shown = screen(Some(&status), None, width, height).join("\n");
            for words in [
                "↑ sending to bob",
                "↓ receiving from bob",
                "↑ sending to car\\x1bol",
                "↓ receiving from car\\x1bol",
                "at most 2.00 MB/s sent",
            ] {
                assert!(shown.contains(words), "{width}: {words}\n{shown}");
            }
        }
        // A low screen has room for the first only.
        let shown = screen(Some(&status), None, 80, 30).join("\n");
        assert!(shown.contains("sending to bob") && !shown.contains("sending to car"), "{shown}");
    }

    #[test]
    fn the_last_lines_say_what_the_keys_are_for() {
        let mut status = busy();
        let entry = status.peers[0].waiting[0].clone();
        status.peers[0].waiting = vec![entry; 40];
        for (at, waiting) in status.peers[0].waiting.iter_mut().enumerate() {
            waiting.path = rft::Name::parse(format!("file {at}").as_bytes()).unwrap();
        }
        let last = rows::of(&status).last().unwrap().key();
        let keys = |mode| Keys { mode, selected: Some(last.clone()), said: None };
        for width in [60, 80] {
            let shown =
                screen_with(keys(Mode::Cancel(last.clone())), Some(&status), None, width, 30);
            assert_eq!(shown[29], "cancel file 39? (y/n)");
            assert!(shown[27].contains("waits: file 39"), "{shown:#?}");
            let typed = format!("{}end", "x".repeat(100));
            let shown = screen_with(keys(Mode::Limit(typed)), Some(&status), None, width, 30);
            assert!(shown[29].ends_with("xend█"), "{shown:#?}");
            let shown = screen_with(keys(Mode::Help), Some(&status), None, width, 30).join("\n");
            for line in HELP {
                assert!(shown.contains(line.trim_end()), "{width}: {line}\n{shown}");
            }
            let said =
                "a long sentence that does not fit into one line of a narrow terminal at all";
            let said = super::super::keys::KeyAnswer { text: said.into(), is_error: true };
            let keys = Keys { said: Some(said), ..Keys::default() };
            let shown = screen_with(keys, Some(&status), None, width, 30);
            assert!(shown[29].ends_with("all"), "{shown:#?}");
        }
    }

    #[test]
    fn an_rft_that_has_ended_is_told() {
        let shown = screen(None, Some("no rft runs in \u{1b}[2J/srv"), 60, 20).join("\n");
        assert!(shown.contains("no rft runs in \\x1b[2J/srv"), "{shown}");
    }
}
