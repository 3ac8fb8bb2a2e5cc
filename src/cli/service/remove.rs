//! `rft service remove`: stops a service and removes its unit. Its folders and its password stay.

use super::scope::Scope;
use super::systemctl::Systemctl;
use super::{rows, show, unit};
use crate::cli::exit::{self, Failure};
use crate::cli::print;
use rft::cause;
use std::fs;
use std::io;

/// Removes the named service, or the only one.
///
/// # Errors
/// Exit code 18 if there is none, 2 if there are several or the user may not, 1 if systemd refuses.
pub(super) fn run(name: Option<&str>, scope: &Scope) -> Result<(), Failure> {
    scope.may_change()?;
    let systemctl = Systemctl(scope);
    let name = systemctl.only("remove", name)?;
    let unit = Scope::unit(&name);
    let file = scope.units().join(&unit);
    let place = show::place_of(systemctl, &name)?;
    systemctl.run(&["disable", "--now", "--", &unit])?;
    let text = fs::read_to_string(&file).unwrap_or_default();
    let written = text.starts_with(unit::MARK);
    if written {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let reason = format!("{} cannot be removed: {}", file.display(), cause::of(&error));
                return Err(Failure::new(exit::UNKNOWN, reason));
            }
            _ => {}
        }
        systemctl.run(&["daemon-reload"])?;
    }
    // It is not there if the service has not failed.
    drop(systemctl.run(&["reset-failed", "--", &unit]));
    let mut lines = vec![(
        "service",
        match written {
            true => format!("{unit} is stopped and removed"),
            false => format!(
                "{unit} is stopped, and does not start by itself; its unit is not rft's and stays"
            ),
        },
    )];
    if let Some(place) = place {
        lines.push(("kept", place.dir.display().to_string()));
    }
    let named = unit::password_in(&text).filter(|_| written);
    let password = named.unwrap_or_else(|| scope.password(&name));
    if password.exists() {
        lines.push(("kept", password.display().to_string()));
    }
    print(rows(&lines).as_bytes())
}
