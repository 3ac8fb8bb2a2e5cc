//! `rft receipt FILE`: the record of a file that crossed.

use super::source::{HistorySource, is_in_folders, name_of};
use crate::cli::args::ReceiptArgs;
use crate::cli::exit::{self, Failure};
use crate::cli::output::clock::Clock;
use crate::cli::output::json::line_of;
use crate::cli::output::text;
use data_encoding::HEXLOWER;
use rft::Name;
use rft::cause;
use rft::config::Folders;
use rft::event::InstallationId;
use rft::history::{HistoryEntry, HistoryKind, HistoryQuery};
use serde::Serialize;
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// The receipt of a file.
struct FoundReceipt {
    entry: HistoryEntry,
    /// This side's state folder.
    installation: Option<InstallationId>,
    /// The entry of its removal from Outgoing.
    removed: Option<HistoryEntry>,
    /// With `--verify`: the file's present content.
    now: Option<PresentContent>,
}

/// The content of a file, compared with its receipt.
enum PresentContent {
    Same(PathBuf),
    Other(PathBuf, [u8; 32]),
    Unreadable(PathBuf, String),
}

/// The receipt, as `--json` prints it.
#[derive(Serialize)]
struct ReceiptObject<'a> {
    #[serde(flatten)]
    entry: &'a HistoryEntry,
    own_installation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<&'a HistoryEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'static str>,
}

/// Prints the newest receipt of a file.
///
/// # Errors
/// Exit code 20 if there is none or, with `--verify`, the file has other content now; 1 if the
/// history cannot be read or the receipt printed.
pub(crate) fn run(args: &ReceiptArgs) -> Result<(), Failure> {
    let name = name_of(&args.dir, &args.file)?;
    let mut receipt = find(args, &name)?.ok_or_else(|| none(&name))?;
    if args.verify {
        receipt.now = Some(verify(args, &receipt.entry)?);
    }
    let text = if args.json {
        json(&receipt).map_err(|error| Failure::new(exit::UNKNOWN, error.to_string()))?
    } else {
        lines(&receipt, &Clock::system()).into_bytes()
    };
    crate::cli::print(&text)?;
    match &receipt.now {
        Some(PresentContent::Other(path, _)) => Err(Failure::new(
            exit::RECEIPT,
            format!("{} has other content than its receipt says", path.display()),
        )),
        Some(PresentContent::Unreadable(path, why)) => Err(Failure::new(
            exit::RECEIPT,
            format!("{} cannot be compared with its receipt: {why}", path.display()),
        )),
        Some(PresentContent::Same(_)) | None => Ok(()),
    }
}

fn none(name: &Name) -> Failure {
    let reason = format!(
        "there is no receipt for {name}; `rft history` lists the files that were sent and received"
    );
    Failure::new(exit::RECEIPT, reason)
}

/// The newest entry of the name that says that the file has crossed.
fn find(args: &ReceiptArgs, name: &Name) -> Result<Option<FoundReceipt>, Failure> {
    let mut source = HistorySource::open(&args.dir)?;
    let mut query = HistoryQuery::default();
    (query.name, query.newest_first) = (Some(name.clone()), true);
    let mut removals = Vec::new();
    loop {
        let page = source.page(&query)?;
        for entry in page.entries {
            match entry.kind {
                HistoryKind::Sent | HistoryKind::Received => {
                    let removed = removals
                        .into_iter()
                        .find(|removal: &HistoryEntry| removal.transfer == entry.transfer);
                    let installation = page.installation;
                    return Ok(Some(FoundReceipt { entry, installation, removed, now: None }));
                }
                HistoryKind::Removed | HistoryKind::Archived => removals.push(entry),
                _ => {}
            }
        }
        query.after = page.next;
        if query.after.is_none() {
            return Ok(None);
        }
    }
}

/// Compares the file: the one that the user named by a path in the folders, or the one of that name
/// in the folder that it was sent from or received into. A file of that name elsewhere is another.
fn verify(args: &ReceiptArgs, entry: &HistoryEntry) -> Result<PresentContent, Failure> {
    let Some(hash) = entry.blake3 else {
        return Err(Failure::usage(format!(
            "{} is a folder or a link, without a hash",
            entry.path
        )));
    };
    let saved_as = entry.saved_as.as_ref().unwrap_or(&entry.path);
    let folders = Folders::in_dir(&args.dir);
    let path = match entry.kind {
        _ if is_in_folders(&args.dir, &args.file) => args.file.clone(),
        HistoryKind::Received => folders.incoming.join(path_of(saved_as)),
        _ => folders.outgoing.join(path_of(&entry.path)),
    };
    let mut hasher = blake3::Hasher::new();
    let read = File::open(&path).and_then(|file| hasher.update_reader(file).map(drop));
    Ok(match read {
        Err(error) => PresentContent::Unreadable(path, cause::of(&error)),
        Ok(()) if *hasher.finalize().as_bytes() == hash => PresentContent::Same(path),
        Ok(()) => PresentContent::Other(path, *hasher.finalize().as_bytes()),
    })
}

#[cfg(unix)]
fn path_of(name: &Name) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(name.as_bytes()).into()
}

#[cfg(not(unix))]
fn path_of(name: &Name) -> PathBuf {
    String::from_utf8_lossy(name.as_bytes()).into_owned().into()
}

fn json(receipt: &FoundReceipt) -> io::Result<Vec<u8>> {
    line_of(&ReceiptObject {
        entry: &receipt.entry,
        own_installation: receipt.installation.map(|id| id.to_string()),
        removed: receipt.removed.as_ref(),
        content: receipt.now.as_ref().map(|now| match now {
            PresentContent::Same(_) => "same",
            PresentContent::Other(..) => "other",
            PresentContent::Unreadable(..) => "unreadable",
        }),
    })
}

fn lines(receipt: &FoundReceipt, clock: &Clock) -> String {
    let entry = &receipt.entry;
    let (verb, to) = match entry.kind {
        HistoryKind::Sent => ("sent", "to"),
        _ => ("received", "from"),
    };
    let unknown = || "not recorded".to_owned();
    let peer = text::printable(entry.peer.as_str());
    let elapsed = entry.elapsed.map(|time| format!(", in {}", text::span(time)));
    let when = clock.stamp(entry.time);
    let mut rows = vec![
        (verb, format!("{when}, {to} {peer}{}", elapsed.unwrap_or_default())),
        ("size", format!("{} bytes", text::count(entry.size))),
    ];
    rows.extend(entry.blake3.map(|hash| ("BLAKE3", HEXLOWER.encode(&hash))));
    if entry.offset > 0 {
        rows.push(("resumed", format!("{} bytes were there before", text::count(entry.offset))));
    }
    if let Some(name) = entry.saved_as.as_ref().filter(|name| **name != entry.path) {
        rows.push(("saved as", name.to_string()));
    }
    if entry.checked {
        let who = if entry.kind == HistoryKind::Sent { "the peer's" } else { "this side's" };
        let how = format!("{who} program accepted it before it appeared (--quarantine)");
        rows.push(("checked", how));
    }
    if let Some(removal) = &receipt.removed {
        let how = match removal.kind {
            HistoryKind::Archived => "moved to .rft/sent",
            _ => "removed from Outgoing",
        };
        rows.push(("then", format!("{}, {how}", clock.stamp(removal.time))));
    }
    rows.push(("transfer", entry.transfer.to_string()));
    let id = |id: Option<InstallationId>| id.map_or_else(unknown, |id| id.to_string());
    rows.push(("this side", id(receipt.installation)));
    rows.push(("the peer", id(entry.installation)));
    match &receipt.now {
        Some(PresentContent::Same(path)) => {
            rows.push(("now", format!("{}: the same", path.display())))
        }
        Some(PresentContent::Other(path, hash)) => {
            rows.push(("now", format!("{}: other content", path.display())));
            rows.push(("BLAKE3 now", HEXLOWER.encode(hash)));
        }
        Some(PresentContent::Unreadable(path, why)) => {
            rows.push(("now", format!("{}: {why}", path.display())));
        }
        None => {}
    }
    let row = |(label, value): (&str, String)| {
        format!("  {label:<10}  {}\n", text::for_terminal(&value, false))
    };
    format!("{}\n{}", entry.path, rows.into_iter().map(row).collect::<String>())
}
