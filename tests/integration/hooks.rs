//! `--on-received` and `--quarantine` of the real program, in its sandbox.

mod quarantine;

use crate::harness::files::{drop_content, names};
use crate::harness::peer::{Host, Pair, Running};
use crate::harness::{status, until};
use serde_json::Value;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Folders for a pair, and a hook of the receiving side b.
struct Rig {
    pair: Pair,
    hook: String,
    /// Where the hook leaves its marks.
    marks: PathBuf,
}

impl Rig {
    /// `script` finds the folder of the marks in `$marks`.
    fn new(script: &str) -> Self {
        let pair = Pair::new();
        let marks = pair.b.dir.parent().unwrap().join("marks");
        fs::create_dir(&marks).unwrap();
        let hook = pair.b.dir.parent().unwrap().join("the hook");
        let script = format!("#!/bin/bash\nmarks='{}'\n{script}\n", marks.display());
        fs::write(&hook, script).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        Self { hook: format!("'{}' fixed 'two words'", hook.display()), pair, marks }
    }

    fn options<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["--on-received", &self.hook], more].concat()
    }

    fn start(&self, options: &[&str]) -> (Running, Running) {
        self.pair.connected(&[], &self.options(options))
    }

    fn mark(&self, name: &str) -> String {
        fs::read_to_string(self.marks.join(name)).unwrap_or_default()
    }

    /// Lines of a mark.
    fn count(&self, name: &str) -> usize {
        self.mark(name).lines().count()
    }
}

fn hook_of<'a>(path: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |event| event["path"] == path
}

/// The helper processes of a running rft.
fn helpers(rft: &Running) -> Vec<i32> {
    let children = format!("/proc/{0}/task/{0}/children", rft.id());
    let children = fs::read_to_string(children).unwrap();
    children.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

fn is_running(process: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn history(host: &Host) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_rft"))
        .args(["history", "--json", "--dir"])
        .arg(&host.dir)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_program_gets_the_facts_and_its_result_is_everywhere() {
    let rig = Rig::new(
        "printf '%s\\n' \"$@\" >$marks/args; env >$marks/env; ls -l /proc/self/fd >$marks/fds
         cat >$marks/stdin; echo first; echo 'it was fine' >&2",
    );
    let (a, mut b) = rig.start(&[]);
    fs::create_dir(rig.pair.a.dir.join("d")).unwrap();
    fs::write(rig.pair.a.dir.join("d/f.txt"), "four").unwrap();
    fs::rename(rig.pair.a.dir.join("d"), rig.pair.a.outgoing().join("d")).unwrap();
    let done = b.waits_for("hook_done", hook_of("d/f.txt")).event;
    assert_eq!((&done["result"], &done["code"]), (&"exit".into(), &0.into()), "{done}");
    assert_eq!((&done["attempts"], &done["output"]), (&1.into(), &"it was fine".into()));
    let file = fs::canonicalize(rig.pair.b.incoming()).unwrap().join("d/f.txt");
    assert_eq!(rig.mark("args"), format!("fixed\ntwo words\n{}\n", file.display()));
    let env = rig.mark("env");
    for line in [
        format!("RFT_FILE={}", file.display()),
        "RFT_PATH=d/f.txt".into(),
        "RFT_SIZE=4".into(),
        format!("RFT_BLAKE3={}", blake3::hash(b"four").to_hex()),
        "RFT_PEER=127.0.0.1".into(),
        format!("RFT_TRANSFER={}", done["transfer"].as_str().unwrap()),
        "RFT_ATTEMPT=1".into(),
        "RFT_QUARANTINE=0".into(),
    ] {
        assert!(env.lines().any(|one| one == line), "{line} is missing:\n{env}");
    }
    assert!(!env.contains("RFT_PASSWORD") && !env.contains("correct horse"), "{env}");
    assert!(env.lines().any(|line| line.starts_with("PATH=")));
    assert_eq!((rig.mark("stdin"), rig.mark("fds").matches("->").count()), ("".into(), 4));
    // Only files have a hook, and each once.
    until("the folder does not arrive", || history(&rig.pair.b).len() >= 3);
    let kinds = |entry: &Value| entry["kind"].as_str().unwrap().to_owned();
    let entries = history(&rig.pair.b);
    let mut found: Vec<String> = entries.iter().map(kinds).collect();
    found.sort();
    assert_eq!(found, ["hook_done", "received", "received"]);
    let entry = entries.iter().find(|entry| entry["kind"] == "hook_done").unwrap();
    assert_eq!((&entry["path"], &entry["output"]), (&"d/f.txt".into(), &"it was fine".into()));
    let log = fs::read_to_string(rig.pair.b.state().join("rft.log")).unwrap();
    assert!(log.contains("hook succeeded") && log.contains("it was fine"), "{log}");
    assert!(log.contains("sandboxed: the process writes"), "the hook runs beside a sandbox: {log}");
    a.stop();
    b.stop();
}

#[test]
fn a_failing_program_is_tried_again_and_then_told() {
    let rig = Rig::new(
        "echo \"$RFT_ATTEMPT\" >>$marks/$RFT_PATH; echo \"attempt $RFT_ATTEMPT\"
         case $RFT_PATH in bad) exit 7;; later) [ $RFT_ATTEMPT = 2 ];; esac",
    );
    let (_a, mut b) = rig.start(&["--hook-retries", "1"]);
    drop_content(&rig.pair.a, "bad", "x");
    drop_content(&rig.pair.a, "later", "y");
    b.has_or_waits_for("hook_done", |event| {
        event["path"] == "later" && event["code"] == 0 && event["attempts"] == 2
    });
    b.has_or_waits_for("hook_done", |event| {
        event["path"] == "bad" && event["code"] == 7 && event["output"] == "attempt 2"
    });
    assert_eq!((rig.mark("bad"), rig.mark("later")), ("1\n2\n".into(), "1\n2\n".into()));
    assert_eq!(names(&rig.pair.b.incoming()), ["bad", "later"]);
    b.stop();
    let failed = history(&rig.pair.b).into_iter().find(|entry| entry["kind"] == "hook_failed");
    assert_eq!(failed.unwrap()["error"], "exit code 7");
    // What has ended is not run again.
    let b = rig.pair.b.start(&rig.options(&[]));
    std::thread::sleep(Duration::from_millis(700));
    b.stop();
    assert_eq!(rig.mark("bad"), "1\n2\n");
}

#[test]
fn a_program_that_takes_too_long_is_killed_and_transfers_do_not_wait() {
    let rig = Rig::new("[ $RFT_PATH = slow ] && { echo $$ >$marks/slow; sleep 77; }; exit 0");
    let options = ["--hook-timeout", "1s", "--hook-retries", "0", "--hook-parallel", "1"];
    let (_a, mut b) = rig.start(&options);
    drop_content(&rig.pair.a, "slow", "x");
    b.waits_for("file_done", hook_of("slow"));
    until("the program does not start", || rig.count("slow") == 1);
    drop_content(&rig.pair.a, "next", "x");
    b.waits_for("file_done", hook_of("next"));
    let state = status::of(&rig.pair.b);
    assert_eq!((&state["hooks"]["running"], &state["hooks"]["waiting"]), (&1.into(), &1.into()));
    assert!(status::text(&rig.pair.b).contains("hooks      1 runs, 1 waits"));
    let timed_out = b.waits_for("hook_done", hook_of("slow")).event;
    assert_eq!(timed_out["result"], "timeout", "{timed_out}");
    assert!(!is_running(rig.mark("slow").trim().parse().unwrap()));
    b.has_or_waits_for("hook_done", hook_of("next"));
    assert_eq!(status::of(&rig.pair.b)["hooks"]["waiting"], 0);
}

#[test]
fn hostile_names_stay_data() {
    let rig = Rig::new(
        "printf '%s\\0' \"$3\" >>$marks/all; [ \"$3\" = \"$RFT_FILE\" ] && [ -f \"$RFT_FILE\" ]",
    );
    let hostile: [&[u8]; 7] = [
        b"-rf",
        b"$(touch pwned)",
        b"; touch pwned;",
        b"new\nline",
        b"not \xff utf-8",
        b"'quo\"tes`",
        b"--on-received=x",
    ];
    for name in hostile {
        let name = std::ffi::OsStr::from_bytes(name);
        fs::write(rig.pair.a.outgoing().join(name), "x").unwrap();
    }
    let (_a, mut b) = rig.start(&[]);
    for _ in hostile {
        b.waits_for("hook_done", |event| event["code"] == 0);
    }
    let all = fs::read(rig.marks.join("all")).unwrap();
    let mut seen: Vec<&[u8]> =
        all.split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
    let incoming = fs::canonicalize(rig.pair.b.incoming()).unwrap();
    let paths = hostile.map(|name| incoming.join(std::ffi::OsStr::from_bytes(name)));
    let mut expected: Vec<&[u8]> = paths.iter().map(|path| path.as_os_str().as_bytes()).collect();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn thousands_of_small_files_have_each_their_run_within_the_bound() {
    let rig = Rig::new(
        "n=$(ls $marks/running | wc -l); [ $n -ge 3 ] && echo $n >>$marks/excess
         : >$marks/running/$$; echo \"$RFT_PATH\" >>$marks/all; rm $marks/running/$$",
    );
    fs::create_dir(rig.marks.join("running")).unwrap();
    for n in 0..2000 {
        fs::write(rig.pair.a.outgoing().join(format!("{n:04}")), n.to_string()).unwrap();
    }
    let a = rig.pair.a.start(&["--drain"]);
    let b = rig.pair.b.start(&rig.options(&["--drain", "--hook-parallel", "3"]));
    let limit = Duration::from_secs(120);
    let (a, b) = (a.with_timeout(limit), b.with_timeout(limit));
    a.ends(0);
    let events = b.ends(0);
    let hooks = events.iter().filter(|event| event["event"] == "hook_done").count();
    assert_eq!((hooks, names(&rig.pair.b.incoming()).len()), (2000, 2000));
    let all = rig.mark("all");
    let mut ran: Vec<&str> = all.lines().collect();
    ran.sort();
    ran.dedup();
    assert_eq!(ran.len(), 2000, "--drain waits for every program");
    assert_eq!(rig.mark("excess"), "", "more than three ran at once");
}

#[test]
fn a_restart_runs_what_a_killed_process_has_not_finished() {
    let rig = Rig::new("echo $$ >>$marks/$RFT_PATH; [ -e $marks/go ] || sleep 78");
    let (_a, mut b) = rig.start(&["--hook-parallel", "1"]);
    drop_content(&rig.pair.a, "one", "one");
    until("the program does not start", || rig.count("one") == 1);
    // It has the only place, so the program of the second file waits.
    drop_content(&rig.pair.a, "two", "two");
    b.waits_for("file_done", hook_of("two"));
    let helper = helpers(&b);
    let program: i32 = rig.mark("one").trim().parse().unwrap();
    b.kill();
    until("the helper or its program stays", || {
        !helper.iter().any(|&helper| is_running(helper)) && !is_running(program)
    });
    // Without the option they stay pending, and the user is told.
    let mut without = rig.pair.b.start(&[]);
    without.has_or_waits_for("warning", |event| {
        event["message"].as_str().unwrap().contains("2 received files wait for a program")
    });
    without.stop();
    fs::write(rig.marks.join("go"), "").unwrap();
    let mut b = rig.pair.b.start(&rig.options(&[]));
    b.has_or_waits_for("hook_done", hook_of("one"));
    b.has_or_waits_for("hook_done", hook_of("two"));
    assert_eq!((rig.count("one"), rig.count("two")), (2, 1));
    b.stop();
    let mut b = rig.pair.b.start(&rig.options(&[]));
    assert!(b.sees_within(Duration::from_secs(1), |event| event["event"] == "hook_done").is_none());
}

#[test]
fn an_orderly_stop_gives_a_running_program_time() {
    let rig = Rig::new("echo $$ >$marks/started; sleep 2; echo done >$marks/ended");
    let (_a, mut b) = rig.start(&[]);
    drop_content(&rig.pair.a, "f", "x");
    b.waits_for("file_done", hook_of("f"));
    until("the program does not start", || rig.count("started") == 1);
    // As Ctrl-C on a terminal: the whole group of rft gets the signal.
    b.signal(rustix::process::Signal::INT);
    let events = b.ends(0);
    assert!(events.iter().any(|event| event["event"] == "hook_done"), "{events:#?}");
    assert_eq!(rig.mark("ended"), "done\n");
}

#[test]
fn a_dead_helper_is_told_and_loses_nothing() {
    let rig = Rig::new("echo x >>$marks/$RFT_PATH");
    let (mut a, mut b) = rig.start(&[]);
    drop_content(&rig.pair.a, "one", "x");
    b.waits_for("hook_done", hook_of("one"));
    let helper = helpers(&b);
    assert_eq!(helper.len(), 1);
    let helper = rustix::process::Pid::from_raw(helper[0]).unwrap();
    rustix::process::kill_process(helper, rustix::process::Signal::KILL).unwrap();
    b.waits_for("warning", |event| {
        event["message"].as_str().unwrap().contains("no program is run until rft is started again")
    });
    assert_eq!(status::of(&rig.pair.b)["hooks"]["helper_ended"], true);
    drop_content(&rig.pair.a, "two", "x");
    a.waits_for("file_done", hook_of("two"));
    b.stop();
    let mut b = rig.pair.b.start(&rig.options(&[]));
    b.has_or_waits_for("hook_done", hook_of("two"));
    assert_eq!((rig.count("one"), rig.count("two")), (1, 1));
}

#[test]
fn without_hooks_there_is_no_helper_and_a_password_file_is_not_inherited() {
    let rig = Rig::new("ls -l /proc/self/fd/ >$marks/fds");
    let (a, mut b) = rig.start(&[]);
    assert_eq!((helpers(&a).len(), helpers(&b).len()), (0, 1));
    drop_content(&rig.pair.a, "f", "x");
    b.waits_for("hook_done", hook_of("f"));
    b.stop();
    // The shell leaves the descriptor open for all that it starts.
    let secret = rig.marks.join("secret");
    fs::write(&secret, format!("{}\n", crate::harness::peer::PASSWORD)).unwrap();
    let mut host = rig.pair.b.clone();
    let script = format!("exec 7<'{}'; exec \"$@\"", secret.display());
    host.wrapper = ["/bin/bash", "-c", &script, "bash"].map(str::to_owned).to_vec();
    let options = rig.options(&["--password-file", "/dev/fd/7"]);
    let mut b = host.start(&options);
    b.waits_for("connected", |_| true);
    drop_content(&rig.pair.a, "g", "x");
    b.waits_for("hook_done", hook_of("g"));
    let fds = rig.mark("fds");
    assert!(!fds.contains("secret") && fds.matches("->").count() == 4, "{fds}");
}

#[test]
fn a_file_of_options_has_the_command_as_words() {
    let rig = Rig::new("printf '%s\\n' \"$@\" >$marks/args");
    fs::create_dir_all(&rig.pair.b.dir).unwrap();
    let toml = "on-received = [\"../the hook\", \"a b\", \"it's\"]\nhook-retries = 0\n";
    fs::write(rig.pair.b.dir.join("rft.toml"), toml).unwrap();
    let (_a, mut b) = rig.pair.connected(&[], &[]);
    drop_content(&rig.pair.a, "f", "x");
    b.waits_for("hook_done", hook_of("f"));
    assert!(rig.mark("args").starts_with("a b\nit's\n/"), "{}", rig.mark("args"));
    for (line, code) in [
        (&["--on-received", "/no/such/program"][..], 2),
        (&["--on-received", "'open"], 2),
        (&["--quarantine"], 2),
        (&["--hook-timeout", "0"], 14),
        (&["--hook-parallel", "0"], 14),
    ] {
        let other = Host::new(rig.marks.join("other"), "127.0.0.3", "127.0.0.1", rig.pair.a.port);
        other.start(line).ends(code);
        assert!(!other.state().exists(), "{line:?} creates nothing");
    }
}

/// For a while nothing of this kind is seen.
fn not_within(running: &mut Running, time: Duration, wanted: impl Fn(&Value) -> bool) {
    let begun = Instant::now();
    let seen = running.sees_within(time, wanted);
    assert!(seen.is_none() && begun.elapsed() >= time, "{seen:?}");
}
