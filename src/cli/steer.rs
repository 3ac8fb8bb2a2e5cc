//! `rft pause`, `resume`, `limit`, `retry` and `cancel`: change what the running rft does, at once.

use super::args::steering::{CancelArgs, LimitArgs, RetryArgs, SteeringArgs};
use super::exit::Failure;
use super::history::name_of;
use super::output::clock::Clock;
use super::output::text;
use super::{print, status};
use rft::control::{Answer, CancelledReply, ControlError, Request};
use rft::{Name, Status};
use std::num::NonZeroU64;
use std::path::Path;

/// Pauses the sending, or resumes it.
///
/// # Errors
/// Exit code 18 if no rft runs there, 1 if it does not answer.
pub(crate) fn pause(args: &SteeringArgs, paused: bool) -> Result<(), Failure> {
    let request = if paused { Request::Pause } else { Request::Resume };
    match ask(&args.dir, &request)? {
        Answer::Paused(true) => {
            print(b"paused: no further file is sent until `rft resume`; files are received\n")
        }
        Answer::Paused(false) => print(b"files are sent\n"),
        _ => Err(unreadable(&args.dir)),
    }
}

/// Changes the rate limit.
///
/// # Errors
/// As [`pause`], and exit code 14 for the rate.
pub(crate) fn limit(args: &LimitArgs) -> Result<(), Failure> {
    let dir = &args.rft.dir;
    let schedule = args.schedule()?;
    let (answer, status) = exchange(dir, &Request::Limit(schedule))?;
    let Answer::Limit(rate) = answer else { return Err(unreadable(dir)) };
    let text = limited(rate, &status, &Clock::system());
    print(format!("{text}\n").as_bytes())
}

/// Offers entries again.
///
/// # Errors
/// As [`pause`], and exit code 2 for the name.
pub(crate) fn retry(args: &RetryArgs) -> Result<(), Failure> {
    let dir = &args.rft.dir;
    let name = args.name.as_deref().map(|name| name_of(dir, name)).transpose()?;
    match ask(dir, &Request::Retry { name })? {
        Answer::Retried(entries) => print(format!("{}\n", retried(entries)).as_bytes()),
        _ => Err(unreadable(dir)),
    }
}

/// How many entries are offered again.
pub(super) fn retried(entries: u64) -> String {
    match entries {
        0 => "nothing waits for another attempt".to_owned(),
        1 => "1 entry is offered again now".to_owned(),
        entries => format!("{} entries are offered again now", text::count(entries)),
    }
}

/// Takes an entry out of the queue.
///
/// # Errors
/// As [`pause`], and exit code 2 for the name.
pub(crate) fn cancel(args: &CancelArgs) -> Result<(), Failure> {
    let dir = &args.rft.dir;
    let name = name_of(dir, &args.name)?;
    match ask(dir, &Request::Cancel { path: name.clone() })? {
        Answer::Cancelled(reply) => print(format!("{}\n", cancelled(&name, &reply)).as_bytes()),
        _ => Err(unreadable(dir)),
    }
}

/// What was cancelled, and where it is.
pub(super) fn cancelled(name: &Name, reply: &CancelledReply) -> String {
    let what = match reply.entries {
        1 => text::bytes(reply.bytes),
        entries => format!("{} entries, {}", text::count(entries), text::bytes(reply.bytes)),
    };
    match &reply.moved_to {
        Some(path) => {
            let path = text::printable(path);
            format!("{name} ({what}) is not sent; it is {path} now")
        }
        None => format!("{name} ({what}) is not sent until it changes; it stays in Outgoing"),
    }
}

/// The limit that is in force now.
pub(super) fn limited(rate: Option<NonZeroU64>, status: &Status, clock: &Clock) -> String {
    let until = match (status.limit_until, &status.limit_schedule) {
        (Some(until), _) => format!("until {}, by its schedule", clock.short(until, status.time)),
        (None, Some(_)) => "at all times of its schedule".to_owned(),
        (None, None) => "from now on".to_owned(),
    };
    match rate {
        Some(rate) => format!("it sends at most {} {until}", text::rate(rate.get() as f64)),
        None => format!("it sends without a limit {until}"),
    }
}

/// The answer, and the state after it.
fn exchange(dir: &Path, request: &Request) -> Result<(Answer, Status), Failure> {
    let failed = |error: ControlError| status::failed(dir, &error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(error.into()))?;
    let exchange = async {
        let mut client = status::connect(dir).await?;
        let answer = client.ask(request).await?;
        Ok((answer, status::ask(&mut client).await?))
    };
    runtime.block_on(exchange).map_err(failed)
}

fn ask(dir: &Path, request: &Request) -> Result<Answer, Failure> {
    let failed = |error: ControlError| status::failed(dir, &error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(error.into()))?;
    runtime.block_on(async { status::connect(dir).await?.ask(request).await }).map_err(failed)
}

fn unreadable(dir: &Path) -> Failure {
    status::failed(dir, &ControlError::Unreadable)
}
