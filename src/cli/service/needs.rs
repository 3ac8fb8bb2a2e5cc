//! What a service needs before it is installed: a password file, usable folders and a free port.

use super::peer_line::PeerLine;
use crate::cli::check;
use crate::cli::exit::{self, Failure};
use crate::cli::password;
use rft::check::Subject;
use std::path::Path;

/// Checks the password file, the folders and the port. Returns the texts of warnings.
///
/// # Errors
/// Exit code 2 for the password file, 19 for the others.
pub(super) fn check(line: &PeerLine, password: &Path) -> Result<Vec<String>, Failure> {
    if !password.exists() {
        return Err(Failure::usage(no_password(password)));
    }
    let warnings = password::check_file(password)?;
    let config = &line.config;
    let subject = Subject {
        folders: config.folders.clone(),
        min_free: config.min_free,
        port: Some(config.port),
        bind: config.bind,
        peer: None,
    };
    let failed = check::failed_steps(&subject)?;
    if !failed.is_empty() {
        let reason = format!("the service could not run: {}", failed.join("; "));
        return Err(Failure::new(exit::CHECK_FAILED, reason));
    }
    Ok(warnings)
}

/// The commands that make the missing file.
fn no_password(file: &Path) -> String {
    let (shown, folder) = (file.display(), file.parent().unwrap_or(file).display());
    let make = if cfg!(windows) {
        format!("md \"{folder}\" & rft passphrase > \"{shown}\"")
    } else {
        format!("mkdir -p {folder} && (umask 077; rft passphrase > {shown})")
    };
    format!(
        "there is no password file {shown}; type: {make} , and give the same password to the peer; or name another file with --password-file FILE"
    )
}
