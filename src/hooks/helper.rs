//! The helper process. It reads jobs from its standard input, runs the hook for each, and writes
//! reports to its standard output. It ends when its input does: when rft closes the pipe, or dies.

use super::process::HookCommand;
use super::wire::{HookReport, Job, read_frame};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The hidden command that starts the helper.
pub const HELPER_COMMAND: &str = "__hook-helper";
/// Time for the hooks to be killed at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// All that is fixed at the start, so that a process that was taken over cannot have another
/// program run, or this one on a file of its choice.
#[derive(Debug)]
pub(super) struct HelperArguments {
    pub(super) command: HookCommand,
    pub(super) parallel: usize,
    /// The absolute folders that the files are in.
    pub(super) roots: [PathBuf; 2],
}

impl HelperArguments {
    /// The words after [`HELPER_COMMAND`].
    pub(super) fn words(&self) -> Vec<OsString> {
        let HookCommand { program, arguments, timeout } = &self.command;
        let [one, other] = &self.roots;
        let numbers = [timeout.as_millis().to_string().into(), self.parallel.to_string().into()];
        let paths = [one, other, program].map(|path| path.clone().into_os_string());
        numbers.into_iter().chain(paths).chain(arguments.iter().cloned()).collect()
    }

    /// The same from its words; `None` if they are not those.
    fn parse(words: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut words = words.into_iter();
        let timeout = Duration::from_millis(number(&words.next()?)?);
        let parallel = usize::try_from(number(&words.next()?)?).ok()?.max(1);
        let roots = [words.next()?.into(), words.next()?.into()];
        let program = words.next()?.into();
        let command = HookCommand { program, arguments: words.collect(), timeout };
        Some(Self { command, parallel, roots })
    }

    /// Whether the hook may be run on this file.
    fn allows(&self, file: &Path) -> bool {
        let is_name = |part: Component<'_>| matches!(part, Component::Normal(_));
        let beneath = |root: &PathBuf| {
            file.strip_prefix(root)
                .is_ok_and(|rest| rest != Path::new("") && rest.components().all(is_name))
        };
        file.is_absolute() && self.roots.iter().any(beneath)
    }
}

fn number(word: &OsStr) -> Option<u64> {
    word.to_str()?.parse().ok()
}

/// The helper, with the words after [`HELPER_COMMAND`]: runs until its input ends. `outlast` keeps
/// signals from ending it before; it may open files.
#[doc(hidden)]
pub fn run_helper(words: impl IntoIterator<Item = OsString>, outlast: impl FnOnce()) -> ExitCode {
    let Some(arguments) = HelperArguments::parse(words) else { return ExitCode::from(2) };
    close_inherited_files();
    outlast();
    let helper = Arc::new(Helper {
        arguments,
        closing: AtomicBool::new(false),
        running: Mutex::default(),
        ended: Condvar::new(),
    });
    let mut jobs = io::stdin().lock();
    while let Ok(Some(frame)) = read_frame(&mut jobs) {
        let Ok(job) = Job::parse(&frame) else { break };
        helper.start(job);
    }
    helper.close();
    ExitCode::SUCCESS
}

/// Closes the files beyond the standard three that this process has inherited: one of them may be
/// the password file, and a hook would inherit it as well.
#[cfg(target_os = "linux")]
fn close_inherited_files() {
    let listed = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let files: Vec<i32> =
        listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // Nothing in this process has opened a file yet. The list's own is closed already.
    for file in files.into_iter().filter(|&file| file > 2) {
        let _ = nix::unistd::close(file);
    }
}

/// Windows inherits no handles that a program does not name; other systems offer no list.
#[cfg(not(target_os = "linux"))]
fn close_inherited_files() {}

struct Helper {
    arguments: HelperArguments,
    closing: AtomicBool,
    running: Mutex<usize>,
    /// Told when a hook has ended.
    ended: Condvar,
}

impl Helper {
    /// Starts a hook, once there are fewer than the maximum.
    fn start(self: &Arc<Self>, job: Job) {
        let mut running = self.running();
        while *running >= self.arguments.parallel {
            running = self.ended.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        drop(running);
        let helper = self.clone();
        let work = move || {
            helper.run(&job);
            *helper.running() -= 1;
            helper.ended.notify_all();
        };
        if std::thread::Builder::new().name("rft-hook".into()).spawn(work).is_err() {
            // The job has no report, and rft waits for one: the end of this process is one.
            self.close();
            std::process::exit(1);
        }
    }

    fn run(&self, job: &Job) {
        let report = if self.arguments.allows(&job.facts.file) {
            self.arguments.command.run(job.number, &job.facts, &self.closing)
        } else {
            let end = crate::event::HookEnd::NotStarted("the file is in another folder".into());
            HookReport { number: job.number, end, elapsed: Duration::ZERO, output: Vec::new() }
        };
        let mut reports = io::stdout().lock();
        // If rft is gone, the input ends too.
        let _ = reports.write_all(&report.to_frame()).and_then(|()| reports.flush());
    }

    /// Kills the hooks, and waits for their end.
    fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        let running = self.running();
        let none = |running: &mut usize| *running > 0;
        drop(self.ended.wait_timeout_while(running, CLOSE_TIMEOUT, none));
    }

    fn running(&self) -> MutexGuard<'_, usize> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> HelperArguments {
        let command = HookCommand {
            program: "/usr/bin/scan".into(),
            arguments: vec!["--fast".into(), "a b".into()],
            timeout: Duration::from_millis(1500),
        };
        let roots = ["/srv/rft/Incoming".into(), "/home/a/../b/.rft".into()];
        HelperArguments { command, parallel: 2, roots }
    }

    #[test]
    fn its_words_say_all() {
        let words = arguments().words();
        let parsed = HelperArguments::parse(words.clone()).unwrap();
        assert_eq!(format!("{parsed:?}"), format!("{:?}", arguments()));
        for cut in 0..5 {
            assert!(HelperArguments::parse(words[..cut].to_vec()).is_none(), "{cut} words");
        }
    }

    #[test]
    fn only_files_in_its_folders_are_allowed() {
        let arguments = arguments();
        for (file, allowed) in [
            ("/srv/rft/Incoming/a", true),
            ("/srv/rft/Incoming/-rf", true),
            ("/home/a/../b/.rft/quarantine/1/a", true),
            ("/home/a/../b/.rft/../a", false),
            ("/srv/rft/Incoming", false),
            ("/srv/rft/Incoming2/a", false),
            ("/srv/rft/Incoming/../../etc/passwd", false),
            ("/etc/passwd", false),
            ("a", false),
        ] {
            assert_eq!(arguments.allows(Path::new(file)), allowed, "{file}");
        }
    }
}
