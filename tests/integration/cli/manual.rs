//! The man pages, as groff formats them.

use std::process::{Command, Output, Stdio};

fn rft(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rft")).args(words).output().unwrap()
}

#[test]
fn every_page_is_formatted_without_a_warning() {
    let names = String::from_utf8(rft(&["man", "--list"]).stdout).unwrap();
    assert!(names.lines().count() > 8 && names.contains("rft-status\n"), "{names}");
    let folder = tempfile::tempdir().unwrap();
    for name in names.lines() {
        let page = rft(&["man", name]);
        assert!(page.status.success(), "{name}");
        let file = folder.path().join(format!("{name}.1"));
        std::fs::write(&file, &page.stdout).unwrap();
        let groff = Command::new("groff")
            .args(["-ww", "-man", "-Tutf8", "-z"])
            .arg(&file)
            .stdin(Stdio::null())
            .output();
        let Ok(groff) = groff else {
            // In CI a skipped test would look like a passed one.
            assert!(std::env::var_os("CI").is_none(), "groff is missing, which CI must have");
            eprintln!("SKIPPED: groff is missing");
            return;
        };
        let warnings = String::from_utf8_lossy(&groff.stderr);
        assert!(groff.status.success() && warnings.is_empty(), "{name}: {warnings}");
    }
}
