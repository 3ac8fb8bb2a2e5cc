//! The files on the screen, in their order: those in flight, then the waiting entries.

use crate::cli::output::state;
use crate::cli::output::text::{arrow, fit};
use rft::event::Direction;
use rft::status::{FileInFlight, WaitReason, Waiting};
use rft::{Name, Status};

/// Columns of a file's progress bar.
const BAR: usize = 10;

/// One file or folder.
#[derive(Debug, Clone, Copy)]
pub(super) enum Row<'a> {
    InFlight(&'a FileInFlight),
    Waiting(&'a Waiting),
}

/// Identifies a row from one state to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowKey {
    pub(super) direction: Direction,
    pub(super) path: Name,
}

/// All rows.
pub(super) fn of(status: &Status) -> impl Iterator<Item = Row<'_>> {
    status.peers.iter().flat_map(|peer| {
        let waiting = peer.waiting.iter().filter(|entry| entry.reason != WaitReason::InFlight);
        peer.in_flight.iter().map(Row::InFlight).chain(waiting.map(Row::Waiting))
    })
}

impl Row<'_> {
    pub(super) fn key(self) -> RowKey {
        let (direction, path) = match self {
            Self::InFlight(file) => (file.direction, &file.path),
            Self::Waiting(entry) => (Direction::Send, &entry.path),
        };
        RowKey { direction, path: path.clone() }
    }

    /// The row as a line.
    pub(super) fn text(self, width: usize) -> String {
        match self {
            Self::InFlight(file) => in_flight(file, width),
            Self::Waiting(entry) => {
                named("waits: ", &entry.path.to_string(), &state::why(entry), width)
            }
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
