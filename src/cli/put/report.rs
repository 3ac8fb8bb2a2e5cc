//! What `rft put` prints.

use super::LocalRft;
use crate::cli;
use crate::cli::args::PutArgs;
use crate::cli::exit::Failure;
use crate::cli::output::json::{PathFields, line_of};
use crate::cli::output::text;
use rft::Name;
use rft::history::HistoryEntry;
use rft::put::{PutDone, Skipped};
use serde::Serialize;
use std::io::{self, Write};

pub(super) struct Report {
    json: bool,
    outgoing: String,
    /// The next step of a file that was put.
    next: String,
}

/// A line of `--json`.
#[derive(Serialize)]
struct PutLine<'a> {
    event: &'static str,
    #[serde(flatten)]
    path: PathFields<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outgoing: Option<&'a str>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    size: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<&'a HistoryEntry>,
}

#[derive(Serialize)]
struct Size {
    files: u64,
    folders: u64,
    bytes: u64,
}

impl Report {
    pub(super) fn new(args: &PutArgs, peer: &LocalRft) -> Self {
        let first = if args.urgent { ", before all that waits" } else { "" };
        let next = match (&peer.apart, peer.runs) {
            (_, false) => {
                let then = if args.urgent { ", and is sent first then" } else { "" };
                format!(
                    "no rft runs in this folder, so it waits until one does{then}: rft PEER PORT"
                )
            }
            (_, true) if peer.paused => format!("it is sent after `rft resume`{first}"),
            (None, true) => format!("it is sent now{first}"),
            (Some(_), true) => format!("it is sent when the peer is connected{first}"),
        };
        let outgoing = peer.outgoing.display().to_string();
        Self { json: args.json, outgoing, next }
    }

    /// A file is in Outgoing.
    pub(super) fn put(&self, done: &PutDone) -> Result<(), Failure> {
        let PutDone { files, folders, bytes, .. } = *done;
        if self.json {
            let size = Some(Size { files, folders, bytes });
            let line = self.line("put", &done.name);
            return self.write(&PutLine { outgoing: Some(&self.outgoing), size, ..line });
        }
        let what = match (files, folders) {
            (1, 0) => text::bytes(bytes),
            _ => format!("{}, {}", text::files(files), text::bytes(bytes)),
        };
        print(&format!("{} ({what}) is in Outgoing; {}", done.name, self.next))
    }

    /// An entry of a folder is not copied.
    pub(super) fn skipped(&self, path: &str, why: Skipped) {
        let why = match why {
            Skipped::LinkOut => "a symbolic link that leads out of Outgoing",
            Skipped::Kind => "a socket, FIFO or device",
            _ => "a name that cannot be sent",
        };
        warn(&format!("{path} is left out: {why}"));
    }

    /// The peer holds a file.
    pub(super) fn sent(&self, entry: &HistoryEntry) -> Result<(), Failure> {
        if self.json {
            return self.write(&PutLine { receipt: Some(entry), ..self.line("sent", &entry.path) });
        }
        let peer = text::printable(entry.peer.as_str());
        let saved = entry.saved_as.as_ref().filter(|name| **name != entry.path);
        let saved = saved.map(|name| format!(", saved as {name}")).unwrap_or_default();
        print(&format!("{}: {peer} has it{saved}", entry.path))
    }

    /// Something delays a file.
    pub(super) fn delayed(&self, name: &Name, why: &str) {
        warn(&format!("{name}: {why}"));
    }

    /// A file is not sent.
    pub(super) fn failed(&self, name: &Name, reason: &str) -> Result<(), Failure> {
        if self.json {
            return self.write(&PutLine { reason: Some(reason), ..self.line("failed", name) });
        }
        Ok(())
    }

    fn line<'a>(&self, event: &'static str, name: &'a Name) -> PutLine<'a> {
        let path = PathFields::from(name);
        PutLine { event, path, outgoing: None, size: None, reason: None, receipt: None }
    }

    fn write(&self, line: &PutLine<'_>) -> Result<(), Failure> {
        line_of(line).and_then(|line| cli::write_all(&line)).or_else(cli::not_printed)
    }
}

fn print(line: &str) -> Result<(), Failure> {
    cli::print(format!("{}\n", text::for_terminal(line, false)).as_bytes())
}

fn warn(line: &str) {
    drop(writeln!(io::stderr(), "rft: {}", text::printable(line)));
}
