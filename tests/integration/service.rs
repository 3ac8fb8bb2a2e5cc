//! `rft service`: what it writes, asks of systemd and says; and what a service tells systemd.
//!
//! No test needs a running systemd: `systemctl` and `loginctl` are scripts that note their calls.

mod notify;
mod system;

use crate::harness::peer::free_port;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A user with a home folder, and a systemd that does nothing.
struct User {
    base: tempfile::TempDir,
    port: String,
}

/// Notes its arguments, and answers with prepared files.
const SYSTEMCTL: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "systemctl $*" >> "$here/calls"
shift
case $1 in
  --version) cat "$here/version" ;;
  show) cat "$here/show" ;;
  start) if [ -e "$here/fails" ]; then echo 'Job for the unit failed.' >&2; exit 1; fi ;;
esac
"#;

const LOGINCTL: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "loginctl $*" >> "$here/calls"
case $* in
  *show-user*) cat "$here/linger" ;;
  *enable-linger*) if [ -e "$here/may-linger" ]; then echo yes > "$here/linger"; else exit 1; fi ;;
esac
"#;

impl User {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let user = Self { base, port: free_port().to_string() };
        fs::create_dir_all(user.path("bin")).unwrap();
        fs::create_dir_all(user.path("home")).unwrap();
        for (name, text) in [("systemctl", SYSTEMCTL), ("loginctl", LOGINCTL)] {
            let file = user.path("bin").join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
        }
        user.prepare("version", "systemd 252 (252.38-1~deb12u1)\n+PAM +AUDIT\n");
        user.prepare("show", "ActiveState=active\nStatusText=bob: connected\n");
        user.prepare("linger", "no\n");
        user
    }

    fn path(&self, name: &str) -> PathBuf {
        self.base.path().canonicalize().unwrap().join(name)
    }

    fn prepare(&self, name: &str, text: &str) {
        fs::write(self.path("bin").join(name), text).unwrap();
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("bin/calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    fn unit(&self, name: &str) -> PathBuf {
        self.path("home/.config/systemd/user").join(format!("rft@{name}.service"))
    }

    fn write_password(&self, name: &str, mode: u32) -> PathBuf {
        let file = self.path("home/.config/rft").join(format!("{name}.password"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "correct horse battery staple\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        file
    }

    /// `rft service` with these words, as a service of this user.
    fn service(&self, words: &[&str]) -> Done {
        let path = std::env::var("PATH").unwrap();
        let (action, rest) = words.split_first().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_rft"))
            .args(["service", action, "--user"])
            .args(rest)
            .current_dir(self.path("home"))
            .env("HOME", self.path("home"))
            .env_remove("XDG_CONFIG_HOME")
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .output()
            .unwrap();
        Done::from(output)
    }

    fn install(&self, rest: &[&str]) -> Done {
        let peer = ["install", "--name", "bob", "127.0.0.2", self.port.as_str()];
        self.service(&[&peer[..], rest].concat())
    }
}

/// What a command printed.
struct Done {
    code: Option<i32>,
    text: String,
    errors: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), text: text(output.stdout), errors: text(output.stderr) }
    }
}

impl Done {
    #[track_caller]
    fn fails(&self, code: i32, with: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.text, self.errors);
        for word in with {
            assert!(self.errors.contains(word), "{word:?} is missing: {}", self.errors);
        }
        assert_eq!(self.text, "");
    }

    #[track_caller]
    fn says(&self, all: &[&str]) {
        assert_eq!(self.code, Some(0), "{}{}", self.text, self.errors);
        for line in all {
            assert!(self.text.contains(line), "{line:?} is missing:\n{}", self.text);
        }
    }
}

/// All files and folders beneath a folder.
fn everything(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        found.push(entry.path());
        if entry.path().is_dir() {
            found.extend(everything(&entry.path()));
        }
    }
    found
}

#[test]
fn a_service_is_installed_shown_and_removed() {
    let user = User::new();
    let password = user.write_password("bob", 0o600);
    user.prepare("may-linger", "");
    let unit = user.unit("bob");
    user.install(&["--limit-rate", "20M"]).says(&[
        "service   rft@bob.service is ready, and starts with the system from now on\n",
        "now       bob: connected\n",
        &format!("unit      {}\n", unit.display()),
        &format!("to send   {}/rft/bob/Outgoing\n", user.path("home").display()),
        &format!("password  {} (the peer needs the same)\n", password.display()),
        "status    rft service status --user --name bob\n",
        "remove    rft service remove --user --name bob\n",
    ]);
    let text = fs::read_to_string(&unit).unwrap();
    let start = format!(
        "ExecStart={} --dir {}/rft/bob 127.0.0.2 {} --limit-rate 20M\n",
        env!("CARGO_BIN_EXE_rft"),
        user.path("home").display(),
        user.port
    );
    assert!(text.contains(&start), "{text}");
    assert!(text.contains(&format!("LoadCredential=password:{}\n", password.display())), "{text}");
    assert!(!text.contains("battery"), "the password itself is nowhere: {text}");
    let done = ["daemon-reload", "enable -- rft@bob.service", "start -- rft@bob.service"];
    let done = done.map(|words| format!("systemctl --user {words}"));
    let calls = user.calls();
    let at = calls.iter().position(|call| *call == done[0]).unwrap();
    assert_eq!(calls[at..at + 3], done);
    assert!(calls.iter().any(|call| call.ends_with("enable-linger")), "{calls:?}");

    user.install(&[]).fails(2, &["the service bob is installed already", "rft service remove"]);
    user.prepare("show", &format!("ActiveState=active\nSubState=running\nUnitFileState=enabled\nStateChangeTimestamp=Mon 2026-03-02 10:00:00 UTC\nNRestarts=2\nFragmentPath={}\nMainPID=1\nStatusText=bob: connected\n", unit.display()));
    user.service(&["status"]).says(&[
        "rft@bob.service\n",
        "active (running) since Mon 2026-03-02 10:00:00 UTC, starts by itself, restarted 2 times after failures\n",
        "bob: connected\n",
        "/rft/bob/.rft/rft.log\n",
        "no rft runs in ",
    ]);
    fs::create_dir_all(user.path("home/rft/bob/Outgoing")).unwrap();
    user.service(&["remove"])
        .says(&["rft@bob.service is stopped and removed\n", "/home/rft/bob\n"]);
    assert!(!unit.exists() && password.exists() && user.path("home/rft/bob/Outgoing").exists());
    let last = user.calls();
    assert!(last.contains(&"systemctl --user disable --now -- rft@bob.service".to_owned()));
    user.service(&["remove"]).fails(18, &["no rft service is installed"]);
    user.service(&["status", "--name", "bob"]).fails(18, &["no rft service bob is installed"]);
}

#[test]
fn what_is_missing_is_said_before_anything_changes() {
    let user = User::new();
    let before = everything(&user.path("home"));
    let fails = |done: Done, code, with: &[&str]| done.fails(code, with);
    fails(user.install(&[]), 2, &["there is no password file", "umask 077; rft passphrase"]);
    fails(user.service(&["install"]), 2, &["rft service install bob.example.org 4000"]);
    fails(user.service(&["install", "status"]), 2, &["a service runs a peer"]);
    fails(user.service(&["install", "bob"]), 2, &["the port is missing"]);
    fails(user.service(&["install", "bob", "70000"]), 4, &[]);
    fails(user.install(&["--limit-rate", "fast"]), 14, &[]);
    fails(user.install(&["--password-file", "-"]), 2, &["no standard input"]);
    fails(
        user.service(&["install", "--name", "a/b", "bob", "4000"]),
        2,
        &["no name for a service"],
    );
    fails(user.service(&["status", "bob"]), 2, &["--name"]);
    user.write_password("bob", 0o644);
    fails(user.install(&[]), 2, &["other users of this host can read", "chmod 600"]);
    let password = user.write_password("bob", 0o600);
    fs::write(&password, "\n").unwrap();
    fails(user.install(&[]), 2, &["is empty"]);
    user.write_password("bob", 0o600);
    user.prepare("version", "systemd 245 (245.4)\n");
    fails(user.install(&[]), 1, &["systemd 245 is too old"]);
    user.prepare("version", "systemd 252 (252)\n");
    let taken = std::net::UdpSocket::bind(("0.0.0.0", user.port.parse().unwrap())).unwrap();
    fails(user.install(&[]), 19, &["the service could not run", &user.port]);
    drop(taken);
    fails(user.install(&["--dir", "/proc/nothing"]), 19, &["cannot be used"]);
    fs::remove_dir_all(user.path("home/.config")).unwrap();
    assert_eq!(everything(&user.path("home")), before, "nothing was created");
    assert!(!user.calls().iter().any(|call| call.contains("enable")), "{:?}", user.calls());
}

#[test]
fn a_service_that_does_not_start_is_taken_back_with_its_reason() {
    let user = User::new();
    user.write_password("bob", 0o600);
    // It is ready, and ends a moment later.
    user.prepare(
        "show",
        "ActiveState=failed\nExecMainCode=1\nExecMainStatus=6\nStatusText=exit code 6: no\n",
    );
    user.install(&[]).fails(6, &["did not start: exit code 6: no"]);
    user.prepare(
        "show",
        "ActiveState=activating\nSubState=auto-restart\nExecMainCode=1\nExecMainStatus=3\n",
    );
    user.install(&[]).fails(3, &["did not start: exit code 3: the peer's address"]);
    user.prepare("fails", "");
    user.prepare(
        "show",
        "ExecMainCode=1\nExecMainStatus=5\nStatusText=exit code 5: port 4000 is taken\n",
    );
    user.install(&[]).fails(5, &["did not start: exit code 5: port 4000 is taken", "rft.log"]);
    user.prepare("show", "ExecMainCode=1\nExecMainStatus=16\nStatusText=\n");
    user.install(&[]).fails(16, &["exit code 16: Incoming, Outgoing or .rft cannot be used"]);
    user.prepare("show", "ExecMainCode=1\nExecMainStatus=243\n");
    user.install(&[]).fails(1, &["exit code 243: systemd cannot read the password file"]);
    assert!(!user.unit("bob").exists());
    assert!(user.calls().iter().any(|call| call.contains("disable --now")), "{:?}", user.calls());
    assert_eq!(fs::read_dir(user.path("home/.config/systemd/user")).unwrap().count(), 0);
}

#[test]
fn a_user_that_does_not_linger_is_told_and_several_services_have_names() {
    let user = User::new();
    user.write_password("bob", 0o600);
    let done = user.install(&[]);
    done.says(&["starts with your first login", "a logout ends it", "loginctl enable-linger "]);
    user.write_password("127.0.0.3", 0o600);
    let port = free_port().to_string();
    user.service(&["install", "127.0.0.3", &port]).says(&["rft@127.0.0.3.service is ready"]);
    user.service(&["remove"]).fails(2, &["several services: 127.0.0.3, bob"]);
    user.prepare("show", "ActiveState=failed\nSubState=failed\nUnitFileState=enabled\nResult=exit-code\nExecMainCode=1\nExecMainStatus=6\n");
    let done = user.service(&["status"]);
    assert_eq!(done.code, Some(18), "{}", done.text);
    for text in ["rft@bob.service", "rft@127.0.0.3.service", "exit code 6: the responder refused"] {
        assert!(done.text.contains(text), "{}", done.text);
    }
    assert!(done.errors.contains("not running: 127.0.0.3, bob"), "{}", done.errors);
}

#[test]
fn a_dry_run_prints_the_unit_and_changes_nothing() {
    let user = User::new();
    let before = everything(&user.path("home"));
    let done = user.install(&["--dry-run"]);
    done.fails(2, &["--dry-run is an option of rft service, and comes before PEER"]);
    let done = user.service(&["install", "--dry-run", "--", "bob.example.org", "4000"]);
    done.says(&[
        "rft@bob.example.org.service",
        "Type=notify",
        "/rft/bob.example.org bob.example.org 4000",
    ]);
    assert_eq!(everything(&user.path("home")), before);
    assert!(user.calls().is_empty());
}

#[test]
fn systemd_finds_no_fault_in_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("NOT TESTED: there is no systemd-analyze");
        return;
    }
    let user = User::new();
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    for (option, template, scope) in
        [("--user", "user/rft@.service", "--user"), ("--system", "rft@.service", "--system")]
    {
        let written = Command::new(env!("CARGO_BIN_EXE_rft"))
            .args(["service", "install", option, "--name", "bob", "--dry-run", "--run-as", "root"])
            .args(["--", "--dir", "/srv/50 % of \"it\"", "bob.example.org", "53"])
            .env("HOME", user.path("home"))
            .output()
            .unwrap();
        assert!(written.status.success(), "{written:?}");
        // A package has the program at its place.
        let template = fs::read_to_string(templates.join(template)).unwrap();
        let template = template.replace("/usr/bin/rft", env!("CARGO_BIN_EXE_rft"));
        let template = template.replace("User=rft", "User=root");
        for (name, text) in [("rft@bob", written.stdout), ("rft@a", template.into_bytes())] {
            let file = user.path(&format!("{name}.service"));
            fs::write(&file, text).unwrap();
            let checked = Command::new("systemd-analyze")
                .args([scope, "--man=no", "verify"])
                .arg(&file)
                .env("XDG_RUNTIME_DIR", user.path("home"))
                .env("HOME", user.path("home"))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&checked.stderr);
            // It looks at the units of the host as well.
            let faults: Vec<_> = said.lines().filter(|line| line.contains("rft")).collect();
            assert!(faults.is_empty(), "{name} {scope}: {said}");
        }
    }
}
