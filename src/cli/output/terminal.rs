//! Output for people on stderr: lines, and the progress area below them.

use super::area::Area;
use super::clock::Clock;
use super::failures::{Failures, Trouble};
use super::limit::Limit;
use super::lines;
use super::progress;
use super::state;
use super::text::{self, Palette};
use rft::Status;
use rft::event::{Cause, Direction, Event, Occasion};
use rft::status::Totals;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant, SystemTime};

/// Interval between two frames of the progress area.
const FRAME_INTERVAL: Duration = Duration::from_millis(100);
/// The same while no file is in flight: the last line shows the age and the RTT of the session.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);

/// Interval between two states of a transfer where no line can be replaced, as in a file.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);
/// Columns of these lines.
const PLAIN_WIDTH: usize = 100;
/// Indentation of the rest of a line that is longer than the terminal is wide.
const CONTINUED_INDENT: usize = 2;

/// The state of the process, without the waiting entries; `None` before its start.
pub(crate) type StatusSource = Box<dyn Fn() -> Option<Status> + Send>;

/// How much a terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Only the failure of the command.
    Errors,
    /// A line for each event.
    Lines,
    /// Lines, and the progress area below them. Without a terminal its lines come every ten seconds
    /// while files are in flight.
    Progress,
}

/// Prints for people. The printing thread owns it.
pub(crate) struct Terminal {
    /// One exchange, whose end needs no line of its own.
    is_one: bool,
    show: Show,
    palette: Palette,
    out: Box<dyn Write + Send>,
    area: Option<Area>,
    source: StatusSource,
    clock: Clock,
    /// Whether files were in flight in the last frame.
    moving: bool,
    /// Lines to print with the next frame.
    lines: Vec<String>,
    limit: Option<Limit>,
    failures: Failures,
    drawn: Instant,
    /// When the state was last printed where no line can be replaced.
    told: Instant,
}

impl Terminal {
    /// Prints to the process's stderr.
    pub(crate) fn stderr(show: Show, source: StatusSource) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let palette = Palette { colours: is_terminal && console::colors_enabled_stderr() };
        let mut terminal = Self::new(show, palette, is_terminal, io::stderr(), source);
        terminal.area = (show == Show::Progress && is_terminal).then(Area::stderr);
        terminal
    }

    /// The same for one exchange: its end is told by its totals.
    pub(crate) fn of_one_exchange(self) -> Self {
        Self { is_one: true, ..self }
    }

    fn new(
        show: Show,
        palette: Palette,
        is_terminal: bool,
        out: impl Write + Send + 'static,
        source: StatusSource,
    ) -> Self {
        let now = Instant::now();
        Self {
            show,
            is_one: false,
            palette,
            out: Box::new(out),
            area: None,
            source,
            clock: Clock::system(),
            moving: false,
            lines: Vec::new(),
            limit: is_terminal.then(|| Limit::new(now)),
            failures: Failures::default(),
            drawn: now,
            told: now,
        }
    }

    /// Time until [`Terminal::draw`] is due; `None` if there is nothing to draw.
    pub(crate) fn due_in(&self, now: Instant) -> Option<Duration> {
        let suppressed = self.limit.as_ref().is_some_and(Limit::has_more);
        let soon = !self.lines.is_empty() || suppressed || self.failures.is_pending();
        let interval = match &self.area {
            _ if soon || self.moving => FRAME_INTERVAL,
            Some(_) => IDLE_INTERVAL,
            None if self.show == Show::Progress => PLAIN_INTERVAL,
            None => return None,
        };
        Some(interval.saturating_sub(now.duration_since(self.drawn)))
    }

    /// Shows an event.
    pub(crate) fn event(&mut self, event: &Event, now: Instant) {
        if self.show == Show::Errors || (self.is_one && matches!(event, Event::Drained { .. })) {
            return;
        }
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
            // The user's command has a line of its own.
            Event::FileFailed { cause: Cause::Cancelled, direction: Direction::Send, .. } => {}
            Event::FileFailed {
                direction,
                path,
                error,
                cause: Cause::Refused(cause) | Cause::Fault(cause),
                retry,
                ..
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
            // A refused file has a line of its own.
            Event::HookDone { quarantine: true, .. } => {}
            Event::HookDone { path, end, output, .. } if !end.is_success() => {
                let cause = format!("the program of --on-received failed: {end}");
                let line = match output.is_empty() {
                    true => cause.clone(),
                    false => format!("{cause}: {output}"),
                };
                self.failures.add(Trouble::Warning, path, &cause, line, now);
            }
            // The progress area shows the time.
            Event::Waiting { occasion: Occasion::Continues, .. } if self.area.is_some() => {}
            event => {
                for line in lines::of_event(event, self.palette) {
                    self.push(line);
                }
            }
        }
    }

    /// Prints a line with the next frame, for example one of the log.
    pub(crate) fn line(&mut self, line: String) {
        if self.show != Show::Errors {
            self.push(line);
        }
    }

    /// Adds a line, with its time unless the lines are above the progress area.
    fn push(&mut self, line: String) {
        let is_plain = self.area.is_none() && self.show != Show::Errors && !line.is_empty();
        let stamp = is_plain.then(|| self.clock.stamp(SystemTime::now()) + " ");
        self.lines.push(stamp.unwrap_or_default() + &line);
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

    /// Finished files whose events the queue dropped have no lines.
    pub(crate) fn count_dropped(&mut self, direction: Direction, files: u64, bytes: u64) {
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
        let mut due =
            self.limit.as_mut().map(|limit| limit.renew(now, self.palette)).unwrap_or_default();
        due.extend(self.failures.due(now, self.palette));
        due.into_iter().for_each(|line| self.push(line));
        if let Some(area) = &mut self.area {
            let status = (self.source)();
            self.moving = status.as_ref().is_some_and(progress::is_moving);
            let lines = status
                .map(|status| progress::lines(&status, &self.clock, area.width(), self.palette));
            let lines = lines.unwrap_or_default();
            let colours = self.palette.colours;
            area.set(lines.iter().map(|line| text::for_terminal(line, colours)).collect());
        } else if self.show == Show::Progress && now - self.told >= PLAIN_INTERVAL {
            self.told = now;
            let status = (self.source)().filter(progress::is_moving);
            let lines = status
                .map(|status| progress::lines(&status, &self.clock, PLAIN_WIDTH, self.palette));
            lines.unwrap_or_default().into_iter().for_each(|line| self.push(line));
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
            Some(area) => {
                let fold = |line| text::folded(line, area.width(), CONTINUED_INDENT);
                area.draw(&lines.iter().map(String::as_str).flat_map(fold).collect::<Vec<_>>());
            }
            None if lines.is_empty() => {}
            None => drop(writeln!(self.out, "{}", lines.join("\n"))),
        }
    }

    /// Prints the remaining lines, the totals, and the reason if the command failed.
    pub(crate) fn end(&mut self, failure: Option<&str>) {
        let mut last =
            self.limit.as_mut().map(|limit| limit.summary(self.palette)).unwrap_or_default();
        last.extend(self.failures.all(self.palette));
        if self.show != Show::Errors {
            last.extend((self.source)().and_then(|status| total(&status)));
        }
        last.into_iter().for_each(|line| self.push(line));
        if let Some(mut area) = self.area.take() {
            area.set(Vec::new());
            area.draw(&[]);
        }
        if let Some(reason) = failure {
            self.lines.push(format!("{} {}", self.palette.bad("rft:"), text::printable(reason)));
        }
        self.print();
    }
}

/// `sent 1 file (3.00 MB), received 2 files (12 B)` since the start; nothing before the first.
fn total(status: &Status) -> Option<String> {
    let ways = [(Direction::Send, "sent"), (Direction::Receive, "received")];
    let parts: Vec<String> = ways
        .into_iter()
        .filter_map(|(direction, done)| {
            let sums = status.peers.iter().map(|peer| peer.direction(direction).since_start);
            let (files, folders, bytes) = sums.fold((0, 0, 0), |(files, folders, bytes), one| {
                (files + one.files, folders + one.folders, bytes + one.bytes)
            });
            let totals = Totals { files, folders, bytes };
            (files + folders > 0).then(|| format!("{done} {}", state::totals(totals)))
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests;
