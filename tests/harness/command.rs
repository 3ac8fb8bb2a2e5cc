//! Commands of the program about the folder of a host.

use super::peer::Host;
use std::process::{Command, Output, Stdio};

/// Runs a command to its end.
pub fn run(host: &Host, command: &str, arguments: &[&str]) -> Output {
    let mut rft = Command::new(env!("CARGO_BIN_EXE_rft"));
    rft.args([command, "--dir"]).arg(&host.dir).args(arguments).stdin(Stdio::null());
    rft.output().unwrap()
}

/// Runs a command, expects exit code 0, and returns what it prints.
pub fn says(host: &Host, command: &str, arguments: &[&str]) -> String {
    let output = run(host, command, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
