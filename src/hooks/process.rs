//! One run of the hook: a process with a group of its own, its output, its time limit and its end.

use super::environment::{self, HookFacts};
use super::output::OutputTail;
use super::wire::HookReport;
use crate::cause;
use crate::event::HookEnd;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two looks at the process: the first, and at most.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const MAX_LOOK: Duration = Duration::from_millis(20);
/// Time for a process that was told to end, before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for the rest of the output after the end. A process that left the group may hold it open.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(200);

/// What is run for every file.
#[derive(Debug)]
pub(super) struct HookCommand {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) timeout: Duration,
}

impl HookCommand {
    /// Runs the hook once. When `closing` becomes true it is killed.
    pub(super) fn run(&self, number: u64, facts: &HookFacts, closing: &AtomicBool) -> HookReport {
        let begun = Instant::now();
        let (end, output) = match self.start(facts) {
            Ok(running) => running.wait(begun + self.timeout, closing),
            Err(error) => (HookEnd::NotStarted(cause::of(&error)), Vec::new()),
        };
        HookReport { number, end, elapsed: begun.elapsed(), output }
    }

    fn start(&self, facts: &HookFacts) -> io::Result<RunningHook> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(&facts.file);
        for (name, _) in std::env::vars_os().filter(|(name, _)| environment::is_private(name)) {
            command.env_remove(name);
        }
        command.envs(environment::variables(facts).ok_or(io::ErrorKind::InvalidFilename)?);
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        own_group(&mut command);
        let child = command.spawn()?;
        // It holds the writing end of the pipe, whose reader waits for the last holder.
        drop(command);
        let (tail, ended) = collect(reader);
        Ok(RunningHook { child, tail, ended })
    }
}

/// Reads the output in a thread. The receiver is told of its end.
fn collect(mut output: io::PipeReader) -> (Arc<Mutex<OutputTail>>, Receiver<()>) {
    let tail = Arc::new(Mutex::new(OutputTail::default()));
    let (end, ended) = channel();
    let shared = tail.clone();
    let read = move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            shared.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..length]);
        }
        // The receiver may have stopped waiting.
        let _ = end.send(());
    };
    // Without a thread the output is lost, and the process gets an error when it writes.
    drop(std::thread::Builder::new().name("rft-hook-output".into()).spawn(read));
    (tail, ended)
}

struct RunningHook {
    child: Child,
    tail: Arc<Mutex<OutputTail>>,
    ended: Receiver<()>,
}

impl RunningHook {
    /// Waits until the process ends, or ends it. Processes that it left in its group are killed.
    fn wait(mut self, deadline: Instant, closing: &AtomicBool) -> (HookEnd, Vec<u8>) {
        let mut in_time = true;
        if !self.ends_by(deadline, closing) {
            in_time = closing.load(Ordering::Relaxed);
            if !in_time {
                ask_to_end(&self.child);
                self.ends_by(Instant::now() + END_TIMEOUT, closing);
            }
        }
        kill_group(&mut self.child);
        let end = match self.child.wait() {
            _ if !in_time => HookEnd::TimedOut,
            Ok(status) => end_of(status),
            Err(error) => HookEnd::NotStarted(cause::of(&error)),
        };
        let _ = self.ended.recv_timeout(OUTPUT_TIMEOUT);
        let output = self.tail.lock().unwrap_or_else(PoisonError::into_inner).take();
        (end, output)
    }

    /// Whether the process ends before this time, and before `closing`.
    fn ends_by(&mut self, deadline: Instant, closing: &AtomicBool) -> bool {
        let mut pause = FIRST_LOOK;
        loop {
            // An error means that there is nothing to wait for.
            if has_ended(&mut self.child).unwrap_or(true) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || closing.load(Ordering::Relaxed) {
                return false;
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(MAX_LOOK);
        }
    }
}

/// The process leads a group of its own: signals of the terminal do not reach it, and its whole
/// group can be ended.
#[cfg(unix)]
pub(super) fn own_group(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

/// The same, without a window of its own.
#[cfg(windows)]
pub(super) fn own_group(command: &mut Command) {
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    const CREATE_NO_WINDOW: u32 = 0x0800_0000;
    let flags = CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW;
    std::os::windows::process::CommandExt::creation_flags(command, flags);
}

/// Whether the process has ended. It is not reaped, so that its id stays its own until the group
/// has been killed.
#[cfg(unix)]
fn has_ended(child: &mut Child) -> io::Result<bool> {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    Ok(waitid(WaitId::Pid(Pid::from_child(child)), options)?.is_some())
}

#[cfg(windows)]
fn has_ended(child: &mut Child) -> io::Result<bool> {
    Ok(child.try_wait()?.is_some())
}

#[cfg(unix)]
fn ask_to_end(child: &Child) {
    use rustix::process::{Pid, Signal, kill_process_group};
    // It fails if all of them have ended.
    let _ = kill_process_group(Pid::from_child(child), Signal::TERM);
}

/// Windows has no request that every program takes.
#[cfg(windows)]
fn ask_to_end(_child: &Child) {}

#[cfg(unix)]
fn kill_group(child: &mut Child) {
    use rustix::process::{Pid, Signal, kill_process_group};
    // It fails if none is left but the process itself, which waits to be reaped.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
}

/// Kills the process with its descendants, as long as it lives. The system has no groups that a
/// program without `unsafe` could kill.
#[cfg(windows)]
fn kill_group(child: &mut Child) {
    if !has_ended(child).unwrap_or(true) {
        let mut taskkill = Command::new("taskkill.exe");
        taskkill.args(["/T", "/F", "/PID", &child.id().to_string()]);
        own_group(&mut taskkill);
        let quiet = taskkill.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = quiet.status();
        let _ = child.kill();
    }
}

#[cfg(unix)]
fn end_of(status: ExitStatus) -> HookEnd {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => HookEnd::Exit(code),
        (None, signal) => HookEnd::Signal(signal.unwrap_or(0)),
    }
}

#[cfg(windows)]
fn end_of(status: ExitStatus) -> HookEnd {
    HookEnd::Exit(status.code().unwrap_or(-1))
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::super::environment::tests::facts;
    use super::*;

    static NEVER: AtomicBool = AtomicBool::new(false);

    fn shell(script: &str, timeout: Duration) -> HookCommand {
        let arguments = vec!["-c".into(), script.into(), "hook".into()];
        HookCommand { program: "/bin/sh".into(), arguments, timeout }
    }

    fn run(script: &str, timeout: Duration) -> HookReport {
        shell(script, timeout).run(1, &facts(b"-rf $(x)"), &NEVER)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn the_end_and_the_output_are_told() {
        let report = run("echo one; echo \"$1 $RFT_PATH\" >&2; exit 3", LONG);
        assert_eq!(report.end, HookEnd::Exit(3));
        let path = facts(b"-rf $(x)").file;
        let expected = format!("one\n{} -rf $(x)\n", path.display());
        assert_eq!(String::from_utf8(report.output).unwrap(), expected);
        assert_eq!(run("kill -9 $$", LONG).end, HookEnd::Signal(9));
        assert_eq!(run("cat", LONG).end, HookEnd::Exit(0), "the input is empty");
        let missing = HookCommand { program: "/no/such".into(), ..shell("", LONG) };
        let report = missing.run(1, &facts(b"a"), &NEVER);
        assert!(matches!(report.end, HookEnd::NotStarted(_)), "{report:?}");
    }

    #[test]
    fn it_is_killed_after_its_time_with_all_that_it_started() {
        let begun = Instant::now();
        let report = run("sleep 61 & echo $!; wait", Duration::from_millis(200));
        assert_eq!(report.end, HookEnd::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(10));
        let child: i32 = String::from_utf8(report.output).unwrap().trim().parse().unwrap();
        assert!(is_gone(child));
        // One that does not listen to a request.
        let report = run("trap '' TERM; sleep 61; sleep 61", Duration::from_millis(200));
        assert_eq!(report.end, HookEnd::TimedOut);
    }

    #[test]
    fn what_it_leaves_in_its_group_ends_with_it() {
        let report = run("sleep 61 & echo $!", LONG);
        assert_eq!(report.end, HookEnd::Exit(0));
        let child: i32 = String::from_utf8(report.output).unwrap().trim().parse().unwrap();
        assert!(is_gone(child));
    }

    #[test]
    fn it_is_killed_when_the_helper_closes() {
        let closing = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let hook = scope.spawn(|| {
                shell("sleep 61", Duration::from_secs(60)).run(1, &facts(b"a"), &closing)
            });
            std::thread::sleep(Duration::from_millis(100));
            closing.store(true, Ordering::Relaxed);
            assert_eq!(hook.join().unwrap().end, HookEnd::Signal(9));
        });
    }

    fn is_gone(process: i32) -> bool {
        use rustix::process::{Pid, test_kill_process};
        let process = Pid::from_raw(process).unwrap();
        (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            // A zombie whose new parent does not reap it is gone too.
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
            test_kill_process(process).is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
        })
    }
}
