//! Tells the service manager that started rft how it goes: systemd (sd_notify(3)), or the services
//! of Windows. Without one, nothing happens.

#[cfg(target_os = "linux")]
mod systemd;
#[cfg(windows)]
pub(super) mod windows;

#[cfg(target_os = "linux")]
pub(crate) use systemd::{ended, follow, stopping};
#[cfg(windows)]
pub(crate) use windows::{ended, follow, stopping};

/// Tells that rft is ready, and then what it does.
#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) async fn follow(_: rft::Handle) {}

/// Tells that rft stops.
#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) fn stopping() {}

/// Tells how rft ended.
#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) fn ended(_: u8, _: &str) {}
