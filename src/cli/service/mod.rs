//! `rft service`: installs rft as a service of the system or of a user, shows it, and removes it.

#[cfg(target_os = "linux")]
mod install;
#[cfg(any(target_os = "linux", windows))]
mod name;
#[cfg(any(target_os = "linux", windows))]
mod needs;
#[cfg(any(target_os = "linux", windows))]
mod past;
#[cfg(any(target_os = "linux", windows))]
mod peer_line;
#[cfg(target_os = "linux")]
mod remove;
#[cfg(target_os = "linux")]
mod scope;
#[cfg(target_os = "linux")]
mod show;
#[cfg(target_os = "linux")]
mod systemctl;
#[cfg(target_os = "linux")]
mod unit;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
use super::args::service::ServiceAction;
#[cfg(not(windows))]
use super::args::service::ServiceArgs;
#[cfg(not(windows))]
use super::exit::Failure;

/// Installs, shows or removes a service.
///
/// # Errors
/// The exit codes of the peer's command line, 19 if something that the service needs is missing, 18
/// if there is no such service, 1 if the service manager fails.
#[cfg(target_os = "linux")]
pub(crate) fn run(args: &ServiceArgs) -> Result<(), Failure> {
    let words_belong = args.action == ServiceAction::Install;
    if !words_belong && (!args.words.is_empty() || args.dry_run) {
        return Err(Failure::usage(
            "only `rft service install` takes --dry-run and the words of a peer; name the service with --name NAME",
        ));
    }
    let scope = scope::Scope::of(args)?;
    match args.action {
        ServiceAction::Install => install::run(args, &scope),
        ServiceAction::Status => show::run(args.name.as_deref(), &scope),
        ServiceAction::Remove => remove::run(args.name.as_deref(), &scope),
    }
}

#[cfg(windows)]
pub(crate) use windows::run;

/// There is no service manager that rft knows.
///
/// # Errors
/// Always.
#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) fn run(_: &ServiceArgs) -> Result<(), Failure> {
    Err(Failure::usage(
        "rft service knows systemd and the services of Windows, and this system has neither; start `rft --dir DIR --password-file FILE PEER PORT` with the system's own means",
    ))
}

/// Lines of a word and a text, the texts below each other.
#[cfg(any(target_os = "linux", windows))]
fn rows(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(word, _)| word.len()).max().unwrap_or_default() + 2;
    let line = |(word, text): &(&str, String)| {
        let text = super::output::text::for_terminal(text, false);
        format!("{word:<width$}{text}\n")
    };
    rows.iter().map(line).collect()
}
