//! `rft service status`: the state of each service, how it ended last, and what it does.

use super::past;
use super::peer_line;
use super::scope::Scope;
use super::systemctl::{Properties, Systemctl, meaning};
use super::{rows, unit};
use crate::cli::exit::{self, Failure};
use crate::cli::output::clock::Clock;
use crate::cli::output::{state, text};
use crate::cli::{print, status};
use rft::Status;
use std::path::{Path, PathBuf};

/// Columns of the usual status.
const WIDTH: usize = 100;

/// Shows the named service, or all.
///
/// # Errors
/// Exit code 18 if there is none, or one does not run; 1 if systemd does not answer.
pub(super) fn run(name: Option<&str>, scope: &Scope) -> Result<(), Failure> {
    let systemctl = Systemctl(scope);
    let names = match name {
        Some(name) => vec![systemctl.only("status", Some(name))?],
        None => systemctl.names()?,
    };
    if names.is_empty() {
        return Err(systemctl.none(None, &names));
    }
    let mut stopped = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let properties = systemctl.show(&Scope::unit(name))?;
        let place = place_of(systemctl, name)?;
        let gap = if i > 0 { "\n" } else { "" };
        print(format!("{gap}{}", text_of(scope, name, &properties, place.as_ref())).as_bytes())?;
        if properties.get("ActiveState") != "active" {
            stopped.push(name.as_str());
        }
    }
    match &stopped[..] {
        [] => Ok(()),
        names => {
            let unit = Scope::unit(names[0]);
            let reason = format!(
                "not running: {}; type: systemctl {} start {unit}",
                names.join(", "),
                scope.option()
            );
            Err(Failure::new(exit::NOT_RUNNING, reason))
        }
    }
}

/// Where a service has its files.
pub(super) struct ServicePlace {
    pub(super) dir: PathBuf,
    log_file: PathBuf,
}

/// The folders of a service, as its unit names them.
///
/// # Errors
/// systemd does not answer: exit code 1.
pub(super) fn place_of(
    systemctl: Systemctl<'_>,
    name: &str,
) -> Result<Option<ServicePlace>, Failure> {
    let properties = systemctl.show(&Scope::unit(name))?;
    let home = match systemctl.0 {
        Scope::System => Path::new("/root"),
        Scope::User { home, .. } => home,
    };
    let file = match properties.get("FragmentPath") {
        "" => systemctl.0.units().join(Scope::unit(name)),
        file => PathBuf::from(file),
    };
    let Ok(text) = std::fs::read_to_string(file) else { return Ok(None) };
    let mut words = unit::words_in(&text, name, home);
    // The template leaves PEER and PORT to a variable.
    if !text.starts_with(unit::MARK) {
        words.extend(["listen".into(), "1".into()]);
    }
    let line = peer_line::parsed(words).ok();
    Ok(line.map(|line| ServicePlace { dir: line.dir().to_owned(), log_file: line.log_file() }))
}

fn text_of(
    scope: &Scope,
    name: &str,
    properties: &Properties,
    place: Option<&ServicePlace>,
) -> String {
    let running = properties.get("ActiveState") == "active";
    let mut lines = vec![("service", Scope::unit(name)), ("state", state_of(properties))];
    let told = running.then(|| properties.get("StatusText")).filter(|told| !told.is_empty());
    lines.extend(told.map(|told| ("now", text::printable(told))));
    let past = place.and_then(|place| past::last(&place.log_file, running));
    lines.extend(past.map(|past| ("last end", past.sentence())));
    let Some(place) = place else { return rows(&lines) };
    lines.push(("folder", place.dir.display().to_string()));
    lines.push(("log", place.log_file.display().to_string()));
    if !running {
        return rows(&lines);
    }
    match status::now(&place.dir) {
        Ok(status) => {
            lines.push(("version", version(scope, name, properties, &status)));
            let state = state::text(Some(&status), &Clock::system(), WIDTH);
            let state = state.lines().map(|line| text::for_terminal(line, false) + "\n");
            rows(&lines) + &state.collect::<String>()
        }
        Err(error) => {
            lines.push(("", status::failed(&place.dir, &error).reason));
            rows(&lines)
        }
    }
}

/// `active (running) since ..., starts by itself, restarted 2 times`.
fn state_of(properties: &Properties) -> String {
    let mut parts = vec![format!(
        "{} ({}) since {}",
        properties.get("ActiveState"),
        properties.get("SubState"),
        properties.get("StateChangeTimestamp")
    )];
    parts.push(match properties.get("UnitFileState") {
        "enabled" => "starts by itself".to_owned(),
        other => format!("does not start by itself ({other})"),
    });
    match properties.get("NRestarts") {
        "" | "0" => {}
        "1" => parts.push("restarted once after a failure".to_owned()),
        times => parts.push(format!("restarted {times} times after failures")),
    }
    if properties.get("ActiveState") != "active" {
        match (properties.get("Result"), properties.exit_code()) {
            ("success" | "", None | Some(0)) => {}
            (_, Some(code)) => {
                parts.push(format!("exit code {code}: {}", meaning(code)));
            }
            (result, None) => parts.push(format!("ended by systemd or a signal ({result})")),
        }
    }
    text::printable(&parts.join(", "))
}

/// The version that runs, and the installed one if it is another.
fn version(scope: &Scope, name: &str, properties: &Properties, status: &Status) -> String {
    let own = env!("CARGO_PKG_VERSION");
    let running = text::printable(&status.version);
    let replaced = std::fs::read_link(format!("/proc/{}/exe", properties.get("MainPID")))
        .is_ok_and(|program| program.as_os_str().to_string_lossy().ends_with(" (deleted)"));
    let restart = format!("type: systemctl {} restart {}", scope.option(), Scope::unit(name));
    if running != own {
        format!("{running} runs, and this is {own}; to change to it, {restart}")
    } else if replaced {
        format!("{running}; its program was replaced since it started; to run that, {restart}")
    } else {
        running
    }
}
