//! An operator's actions on a running peer: signals, limits, `--wait`.

use super::{names, put};
use crate::harness::peer::{Host, PASSWORD, Pair, Running, free_port};
use rft::config::{Bind, Config, PeerAddress};
use rft::error::{Finished, RunError};
use rft::event::{Event, PeerEvent};
use rft::status::WaitReason;
use rft::{Daemon, Password, PasswordKey};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Sends a file from one host to the other.
fn sends(from: &Host, to: &mut Running, name: &str) {
    put(from, name, name);
    to.waits_for("file_done", |event| event["path"] == name && event["direction"] == "receive");
}

fn reason(events: &[Value]) -> &str {
    events.last().unwrap()["reason"].as_str().unwrap()
}

#[test]
fn only_termination_signals_end_the_program() {
    let pair = Pair::new();
    let (mut a, mut b) = pair.connected(&[], &[]);
    for signal in [
        Signal::USR1,
        Signal::USR2,
        Signal::QUIT,
        Signal::PIPE,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::XCPU,
        Signal::XFSZ,
    ] {
        a.signal(signal);
    }
    sends(&pair.a, &mut b, "after.txt");
    sends(&pair.b, &mut a, "back.txt");
    a.signal(Signal::HUP);
    a.ends(0);
    b.waits_for("disconnected", |_| true);
    b.signal(Signal::INT);
    b.ends(0);
}

#[test]
fn a_user_signal_prints_the_state_and_why_files_wait() {
    let pair = Pair::new();
    let (mut a, mut b) = (pair.a.start(&[]), pair.b.start(&["--max-file-size", "10"]));
    b.waits_for("connected", |_| true);
    put(&pair.a, "d/too large.txt", "more than ten bytes");
    a.waits_for("file_failed", |event| event["path"] == "d/too large.txt");
    // By then the outcome of the first one is known.
    sends(&pair.a, &mut b, "small.txt");
    a.signal(Signal::USR1);
    sends(&pair.a, &mut b, "last.txt");
    a.terminate();
    let (code, errors) = a.wait();
    assert_eq!(code, Some(0), "{errors}");
    let log = fs::read_to_string(pair.a.state().join("rft.log")).unwrap();
    for text in [&errors, &log] {
        assert!(text.contains("state of rft "), "{text}");
        assert!(text.contains("127.0.0.2: connected to 127.0.0.2:"), "{text}");
        assert!(text.contains("waits:     d/too large.txt: refused"), "{text}");
    }
}

#[test]
fn under_nohup_a_hangup_is_ignored() {
    let pair = Pair::new();
    let a = Host { wrapper: vec!["nohup".into()], ..pair.a.clone() };
    let (mut a, mut b) = (a.start(&[]), pair.b.start(&[]));
    a.waits_for("connected", |_| true);
    a.signal(Signal::HUP);
    sends(&pair.a, &mut b, "after.txt");
    a.stop();
}

/// SIGXFSZ would kill the receiver at the first write beyond the limit.
#[test]
fn a_file_size_limit_refuses_only_the_larger_file() {
    const LIMIT: u64 = 8 << 20;
    let pair = Pair::new();
    // The unit is 512 bytes in POSIX, and 1,024 in some shells.
    let limit = format!("ulimit -f $(({LIMIT} / 512)) && exec \"$0\" \"$@\"");
    let b = Host { wrapper: vec!["sh".into(), "-c".into(), limit], ..pair.b.clone() };
    let (mut a, mut b) = (pair.a.start(&[]), b.start(&[]));
    b.waits_for("connected", |_| true);
    fs::write(pair.a.outgoing().join("large"), vec![7; 3 * LIMIT as usize]).unwrap();
    let failed = a.waits_for("file_failed", |event| event["path"] == "large").event;
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("ulimit -f") && error.contains("file size limit"), "{error}");
    assert_eq!(failed["retry"], false, "{failed}");
    sends(&pair.a, &mut b, "small.txt");
    b.stop();
}

#[test]
fn a_drain_stopped_by_a_signal_fails() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 143)] {
        let pair = Pair::new();
        put(&pair.a, "left.txt", "left");
        let mut a = pair.a.start(&["--drain"]);
        a.waits_for("waiting", |_| true);
        a.signal(signal);
        let events = a.ends(code);
        let reason = reason(&events);
        assert!(reason.contains("left.txt") && reason.contains("no peer is connected"), "{reason}");
    }
}

#[test]
fn a_drain_gives_up_after_its_wait_and_says_what_stays() {
    let alone = Pair::new();
    for name in ["1", "2", "3", "4", "5", "6", "7"] {
        put(&alone.a, name, "x");
    }
    let events = alone.a.start(&["--drain", "--wait", "1s"]).ends(17);
    let expected = "no peer is connected; 7 files stay in Outgoing: 1 (ready to be sent)";
    assert!(reason(&events).contains(expected), "{}", reason(&events));
    assert!(reason(&events).ends_with(" and 2 more"), "{}", reason(&events));

    let pair = Pair::new();
    let mut growing = fs::File::create({
        fs::create_dir_all(pair.a.outgoing()).unwrap();
        pair.a.outgoing().join("growing.log")
    })
    .unwrap();
    put(&pair.a, "done.txt", "done");
    let mut a = pair.a.start(&["--drain", "--wait", "4s"]);
    let b = pair.b.start(&["--drain", "--wait", "30s"]);
    // Until it gives up: the test writes ten times as often as would keep the file from settling.
    while a.sees_within(Duration::from_millis(10), |event| event["event"] == "exit").is_none() {
        growing.write_all(b"line\n").unwrap();
    }
    let events = a.ends(17);
    assert!(reason(&events).contains("growing.log ("), "{}", reason(&events));
    assert!(!reason(&events).contains("done.txt"), "{}", reason(&events));
    assert_eq!(names(&pair.a.outgoing()), ["growing.log"]);
    drop(b);
}

/// The program embedded in another one, which wants reports more often than once a minute.
#[test]
fn a_drain_reports_repeatedly_what_it_waits_for() {
    const REMINDER: Duration = Duration::from_millis(400);
    let pair = Pair::new();
    put(&pair.a, "f", "x");
    let mut config = Config::new(
        Some(PeerAddress { host: pair.a.peer.clone(), port: pair.a.port }),
        0,
        &pair.a.dir,
    );
    assert_eq!(config.drain_reminder, Duration::from_secs(60));
    config.bind = Some(Bind { addr: pair.a.bind.parse().unwrap(), port: Some(0) });
    (config.drain_reminder, config.wait) = (REMINDER, Some(REMINDER * 4 + REMINDER / 2));
    config.waits.settle = Duration::from_millis(10);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let reminders = |drain| {
        let (sender, reminders) = channel();
        let observer = move |told: PeerEvent| {
            if let Event::DrainWaiting { status } = told.event {
                assert_eq!(told.peer.as_ref(), Some(&status.name));
                sender.send(status).unwrap();
            }
        };
        let mut config = config.clone();
        config.drain = drain;
        let key = PasswordKey::derive(&Password::new(PASSWORD).unwrap()).unwrap();
        let end = runtime.block_on(async {
            let handle = Daemon::start(config, key, observer).unwrap();
            if tokio::time::timeout(REMINDER * 6, handle.wait()).await.is_err() {
                handle.stop();
            }
            handle.wait().await
        });
        (end, reminders.iter().collect::<Vec<_>>())
    };
    let (end, reported) = reminders(true);
    let Err(error) = end else { panic!("{end:?}") };
    assert!(matches!(*error, RunError::OutOfTime { .. }), "{error:?}");
    // On a slow run the last report may come at the end.
    assert!((3..=4).contains(&reported.len()), "{reported:?}");
    assert!(reported[1].session.is_none() && reported[1].more_waiting == 0, "{reported:?}");
    let first = &reported[1].waiting[0];
    let path = first.path.to_string();
    assert_eq!((path.as_str(), first.reason), ("f", WaitReason::Ready), "{reported:?}");

    let (end, reported) = reminders(false);
    assert!(matches!(end, Ok(Finished::Stopped)), "{end:?}");
    assert!(reported.is_empty(), "{reported:?}");
}

/// Another program cannot take the port between the check and the run.
#[test]
fn a_peer_runs_on_the_port_that_was_checked() {
    let pair = Pair::new();
    let mut config = Config::new(None, 0, &pair.a.dir);
    config.bind = Some(Bind { addr: pair.a.bind.parse().unwrap(), port: Some(0) });
    let port = Daemon::check(&config).unwrap();
    let checked = port.local().unwrap();
    assert!(UdpSocket::bind(checked).is_err());
    let (sender, listening) = channel();
    let observer = move |told: PeerEvent| {
        if let Event::Listening { local } = told.event {
            sender.send(local).unwrap();
        }
    };
    let key = PasswordKey::derive(&Password::new(PASSWORD).unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folders = Daemon::lock(&config.folders).unwrap();
        let handle = Daemon::start_on(port, folders, None, config, key, observer).unwrap();
        handle.stop();
        handle.wait().await.unwrap();
    });
    assert_eq!(listening.iter().collect::<Vec<_>>(), [checked]);
}

#[test]
fn a_program_whose_events_cannot_be_written_goes_on_and_the_log_says_why() {
    let pair = Pair::new();
    put(&pair.a, "f", "x");
    let mut command =
        pair.a.command(PASSWORD, &["--bind", &pair.a.bind, &pair.a.peer, &pair.a.port.to_string()]);
    command
        .stdin(Stdio::null())
        .stdout(fs::File::create("/dev/full").unwrap())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut b = pair.b.start(&[]);
    b.waits_for("file_done", |event| event["path"] == "f");
    child.kill().unwrap();
    child.wait().unwrap();
    let log = fs::read_to_string(pair.a.state().join("rft.log")).unwrap();
    assert!(log.contains("no more events are printed: no space is left"), "{log}");
    assert!(!log.contains("os error"), "{log}");
}

#[test]
fn a_wait_without_a_drain_is_an_error_that_says_so() {
    let base = tempfile::tempdir().unwrap();
    let host = Host::new(base.path().join("a"), "127.0.0.1", "127.0.0.2", free_port());
    let mut running = host.start_raw(&["--wait", "1s", "127.0.0.2", "4000"]);
    let (code, _) = running.wait();
    assert_eq!(code, Some(2));
    let last = running.events().last().unwrap().event.clone();
    assert!(last["reason"].as_str().unwrap().contains("add --drain"), "{last}");
}

/// Secrets are in memory, so a release build leaves no copy of it behind when it dies, whatever
/// `ulimit -c` says. A build for debugging does, so this runs with `cargo test --release` only.
#[cfg(all(target_os = "linux", not(debug_assertions)))]
#[test]
fn a_release_build_dumps_no_core() {
    use super::harness::peer::PASSWORD;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};
    let mut pair = Pair::new();
    // The control: where the system dumps nothing at all, nothing is shown.
    let dies = ["-c", "ulimit -c unlimited && kill -ABRT $$"];
    let control = Command::new("sh").args(dies).current_dir(&pair.a.dir).status().unwrap();
    if !control.core_dumped() {
        eprintln!("this system dumps no core: nothing was tested");
        return;
    }
    pair.a.wrapper =
        ["sh", "-c", "ulimit -c unlimited && exec \"$0\" \"$@\""].map(str::to_owned).into();
    let port = pair.a.port.to_string();
    // Unconfined: so it may write where it runs.
    let options = ["--no-sandbox", "--bind", "127.0.0.1", "listen", &port];
    let mut command = pair.a.command(PASSWORD, &options);
    let mut child = command.current_dir(&pair.a.dir).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("listening"), "{line}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::ABORT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.signal(), status.core_dumped()), (Some(Signal::ABORT.as_raw()), false));
}
