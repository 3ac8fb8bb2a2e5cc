//! Commands that cannot work leave nothing behind, and each cause is reported once.

use super::{hash_of, names, plant_big, put};
use crate::harness::peer::{Host, PASSWORD, Pair, free_port};
#[cfg(target_os = "linux")]
use crate::harness::until;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Runs the program as a person does, in a folder that does not exist, to its end. Returns the exit
/// code.
fn run(base: &Path, password: Option<&str>, arguments: &[&str]) -> Option<i32> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rft"));
    command.arg("--dir").arg(base.join("dir")).args(arguments).env_remove("RFT_PASSWORD");
    if let Some(password) = password {
        command.env("RFT_PASSWORD", password);
    }
    let piped = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = piped.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.trim().is_empty() && !errors.contains("os error"), "{arguments:?}: {errors}");
    output.status.code()
}

#[test]
fn a_command_that_cannot_work_leaves_nothing_behind() {
    let base = tempfile::tempdir().unwrap();
    fs::write(base.path().join("empty"), "\n").unwrap();
    let (empty, missing) = (base.path().join("empty"), base.path().join("missing"));
    let (empty, missing) = (empty.to_str().unwrap(), missing.to_str().unwrap());
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let bound = taken.local_addr().unwrap().to_string();
    let port = free_port().to_string();
    let some = Some(PASSWORD);
    for (password, arguments, code) in [
        (some, &["--nope", "127.0.0.2", &port][..], 2),
        (some, &["127.0.0.2"], 2),
        (some, &["--wait", "1s", "127.0.0.2", &port], 2),
        (None, &["127.0.0.2", &port], 2),
        (Some(""), &["127.0.0.2", &port], 2),
        (None, &["--password-file", empty, "127.0.0.2", &port], 2),
        (None, &["--password-file", missing, "127.0.0.2", &port], 2),
        (None, &["--password-file", "-", "127.0.0.2", &port], 2),
        (some, &["no-such-host.invalid", &port], 3),
        // A peer of the other address family.
        (some, &["--bind", "127.0.0.1", "::1", &port], 3),
        (some, &["127.0.0.2", "0"], 4),
        (some, &["--bind", &bound, "listen", &port], 5),
        (some, &["--bind", "192.0.2.1", "listen", &port], 5),
        (some, &["--settle", "soon", "127.0.0.2", &port], 14),
    ] {
        assert_eq!(run(base.path(), password, arguments), Some(code), "{arguments:?}");
        assert_eq!(names(base.path()), ["empty"], "{arguments:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_stop_at_the_prompt_leaves_nothing_behind() {
    use crate::harness::terminal::OnTerminal;
    use rustix::process::Signal;
    for (signal, code) in
        [(None, 130), (Some(Signal::INT), 130), (Some(Signal::TERM), 143), (Some(Signal::HUP), 143)]
    {
        let base = tempfile::tempdir().unwrap();
        let (dir, port) = (base.path().join("dir"), free_port().to_string());
        let dir = dir.to_str().unwrap();
        let mut prompt =
            OnTerminal::start(&["--dir", dir, "--bind", "127.0.0.1", "127.0.0.2", &port]);
        prompt.reads_single_keys();
        match signal {
            None => prompt.types(b"secr\x03"),
            Some(signal) => prompt.signal(signal),
        }
        let ended = prompt.ends();
        let shown = &ended.shown;
        assert_eq!(ended.code, Some(code), "{signal:?}: {shown}");
        assert!(ended.restored, "{signal:?}: {shown}");
        assert_eq!(shown.matches("stopped at the password prompt").count(), 1, "{shown}");
        assert_eq!(names(base.path()), [""; 0]);
    }
}

/// A command whose text does not get out has failed. One whose reader has read enough has not.
#[cfg(target_os = "linux")]
#[test]
fn text_on_a_full_disk_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let check = ["check", "--dir", dir.path().to_str().unwrap()];
    for arguments in [
        &check[..],
        &["passphrase"],
        &["man"],
        &["completions", "bash"],
        &["--version"],
        &["--help"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let (reader, closed) = std::io::pipe().unwrap();
        drop(reader);
        for (stdout, code) in [(Stdio::from(full), 1), (Stdio::from(closed), 0)] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_rft"));
            let output = command.args(arguments).stdout(stdout).stderr(Stdio::piped()).output();
            let output = output.unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
            assert_eq!(errors.contains("cannot be written"), code != 0, "{arguments:?}: {errors}");
        }
    }
}

/// The program and its messages to people.
struct Talk {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Talk {
    fn start(host: &Host, options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rft"));
        command
            .arg("--dir")
            .arg(&host.dir)
            .args(["--settle", "100ms", "--bind", &host.bind])
            .args(options);
        command.args([&host.peer, &host.port.to_string()]).env("RFT_PASSWORD", PASSWORD);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stderr, heard) = (child.stderr.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    fn all(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn count(&self, text: &str) -> usize {
        self.all().iter().filter(|line| line.contains(text)).count()
    }

    /// Waits for this number of lines that contain `text`.
    fn says(&self, text: &str, times: usize) {
        let deadline = Instant::now() + Duration::from_secs(40);
        while self.count(text) < times {
            assert!(Instant::now() < deadline, "not {times} times {text:?}: {:#?}", self.all());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn refused_files_of_a_folder_are_reported_once_and_not_after_a_reconnect() {
    const FILES: usize = 300;
    let pair = Pair::new();
    // In the folder and below it; refused before their content comes, and after it, which another
    // size saves.
    let name =
        |i: usize| if i.is_multiple_of(3) { format!("d/below/{i}") } else { format!("d/{i}") };
    fs::create_dir_all(pair.b.incoming().join("d/below")).unwrap();
    for i in 0..FILES {
        put(&pair.a, &name(i), if i.is_multiple_of(2) { "the new one" } else { "new" });
        fs::write(pair.b.incoming().join(name(i)), "old").unwrap();
    }
    let a = Talk::start(&pair.a, &[]);
    let b = Talk::start(&pair.b, &["--on-conflict", "skip"]);
    a.says("not sent:", 1);
    b.says("not received:", 1);
    let line = a.all().into_iter().find(|line| line.contains("not sent:")).unwrap();
    assert!(
        line.contains(&format!("{FILES} files in d")) && line.contains("--on-conflict skip"),
        "{line}"
    );
    drop(b);
    // It is another process, so all files are offered again; JSON has an event for each.
    let mut b = pair.b.start(&["--on-conflict", "skip"]);
    for _ in 0..FILES {
        b.waits_for("file_failed", |_| true);
    }
    put(&pair.a, "last.txt", "last");
    a.says("last.txt", 1);
    // Any other message about the refusals would have come by now.
    put(&pair.a, &name(0), "another one");
    a.says("not sent:", 1);
    assert_eq!(a.count("not sent:"), 1, "{:#?}", a.all());
    assert_eq!(a.count("os error"), 0, "{:#?}", a.all());
}

#[test]
fn a_file_renamed_by_its_user_in_flight_is_no_error() {
    let pair = Pair::new();
    fs::create_dir_all(pair.a.outgoing()).unwrap();
    let hash = plant_big(&pair.a.outgoing().join("before"), 6_000_000, 1);
    let (mut a, mut b) = (pair.a.start(&["--limit-rate", "3M"]), pair.b.start(&[]));
    a.waits_for("file_progress", |event| event["path"] == "before");
    fs::rename(pair.a.outgoing().join("before"), pair.a.outgoing().join("after")).unwrap();
    b.waits_for("file_done", |event| event["path"] == "after");
    a.has_or_waits_for("file_done", |event| event["path"] == "after");
    for event in a.events().iter().chain(b.events().to_vec().iter()).map(|seen| &seen.event) {
        assert_ne!(event["event"], "warning", "{event}");
        let error = event["error"].as_str().unwrap_or("renamed");
        assert!(error.contains("renamed") || error.contains("taken away"), "{event}");
    }
    assert_eq!(names(&pair.b.incoming()), ["after"]);
    assert_eq!(hash_of(&pair.b.incoming().join("after")), hash);
}

/// When the user has cleared the mark, the file is removed, and the user was told once. Needs a file
/// system with such attributes, and the right to set them.
#[cfg(target_os = "linux")]
#[test]
fn an_immutable_file_is_reported_as_such_and_goes_when_it_may() {
    let pair = Pair::new();
    put(&pair.a, "marked.txt", "marked");
    let file = pair.a.outgoing().join("marked.txt");
    let mark =
        |how: &str| Command::new("chattr").arg(how).arg(&file).stderr(Stdio::null()).status();
    if !mark("+i").is_ok_and(|status| status.success()) {
        eprintln!("no file can be marked as immutable here: nothing was tested");
        return;
    }
    let (mut a, _b) = (pair.a.start(&[]), pair.b.start(&[]));
    let told = a.sees_within(Duration::from_secs(40), |event| event["event"] == "warning");
    // Another attempt fails meanwhile.
    std::thread::sleep(Duration::from_secs(23));
    let marked = file.exists();
    mark("-i").unwrap();
    assert!(marked);
    let told = told.expect("a warning").event;
    let message = told["message"].as_str().unwrap();
    assert!(message.contains("marked as immutable") && message.contains("chattr -i"), "{message}");
    assert_eq!(message.matches("; ").count(), 1, "one remedy: {message}");
    until("it is removed", || !file.exists());
    let told = a.stop().iter().filter(|event| event["event"] == "warning").count();
    assert_eq!(told, 1);
}

#[test]
fn only_names_at_the_top_are_reserved() {
    let pair = Pair::new();
    for name in ["d/.rft/ledger.redb", "d/.rftignore", "d/e/.rft-notes", "d/.rft-x/y", "plain"] {
        put(&pair.a, name, name);
    }
    put(&pair.a, ".rft-mine", "stays");
    put(&pair.a, ".rftignore", "*.tmp\n");
    let (at_a, _) = pair.drain(&[], &[]);
    for name in ["d/.rft/ledger.redb", "d/.rftignore", "d/e/.rft-notes", "d/.rft-x/y", "plain"] {
        assert_eq!(fs::read_to_string(pair.b.incoming().join(name)).unwrap(), name);
    }
    assert_eq!(names(&pair.a.outgoing()), [".rft-mine", ".rftignore"]);
    let warnings: Vec<_> = at_a
        .iter()
        .filter(|e| e["event"] == "warning")
        .map(|e| e["message"].as_str().unwrap())
        .collect();
    assert!(
        matches!(warnings[..], [one] if one.starts_with(".rft-mine is not sent")),
        "{warnings:?}"
    );
    pair.b.left_nothing_over();
}

/// rft recognises its state folder by identity, not by path.
#[cfg(unix)]
#[test]
fn a_state_folder_inside_outgoing_or_incoming_is_out_of_reach() {
    let pair = Pair::new();
    // On both hosts, `.rft` stands in `sub` of one folder.
    let (outer_a, outer_b) = (pair.a.dir.clone(), pair.b.dir.clone());
    let other = |outer: &Path, name: &str| outer.with_file_name(name).to_str().unwrap().to_owned();
    let a = Host { dir: outer_a.join("sub"), ..pair.a.clone() };
    let b = Host { dir: outer_b.join("sub"), ..pair.b.clone() };
    fs::remove_dir_all(&outer_a).unwrap();
    fs::remove_dir_all(&outer_b).unwrap();
    fs::create_dir_all(outer_a.join("sub")).unwrap();
    fs::create_dir_all(outer_b.join("sub")).unwrap();
    fs::write(outer_a.join("sub/beside"), "beside").unwrap();
    let (into_a, from_b) = (other(&outer_a, "into-a"), other(&outer_b, "from-b"));
    let mut at_b = b.start(&["--incoming", outer_b.to_str().unwrap(), "--outgoing", &from_b]);
    let options = ["--outgoing", outer_a.to_str().unwrap(), "--incoming", &into_a];
    let at_a = a.start(&options);
    at_b.waits_for("file_done", |event| event["path"] == "sub/beside");
    assert_eq!(fs::read_to_string(outer_b.join("sub/beside")).unwrap(), "beside");
    // A file with the name of that folder, from another folder, meets the receiver's state folder.
    fs::create_dir_all(outer_a.join("sub2")).unwrap();
    let moved = outer_a.join("sub2/.rft");
    fs::create_dir_all(&moved).unwrap();
    fs::write(moved.join("planted"), "planted").unwrap();
    at_b.waits_for("file_done", |event| event["path"] == "sub2/.rft/planted");
    at_a.stop();
    assert!(a.state().join("ledger.redb").exists() && b.state().join("ledger.redb").exists());
    assert!(!b.state().join("planted").exists());
    let events = { at_b.stop() };
    let touched =
        events.iter().any(|e| e["path"].as_str().is_some_and(|path| path.starts_with("sub/.rft")));
    assert!(!touched, "{events:#?}");
}
