//! The process that the service manager of Windows starts.

use super::manager;
use crate::cli::args::CommandLine;
use crate::cli::args::service::ServiceArgs;
use crate::cli::exit::{self, Failure};
use crate::cli::service::{name, peer_line};
use crate::cli::supervisor::windows as supervisor;
use crate::cli::{peer, shutdown};
use std::ffi::OsString;
use std::sync::OnceLock;
use windows_service::service::ServiceControl;
use windows_service::service_control_handler::{self, ServiceControlHandlerResult};
use windows_service::{define_windows_service, service_dispatcher};

define_windows_service!(service_main, main_of_service);

/// What the command line says; the service manager calls [`main_of_service`] without it.
static SERVICE: OnceLock<(String, CommandLine)> = OnceLock::new();

/// Runs as the service until it is stopped.
///
/// # Errors
/// The service manager did not start this process: exit code 2.
pub(super) fn run(args: &ServiceArgs) -> Result<(), Failure> {
    let name = name::checked(args.name.as_deref().unwrap_or_default())?;
    let line = peer_line::parsed(args.words.clone())?;
    let service = manager::service_name(&name);
    drop(SERVICE.set((service.clone(), line)));
    service_dispatcher::start(service, service_main).map_err(|_| {
        Failure::usage(
            "only the service manager of Windows starts this; type: rft service install PEER PORT",
        )
    })
}

fn main_of_service(_: Vec<OsString>) {
    let Some((service, line)) = SERVICE.get() else { return };
    let handler = |control| match control {
        ServiceControl::Stop | ServiceControl::Shutdown => {
            shutdown::request();
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    };
    let Ok(handle) = service_control_handler::register(service, handler) else { return };
    supervisor::starting(handle);
    let code = peer::run(line);
    // Starting again helps neither after an orderly end nor after these codes.
    let failed = code != exit::DONE && !exit::NEEDS_A_PERSON.contains(&code);
    supervisor::stopped(if failed { code } else { exit::DONE });
}
