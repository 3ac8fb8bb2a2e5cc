//! `rft demo`: two real peers on loopback, a few files, and what happens to them, step by step.

mod files;

use super::args::DemoArgs;
use super::exit::{self, Failure};
use super::output::terminal::done_line;
use super::output::text::{self, Palette, role_name};
use super::{passphrase, svg};
use files::{Dropped, Who};
use rft::cause;
use rft::config::{Bind, Config, PeerAddress};
use rft::crypto::password::{Password, PasswordKey};
use rft::daemon::{self, RunError};
use rft::event::{Direction, Event, EventSink};
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// All must have arrived by then.
const DEADLINE: Duration = Duration::from_secs(60);
/// Between the receipt and the removal from Outgoing, and for an orderly stop.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// Plays the demo and removes its folder, unless that is to be kept.
///
/// # Errors
/// Something did not arrive as it was sent; exit code 1, or that of the peer that failed.
pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let base = files::create_base()
        .map_err(|error| failed("a temporary folder cannot be made", &error))?;
    let mut story = Story::new();
    let result = play(&base, &mut story);
    if args.keep {
        story.say(|_| format!("\nThe folder is kept: {}", base.display()));
    } else if let Err(error) = std::fs::remove_dir_all(&base) {
        story.say(|p| {
            format!(
                "{} {} could not be removed: {}",
                p.warn("warning:"),
                base.display(),
                cause::of(&error)
            )
        });
    }
    if let Some(path) = &args.svg {
        std::fs::write(path, svg::picture(&story.lines))
            .map_err(|error| failed(&format!("{} cannot be written", path.display()), &error))?;
    }
    result
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        exit::UNKNOWN,
        format!("demo: {what}: {}", cause::without_number(&error.to_string())),
    )
}

fn play(base: &Path, story: &mut Story) -> Result<(), Failure> {
    let phrase =
        passphrase::generate().map_err(|error| failed("the system has no random bits", &error))?;
    let ports =
        free_ports().map_err(|error| failed("there is no free UDP port on 127.0.0.1", &error))?;
    story.say(|p| {
        format!(
            "{} two peers on this machine, alice and bob, with the pass phrase",
            p.bold("rft demo:")
        )
    });
    story.say(|p| format!("  {}", p.accent(&phrase)));
    for (who, own, other) in [(Who::Alice, ports.0, ports.1), (Who::Bob, ports.1, ports.0)] {
        let dir = base.join(who.name());
        let command =
            format!("rft --dir {} --bind 127.0.0.1:{own} 127.0.0.1 {other}", dir.display());
        story.say(|p| format!("  {}", p.dim(&format!("{:<6} {command}", format!("{who}$")))));
    }
    let password = Password::new(&phrase).map_err(|error| failed("the pass phrase", &error))?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| failed("threads cannot be started", &error))?;
    let result = runtime.block_on(async {
        let mut peers = Peers::start(base, ports, &password)?;
        let dropped = exchange(base, &mut peers, story).await?;
        peers.stop().await?;
        Ok(dropped)
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    let dropped = result?;
    files::verify(base, &dropped).map_err(|error| failed("not all is as it was sent", &error))?;
    let hashed: u64 = dropped.iter().map(|file| file.size).sum();
    story.say(|p| {
        let all = format!("{}, {}", text::files(dropped.len() as u64), text::bytes(hashed));
        format!(
            "{} {all}: every BLAKE3 hash is the same on both sides, and both Outgoing are empty.",
            p.good("✓")
        )
    });
    Ok(())
}

/// Two ports that were free a moment ago.
fn free_ports() -> io::Result<(u16, u16)> {
    let sockets =
        (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    Ok((sockets.0.local_addr()?.port(), sockets.1.local_addr()?.port()))
}

/// Both peers while they run.
struct Peers {
    events: mpsc::UnboundedReceiver<(Who, Event)>,
    tasks: JoinSet<Result<daemon::Finished, RunError>>,
    stop: watch::Sender<bool>,
    started: Instant,
}

impl Peers {
    fn start(base: &Path, ports: (u16, u16), password: &Password) -> Result<Self, Failure> {
        let (sender, events) = mpsc::unbounded_channel();
        let (stop, _) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for (who, own, other) in [(Who::Alice, ports.0, ports.1), (Who::Bob, ports.1, ports.0)] {
            let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let peer = PeerAddress { host: localhost.to_string(), port: other };
            let mut config = Config::new(Some(peer), own, base.join(who.name()));
            config.bind = Some(Bind { addr: localhost, port: Some(own) });
            // Nobody adds anything to a folder of the demo later, so it need not stay.
            config.waits.emptied_folder = Duration::ZERO;
            let key =
                PasswordKey::derive(password).map_err(|error| failed("the pass phrase", &error))?;
            let sender = sender.clone();
            let sink = EventSink::new(move |event| drop(sender.send((who, event))));
            let mut stopped = stop.subscribe();
            let until = async move { drop(stopped.wait_for(|&stop| stop).await) };
            tasks.spawn(daemon::run(config, key, sink, until));
        }
        Ok(Self { events, tasks, stop, started: Instant::now() })
    }

    /// The next event; an end of a peer is none that is wanted here.
    async fn next(&mut self, deadline: tokio::time::Instant) -> Result<(Who, Event), Failure> {
        tokio::select! {
            biased;
            event = self.events.recv() => event.ok_or_else(|| failed("both peers", &"they ended")),
            ended = self.tasks.join_next() => Err(why_ended(ended)),
            () = tokio::time::sleep_until(deadline) => {
                Err(failed("not all arrived in time", &format!("{} s have passed", DEADLINE.as_secs())))
            }
        }
    }

    async fn stop(mut self) -> Result<(), Failure> {
        self.stop.send_replace(true);
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                if !matches!(ended, Ok(Ok(_))) {
                    return Err(why_ended(Some(ended)));
                }
            }
            Ok(())
        };
        tokio::time::timeout(AFTERWARDS, all)
            .await
            .map_err(|error| failed("a peer does not stop", &error))?
    }
}

type Ended = Result<Result<daemon::Finished, RunError>, tokio::task::JoinError>;

fn why_ended(ended: Option<Ended>) -> Failure {
    match ended {
        Some(Ok(Err(error))) => {
            Failure::new(error.exit_code(), format!("demo: a peer ended: {error}"))
        }
        Some(Err(error)) => failed("a peer broke down", &error),
        Some(Ok(Ok(_))) | None => failed("a peer ended", &"nobody had told it to"),
    }
}

/// From the first contact until everything is acknowledged and removed.
async fn exchange(
    base: &Path,
    peers: &mut Peers,
    story: &mut Story,
) -> Result<Vec<Dropped>, Failure> {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let mut connected = BTreeSet::new();
    while connected.len() < 2 {
        if let (who, Event::Connected { role, .. }) = peers.next(deadline).await? {
            connected.insert(who);
            let after = text::span(peers.started.elapsed());
            let role = role_name(role);
            story.say(|p| {
                format!("{after:>7}  {:<5} {} as {role}", who.name(), p.good("is connected"))
            });
        }
    }
    let dropped =
        files::drop_all(base).map_err(|error| failed("the files cannot be made", &error))?;
    for file in &dropped {
        let after = text::span(peers.started.elapsed());
        story.say(|_| {
            format!(
                "{after:>7}  {:<5} drops {} ({})",
                file.from.name(),
                file.path,
                text::bytes(file.size)
            )
        });
    }
    let mut left: BTreeSet<(Who, String)> =
        dropped.iter().map(|file| (file.from, file.path.clone())).collect();
    while !left.is_empty() {
        let (who, event) = peers.next(deadline).await?;
        let after = text::span(peers.started.elapsed());
        match &event {
            Event::FileDone { direction, path, .. } => {
                story.say(|p| {
                    format!(
                        "{after:>7}  {:<5} {}",
                        who.name(),
                        done_line(&event, p).unwrap_or_default()
                    )
                });
                if *direction == Direction::Send {
                    left.remove(&(who, path.to_string()));
                }
            }
            Event::FileFailed { path, error, .. } => {
                story.say(|p| format!("{after:>7}  {who} {}: {path}: {error}", p.bad("failed")));
            }
            Event::Warning { message, .. } => {
                story.say(|p| format!("{after:>7}  {who} {} {message}", p.warn("warning:")));
            }
            _ => {}
        }
    }
    let emptied = tokio::time::Instant::now() + AFTERWARDS;
    while !files::outgoing_is_empty(base, &dropped) && tokio::time::Instant::now() < emptied {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(dropped)
}

/// What is told, on stdout and for the picture.
struct Story {
    colours: bool,
    lines: Vec<String>,
}

impl Story {
    fn new() -> Self {
        Self { colours: io::stdout().is_terminal() && console::colors_enabled(), lines: Vec::new() }
    }

    fn say(&mut self, line: impl Fn(Palette) -> String) {
        // A reader that goes away does not end the demo.
        drop(writeln!(io::stdout(), "{}", line(Palette { colours: self.colours })));
        self.lines.extend(line(Palette { colours: true }).lines().map(str::to_owned));
    }
}
