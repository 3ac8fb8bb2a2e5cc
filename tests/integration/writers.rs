//! Files that a program has open for writing: the program itself, two processes on loopback. In the
//! end every written byte is at the peer or in Outgoing, and no shorter version ever stood in
//! Incoming under the file's name.

mod changes;

use crate::harness::events::{of_path, sent_paths};
use crate::harness::files::{has_python, hash_of, names, plant_big};
use crate::harness::peer::{Pair, Running};
use crate::harness::until;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than the `--settle` of these tests, 100 ms.
const PAUSE: Duration = Duration::from_millis(400);
/// A file that takes a few seconds at [`SLOW`].
const BIG: u64 = 6_000_000;
const SLOW: [&str; 2] = ["--limit-rate", "3M"];

/// A file that is open for appending.
fn appended(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// A running pair.
struct Work {
    pair: Pair,
    a: Running,
    b: Running,
}

impl Work {
    fn start(options: &[&str]) -> Self {
        let pair = Pair::new();
        let (a, b) = pair.connected(options, &[]);
        Self { pair, a, b }
    }

    fn outgoing(&self, name: &str) -> PathBuf {
        self.pair.a.outgoing().join(name)
    }

    fn incoming(&self, name: &str) -> PathBuf {
        self.pair.b.incoming().join(name)
    }

    /// rft finds the file open and waits.
    fn waits(&mut self, name: &str) {
        self.a.has_or_waits_for("file_waiting", of_path(name));
        assert!(!self.incoming(name).exists());
        assert!(self.outgoing(name).exists());
    }

    /// Waits until everything is sent. Returns the sent paths.
    fn drains(self) -> (Pair, Vec<String>) {
        let Self { pair, a, b } = self;
        let mut events = a.stop();
        let again = pair.a.start(&["--drain"]);
        events.extend(again.ends(0));
        b.stop();
        pair.b.left_nothing_over();
        pair.a.left_nothing_over();
        let sent = sent_paths(&events).into_iter().map(str::to_owned).collect();
        (pair, sent)
    }
}

#[test]
fn a_file_written_with_pauses_is_sent_at_once_when_closed() {
    let mut work = Work::start(&[]);
    let mut file = appended(&work.outgoing("log"));
    for line in 0..4 {
        writeln!(file, "line {line}").unwrap();
        std::thread::sleep(PAUSE);
    }
    work.waits("log");
    let closed = Instant::now();
    drop(file);
    let started = work.a.waits_for("file_started", of_path("log")).at;
    // The promise is 100 ms; the rest is a margin for a busy machine.
    assert!(started - closed < Duration::from_millis(400), "after {:?}", started - closed);
    work.b.waits_for("file_done", of_path("log"));
    assert_eq!(
        fs::read_to_string(work.incoming("log")).unwrap(),
        "line 0\nline 1\nline 2\nline 3\n"
    );
    assert_eq!(work.drains().1, ["log"]);
}

#[test]
fn a_file_waits_for_the_close_of_its_last_writer() {
    let mut work = Work::start(&[]);
    let mut first = appended(&work.outgoing("f"));
    let mut second = appended(&work.outgoing("f"));
    first.write_all(b"first").unwrap();
    drop(first);
    work.waits("f");
    second.write_all(b" second").unwrap();
    drop(second);
    work.b.waits_for("file_done", of_path("f"));
    assert_eq!(fs::read_to_string(work.incoming("f")).unwrap(), "first second");
    assert_eq!(work.drains().1, ["f"]);
}

#[test]
fn an_earlier_writer_is_found() {
    let pair = Pair::new();
    let mut file = appended(&pair.a.outgoing().join("f"));
    file.write_all(b"before").unwrap();
    // An old file without an event.
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    let (a, b) = (pair.a.start(&[]), pair.b.start(&[]));
    let mut work = Work { pair, a, b };
    work.waits("f");
    file.write_all(b" and after").unwrap();
    drop(file);
    work.b.waits_for("file_done", of_path("f"));
    assert_eq!(fs::read_to_string(work.incoming("f")).unwrap(), "before and after");
    assert_eq!(work.drains().1, ["f"]);
}

#[test]
fn an_open_file_waits_when_it_is_moved_or_renamed() {
    let mut work = Work::start(&[]);
    let aside = work.pair.a.dir.join("aside");
    let mut file = appended(&aside);
    file.write_all(b"moved").unwrap();
    fs::rename(&aside, work.outgoing("first")).unwrap();
    work.waits("first");
    fs::rename(work.outgoing("first"), work.outgoing("second")).unwrap();
    work.waits("second");
    file.write_all(b", renamed").unwrap();
    drop(file);
    work.b.waits_for("file_done", of_path("second"));
    assert_eq!(fs::read_to_string(work.incoming("second")).unwrap(), "moved, renamed");
    assert_eq!(work.drains().1, ["second"]);
}

#[test]
fn an_open_file_in_a_new_folder_waits() {
    let mut work = Work::start(&[]);
    fs::create_dir_all(work.outgoing("new/folder")).unwrap();
    let mut file = appended(&work.outgoing("new/folder/f"));
    file.write_all(b"begun").unwrap();
    work.waits("new/folder/f");
    file.write_all(b" and done").unwrap();
    drop(file);
    work.b.waits_for("file_done", of_path("new/folder/f"));
    assert_eq!(fs::read_to_string(work.incoming("new/folder/f")).unwrap(), "begun and done");
}

/// A separate program that follows instructions, one line at a time.
struct Script {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Script {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) =
            (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    /// Waits until the program has done its next step.
    fn did(&mut self) {
        let mut line = String::new();
        assert_eq!(self.output.read_line(&mut line).unwrap(), "done\n".len(), "it ended");
    }

    fn goes_on(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The descriptor is closed, but the memory is still shared with the file.
#[test]
fn a_file_mapped_for_writing_waits() {
    const PROGRAM: &str = "import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.write(file, b'.' * 8192)
memory = mmap.mmap(file, 8192)
os.close(file)
for step in range(2):
    memory[step * 4096 : step * 4096 + 4] = b'done'
    print('done', flush=True)
    input()
";
    if !has_python() {
        return;
    }
    let mut work = Work::start(&[]);
    let mut script =
        Script::start(Command::new("python3").args(["-c", PROGRAM]).arg(work.outgoing("f")));
    script.did();
    work.waits("f");
    script.goes_on();
    script.did();
    script.goes_on();
    work.b.waits_for("file_done", of_path("f"));
    let content = fs::read(work.incoming("f")).unwrap();
    assert_eq!(
        (content.len(), &content[..5], &content[4096..4101]),
        (8192, &b"done."[..], &b"done."[..])
    );
    assert_eq!(work.drains().1, ["f"]);
}

/// The writer's mount namespace is another one, so its open file lies under another mount.
#[test]
fn a_writer_in_another_mount_namespace_is_found() {
    if !is_root() {
        println!("not run: only root may make a mount namespace");
        return;
    }
    let program = "exec 3>>\"$1\"; printf begun >&3; echo done; read line; printf ' and done' >&3";
    let mut work = Work::start(&[]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", program, "sh"]).arg(work.outgoing("f"));
    let mut script = Script::start(&mut command);
    script.did();
    work.waits("f");
    script.goes_on();
    work.b.waits_for("file_done", of_path("f"));
    assert_eq!(fs::read_to_string(work.incoming("f")).unwrap(), "begun and done");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_file_opened_while_it_is_sent_arrives_after_its_close() {
    let mut work = Work::start(&SLOW);
    plant_big(&work.outgoing("f"), BIG, 1);
    work.a.waits_for("file_progress", of_path("f"));
    // It writes nothing yet, so neither size nor times change.
    let mut file = appended(&work.outgoing("f"));
    work.a.waits_for("file_failed", of_path("f"));
    work.waits("f");
    file.write_all(b"the end").unwrap();
    drop(file);
    let whole = hash_of(&work.outgoing("f"));
    work.b.waits_for("file_done", of_path("f"));
    assert_eq!(hash_of(&work.incoming("f")), whole);
    assert_eq!(work.drains().1, ["f"]);
}

/// Programs append lines to several files again and again while rft removes these files. In the end
/// every line is there, whenever it was written.
#[test]
fn appended_lines_are_never_lost() {
    const LINES: usize = 1500;
    let work = Work::start(&[]);
    for line in 0..LINES {
        let name = format!("{}.log", line % 5);
        // Opened by name each time: sometimes the file that is being removed, sometimes a new one.
        writeln!(appended(&work.outgoing(&name)), "line {line}").unwrap();
        std::thread::sleep(Duration::from_millis(if line % 10 == 0 { 90 } else { 1 }));
    }
    let (pair, _) = work.drains();
    assert_eq!(names(&pair.a.outgoing()), [""; 0]);
    let mut lines: Vec<_> = names(&pair.b.incoming())
        .into_iter()
        .flat_map(|name| {
            let text = fs::read_to_string(pair.b.incoming().join(name)).unwrap();
            text.lines()
                .map(|line| line.strip_prefix("line ").unwrap().parse::<usize>().unwrap())
                .collect::<Vec<_>>()
        })
        .collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines, (0..LINES).collect::<Vec<_>>());
}

/// Where the system cannot answer; here because every query fails.
#[test]
fn with_unknown_writers_a_sent_file_is_held_aside_and_restored_if_changed() {
    let mut pair = Pair::new();
    pair.a.failpoints = "os.writers=EIO".into();
    held_aside_and_comes_back(pair);
}

/// The same for another user's files, without the right to query the kernel about them.
#[test]
fn another_users_file_is_held_aside_and_restored_if_changed() {
    if !is_root() {
        println!("not run: only root can give up the right to ask");
        return;
    }
    let mut pair = Pair::new();
    fs::create_dir_all(pair.a.outgoing()).unwrap();
    std::os::unix::fs::chown(pair.a.outgoing(), Some(1234), None).unwrap();
    let drop_right = ["setpriv", "--inh-caps=-lease", "--bounding-set=-lease"];
    pair.a.wrapper = drop_right.map(str::to_owned).to_vec();
    held_aside_and_comes_back(pair);
}

fn held_aside_and_comes_back(pair: Pair) {
    let aside = pair.a.dir.join("aside");
    fs::create_dir_all(&pair.a.dir).unwrap();
    let (a, b) = (pair.a.start(&["--grace", "2s"]), pair.b.start(&[]));
    let mut work = Work { pair, a, b };
    work.a.waits_for("connected", |_| true);
    fs::write(&aside, "sent").unwrap();
    std::os::unix::fs::chown(
        &aside,
        Some(if is_root() { 1234 } else { rustix::process::getuid().as_raw() }),
        None,
    )
    .unwrap();
    let mut file = appended(&aside);
    fs::rename(&aside, work.outgoing("f")).unwrap();
    work.b.waits_for("file_done", of_path("f"));
    until("it is held aside", || !work.outgoing("f").exists());
    file.write_all(b" and more").unwrap();
    drop(file);
    work.b.waits_for("file_done", of_path("f"));
    assert_eq!(fs::read_to_string(work.incoming("f")).unwrap(), "sent");
    assert_eq!(fs::read_to_string(work.incoming("f (1)")).unwrap(), "sent and more");
    let (pair, _) = work.drains();
    assert_eq!((names(&pair.a.outgoing()), names(&pair.b.incoming()).len()), (vec![], 2));
}

#[test]
fn a_file_that_stays_open_is_sent_as_a_snapshot_and_stays() {
    let mut work = Work::start(&["--send-open", "500ms"]);
    let mut log = appended(&work.outgoing("app.log"));
    log.write_all(b"one\n").unwrap();
    work.b.waits_for("file_done", of_path("app.log"));
    assert_eq!(fs::read_to_string(work.incoming("app.log")).unwrap(), "one\n");
    assert_eq!(fs::read_to_string(work.outgoing("app.log")).unwrap(), "one\n");
    log.write_all(b"two\n").unwrap();
    work.b.waits_for("file_done", of_path("app.log"));
    assert_eq!(fs::read_to_string(work.incoming("app (1).log")).unwrap(), "one\ntwo\n");
    assert!(work.outgoing("app.log").exists());
    drop(log);
    until("it goes when it is closed", || !work.outgoing("app.log").exists());
    assert_eq!(work.drains().1.len(), 2);
}
