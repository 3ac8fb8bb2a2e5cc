//! Messages to systemd, through the socket that it names in the environment. The sandbox allows
//! that: it forbids new sockets in folders, and this one has no name.

use crate::cli::exit;
use crate::cli::output::clock::Clock;
use crate::cli::output::summary;
use rft::Handle;
use sd_notify::NotifyState;
use std::time::Duration;
use tokio::time::sleep;

/// Time between two looks at the state, which is told when it has changed.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);
/// Signs of life within the time that systemd waits for one.
const SIGNS: u32 = 3;

/// Tells that rft is ready. Then, to the end of the process, tells the state as one line, and gives
/// signs of life if systemd wants any.
pub(crate) async fn follow(handle: Handle) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watched = async {
        if let Some(timeout) = sd_notify::watchdog_enabled() {
            give_signs(&handle, timeout / SIGNS).await;
        }
    };
    tokio::join!(tell_state(&handle), watched);
}

async fn tell_state(handle: &Handle) {
    let clock = Clock::system();
    let mut told = None;
    loop {
        let line = summary::line(&handle.summary(), &clock);
        if told.as_ref() != Some(&line) {
            let ready = told.is_none().then_some("READY=1");
            let status = format!("STATUS={line}");
            send(ready.into_iter().chain([status.as_str()]).map(str::to_owned).collect()).await;
            told = Some(line);
        }
        sleep(STATUS_INTERVAL).await;
    }
}

/// A sign is given only when the whole engine has moved on, so a stuck one is started again.
async fn give_signs(handle: &Handle, interval: Duration) {
    while handle.moves_on().await {
        send(vec!["WATCHDOG=1".to_owned()]).await;
        sleep(interval).await;
    }
}

/// Tells that rft stops in order.
pub(crate) fn stopping() {
    tell(&["STOPPING=1", "STATUS=stopping; the peer is told"]);
}

/// Tells how rft ended; systemd shows it until the next start.
pub(crate) fn ended(code: u8, reason: &str) {
    let status = match code {
        exit::DONE => format!("STATUS={reason}"),
        code => format!("STATUS=exit code {code}: {reason}"),
    };
    // A message is one line, and a line is one assignment.
    tell(&[&status.replace('\n', " ")]);
}

async fn send(lines: Vec<String>) {
    // The socket may be full while systemd is busy.
    let sent = tokio::task::spawn_blocking(move || {
        tell(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    });
    drop(sent.await);
}

fn tell(lines: &[&str]) {
    let states: Vec<_> = lines.iter().map(|line| NotifyState::Custom(line)).collect();
    if let Err(error) = sd_notify::notify(&states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
