//! `rft history`: the files that were sent, received, refused and removed. `rft receipt`: one of
//! them in full.

mod line;
mod receipt;
mod source;
mod when;

pub(super) use receipt::run as run_receipt;
pub(super) use source::name_of;

use super::args::HistoryArgs;
use super::exit::Failure;
use super::output::clock::Clock;
use super::output::json::line_of;
use super::output::text::{self, Palette};
use jiff::ZonedDateTime;
use line::Summary;
use rft::history::{HistoryEntry, HistoryQuery};
use source::HistorySource;
use std::io::{self, IsTerminal, Write};

/// Prints the entries that the arguments ask for, the oldest first, and their sums.
///
/// # Errors
/// Exit codes 2 and 14 for arguments, 1 if the history cannot be read or printed.
pub(crate) fn run(args: &HistoryArgs) -> Result<(), Failure> {
    let now = ZonedDateTime::now();
    let time = |option: &str, text: &Option<String>| {
        text.as_deref().map(|text| when::parse(option, text, &now)).transpose()
    };
    let mut query = HistoryQuery::default();
    query.since = time("--since", &args.since)?;
    query.until = time("--until", &args.until)?;
    query.name = args.file.as_deref().map(|file| name_of(&args.dir, file)).transpose()?;
    let mut source = HistorySource::open(&args.dir)?;
    let mut printer = EntryPrinter::new(args.json);
    let printed = match args.last {
        None => {
            let print = |entries: Vec<_>| printer.print(&entries);
            pages(&mut source, query, print)?
        }
        Some(last) => {
            query.newest_first = true;
            let mut newest = Vec::new();
            pages(&mut source, query, |entries| {
                newest.extend(entries);
                Ok(newest.len() < last)
            })?
            .and_then(|()| {
                newest.truncate(last);
                newest.reverse();
                printer.print(&newest).map(drop)
            })
        }
    };
    printed.and_then(|()| printer.end()).or_else(super::not_printed)
}

/// Passes all pages of a query on, until `take` returns false. The inner error is one of `take`.
fn pages(
    source: &mut HistorySource,
    mut query: HistoryQuery,
    mut take: impl FnMut(Vec<HistoryEntry>) -> io::Result<bool>,
) -> Result<io::Result<()>, Failure> {
    loop {
        let page = source.page(&query)?;
        match take(page.entries) {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
        query.after = page.next;
        if query.after.is_none() {
            return Ok(Ok(()));
        }
    }
}

struct EntryPrinter {
    json: bool,
    clock: Clock,
    palette: Palette,
    summary: Summary,
}

impl EntryPrinter {
    fn new(json: bool) -> Self {
        let colours = io::stdout().is_terminal() && console::colors_enabled();
        let palette = Palette { colours };
        Self { json, clock: Clock::system(), palette, summary: Summary::default() }
    }

    fn print(&mut self, entries: &[HistoryEntry]) -> io::Result<bool> {
        let mut out = Vec::new();
        for entry in entries {
            if self.json {
                out.extend(line_of(entry)?);
            } else {
                self.summary.add(entry);
                let line = line::of(entry, &self.clock, self.palette);
                writeln!(out, "{}", text::for_terminal(&line, self.palette.colours))?;
            }
        }
        super::write_all(&out)?;
        Ok(true)
    }

    fn end(&self) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        super::write_all(format!("{}\n", self.summary.text()).as_bytes())
    }
}
