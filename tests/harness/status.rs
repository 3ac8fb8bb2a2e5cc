//! `rft status` of the real program.

use super::peer::Host;
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The command `rft status` with these arguments, for the peer of this host.
pub fn command(host: &Host, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rft"));
    command.args(["status", "--dir"]).arg(&host.dir).args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn run(host: &Host, arguments: &[&str]) -> Output {
    command(host, arguments).output().unwrap()
}

/// The state of the running peer.
pub fn of(host: &Host) -> Value {
    let output = run(host, &["--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The same as text for people.
pub fn text(host: &Host) -> String {
    let output = run(host, &[]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Asks until the state has something. Fails with the last state after `time`.
pub fn wait<T>(host: &Host, time: Duration, found: impl Fn(&Value) -> Option<T>) -> T {
    let deadline = Instant::now() + time;
    loop {
        let status = of(host);
        if let Some(found) = found(&status) {
            return found;
        }
        assert!(Instant::now() < deadline, "the last state: {status:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
