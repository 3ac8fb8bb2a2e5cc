//! `rft pause`, `resume`, `limit` and `retry`: they act on the running rft at once. The next start
//! remembers none of them.

use super::args::steering::{LimitArgs, RetryArgs, SteeringArgs};
use super::exit::Failure;
use super::history::name_of;
use super::output::text;
use super::{print, status};
use rft::control::{Answer, ControlError, Request};
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
    match ask(dir, &Request::Limit { rate: args.rate()? })? {
        Answer::Limit(Some(rate)) => {
            let rate = text::rate(rate.get() as f64);
            print(format!("it sends at most {rate} from now on\n").as_bytes())
        }
        Answer::Limit(None) => print(b"it sends without a limit from now on\n"),
        _ => Err(unreadable(dir)),
    }
}

/// Offers entries again.
///
/// # Errors
/// As [`pause`], and exit code 2 for the name.
pub(crate) fn retry(args: &RetryArgs) -> Result<(), Failure> {
    let dir = &args.rft.dir;
    let name = args.name.as_deref().map(|name| name_of(dir, name)).transpose()?;
    match ask(dir, &Request::Retry { name })? {
        Answer::Retried(0) => print(b"nothing waits for another attempt\n"),
        Answer::Retried(1) => print(b"1 entry is offered again now\n"),
        Answer::Retried(entries) => {
            print(format!("{} entries are offered again now\n", text::count(entries)).as_bytes())
        }
        _ => Err(unreadable(dir)),
    }
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
