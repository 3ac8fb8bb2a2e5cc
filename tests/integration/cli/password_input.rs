//! `--password-file -`: the password from the standard input.

use crate::harness::peer::{PASSWORD, Pair};
use std::fs::File;
use std::io::{Read, Write};
use std::process::Command;

/// The writer keeps the pipe open, `RFT_PASSWORD` has another password, and the rest of the input
/// is left to others.
#[test]
fn the_first_line_of_the_standard_input_is_the_password() {
    let mut pair = Pair::new();
    let pipe = pair.a.dir.with_file_name("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Everybody can read the pipe, which gets no warning.
    let mut writer = File::options().read(true).write(true).open(&pipe).unwrap();
    write!(writer, "{PASSWORD}\nmore").unwrap();
    let redirect = format!("exec \"$0\" \"$@\" < {}", pipe.display());
    pair.a.wrapper = vec!["sh".into(), "-c".into(), redirect];
    let mut a = pair.a.start_with_password("another one", &["--password-file", "-"]);
    let mut b = pair.b.start(&[]);
    a.waits_for("connected", |_| true);
    b.has_or_waits_for("connected", |_| true);
    let events = a.stop();
    assert!(!events.iter().any(|event| event["event"] == "warning"), "{events:#?}");
    let mut rest = [0; 4];
    writer.read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b"more");
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_as_the_standard_input_gets_the_prompt() {
    use crate::harness::peer::free_port;
    use crate::harness::terminal::OnTerminal;
    let base = tempfile::tempdir().unwrap();
    let (dir, port) = (base.path().join("dir"), free_port().to_string());
    let dir = dir.to_str().unwrap();
    let address = ["--bind", "127.0.0.1", "127.0.0.2", &port];
    let mut prompt =
        OnTerminal::start(&[&["--dir", dir, "--password-file", "-"], &address[..]].concat());
    prompt.reads_single_keys();
    prompt.types(b"\x03");
    let ended = prompt.ends();
    assert_eq!(ended.code, Some(130), "{}", ended.shown);
    assert!(ended.restored && ended.shown.contains("Password (the same on both hosts)"));
}
