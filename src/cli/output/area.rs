//! The progress area: the lines at the bottom of a terminal that every frame replaces.

use console::{Term, measure_text_width};
use std::io;

/// The area. The cursor rests on the row below it, so a `^C` that the terminal echoes appears there
/// and the next frame clears it.
pub(crate) struct Area {
    /// Opens `term` anew.
    open: fn() -> Term,
    term: Term,
    /// The lines to show.
    lines: Vec<String>,
    /// Widths of the lines on the screen, in columns.
    drawn: Vec<usize>,
    /// The last frame, and the size of the terminal then.
    last: Option<(Vec<String>, (u16, u16))>,
}

impl Area {
    /// An empty area of stderr.
    pub(crate) fn stderr() -> Self {
        Self::on(Term::buffered_stderr)
    }

    /// An empty area of stdout.
    pub(crate) fn stdout() -> Self {
        Self::on(Term::buffered_stdout)
    }

    fn on(open: fn() -> Term) -> Self {
        Self { open, term: open(), lines: Vec::new(), drawn: Vec::new(), last: None }
    }

    /// Columns that a line of the area may use. The last column stays free: some terminals wrap a
    /// line that fills it.
    pub(crate) fn width(&self) -> usize {
        usize::from(self.term.size().1).saturating_sub(1)
    }

    /// Lines that it may show ([`hidden_lines`]).
    pub(crate) fn height(&self) -> usize {
        usize::from(self.term.size().0).saturating_sub(2)
    }

    /// Whether nothing of it is on the screen or waits to be drawn.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.drawn.is_empty()
    }

    /// Sets the lines for the next [`Area::draw`].
    pub(crate) fn set(&mut self, lines: Vec<String>) {
        self.lines = lines;
    }

    /// Prints `above` as ordinary lines where the area was, and the area below them. Errors are
    /// ignored: a terminal that is gone must not end a transfer.
    pub(crate) fn draw(&mut self, above: &[String]) {
        let frame = (self.lines.clone(), self.term.size());
        let is_same = self.last.as_ref() == Some(&frame) && above.is_empty();
        if is_same || (above.is_empty() && self.is_empty()) {
            // An idle terminal keeps a selection, and the user's typed text.
            return;
        }
        self.last = Some(frame);
        if self.try_draw(above).is_err() {
            // The buffer still holds this frame and would grow with every further one.
            self.term = (self.open)();
        }
    }

    /// One frame is one write: otherwise the terminal shows the cleared area for a moment.
    fn try_draw(&mut self, above: &[String]) -> io::Result<()> {
        let (rows, columns) = self.term.size();
        self.term.move_cursor_up(rows_used(&self.drawn, columns.into()))?;
        self.term.clear_to_end_of_screen()?;
        let shown = &self.lines[hidden_lines(self.lines.len(), rows.into())..];
        self.drawn = shown.iter().map(|line| measure_text_width(line)).collect();
        for line in above.iter().chain(shown) {
            self.term.write_line(line)?;
        }
        self.term.flush()
    }
}

/// How many lines of an area do not fit. Besides the cursor's row the first row of the screen stays
/// free: a terminal that clears from there on may move every frame into its history.
fn hidden_lines(lines: usize, rows: usize) -> usize {
    lines.saturating_sub(rows.saturating_sub(2))
}

/// Rows that lines of these widths use. A terminal that was made narrower has wrapped them.
fn rows_used(widths: &[usize], columns: usize) -> usize {
    widths.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_frame_replaces_the_one_before_it() {
        use std::io::{Read, Seek};
        let mut screen = tempfile::tempfile().unwrap();
        let (reader, writer) = (screen.try_clone().unwrap(), screen.try_clone().unwrap());
        let term = Term::read_write_pair(reader, writer);
        let mut area = Area { term, ..Area::stderr() };
        area.set(vec!["one".into(), "two".into()]);
        area.draw(&[]);
        area.set(vec!["three".into()]);
        area.draw(&["above".into()]);
        area.set(Vec::new());
        area.draw(&[]);
        area.draw(&[]);
        let mut written = String::new();
        screen.rewind().unwrap();
        screen.read_to_string(&mut written).unwrap();
        let clear = "\r\u{1b}[0J";
        let frames = [
            format!("{clear}one\ntwo\n"),
            format!("\u{1b}[2A{clear}above\nthree\n"),
            format!("\u{1b}[1A{clear}"),
        ];
        assert_eq!(written, frames.concat());
    }

    #[test]
    fn an_area_is_lower_than_the_screen() {
        assert_eq!([0, 4, 5, 9].map(|lines| hidden_lines(lines, 6)), [0, 0, 1, 5]);
        assert_eq!([0, 1, 2].map(|rows| hidden_lines(3, rows)), [3, 3, 3]);
    }

    #[test]
    fn lines_of_a_terminal_that_was_made_narrower_use_more_rows() {
        assert_eq!(rows_used(&[79, 40, 0], 80), 3);
        assert_eq!(rows_used(&[79, 40, 0], 40), 4);
        assert_eq!(rows_used(&[79, 40, 0], 39), 6);
        assert_eq!(rows_used(&[], 80), 0);
    }
}
