//! The lower part of the screen: the files, and a line about the keys.

use super::keys::Mode;
use super::rows;
use super::view::{View, folded};
use crate::cli::output::text::{self, fit, printable};
use ratatui::style::{Color, Modifier};
use ratatui::text::Line;

/// The last line, while nothing else is to be said.
const KEYS: &str = "p pause  l limit  r retry  c cancel  u urgent  ? help";

impl View<'_> {
    /// What the last key did, what the next one is for, or which keys there are.
    pub(super) fn foot(&self, width: usize) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        if let Some(said) = &self.keys.said {
            let colour = said.is_error.then_some(Color::Red);
            let style = self.style(Modifier::BOLD, colour);
            let said = folded(&printable(&said.text), width);
            lines.extend(said.into_iter().map(|line| Line::styled(line, style)));
        }
        let bold = self.style(Modifier::BOLD, None);
        match &self.keys.mode {
            Mode::Limit(typed) => {
                let line = format!("limit (Enter, Esc): {typed}█");
                lines.push(Line::styled(tail(&line, width), bold));
            }
            Mode::Cancel(row) => {
                let name = row.path.to_string();
                let room = width.saturating_sub("cancel ? (y/n)".len());
                let columns = console::measure_text_width(&name).min(room);
                let line = format!("cancel {}? (y/n)", fit(&name, columns));
                lines.push(Line::styled(fit(&line, width), bold));
            }
            Mode::Watch | Mode::Help if lines.is_empty() => {
                lines.push(Line::styled(fit(KEYS, width), self.style(Modifier::DIM, None)));
            }
            Mode::Watch | Mode::Help => {}
        }
        lines
    }

    /// The files in flight, then the waiting entries with their reasons, as far as the rows go. The
    /// selected one is always among them.
    pub(super) fn files(&self, width: usize, rows: usize) -> Vec<Line<'static>> {
        let Some(status) = self.status else { return Vec::new() };
        let all: Vec<_> = rows::of(status).collect();
        let is_selected = |row: &rows::Row<'_>| Some(row.key()) == self.keys.selected;
        let selected = all.iter().position(is_selected);
        let unnamed: u64 =
            status.peers.iter().map(|peer| peer.more_in_flight + peer.more_waiting).sum();
        let is_cut = all.len() > rows || unnamed > 0;
        let shown = if is_cut { rows.saturating_sub(1).min(all.len()) } else { all.len() };
        let first = selected.map_or(0, |at| (at + 1).saturating_sub(shown));
        let line = |(at, row): (usize, &rows::Row<'_>)| {
            let reversed =
                if selected == Some(at) { Modifier::REVERSED } else { Modifier::empty() };
            Line::styled(row.text(width), self.style(reversed, None))
        };
        let mut lines: Vec<_> = all.iter().enumerate().skip(first).take(shown).map(line).collect();
        if is_cut {
            let left_out = unnamed + (all.len() - lines.len()) as u64;
            lines.push(Line::raw(fit(&format!("and {} more", text::count(left_out)), width)));
        }
        lines
    }
}

/// The end of a line, as much as fits.
fn tail(line: &str, width: usize) -> String {
    let mut rest = line;
    while console::measure_text_width(rest) > width {
        let mut chars = rest.chars();
        chars.next();
        rest = chars.as_str();
    }
    rest.to_owned()
}
