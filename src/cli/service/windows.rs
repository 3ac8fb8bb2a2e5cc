//! `rft service` on Windows: a service of the system that runs as an account of its own.

mod manager;
mod record;
mod run;

use super::past::{self, PastEnd};
use super::peer_line::{PasswordFile, PeerLine, TypedWords};
use super::{name, needs, rows};
use crate::cli::args::service::{ServiceAction, ServiceArgs};
use crate::cli::exit::{self, Failure};
use crate::cli::output::clock::Clock;
use crate::cli::output::{state, text};
use crate::cli::{print, status};
use manager::Installed;
use record::Record;
use rft::cause;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Columns of the usual status.
const WIDTH: usize = 100;

/// Installs, shows or removes a service, or runs as one.
///
/// # Errors
/// The exit codes of the peer's command line, 19 if something that the service needs is missing, 18
/// if there is no such service, 1 if the service manager fails.
pub(crate) fn run(args: &ServiceArgs) -> Result<(), Failure> {
    if args.user {
        return Err(Failure::usage(
            "Windows has services of the system only; type the same without --user",
        ));
    }
    match args.action {
        ServiceAction::Install => install(args),
        ServiceAction::Status => show(args.name.as_deref()),
        ServiceAction::Remove => remove(args.name.as_deref()),
        ServiceAction::Run => run::run(args),
    }
}

/// `%ProgramData%\rft`.
fn base() -> PathBuf {
    let data = std::env::var_os("ProgramData").unwrap_or_else(|| r"C:\ProgramData".into());
    PathBuf::from(data).join("rft")
}

fn install(args: &ServiceArgs) -> Result<(), Failure> {
    let typed = TypedWords::read(&args.words)?;
    let name = match &args.name {
        Some(name) => name::checked(name)?,
        None => name::of_peer(&typed.host),
    };
    let mut line = typed.in_folder(&base().join(&name))?;
    let password = match line.password.take() {
        Some(PasswordFile::Given(file) | PasswordFile::InConfig(file)) => file,
        None => base().join(format!("{name}.password")),
    };
    line.words.splice(..0, ["--password-file".into(), password.clone().into_os_string()]);
    let program = std::env::current_exe()
        .map_err(|error| failed("the path of rft itself is not known", &error))?;
    if args.dry_run {
        let words = line.words.iter().map(|word| word.to_string_lossy());
        let words = words.collect::<Vec<_>>().join(" ");
        return print(
            rows(&summary(
                &name,
                &line,
                &password,
                &[("program", program.display().to_string()), ("words", words)],
            ))
            .as_bytes(),
        );
    }
    let warnings = needs::check(&line, &password)?;
    must_be_for_all(&program)?;
    let record = Record { words: line.words.clone() };
    let service = manager::create(&name, &program, &record.words)?;
    let account = manager::account(&name);
    let started = record
        .write(&base(), &name)
        .and_then(|()| std::fs::create_dir_all(&line.dir))
        .map_err(|error| failed("the service's files cannot be written", &error))
        .and_then(|()| grant(&line, &password, &account))
        .and_then(|()| service.start_and_wait());
    if let Err(failure) = started {
        drop(service.remove());
        record::delete(&base(), &name);
        let why = match past::last(&line.log_file, false) {
            Some(PastEnd::Ended { code, reason, .. }) => format!("exit code {code}: {reason}"),
            _ => failure.reason,
        };
        let log = line.log_file.display();
        return Err(Failure::new(
            exit::UNKNOWN,
            format!(
                "the service {name} did not start: {why}. Nothing stays installed; its log is {log}"
            ),
        ));
    }
    for warning in warnings.iter().chain(&service.warnings) {
        eprintln_warning(warning);
    }
    print(rows(&summary(&name, &line, &password, &[])).as_bytes())
}

fn eprintln_warning(warning: &str) {
    use io::Write;
    drop(writeln!(io::stderr(), "rft: warning: {}", text::printable(warning)));
}

fn summary(
    name: &str,
    line: &PeerLine,
    password: &Path,
    more: &[(&'static str, String)],
) -> Vec<(&'static str, String)> {
    let folders = &line.config.folders;
    let mut lines = vec![(
        "service",
        format!(
            "{} starts with the system, as {}",
            manager::service_name(name),
            manager::account(name)
        ),
    )];
    lines.extend(more.iter().cloned());
    lines.extend([
        ("to send", folders.outgoing.display().to_string()),
        ("received", folders.incoming.display().to_string()),
        ("log", line.log_file.display().to_string()),
        ("password", format!("{} (the peer needs the same)", password.display())),
        ("status", format!("rft service status --name {name}")),
        ("remove", format!("rft service remove --name {name}")),
    ]);
    lines
}

/// The account of a service cannot read the profile of a user.
fn must_be_for_all(program: &Path) -> Result<(), Failure> {
    let profile = std::env::var_os("USERPROFILE").map(PathBuf::from);
    match profile.filter(|profile| program.starts_with(profile)) {
        None => Ok(()),
        Some(_) => Err(Failure::usage(format!(
            "a service cannot run {}, which is in the profile of a user; copy it to \"C:\\Program Files\\rft\" and type the same with that one",
            program.display()
        ))),
    }
}

/// Gives the account its folders, and the password to it, the system and the administrators alone.
fn grant(line: &PeerLine, password: &Path, account: &str) -> Result<(), Failure> {
    let folders = &line.config.folders;
    let log = crate::cli::log::folder_of(&line.log_file);
    let mut all: Vec<&Path> = vec![&line.dir];
    for folder in [folders.outgoing.as_path(), &folders.incoming, log] {
        if !all.iter().any(|other| folder.starts_with(other)) {
            std::fs::create_dir_all(folder)
                .map_err(|error| failed(&folder.display().to_string(), &error))?;
            all.push(folder);
        }
    }
    for folder in all {
        icacls(folder, &["/grant", &format!("{account}:(OI)(CI)M")])?;
    }
    // The system and the administrators, whatever they are called here.
    let (system, administrators) = ("*S-1-5-18:F", "*S-1-5-32-544:F");
    let own = format!("{account}:R");
    icacls(password, &["/inheritance:r", "/grant:r", system, administrators, &own])
}

fn icacls(path: &Path, words: &[&str]) -> Result<(), Failure> {
    let done = Command::new("icacls").arg(path).args(words).output();
    let done = done.map_err(|error| failed("icacls cannot be started", &error))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().replace("\r\n", "; ");
    let reason =
        format!("the rights of {} cannot be set: {}", path.display(), text::printable(&said));
    Err(Failure::new(exit::UNKNOWN, reason))
}

/// The named service, or the only one.
fn only(action: &str, name: Option<&str>) -> Result<String, Failure> {
    let names = record::names(&base());
    match (name, &names[..]) {
        (Some(name), _) => name::checked(name),
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(Failure::new(exit::NOT_RUNNING, "no rft service is installed")),
        (None, names) => Err(Failure::usage(format!(
            "there are several services: {}; type: rft service {action} --name {}",
            names.join(", "),
            names[0]
        ))),
    }
}

fn show(name: Option<&str>) -> Result<(), Failure> {
    let names = match name {
        Some(name) => vec![name::checked(name)?],
        None => record::names(&base()),
    };
    if names.is_empty() {
        return Err(Failure::new(exit::NOT_RUNNING, "no rft service is installed"));
    }
    let mut stopped = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let service = manager::open(name)?;
        let (running, state) = service.state()?;
        let gap = if i > 0 { "\n" } else { "" };
        print(format!("{gap}{}", text_of(name, running, state)).as_bytes())?;
        if !running {
            stopped.push(manager::service_name(name));
        }
    }
    match &stopped[..] {
        [] => Ok(()),
        names => {
            let reason = format!("not running: {}; type: sc start {}", names.join(", "), names[0]);
            Err(Failure::new(exit::NOT_RUNNING, reason))
        }
    }
}

fn text_of(name: &str, running: bool, state: String) -> String {
    let mut lines = vec![("service", manager::service_name(name)), ("state", state)];
    let place = Record::read(&base(), name).and_then(|record| record.line().ok());
    let Some(line) = place else { return rows(&lines) };
    if let Some(past) = past::last(&line.log_file(), running) {
        lines.push(("last end", past.sentence()));
    }
    lines.push(("folder", line.dir().display().to_string()));
    lines.push(("log", line.log_file().display().to_string()));
    if !running {
        return rows(&lines);
    }
    match status::now(line.dir()) {
        Ok(status) => {
            let own = env!("CARGO_PKG_VERSION");
            let version = text::printable(&status.version);
            lines.push((
                "version",
                match version == own {
                    true => version,
                    false => format!(
                        "{version} runs, and this is {own}; to change to it, stop and start the service"
                    ),
                },
            ));
            let state = state::text(Some(&status), &Clock::system(), WIDTH);
            let state = state.lines().map(|line| text::for_terminal(line, false) + "\n");
            rows(&lines) + &state.collect::<String>()
        }
        Err(error) => {
            lines.push(("", status::failed(line.dir(), &error).reason));
            rows(&lines)
        }
    }
}

fn remove(name: Option<&str>) -> Result<(), Failure> {
    let name = only("remove", name)?;
    let service: Installed = manager::open(&name)?;
    service.remove()?;
    let record = Record::read(&base(), &name);
    record::delete(&base(), &name);
    let mut lines =
        vec![("service", format!("{} is stopped and removed", manager::service_name(&name)))];
    if let Some(line) = record.and_then(|record| record.line().ok()) {
        lines.push(("kept", line.dir().display().to_string()));
        let password = line.options.password_file.as_deref().unwrap_or(Path::new(""));
        lines.push(("kept", password.display().to_string()));
    }
    print(rows(&lines).as_bytes())
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(exit::UNKNOWN, format!("{what}: {}", cause::of(error)))
}

/// The words that the service manager starts the program with, before those of the peer.
fn run_words(name: &str) -> Vec<OsString> {
    ["service", "run", "--name", name, "--"].map(OsString::from).to_vec()
}
