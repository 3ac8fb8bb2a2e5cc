//! The system's file events become hints. They may be late, doubled, out of order or missing.

use super::hints::{Hint, Hints};
use super::ignored::IGNORE_FILE;
use crate::cause;
use crate::outbox::mailbox::{Mail, Mailbox};
use crate::proto::name::Name;
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Config, ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long events are gathered while there are many of them.
const GATHER: Duration = Duration::from_millis(1);
/// Events that follow each other within this time were read from the system together.
const BACKLOG_GAP: Duration = Duration::from_micros(10);
/// After a longer time without events the next one is handled at once.
const BUSY_GAP: Duration = Duration::from_millis(3);

/// A recursive watch on Outgoing. Dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct Watch {
    watcher: RecommendedWatcher,
    root: PathBuf,
}

/// How much of Outgoing is watched.
#[derive(Debug)]
pub(crate) enum Watched {
    /// All folders.
    Whole(Watch),
    /// Some folders, for this reason.
    Part(Watch, String),
    /// None, for this reason.
    Nothing(String),
}

impl Watch {
    /// Watches the folder at `path`. Hints go to `mailbox`.
    pub(crate) fn start(path: &Path, mailbox: Arc<Mailbox>) -> Watched {
        // Some systems report the resolved path, others the path that is given here.
        let root = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let prefix = root.clone();
        let config = Config::default().with_follow_symlinks(false);
        let mut pace = Pace::default();
        let hear = move |event| {
            pace.before();
            hear(&mailbox, &prefix, event);
            pace.after(Instant::now());
        };
        match RecommendedWatcher::new(hear, config) {
            Ok(watcher) => {
                let mut watch = Self { watcher, root };
                match watch.watch_all() {
                    Ok(()) => Watched::Whole(watch),
                    Err(why) => Watched::Part(watch, why),
                }
            }
            Err(error) => Watched::Nothing(explain(&error)),
        }
    }

    /// Adds the folders that are not watched yet.
    ///
    /// # Errors
    /// Why some of them cannot be watched, as a sentence for the user.
    pub(crate) fn watch_all(&mut self) -> Result<(), String> {
        self.watcher.watch(&self.root, RecursiveMode::Recursive).map_err(|error| explain(&error))
    }
}

/// Lets events arrive together while there are many of them: every event that wakes the watcher's
/// thread alone costs two switches between threads, one of which stops the thread that caused it.
/// The first event after a pause is handled at once.
#[derive(Debug, Default)]
struct Pace {
    handled: Option<Instant>,
}

impl Pace {
    /// Waits a little if the thread had to wait for this event, and is busy.
    fn before(&self) {
        if self.gathers(Instant::now()) {
            std::thread::sleep(GATHER);
        }
    }

    fn gathers(&self, now: Instant) -> bool {
        // With a backlog, the next event is there at once.
        let idle = self.handled.map(|handled| now.saturating_duration_since(handled));
        idle.is_some_and(|idle| idle > BACKLOG_GAP && idle < BUSY_GAP)
    }

    fn after(&mut self, now: Instant) {
        self.handled = Some(now);
    }
}

/// Why not all folders can be watched, and the remedy.
fn explain(error: &notify::Error) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => no_watches(),
        ErrorKind::Io(io) if matches!(io.raw_os_error(), Some(TOO_MANY_INSTANCES)) && cfg!(unix) => {
            "the system gives no more inotify instances; raise fs.inotify.max_user_instances (sysctl)".into()
        }
        _ => cause::without_number(&error.to_string()),
    }
}

/// EMFILE, the error of `inotify_init` at its limit.
const TOO_MANY_INSTANCES: i32 = 24;

/// The message for the system's limit of watches.
pub(crate) fn no_watches() -> String {
    "Outgoing has more folders than this system lets a user watch; raise fs.inotify.max_user_watches \
     (sysctl)"
        .into()
}

/// The message for an overflow of the system's event queue.
pub(crate) const OVERFLOW: &str = if cfg!(target_os = "linux") {
    "more changed in Outgoing at once than the system's queue of file events takes; nothing is missed, as \
     Outgoing is scanned now, but that is slower: raise fs.inotify.max_queued_events (sysctl)"
} else {
    "more changed in Outgoing at once than the system tells; nothing is missed, as Outgoing is scanned now"
};

/// The meaning of an event for its paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EventMeaning {
    /// This hint about each path.
    Each(Hint),
    /// The first path was renamed to the second.
    Renamed,
    /// A program opened the file.
    Opened,
}

/// Only inotify reports when a writer closes a file. On other systems a write is reported as a
/// change and no more.
pub(crate) const TELLS_CLOSES: bool = cfg!(target_os = "linux");

fn meaning(kind: &EventKind) -> Option<EventMeaning> {
    Some(match kind {
        EventKind::Access(AccessKind::Open(_)) if TELLS_CLOSES => EventMeaning::Opened,
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => EventMeaning::Each(Hint::Closed),
        EventKind::Access(_) => return None,
        EventKind::Create(CreateKind::Folder) => EventMeaning::Each(Hint::Seen),
        EventKind::Create(_) => EventMeaning::Each(Hint::Created),
        EventKind::Modify(ModifyKind::Data(_)) if TELLS_CLOSES => EventMeaning::Each(Hint::Written),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) => EventMeaning::Each(Hint::Gone),
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => EventMeaning::Each(Hint::Moved),
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => EventMeaning::Renamed,
        EventKind::Remove(_) => EventMeaning::Each(Hint::Gone),
        EventKind::Modify(_) | EventKind::Any | EventKind::Other => EventMeaning::Each(Hint::Seen),
    })
}

fn hear(mailbox: &Mailbox, root: &Path, event: notify::Result<Event>) {
    match event {
        Ok(event) if event.need_rescan() => mailbox.send(|mail| {
            mail.hints.overflow = true;
            lost(mail);
        }),
        Ok(event) => match (meaning(&event.kind), event.paths.as_slice()) {
            (Some(EventMeaning::Each(hint)), paths) => {
                mailbox.send(|mail| {
                    paths.iter().for_each(|path| add(&mut mail.hints, root, path, hint))
                });
            }
            (Some(EventMeaning::Renamed), [from, to]) => mailbox.send(|mail| {
                add(&mut mail.hints, root, from, Hint::Gone);
                add(&mut mail.hints, root, to, Hint::Moved);
            }),
            (Some(EventMeaning::Opened), [path]) => {
                mailbox.send(|mail| {
                    mail.hints.opened(|| {
                        path.strip_prefix(root).ok().and_then(|p| Name::from_path(p).ok())
                    })
                });
            }
            _ => {}
        },
        Err(error) if matches!(error.kind, ErrorKind::MaxFilesWatch) => {
            mailbox.send(|mail| mail.hints.no_watches = true);
        }
        Err(_) => mailbox.send(lost),
    }
}

/// Events were lost, or may have been.
fn lost(mail: &mut Mail) {
    (mail.hints.lost, mail.hints.everything) = (true, true);
}

fn add(hints: &mut Hints, root: &Path, path: &Path, hint: Hint) {
    match path.strip_prefix(root) {
        // Outgoing itself: its times change with every new or removed entry.
        Ok(path) if path.as_os_str().is_empty() => hints.everything |= hint == Hint::Gone,
        Ok(path) if path == Path::new(IGNORE_FILE) => hints.everything = true,
        // A path that is no valid name is not sent. The next scan warns about it.
        Ok(path) => {
            if let Ok(name) = Name::from_path(path) {
                hints.add(name, hint);
            }
        }
        Err(_) => hints.everything = true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_gathered_only_while_there_are_many() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!(!pace.gathers(now), "the first one");
        pace.after(now);
        assert!(!pace.gathers(now + BACKLOG_GAP), "more of them wait already");
        assert!(pace.gathers(now + BACKLOG_GAP * 2));
        assert!(!pace.gathers(now + BUSY_GAP), "after a pause");
    }

    #[test]
    fn paths_become_names_or_a_reason_to_scan() {
        let root = Path::new("/base/Outgoing");
        let heard = |path: &str, hint| {
            let mut hints = Hints::default();
            add(&mut hints, root, Path::new(path), hint);
            let everything = hints.everything;
            (hints.take_paths().pop().map(|(name, _)| name.to_string()), everything)
        };
        assert_eq!(heard("/base/Outgoing/a/b", Hint::Seen), (Some("a/b".into()), false));
        assert_eq!(heard("/base/Outgoing", Hint::Seen), (None, false));
        assert_eq!(heard("/base/Outgoing", Hint::Gone), (None, true));
        assert_eq!(heard("/base/Outgoing/.rftignore", Hint::Closed), (None, true));
        assert_eq!(heard("/base/Outgoing/.rft-x", Hint::Closed), (None, false));
        assert_eq!(heard("/elsewhere", Hint::Seen), (None, true));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn events_have_the_meaning_of_inotify() {
        for (kind, heard) in [
            (EventKind::Create(CreateKind::File), Some(EventMeaning::Each(Hint::Created))),
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), Some(EventMeaning::Opened)),
            (
                EventKind::Access(AccessKind::Close(AccessMode::Write)),
                Some(EventMeaning::Each(Hint::Closed)),
            ),
            (EventKind::Access(AccessKind::Close(AccessMode::Read)), None),
            (
                EventKind::Modify(ModifyKind::Name(RenameMode::To)),
                Some(EventMeaning::Each(Hint::Moved)),
            ),
        ] {
            assert_eq!(meaning(&kind), heard, "{kind:?}");
        }
    }
}
