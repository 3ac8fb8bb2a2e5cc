//! `rft service install`: checks what the service needs, writes its unit, starts it, and waits until
//! it is ready. If it does not start, all of that is undone.

use super::peer_line::{PasswordFile, PeerLine, TypedWords};
use super::scope::Scope;
use super::systemctl::{Properties, Systemctl, answer, meaning, run as run_command};
use super::unit::{self, Values};
use super::{name, needs, rows};
use crate::cli::args::service::ServiceArgs;
use crate::cli::exit::{self, Failure};
use crate::cli::log;
use crate::cli::output::text;
use crate::cli::print;
use rft::cause;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The user of a service of the system that is created if it is missing.
const OWN_USER: &str = "rft";
/// The folder of the services of the system, and the home of [`OWN_USER`].
const OWN_HOME: &str = "/srv/rft";
/// When the state is looked at after the start.
const FIRST_STATE_AFTER: Duration = Duration::from_secs(3);

/// Everything about the service to install.
struct Plan<'a> {
    scope: &'a Scope,
    name: String,
    line: PeerLine,
    /// `None` if the configuration file names it.
    password: Option<PathBuf>,
    program: PathBuf,
    user: &'a str,
    unit: String,
}

/// Installs the service.
///
/// # Errors
/// Exit codes of the peer's command line, 19 if a check failed, 1 if systemd refuses; that of the
/// service if it does not start.
pub(super) fn run(args: &ServiceArgs, scope: &Scope) -> Result<(), Failure> {
    if !args.dry_run {
        scope.may_change()?;
    }
    let plan = plan(args, scope)?;
    if args.dry_run {
        let file = plan.file();
        return print(format!("# {}\n{}", file.display(), plan.unit).as_bytes());
    }
    let systemctl = Systemctl(scope);
    systemctl.check()?;
    let (file, unit) = (plan.file(), Scope::unit(&plan.name));
    if file.exists() || systemctl.names()?.contains(&plan.name) {
        return Err(Failure::usage(format!(
            "the service {} is installed already; type: {} to see it, or: {} , which keeps its folders",
            plan.name,
            scope.command("status", &plan.name),
            scope.command("remove", &plan.name)
        )));
    }
    plan.check_program()?;
    let warnings = needs::check(&plan.line, plan.password_file())?;
    if *scope == Scope::System {
        plan.make_folders_of_the_system()?;
    }
    write(&file, &plan.unit)
        .map_err(|error| failed(&format!("{} cannot be written", file.display()), &error))?;
    let started = systemctl
        .run(&["daemon-reload"])
        .and_then(|_| systemctl.run(&["enable", "--", &unit]))
        .and_then(|_| systemctl.run(&["start", "--", &unit]))
        .and_then(|_| first_state(systemctl, &unit));
    let now = match started {
        Ok(now) => now,
        Err(failure) => return Err(plan.undo(systemctl, &failure)),
    };
    let lingers = lingering(scope);
    for warning in warnings {
        drop(writeln!(io::stderr(), "rft: warning: {}", text::printable(&warning)));
    }
    print(plan.summary(&now, &lingers).as_bytes())
}

fn plan<'a>(args: &'a ServiceArgs, scope: &'a Scope) -> Result<Plan<'a>, Failure> {
    let typed = TypedWords::read(&args.words)?;
    let name = match &args.name {
        Some(name) => name::checked(name)?,
        None => name::of_peer(&typed.host),
    };
    let line = typed.in_folder(&scope.dir(&name))?;
    let password = match &line.password {
        Some(PasswordFile::Given(file)) => Some(file.clone()),
        Some(PasswordFile::InConfig(_)) => None,
        None => Some(scope.password(&name)),
    };
    let program = std::env::current_exe()
        .map_err(|error| failed("the path of rft itself is not known", &error))?;
    let folders = folders_of(&line);
    let unit = unit::text(&Values {
        scope,
        program: &program,
        words: &line.words,
        password: password.as_deref(),
        folders: &folders,
        user: &args.run_as,
        port: line.config.port,
    })?;
    Ok(Plan { scope, name, line, password, program, user: &args.run_as, unit })
}

/// The folders that the service writes to, none of them in another.
fn folders_of(line: &PeerLine) -> Vec<PathBuf> {
    let folders = &line.config.folders;
    let log = log::folder_of(&line.log_file);
    let mut all: Vec<PathBuf> = vec![line.dir.clone()];
    for folder in [&folders.outgoing, &folders.incoming, log] {
        if !all.iter().any(|other| folder.starts_with(other)) {
            all.push(folder.to_owned());
        }
    }
    all
}

impl Plan<'_> {
    fn file(&self) -> PathBuf {
        self.scope.units().join(Scope::unit(&self.name))
    }

    /// The password file, wherever it is named.
    fn password_file(&self) -> &Path {
        match (&self.password, &self.line.password) {
            (Some(file), _) => file,
            (None, Some(PasswordFile::InConfig(file) | PasswordFile::Given(file))) => file,
            (None, None) => Path::new(""),
        }
    }

    /// A service of the system does not see the homes, and must not run what others can change.
    fn check_program(&self) -> Result<(), Failure> {
        let shown = self.program.display();
        if *self.scope != Scope::System {
            return Ok(());
        }
        if unit::is_in_a_home(&self.program) {
            return Err(Failure::usage(format!(
                "a service of the system cannot run {shown}, which is in the home of a user; install rft for all users (scripts/install --prefix /usr/local) and type the same with that one, or install a service of this user with --user"
            )));
        }
        let changeable = |path: &Path| {
            fs::metadata(path).is_ok_and(|meta| meta.uid() != 0 || meta.mode() & 0o022 != 0)
        };
        if let Some(path) = self.program.ancestors().find(|path| changeable(path)) {
            return Err(Failure::usage(format!(
                "others than root can change {}, and with it the program {shown} that the service runs; install rft for all users (scripts/install --prefix /usr/local) and type the same with that one",
                path.display()
            )));
        }
        Ok(())
    }

    /// Creates the user and the folders that do not exist.
    fn make_folders_of_the_system(&self) -> Result<(), Failure> {
        let id = |option: &str| {
            answer("id", &[option, "--", self.user]).and_then(|id| id.parse::<u32>().ok())
        };
        if self.user == OWN_USER && id("-u").is_none() {
            let line = format!("u {OWN_USER} - \"Reactive File Transfer\" {OWN_HOME}");
            run_command("systemd-sysusers", &["--inline", &line])?;
        }
        let (Some(uid), Some(gid)) = (id("-u"), id("-g")) else {
            let user = text::printable(self.user);
            let reason = format!(
                "there is no user {user}; type: useradd --system --home-dir {OWN_HOME} --shell /usr/sbin/nologin {user}"
            );
            return Err(Failure::usage(reason));
        };
        for folder in folders_of(&self.line) {
            let shown = folder.display();
            match fs::metadata(&folder) {
                Ok(meta) if uid != 0 && meta.uid() != uid => {
                    return Err(Failure::usage(format!(
                        "{shown} belongs to another user than {user}, as which the service runs; type: chown -R {user}: {shown} , or name its owner with --run-as USER",
                        user = self.user
                    )));
                }
                Ok(_) => {}
                Err(_) => create(&folder, uid, gid)
                    .map_err(|error| failed(&format!("{shown} cannot be created"), &error))?,
            }
        }
        Ok(())
    }

    /// Takes back what was done, and says why the service did not start.
    fn undo(&self, systemctl: Systemctl<'_>, failure: &Failure) -> Failure {
        let unit = Scope::unit(&self.name);
        let shown = systemctl.show(&unit).ok();
        drop(systemctl.run(&["disable", "--now", "--", &unit]));
        drop(fs::remove_file(self.file()));
        drop(systemctl.run(&["daemon-reload"]));
        drop(systemctl.run(&["reset-failed", "--", &unit]));
        let status = shown.as_ref().map(|shown| shown.get("StatusText")).unwrap_or_default();
        let code = shown.as_ref().and_then(Properties::exit_code);
        let why = match (status, code) {
            ("", Some(code)) => format!("exit code {code}: {}", meaning(code)),
            ("", None) => failure.reason.clone(),
            (status, _) => text::printable(status),
        };
        let log = self.line.log_file.display();
        Failure::new(
            code.filter(|&code| exit::is_failure(code)).unwrap_or(exit::UNKNOWN),
            format!(
                "the service {} did not start: {why}. Nothing stays installed; its log is {log}",
                self.name
            ),
        )
    }

    fn summary(&self, now: &str, lingers: &Lingers) -> String {
        let (folders, scope) = (&self.line.config.folders, self.scope);
        let (starts, as_user) = match scope {
            Scope::System => ("the system", format!(" as the user {}", self.user)),
            Scope::User { .. } => ("your first login", String::new()),
        };
        let starts = if *lingers == Lingers::Yes { "the system" } else { starts };
        let mut lines = vec![
            (
                "service",
                format!(
                    "{} is ready{as_user}, and starts with {starts} from now on",
                    Scope::unit(&self.name)
                ),
            ),
            ("unit", self.file().display().to_string()),
            ("to send", folders.outgoing.display().to_string()),
            ("received", folders.incoming.display().to_string()),
            ("log", self.line.log_file.display().to_string()),
            ("password", format!("{} (the peer needs the same)", self.password_file().display())),
            ("status", scope.command("status", &self.name)),
            ("remove", scope.command("remove", &self.name)),
        ];
        if !now.is_empty() {
            lines.insert(1, ("now", text::printable(now)));
        }
        if let Lingers::No(user) = lingers {
            lines.push((
                "warning",
                format!(
                    "a logout ends it, since {user} does not linger; as root, type: loginctl enable-linger {user}"
                ),
            ));
        }
        rows(&lines)
    }
}

/// What the service says of itself a moment after its start: by then a peer that is there has
/// answered.
///
/// # Errors
/// It has ended: exit code 1.
fn first_state(systemctl: Systemctl<'_>, unit: &str) -> Result<String, Failure> {
    std::thread::sleep(FIRST_STATE_AFTER);
    let shown = systemctl.show(unit)?;
    match shown.get("ActiveState") {
        // The second one waits for its next start.
        "failed" | "activating" => Err(Failure::new(exit::UNKNOWN, "it ended at once")),
        _ => Ok(shown.get("StatusText").to_owned()),
    }
}

/// Whether the services of the user run on after a logout.
#[derive(PartialEq, Eq)]
enum Lingers {
    /// It is a service of the system.
    System,
    Yes,
    No(String),
}

/// Lets the services of this user run on after a logout.
fn lingering(scope: &Scope) -> Lingers {
    if *scope == Scope::System {
        return Lingers::System;
    }
    let user = answer("id", &["-un"]).unwrap_or_default();
    let lingers = || {
        let words = ["show-user", "--property", "Linger", "--value", "--", &user];
        answer("loginctl", &words).is_some_and(|said| said == "yes")
    };
    if lingers() {
        return Lingers::Yes;
    }
    // polkit lets most users do that for themselves.
    drop(run_command("loginctl", &["--no-ask-password", "enable-linger"]));
    if lingers() { Lingers::Yes } else { Lingers::No(text::printable(&user)) }
}

/// Creates a folder for a user alone. Those above it that are missing are root's.
fn create(folder: &Path, uid: u32, gid: u32) -> io::Result<()> {
    if let Some(above) = folder.parent() {
        fs::create_dir_all(above)?;
    }
    fs::DirBuilder::new().mode(0o700).create(folder)?;
    std::os::unix::fs::chown(folder, Some(uid), Some(gid))
}

/// Writes a unit: it appears whole, or not at all.
fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let new = file.with_extension("new");
    let written = (|| {
        let mut out = File::create(&new)?;
        out.set_permissions(fs::Permissions::from_mode(0o644))?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&new, file)
    })();
    written.inspect_err(|_| drop(fs::remove_file(&new)))
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(exit::UNKNOWN, format!("{what}: {}", cause::of(error)))
}
