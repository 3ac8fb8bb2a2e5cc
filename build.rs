//! Tells `rft --version` the commit that it is built from, as `RFT_COMMIT`: 12 digits, with a `+`
//! if files differ from the commit, or nothing if nobody knows.
//!
//! Only a release build asks. Otherwise every commit would compile the crate anew, tests included.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Digits of the commit that are shown.
const DIGITS: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RFT_COMMIT");
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given().or_else(|| if release { found() } else { None }).unwrap_or_default();
    println!("cargo::rustc-env=RFT_COMMIT={commit}");
}

/// The commit that a packager states in the environment.
fn given() -> Option<String> {
    short(&env::var("RFT_COMMIT").ok()?)
}

/// The commit of this folder: a checkout, a package of `cargo publish`, or an archive of git.
fn found() -> Option<String> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?);
    if root.join(".git").exists() { checked_out(&root) } else { packaged(&root) }
}

/// The commit that is checked out.
fn checked_out(root: &Path) -> Option<String> {
    let mut commit = short(&git(root, &["rev-parse", "HEAD"])?)?;
    for watched in ["src", "crates", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    // git appends to this log at every commit and checkout
    if let Some(log) = git(root, &["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    if git(root, &["status", "--porcelain", "--untracked-files=no"]).is_none_or(|it| !it.is_empty())
    {
        commit.push('+');
    }
    Some(commit)
}

/// The commit that cargo (`.cargo_vcs_info.json`) or git (`packaging/commit`, by `.gitattributes`)
/// has written into a package of the sources.
fn packaged(root: &Path) -> Option<String> {
    let cargo = fs::read_to_string(root.join(".cargo_vcs_info.json")).ok();
    let cargo = cargo
        .as_deref()
        .and_then(|text| text.split_once("\"sha1\"")?.1.split('"').nth(1).and_then(short));
    let git = || fs::read_to_string(root.join("packaging/commit")).ok();
    cargo.or_else(|| short(git()?.split_whitespace().next()?))
}

fn short(commit: &str) -> Option<String> {
    let is_commit = commit.len() >= DIGITS && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then(|| commit[..DIGITS].to_owned())
}

/// The output of a git command, if it succeeds.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
