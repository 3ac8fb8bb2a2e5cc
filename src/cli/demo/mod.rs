//! `rft demo`: two real peers on loopback exchange a few files, and each step is printed.

mod files;

use super::args::DemoArgs;
use super::exit::{self, Failure};
use super::output::lines::done_line;
use super::output::text::{self, Palette, role_name};
use super::passphrase;
use files::{DemoFile, Host};
use rft::cause;
use rft::config::{Bind, Config, PeerAddress};
use rft::error::{Finished, RunError};
use rft::event::{Direction, Event, PeerEvent};
use rft::{Daemon, Handle};
use rft::{Password, PasswordKey};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Time for the whole exchange.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time from the last receipt to an empty Outgoing, and for an orderly stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the demo and removes its folder, unless `--keep` is given.
///
/// # Errors
/// A file did not arrive as it was sent: exit code 1. A peer failed: its exit code.
pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let base = files::create_base()
        .map_err(|error| failed("a temporary folder cannot be made", &error))?;
    let screen = Screen::stdout();
    let result = play(&base, screen);
    if args.keep {
        screen.print(&format!("\nThe folder is kept: {}", base.display()));
    } else if let Err(error) = std::fs::remove_dir_all(&base) {
        let warning = screen.palette.warn("warning:");
        let why = cause::of(&error);
        screen.print(&format!("{warning} {} could not be removed: {why}", base.display()));
    }
    result
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        exit::UNKNOWN,
        format!("demo: {what}: {}", cause::without_number(&error.to_string())),
    )
}

fn play(base: &Path, screen: Screen) -> Result<(), Failure> {
    let phrase = passphrase::generate()
        .map_err(|error| failed("the system's random generator fails", &error))?;
    let ports =
        free_ports().map_err(|error| failed("there is no free UDP port on 127.0.0.1", &error))?;
    let palette = screen.palette;
    screen.print(&format!(
        "{} two peers on this machine, alice and bob, with the pass phrase\n  {}",
        palette.bold("rft demo:"),
        palette.accent(&phrase)
    ));
    for (host, own, other) in [(Host::Alice, ports.0, ports.1), (Host::Bob, ports.1, ports.0)] {
        let dir = base.join(host.name());
        let command =
            format!("rft --dir {} --bind 127.0.0.1:{own} 127.0.0.1 {other}", dir.display());
        let prompt = format!("{host}$");
        screen.print(&format!("  {}", palette.dim(&format!("{prompt:<6} {command}"))));
    }
    let password =
        Password::new(&phrase).map_err(|error| failed("the pass phrase cannot be used", &error))?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| failed("threads cannot be started", &error))?;
    let result = runtime.block_on(async {
        let mut peers = Peers::start(base, ports, &password)?;
        let dropped = exchange(base, &mut peers, screen).await?;
        peers.stop().await?;
        Ok(dropped)
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    let dropped = result?;
    files::verify(base, &dropped)
        .map_err(|error| failed("not every file arrived as it was sent", &error))?;
    let bytes = text::bytes(dropped.iter().map(|file| file.size).sum());
    screen.print(&format!(
        "{} {}, {bytes}: every BLAKE3 hash is the same on both sides, and both Outgoing are empty.",
        palette.good("✓"),
        text::files(dropped.len() as u64)
    ));
    Ok(())
}

/// Two ports that no socket has now; another program may take one before the peers start.
fn free_ports() -> io::Result<(u16, u16)> {
    let sockets =
        (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    Ok((sockets.0.local_addr()?.port(), sockets.1.local_addr()?.port()))
}

/// Both peers, running.
struct Peers {
    events: mpsc::UnboundedReceiver<(Host, Event)>,
    tasks: JoinSet<Result<Finished, Arc<RunError>>>,
    handles: Vec<Handle>,
    started: Instant,
}

impl Peers {
    fn start(base: &Path, ports: (u16, u16), password: &Password) -> Result<Self, Failure> {
        let (sender, events) = mpsc::unbounded_channel();
        let (mut tasks, mut handles) = (JoinSet::new(), Vec::new());
        for (host, own, other) in [(Host::Alice, ports.0, ports.1), (Host::Bob, ports.1, ports.0)] {
            let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let peer = PeerAddress { host: localhost.to_string(), port: other };
            let mut config = Config::new(Some(peer), own, base.join(host.name()));
            config.bind = Some(Bind { addr: localhost, port: Some(own) });
            // No program adds files to the demo's folders later, so they need not stay.
            config.waits.emptied_folder = Duration::ZERO;
            let key = PasswordKey::derive(password)
                .map_err(|error| failed("the pass phrase cannot be used", &error))?;
            let sender = sender.clone();
            let observer = move |told: PeerEvent| drop(sender.send((host, told.event)));
            let handle = Daemon::start(config, key, observer).map_err(|error| ended_by(&error))?;
            handles.push(handle.clone());
            tasks.spawn(async move { handle.wait().await });
        }
        Ok(Self { events, tasks, handles, started: Instant::now() })
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// A peer ended, or the time is up.
    async fn next(&mut self, deadline: tokio::time::Instant) -> Result<(Host, Event), Failure> {
        tokio::select! {
            biased;
            event = self.events.recv() => event.ok_or_else(|| failed("both peers ended", &"early")),
            ended = self.tasks.join_next() => Err(why_ended(ended)),
            () = tokio::time::sleep_until(deadline) => {
                let limit = format!("the limit is {} s", EXCHANGE_TIMEOUT.as_secs());
                Err(failed("not every file arrived in time", &limit))
            }
        }
    }

    async fn stop(mut self) -> Result<(), Failure> {
        self.handles.iter().for_each(Handle::stop);
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                if !matches!(ended, Ok(Ok(_))) {
                    return Err(why_ended(Some(ended)));
                }
            }
            Ok(())
        };
        tokio::time::timeout(STOP_TIMEOUT, all)
            .await
            .map_err(|error| failed("a peer does not stop", &error))?
    }
}

type Ended = Result<Result<Finished, Arc<RunError>>, tokio::task::JoinError>;

fn ended_by(error: &RunError) -> Failure {
    Failure::new(exit::code_of(error), format!("demo: a peer ended: {error}"))
}

fn why_ended(ended: Option<Ended>) -> Failure {
    match ended {
        Some(Ok(Err(error))) => ended_by(&error),
        Some(Err(error)) => failed("a peer failed", &error),
        Some(Ok(Ok(_))) | None => failed("a peer ended", &"early"),
    }
}

/// Waits for the session, drops the files, and follows them until Outgoing is empty.
async fn exchange(
    base: &Path,
    peers: &mut Peers,
    screen: Screen,
) -> Result<Vec<DemoFile>, Failure> {
    let deadline = tokio::time::Instant::now() + EXCHANGE_TIMEOUT;
    let palette = screen.palette;
    let mut connected = BTreeSet::new();
    while connected.len() < 2 {
        if let (host, Event::Connected { role, .. }) = peers.next(deadline).await? {
            connected.insert(host);
            let text = format!("{} as {}", palette.good("is connected"), role_name(role));
            screen.step(peers.started, host, &text);
        }
    }
    let dropped =
        files::drop_all(base).map_err(|error| failed("the files cannot be created", &error))?;
    for file in &dropped {
        let text = format!("drops {} ({})", file.path, text::bytes(file.size));
        screen.step(peers.started, file.from, &text);
    }
    let mut left: BTreeSet<(Host, String)> =
        dropped.iter().map(|file| (file.from, file.path.clone())).collect();
    while !left.is_empty() {
        let (host, event) = peers.next(deadline).await?;
        let text = match &event {
            Event::FileDone { direction, path, .. } => {
                if *direction == Direction::Send {
                    left.remove(&(host, path.to_string()));
                }
                done_line(&event, palette).unwrap_or_default()
            }
            Event::FileFailed { path, error, .. } => {
                format!("{}: {path}: {error}", palette.bad("failed"))
            }
            Event::Warning { message, .. } => format!("{} {message}", palette.warn("warning:")),
            _ => continue,
        };
        screen.step(peers.started, host, &text);
    }
    let emptied = tokio::time::Instant::now() + STOP_TIMEOUT;
    while !files::outgoing_is_empty(base, &dropped) && tokio::time::Instant::now() < emptied {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(dropped)
}

/// Standard output.
#[derive(Clone, Copy)]
struct Screen {
    palette: Palette,
}

impl Screen {
    fn stdout() -> Self {
        Self { palette: Palette { colours: console::colors_enabled() } }
    }

    /// Prints a line. If the reader of a pipe has gone, the demo continues.
    fn print(self, line: &str) {
        drop(writeln!(io::stdout(), "{line}"));
    }

    /// Prints a step of one peer with its time since the start.
    fn step(self, start: Instant, host: Host, text: &str) {
        let after = text::span(start.elapsed());
        self.print(&format!("{after:>7}  {:<5} {text}", host.name()));
    }
}
