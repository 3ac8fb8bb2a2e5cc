//! The service manager of Windows.

use super::run_words;
use crate::cli::exit::{self, Failure};
use rft::cause;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};
use windows_service::Error;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceExitCode,
    ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo, ServiceStartType, ServiceState,
    ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

/// Time for a start or a stop. Every start verifies the ledger.
const TIMEOUT: Duration = Duration::from_secs(300);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The wait before a service that failed is started again.
const RESTART_DELAY: Duration = Duration::from_secs(15);
/// After this time without a failure the failures count from the beginning.
const RESET_PERIOD: Duration = Duration::from_secs(3600);

const ACCESS_DENIED: i32 = 5;
const DOES_NOT_EXIST: i32 = 1060;
const EXISTS: i32 = 1073;

/// The service's name for Windows.
pub(super) fn service_name(name: &str) -> String {
    format!("rft-{name}")
}

/// The account of a service: it has no password, and no rights but those that it is given.
pub(super) fn account(name: &str) -> String {
    format!("NT SERVICE\\{}", service_name(name))
}

/// An installed service.
pub(super) struct Installed {
    service: Service,
    name: String,
    /// What could not be set.
    pub(super) warnings: Vec<String>,
}

/// Creates a service that starts with the system, and again after a failure.
///
/// # Errors
/// It is there already, or this user may not: exit code 2; otherwise 1.
pub(super) fn create(name: &str, program: &Path, words: &[OsString]) -> Result<Installed, Failure> {
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let manager = ServiceManager::local_computer(None::<&str>, access)
        .map_err(|error| failed(name, "created", &error))?;
    let info = ServiceInfo {
        name: service_name(name).into(),
        display_name: format!("Reactive File Transfer ({name})").into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program.to_owned(),
        launch_arguments: [run_words(name), words.to_vec()].concat(),
        dependencies: Vec::new(),
        account_name: Some(account(name).into()),
        account_password: None,
    };
    let service = manager
        .create_service(&info, ServiceAccess::ALL_ACCESS)
        .map_err(|error| failed(name, "created", &error))?;
    let mut installed = Installed { service, name: name.to_owned(), warnings: Vec::new() };
    installed.set_up();
    Ok(installed)
}

/// Opens a service.
///
/// # Errors
/// There is none: exit code 18; otherwise 1 or 2.
pub(super) fn open(name: &str) -> Result<Installed, Failure> {
    let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)
        .map_err(|error| failed(name, "opened", &error))?;
    let all = manager.open_service(service_name(name), ServiceAccess::ALL_ACCESS);
    // Everybody may look.
    let service = match all {
        Err(error) if code_of(&error) == Some(ACCESS_DENIED) => {
            manager.open_service(service_name(name), ServiceAccess::QUERY_STATUS)
        }
        other => other,
    };
    let service = service.map_err(|error| failed(name, "opened", &error))?;
    Ok(Installed { service, name: name.to_owned(), warnings: Vec::new() })
}

impl Installed {
    fn set_up(&mut self) {
        let restart =
            ServiceAction { action_type: ServiceActionType::Restart, delay: RESTART_DELAY };
        let actions = ServiceFailureActions {
            reset_period: ServiceFailureResetPeriod::After(RESET_PERIOD),
            reboot_msg: None,
            command: None,
            actions: Some(vec![restart; 3]),
        };
        let service = &self.service;
        let description = "Sends what is in Outgoing to its peer, and receives into Incoming";
        for (what, done) in [
            ("its description", service.set_description(description)),
            ("that it starts a little after the system", service.set_delayed_auto_start(true)),
            ("that it starts again after a failure", service.update_failure_actions(actions)),
            (
                "that it starts again after an exit code",
                service.set_failure_actions_on_non_crash_failures(true),
            ),
        ] {
            if let Err(error) = done {
                let why = text_of(&error);
                self.warnings.push(format!("this system did not accept {what}: {why}"));
            }
        }
    }

    /// Starts the service, and waits until it is ready.
    ///
    /// # Errors
    /// It stopped, or is not ready in time: exit code 1.
    pub(super) fn start_and_wait(&self) -> Result<(), Failure> {
        self.service.start::<&str>(&[]).map_err(|error| failed(&self.name, "started", &error))?;
        match self
            .wait_for(|state| matches!(state, ServiceState::Running | ServiceState::Stopped))?
        {
            ServiceState::Running => Ok(()),
            _ => Err(Failure::new(exit::UNKNOWN, self.state()?.1)),
        }
    }

    /// Stops and deletes the service.
    ///
    /// # Errors
    /// It does not stop, or this user may not: exit codes 1 and 2.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        let state = self.query()?.current_state;
        if state != ServiceState::Stopped {
            self.service.stop().map_err(|error| failed(&self.name, "stopped", &error))?;
            self.wait_for(|state| state == ServiceState::Stopped)?;
        }
        self.service.delete().map_err(|error| failed(&self.name, "removed", &error))
    }

    /// Whether it runs, and its state for people.
    ///
    /// # Errors
    /// The manager does not answer: exit code 1.
    pub(super) fn state(&self) -> Result<(bool, String), Failure> {
        let status = self.query()?;
        let running = status.current_state == ServiceState::Running;
        let state = match status.current_state {
            ServiceState::Stopped => "stopped",
            ServiceState::StartPending => "starting",
            ServiceState::StopPending => "stopping",
            ServiceState::Running => "running",
            _ => "paused",
        };
        let ended = match status.exit_code {
            ServiceExitCode::ServiceSpecific(code) => {
                let meaning = u8::try_from(code).map_or("", exit::meaning);
                format!(", exit code {code}: {meaning}")
            }
            ServiceExitCode::Win32(0) => String::new(),
            ServiceExitCode::Win32(code) => {
                let error = std::io::Error::from_raw_os_error(code.cast_signed());
                format!(", {}", cause::of(&error))
            }
        };
        Ok((running, format!("{state}{ended}")))
    }

    fn query(&self) -> Result<windows_service::service::ServiceStatus, Failure> {
        self.service.query_status().map_err(|error| failed(&self.name, "asked", &error))
    }

    fn wait_for(&self, is: impl Fn(ServiceState) -> bool) -> Result<ServiceState, Failure> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let state = self.query()?.current_state;
            if is(state) {
                return Ok(state);
            }
            if Instant::now() > deadline {
                let name = service_name(&self.name);
                let time = TIMEOUT.as_secs();
                let reason = format!("the service {name} is {state:?} for {time} s");
                return Err(Failure::new(exit::UNKNOWN, reason));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

fn code_of(error: &Error) -> Option<i32> {
    match error {
        Error::Winapi(error) => error.raw_os_error(),
        _ => None,
    }
}

fn text_of(error: &Error) -> String {
    match error {
        Error::Winapi(error) => cause::of(error),
        error => error.to_string(),
    }
}

fn failed(name: &str, what: &str, error: &Error) -> Failure {
    let service = service_name(name);
    match code_of(error) {
        Some(ACCESS_DENIED) => Failure::usage(format!(
            "the service {service} cannot be {what}: only an administrator may; type the same in a terminal that was started with \"Run as administrator\""
        )),
        Some(EXISTS) => Failure::usage(format!(
            "the service {service} is installed already; type: rft service status --name {name} to see it, or: rft service remove --name {name} , which keeps its folders"
        )),
        Some(DOES_NOT_EXIST) => {
            Failure::new(exit::NOT_RUNNING, format!("no service {service} is installed"))
        }
        _ => {
            let why = text_of(error);
            Failure::new(exit::UNKNOWN, format!("the service {service} cannot be {what}: {why}"))
        }
    }
}
