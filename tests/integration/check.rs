//! `rft check` with the real program: its steps, its exit code, and that it leaves nothing behind.

use crate::harness::connector::ANY_PORT;
use crate::harness::peer::{Host, Pair};
use crate::harness::raw::server_of;
use serde_json::Value;
use std::fs;
use std::process::{Command, Output};

fn check(host: &Host, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rft"));
    command.args(["check", "--bind", &host.bind, "--dir"]).arg(&host.dir).args(arguments);
    command.output().unwrap()
}

/// The steps of `rft check --json`, and its exit code.
fn steps(host: &Host, arguments: &[&str]) -> (Vec<Value>, Option<i32>) {
    let output = check(host, &[&["--json"], arguments].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let steps = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (steps, output.status.code())
}

fn step<'a>(steps: &'a [Value], name: &str) -> &'a Value {
    let found = steps.iter().find(|step| step["step"] == name);
    found.unwrap_or_else(|| panic!("no step {name}: {steps:#?}"))
}

fn port_of(host: &Host) -> String {
    host.port.to_string()
}

#[test]
fn the_own_host_is_checked_and_stays_as_it_was() {
    let pair = Pair::new();
    let (steps, code) = steps(&pair.a, &[]);
    assert_eq!(code, Some(0), "{steps:#?}");
    for name in ["outgoing", "incoming", "state_folder", "space", "clock", "buffers", "offload"] {
        let level = step(&steps, name)["level"].as_str().unwrap();
        assert!(["pass", "warn"].contains(&level), "{name}: {steps:#?}");
    }
    let summary = steps.last().unwrap();
    assert_eq!((&summary["step"], &summary["fail"]), (&"summary".into(), &0.into()));
    // A step that passed has no remedy, another one has.
    for step in &steps[..steps.len() - 1] {
        assert_eq!(step["fix"].is_null(), step["level"] == "pass", "{step}");
    }
    let left: Vec<_> = fs::read_dir(&pair.a.dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["Outgoing"], "nothing was created");
    assert_eq!(fs::read_dir(pair.a.outgoing()).unwrap().count(), 0);
}

#[test]
fn a_running_peer_passes_and_a_stopped_one_fails() {
    let pair = Pair::new();
    let (peer, port) = (pair.a.peer.clone(), port_of(&pair.a));
    let (stopped, code) = steps(&pair.a, &[&peer, &port]);
    assert_eq!(code, Some(19), "{stopped:#?}");
    let answer = step(&stopped, "answer");
    assert_eq!((&answer["level"], &answer["cause"]), (&"fail".into(), &"port_closed".into()));
    assert!(answer["fix"].as_str().unwrap().contains(&format!("rft THIS-HOST {port}")));

    // The peer dials this host, which shows before this host's own rft runs.
    let mut b = pair.b.start(&[]);
    b.waits_for("waiting", |_| true);
    let (dialled, code) = steps(&pair.a, &[&peer, &port]);
    assert_eq!(code, Some(0), "{dialled:#?}");
    assert_eq!(step(&dialled, "port")["state"], "free");
    assert_eq!(step(&dialled, "inbound")["state"], "arrived");
    assert_eq!(step(&dialled, "version")["protocol"], "rft/1");
    assert_eq!(step(&dialled, "path")["lost"], 0);
    assert!(step(&dialled, "mtu")["mtu"].as_u64() >= Some(1500), "{dialled:#?}");

    // Beside the running rft, whose session goes on.
    let mut a = pair.a.start(&[]);
    a.waits_for("connected", |_| true);
    let (beside, code) = steps(&pair.a, &[&peer, &port]);
    assert_eq!(code, Some(0), "{beside:#?}");
    assert_eq!(step(&beside, "port")["state"], "running");
    assert_eq!(step(&beside, "state")["ledger"], "in_use");
    assert_eq!(step(&beside, "version")["level"], "pass");
    let (mut events, _) = (a.stop(), b.stop());
    events.retain(|event| ["auth_failed", "warning"].contains(&event["event"].as_str().unwrap()));
    assert!(events.is_empty(), "{events:#?}");
}

#[test]
fn another_version_a_bad_name_and_a_missing_zone_fail() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _context = runtime.enter();
    let later = server_of(b"rft/2", ANY_PORT);
    let port = later.local_addr().unwrap().port().to_string();
    runtime.spawn(async move {
        while let Some(incoming) = later.accept().await {
            let _ = incoming.await;
        }
    });
    let pair = Pair::new();
    let (found, code) = steps(&pair.a, &["127.0.0.1", &port]);
    assert_eq!(code, Some(19));
    assert_eq!(step(&found, "version")["cause"], "other_version", "{found:#?}");

    let (found, code) = steps(&pair.a, &["no-such-host.invalid", &port]);
    assert_eq!((code, &step(&found, "name")["level"]), (Some(19), &"fail".into()));
    let (found, _) = steps(&pair.a, &["fe80::1", &port]);
    assert_eq!(step(&found, "route")["cause"], "no_zone", "{found:#?}");
}

#[test]
fn a_folder_that_is_none_fails_and_lines_say_how_to_mend_it() {
    let pair = Pair::new();
    fs::write(pair.a.incoming(), "a file").unwrap();
    let output = check(&pair.a, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(19), "{text}");
    let line = text.lines().find(|line| line.starts_with("fail  Incoming cannot be used: "));
    assert!(
        line.is_some_and(|line| line.contains("it is not a folder; mend it: ls -ld")),
        "{text}"
    );
    assert!(text.lines().last().unwrap().contains("1 failed"), "{text}");
}

#[test]
fn improper_arguments_have_their_codes() {
    let pair = Pair::new();
    for (arguments, code) in [
        (&["bob"][..], 2),
        (&["bob", "70000"], 4),
        (&["256.1.1.1", "4000"], 3),
        (&["--min-free", "x"], 14),
    ] {
        assert_eq!(check(&pair.a, arguments).status.code(), Some(code), "{arguments:?}");
    }
}
