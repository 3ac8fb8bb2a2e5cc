//! Tells the service manager of Windows the state of this process, if it runs as a service.

use crate::cli::exit;
use rft::Handle;
use std::sync::OnceLock;
use std::time::Duration;
use windows_service::service::{
    ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::ServiceStatusHandle;

/// Time that a start may take: it verifies the ledger.
const START_HINT: Duration = Duration::from_secs(300);
/// Time that an orderly stop may take.
const STOP_HINT: Duration = Duration::from_secs(60);

/// Set if this process is a service.
static HANDLE: OnceLock<ServiceStatusHandle> = OnceLock::new();

/// The process is a service that begins.
pub(crate) fn starting(handle: ServiceStatusHandle) {
    // A process is one service only.
    let _ = HANDLE.set(handle);
    tell(ServiceState::StartPending, START_HINT, exit::DONE);
}

/// Tells that rft is ready.
pub(crate) async fn follow(_: Handle) {
    tell(ServiceState::Running, Duration::ZERO, exit::DONE);
}

/// Tells that rft stops in order.
pub(crate) fn stopping() {
    tell(ServiceState::StopPending, STOP_HINT, exit::DONE);
}

/// The log has the reason; [`stopped`] tells the end when all is done.
pub(crate) fn ended(_: u8, _: &str) {}

/// The service is over. With a code that is not 0 the manager starts it again.
pub(crate) fn stopped(code: u8) {
    tell(ServiceState::Stopped, Duration::ZERO, code);
}

fn tell(state: ServiceState, wait_hint: Duration, code: u8) {
    let Some(handle) = HANDLE.get() else { return };
    let controls_accepted = match state {
        ServiceState::StartPending | ServiceState::Running => {
            ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN
        }
        _ => ServiceControlAccept::empty(),
    };
    let exit_code = match code {
        exit::DONE => ServiceExitCode::Win32(0),
        code => ServiceExitCode::ServiceSpecific(code.into()),
    };
    let status = ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted,
        exit_code,
        checkpoint: 0,
        wait_hint,
        process_id: None,
    };
    if let Err(error) = handle.set_service_status(status) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
