//! `rft put --urgent`: the names are marked before the files get them, so that none is handed out as
//! a usual one.

use super::LocalRft;
use crate::cli::exit::{self, Failure};
use crate::cli::status;
use rft::Name;
use rft::config::Folders;
use rft::control::{ControlError, Request};
use rft::put::mark_urgent;
use std::path::Path;

/// Marks the names, in the running rft or for the next one.
///
/// # Errors
/// Exit code 1 if that fails: nothing is put.
pub(super) async fn mark(dir: &Path, peer: &mut LocalRft, names: &[Name]) -> Result<(), Failure> {
    let failed = |reason: String| {
        Failure::new(exit::UNKNOWN, format!("it cannot be urgent: {reason}; nothing was put"))
    };
    match set(dir, peer, names, true).await {
        Ok(()) => Ok(()),
        Err(error) => {
            unmark(dir, peer, names).await;
            Err(failed(error))
        }
    }
}

/// Takes the marks back from names that no file got. If that fails, a later file of the name is
/// urgent.
pub(super) async fn unmark(dir: &Path, peer: &mut LocalRft, names: &[Name]) {
    let _: Result<(), String> = set(dir, peer, names, false).await;
}

async fn set(dir: &Path, peer: &mut LocalRft, names: &[Name], urgent: bool) -> Result<(), String> {
    let Some(client) = &mut peer.client else {
        if peer.runs {
            return Err(ControlError::Denied.to_string());
        }
        let state = Folders::in_dir(dir).state;
        let names: Vec<&Name> = names.iter().collect();
        return mark_urgent(&state, &names, urgent).map_err(|error| error.to_string());
    };
    for name in names {
        let request = Request::Urgent { path: name.clone(), urgent };
        client.ask(&request).await.map_err(|error| status::failed(dir, &error).reason)?;
    }
    Ok(())
}
