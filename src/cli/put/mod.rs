//! `rft put`: copies files and folders into Outgoing, and waits for the peer's receipt if asked to.

mod report;
mod urgent;
mod wait;

use super::args::PutArgs;
use super::exit::{self, Failure};
use super::shutdown::{Signal, Signals};
use super::status;
use report::Report;
use rft::Name;
use rft::config::Folders;
use rft::control::{Client, ControlError};
use rft::put::{NotPut, PutDone, PutError, PutFile, PutStep, put};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Puts the files.
///
/// # Errors
/// Exit codes 2 for arguments, 1 for files that cannot be copied or that the peer refuses, 18 with
/// `--wait` if no rft runs there (any more), 130 and 143 for a signal.
pub(crate) fn run(args: &PutArgs) -> Result<(), Failure> {
    let files = named(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| status::failed(&args.dir, &error.into()))?;
    let result = runtime.block_on(async {
        let mut signals =
            Signals::new().map_err(|error| status::failed(&args.dir, &error.into()))?;
        let mut peer = LocalRft::find(args).await?;
        let mut report = Report::new(args, &peer);
        let names: Vec<_> = files.iter().map(|file| file.name.clone()).collect();
        if args.urgent {
            urgent::mark(&args.dir, &mut peer, &names).await?;
        }
        let copied = copy(peer.outgoing.clone(), files, &mut signals, &mut report).await;
        let (done, copied) = match copied {
            Ok(done) => (done, Ok(())),
            Err((done, failure)) => (done, Err(failure)),
        };
        if args.urgent && copied.is_err() {
            let is_done = |name: &Name| done.iter().any(|put| put.name == *name);
            let left: Vec<_> = names.into_iter().filter(|name| !is_done(name)).collect();
            urgent::unmark(&args.dir, &mut peer, &left).await;
        }
        copied?;
        match &mut peer.client {
            Some(client) if args.wait => {
                wait::until_sent(&args.dir, client, &peer.outgoing, done, &mut signals, &mut report)
                    .await
            }
            _ => Ok(()),
        }
    });
    // A copy that could not be stopped does not keep the process.
    runtime.shutdown_background();
    result
}

/// The files with their later names.
fn named(args: &PutArgs) -> Result<Vec<PutFile>, Failure> {
    if args.as_name.is_some() && args.files.len() > 1 {
        return Err(Failure::usage("--as names one FILE; put the others with another command"));
    }
    args.files
        .iter()
        .map(|source| Ok(PutFile { source: source.clone(), name: name_of(args, source)? }))
        .collect()
}

fn name_of(args: &PutArgs, source: &Path) -> Result<Name, Failure> {
    // `.` and `..` have no name of their own.
    let own = || {
        let real = || source.canonicalize().ok()?.file_name().map(PathBuf::from);
        source.file_name().map(PathBuf::from).or_else(real)
    };
    let path = args.as_name.clone().or_else(own);
    let shown = |path: &Path| rft::escape(path.as_os_str().as_encoded_bytes());
    let Some(path) = path else {
        return Err(Failure::usage(format!(
            "{} has no name; give it one with --as NAME",
            shown(source)
        )));
    };
    Name::from_path(&path).map_err(|error| {
        Failure::usage(format!("{}: {error}; give another name with --as NAME", shown(&path)))
    })
}

/// The rft of the folder.
struct LocalRft {
    outgoing: PathBuf,
    /// `None` if it does not run, or belongs to another user.
    client: Option<Box<Client>>,
    /// Whether it may run.
    runs: bool,
    /// The peer's name if it is not connected.
    apart: Option<String>,
    /// Whether it was told to pause.
    paused: bool,
}

impl LocalRft {
    /// Asks the running rft for its Outgoing. Without one it is that of the folder.
    async fn find(args: &PutArgs) -> Result<Self, Failure> {
        let failed = |error: ControlError| status::failed(&args.dir, &error);
        let mut client = match status::connect(&args.dir).await {
            Ok(client) => client,
            Err(error @ (ControlError::NotRunning | ControlError::Denied)) if !args.wait => {
                let runs = matches!(error, ControlError::Denied);
                let outgoing = Folders::in_dir(&args.dir).outgoing;
                if !outgoing.is_dir() {
                    return Err(no_outgoing(&args.dir));
                }
                return Ok(Self { outgoing, client: None, runs, apart: None, paused: false });
            }
            Err(error) => {
                let mut failure = failed(error);
                failure.reason.push_str("; nothing was put");
                return Err(failure);
            }
        };
        let status = status::ask(&mut client).await.map_err(failed)?;
        let peer = status.peers.into_iter().next();
        let peer = peer.ok_or_else(|| failed(ControlError::Unreadable))?;
        let apart = peer.session.is_none().then(|| peer.name.as_str().to_owned());
        let (outgoing, paused) = (PathBuf::from(peer.outgoing), peer.paused);
        Ok(Self { outgoing, client: Some(Box::new(client)), runs: true, apart, paused })
    }
}

fn no_outgoing(dir: &Path) -> Failure {
    let shown = dir.display();
    Failure::new(
        exit::UNKNOWN,
        format!(
            "{shown} has no Outgoing, and no rft runs there; name the folder of an rft with --dir"
        ),
    )
}

/// Copies the files, until a signal. After a failure some may be in Outgoing.
async fn copy(
    outgoing: PathBuf,
    files: Vec<PutFile>,
    signals: &mut Signals,
    report: &mut Report,
) -> Result<Vec<PutDone>, (Vec<PutDone>, Failure)> {
    let stop = Arc::new(AtomicBool::new(false));
    let (told, mut steps) = tokio::sync::mpsc::unbounded_channel();
    let stopping = stop.clone();
    let mut copying = tokio::task::spawn_blocking(move || {
        put(&outgoing, &files, &stopping, &mut |step| {
            // The receiver outlives the task.
            let _ = told.send(match step {
                PutStep::Done(done) => Step::Done(done),
                PutStep::Skipped { path, why } => Step::Skipped(path.to_owned(), why),
            });
        })
    });
    let (mut done, mut stopped_by) = (Vec::new(), None);
    let result = loop {
        tokio::select! {
            biased;
            Some(step) = steps.recv() => match step {
                Step::Done(put) => {
                    let told = report.put(&put);
                    done.push(put);
                    if let Err(failure) = told {
                        return Err((done, failure));
                    }
                }
                Step::Skipped(path, why) => report.skipped(&path, why),
            },
            result = &mut copying => break result,
            signal = signals.next() => if let Some(code) = code_of(signal) {
                stop.store(true, Ordering::Relaxed);
                stopped_by = Some(code);
            },
        }
    };
    let failure = match result {
        Ok(Ok(())) => return Ok(done),
        Ok(Err(NotPut::Failed(PutError::Stopped))) => {
            Failure::new(stopped_by.unwrap_or(exit::INTERRUPTED), "stopped; nothing was put")
        }
        Ok(Err(error)) => failure(&error, !done.is_empty()),
        Err(_) => Failure::new(exit::UNKNOWN, "an internal error ended the copy"),
    };
    Err((done, failure))
}

enum Step {
    Done(PutDone),
    Skipped(String, rft::put::Skipped),
}

/// The exit code of a signal that stops a command; `None` for others.
fn code_of(signal: Signal) -> Option<u8> {
    match signal {
        Signal::Interrupt => Some(exit::INTERRUPTED),
        Signal::Terminate => Some(exit::TERMINATED),
        Signal::State => None,
    }
}

fn failure(error: &NotPut, some_done: bool) -> Failure {
    let way = match error {
        NotPut::Failed(PutError::Taken(_)) => {
            "; wait until it is sent, or put this one alone under another name with --as NAME"
        }
        _ => "",
    };
    let rest =
        if some_done { "; the files named above are in Outgoing" } else { "; nothing was put" };
    Failure::new(exit::UNKNOWN, format!("{error}{way}{rest}"))
}
