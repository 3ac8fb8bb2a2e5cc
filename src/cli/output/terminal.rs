//! Output for people on stderr: lines, and the progress area below them.

use super::area::Area;
use super::failures::{Failures, Trouble};
use super::limit::Limit;
use super::lines;
use super::progress::Progress;
use super::text::{self, Palette};
use rft::event::{Cause, Direction, Event, Occasion};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Interval between two frames of the progress area.
const FRAME_INTERVAL: Duration = Duration::from_millis(100);

/// How much a terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Only the failure of the command.
    Errors,
    /// A line for each event.
    Lines,
    /// Lines, and the progress area below them.
    Progress,
}

/// Prints for people. The printing thread owns it.
pub(crate) struct Terminal {
    show: Show,
    palette: Palette,
    out: Box<dyn Write + Send>,
    area: Option<Area>,
    progress: Progress,
    /// Lines to print with the next frame.
    lines: Vec<String>,
    limit: Option<Limit>,
    failures: Failures,
    drawn: Instant,
}

impl Terminal {
    /// Prints to the process's stderr.
    pub(crate) fn stderr(show: Show) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let palette = Palette { colours: is_terminal && console::colors_enabled_stderr() };
        let mut terminal = Self::new(show, palette, is_terminal, io::stderr());
        terminal.area = (show == Show::Progress).then(Area::stderr);
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

    /// Time until [`Terminal::draw`] is due; `None` if there is nothing to draw.
    pub(crate) fn due_in(&self, now: Instant) -> Option<Duration> {
        let suppressed = self.limit.as_ref().is_some_and(Limit::has_more);
        let moving =
            self.area.as_ref().is_some_and(|area| !area.is_empty() || self.progress.is_moving());
        let due = !self.lines.is_empty() || suppressed || moving || self.failures.is_pending();
        due.then(|| FRAME_INTERVAL.saturating_sub(now.duration_since(self.drawn)))
    }

    /// Shows an event.
    pub(crate) fn event(&mut self, event: &Event, now: Instant) {
        if self.show == Show::Errors {
            return;
        }
        self.progress.update(event, now);
        if let Event::FileDone { path, .. } = event {
            self.failures.done(path);
        }
        if let Event::FileDone { direction, size, .. } = event
            && let Some(limit) = &mut self.limit
            && !limit.admit(*direction, *size, now)
        {
            return;
        }
        match event {
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
            // The progress area shows the time.
            Event::Waiting { occasion: Occasion::Continues, .. } if self.area.is_some() => {}
            event => self.lines.extend(lines::of_event(event, self.palette)),
        }
    }

    /// Prints a line with the next frame, for example one of the log.
    pub(crate) fn line(&mut self, line: String) {
        if self.show != Show::Errors {
            self.lines.push(line);
        }
    }

    /// Prints lines that the user requested, whatever [`Show`] says.
    pub(crate) fn report(&mut self, text: String) {
        self.lines.extend(text.lines().map(str::to_owned));
    }

    /// Begins a new line after the `^C` that a terminal echoes; the area clears it by itself.
    pub(crate) fn interrupted(&mut self) {
        if self.area.is_none() {
            self.line(String::new());
        }
    }

    /// Counts finished files whose events the queue dropped.
    pub(crate) fn add_to_totals(&mut self, direction: Direction, files: u64, bytes: u64) {
        self.progress.add_to_totals(direction, files, bytes);
        if let Some(limit) = &mut self.limit {
            limit.count(direction, files, bytes);
        }
    }

    /// Prints the lines so far and draws the progress area, if a frame is due.
    pub(crate) fn draw(&mut self, now: Instant) {
        let elapsed = now.duration_since(self.drawn);
        if self.area.is_some() && elapsed < FRAME_INTERVAL {
            return;
        }
        self.drawn = now;
        if let Some(limit) = &mut self.limit {
            self.lines.extend(limit.renew(now, self.palette));
        }
        self.lines.extend(self.failures.due(now, self.palette));
        self.progress.tick(elapsed);
        if let Some(area) = &mut self.area {
            let lines = self.progress.lines(area.width(), now, self.palette);
            let colours = self.palette.colours;
            area.set(lines.iter().map(|line| text::for_terminal(line, colours)).collect());
        }
        self.print();
    }

    /// Prints the lines so far. Errors are ignored: a terminal that is gone must not end a
    /// transfer.
    pub(crate) fn print(&mut self) {
        let colours = self.palette.colours;
        let lines: Vec<_> =
            self.lines.drain(..).map(|line| text::for_terminal(&line, colours)).collect();
        match &mut self.area {
            Some(area) => area.draw(&lines),
            None if lines.is_empty() => {}
            None => drop(writeln!(self.out, "{}", lines.join("\n"))),
        }
    }

    /// Prints the remaining lines, the totals, and the reason if the command failed.
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
        if let Some(mut area) = self.area.take() {
            area.set(Vec::new());
            area.draw(&[]);
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

#[cfg(test)]
mod tests;
