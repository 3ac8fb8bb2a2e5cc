//! The [`Config`] that the arguments describe.

use super::place::Target;
use super::{CheckArgs, CommandLine, ConfigArgs, Options, address, habits, place, rates, units};
use crate::cli::exit::Failure;
use rft::cause;
use rft::check::Subject;
use rft::config::{Config, Folders, PeerAddress, Waits};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Upper bound of `--in-flight`: each file has a stream, an open file and buffers.
const MAX_IN_FLIGHT: usize = 1024;
/// Lower bound of `--memory`, in bytes.
const MIN_MEMORY: u64 = 16 << 20;

impl CommandLine {
    /// The configuration that the arguments describe.
    ///
    /// # Errors
    /// Exit codes 2, 3, 4 and 14: arguments, PEER, PORT, a number.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        if let Some(Failure { code, reason }) = &self.wrong_file {
            return Err(Failure::new(*code, reason.clone()));
        }
        habits::check(&self.place)?;
        let target = self.place.target("rft")?.ok_or_else(place::nothing)?;
        config(&self.options, target)
    }
}

impl ConfigArgs {
    /// Checks all values; PEER and PORT may be missing.
    ///
    /// # Errors
    /// As of a peer.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let target = self.place.target("rft")?;
        let target = target.unwrap_or(Target { host: None, port: 1 });
        config(&self.options, target)?;
        self.options.metrics().map(|_| ())
    }
}

/// The configuration of a peer.
fn config(options: &Options, target: Target) -> Result<Config, Failure> {
    let Target { host, port } = target;
    let mut config = Config::new(host.map(|host| PeerAddress { host, port }), port, &options.dir);
    config.bind = options.bind.as_deref().map(address::bind).transpose()?;
    config.folders = options.folders()?;
    config.after_send = options.after_send.into();
    config.on_conflict = options.on_conflict.into();
    config.drain = options.drain;
    config.wait = options.wait()?;
    config.waits = options.waits()?;
    config.temp_names = options.temp_names.into();
    let send_open = options.send_open.as_deref();
    config.send_open = send_open.map(|text| units::duration("--send-open", text)).transpose()?;
    config.grace = units::duration("--grace", &options.grace)?;
    config.history = units::duration("--history", &options.history)?;
    let limit_rate = options.limit_rate.as_deref();
    let limit_rate = limit_rate.map(|text| rates::schedule("--limit-rate", text)).transpose()?;
    config.limit_rate = limit_rate.unwrap_or_default();
    config.congestion = options.congestion.into();
    config.compress = options.compress.into();
    config.in_flight = units::count("--in-flight", &options.in_flight, 1, MAX_IN_FLIGHT)?;
    config.exit_on_auth_failure = options.exit_on_auth_failure;
    let max_file_size = options.max_file_size.as_deref();
    config.max_file_size =
        max_file_size.map(|text| units::size("--max-file-size", text)).transpose()?;
    let max_incoming = options.max_incoming_bytes.as_deref();
    config.max_incoming_bytes =
        max_incoming.map(|text| units::size("--max-incoming-bytes", text)).transpose()?;
    config.min_free = units::size("--min-free", &options.min_free)?;
    config.memory = units::size_at_least("--memory", &options.memory, MIN_MEMORY)?;
    config.hooks = options.hooks.hooks(&config.folders)?;
    Ok(config)
}

impl Options {
    /// A given `--settle` applies after a close too.
    fn waits(&self) -> Result<Waits, Failure> {
        let mut waits = Waits::DEFAULT;
        if let Some(text) = &self.settle {
            waits.settle = units::duration("--settle", text)?;
            waits.after_close = waits.settle;
        }
        if let Some(text) = &self.folder_wait {
            waits.empty_folder = units::duration("--folder-wait", text)?;
            waits.emptied_folder = waits.empty_folder;
        }
        Ok(waits)
    }

    fn wait(&self) -> Result<Option<Duration>, Failure> {
        if self.wait.is_some() && !self.drain {
            return Err(Failure::usage(
                "--wait limits the time of --drain, which is not given; add --drain, or omit --wait",
            ));
        }
        self.wait.as_deref().map(|text| units::duration("--wait", text)).transpose()
    }

    pub(super) fn folders(&self) -> Result<Folders, Failure> {
        folders(&self.dir, self.outgoing.as_deref(), self.incoming.as_deref())
    }
}

impl CheckArgs {
    /// What to check.
    ///
    /// # Errors
    /// Exit codes 2, 3, 4 and 14: arguments, PEER, PORT, a number.
    pub(crate) fn subject(&self) -> Result<Subject, Failure> {
        let target = self.place.target("rft check")?;
        Ok(Subject {
            folders: folders(&self.dir, self.outgoing.as_deref(), self.incoming.as_deref())?,
            min_free: units::size("--min-free", &self.min_free)?,
            port: target.as_ref().map(|target| target.port),
            bind: self.bind.as_deref().map(address::bind).transpose()?,
            peer: target.and_then(|Target { host, port }| Some(PeerAddress { host: host?, port })),
        })
    }
}

/// The folders. Neither of Outgoing and Incoming may contain the other: received files would be
/// sent back, forever.
fn folders(
    dir: &Path,
    outgoing: Option<&Path>,
    incoming: Option<&Path>,
) -> Result<Folders, Failure> {
    let mut folders = Folders::in_dir(dir);
    if let Some(outgoing) = outgoing {
        outgoing.clone_into(&mut folders.outgoing);
    }
    if let Some(incoming) = incoming {
        incoming.clone_into(&mut folders.incoming);
    }
    let (outgoing, incoming) = (absolute(&folders.outgoing)?, absolute(&folders.incoming)?);
    if outgoing.starts_with(&incoming) || incoming.starts_with(&outgoing) {
        return Err(Failure::usage(format!(
            "Outgoing ({}) and Incoming ({}) must not contain each other, or received files would be sent back; give two separate folders",
            outgoing.display(),
            incoming.display()
        )));
    }
    Ok(folders)
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Failure::usage(format!(
            "folder {:?} cannot be used: {}; give another one",
            path.display().to_string(),
            cause::of(&error)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use rft::config::{AfterSend, Compress, Congestion, OnConflict, TempNames};
    use rft::rate_schedule::RateSchedule;
    use std::num::NonZeroU64;

    /// The configuration, or the exit code.
    fn config(line: &str) -> Result<Config, u8> {
        let words = std::iter::once("rft").chain(line.split_whitespace());
        let parsed = CommandLine::try_parse_from(words)
            .map_err(|error| u8::try_from(error.exit_code()).unwrap())?;
        let config = parsed.config().map_err(|failure| failure.code)?;
        parsed.metrics().map_err(|failure| failure.code)?;
        Ok(config)
    }

    #[test]
    fn defaults() {
        let config = config("bob 4000").unwrap();
        assert_eq!(config.peer, Some(PeerAddress { host: "bob".into(), port: 4000 }));
        assert_eq!((config.port, config.bind), (4000, None));
        assert_eq!(config.folders, Folders::in_dir("."));
        assert_eq!(
            (config.after_send, config.on_conflict),
            (AfterSend::Delete, OnConflict::Rename)
        );
        assert_eq!((config.drain, config.exit_on_auth_failure), (false, false));
        assert_eq!((config.waits, config.temp_names), (Waits::DEFAULT, TempNames::LeaveAlone));
        assert_eq!(config.limit_rate, RateSchedule::default());
        assert_eq!((config.congestion, config.in_flight), (Congestion::Bbr, 64));
        assert_eq!(config.compress, Compress::Auto);
        let engine = Config::new(None, 1, ".");
        assert_eq!(
            (config.max_file_size, config.min_free, config.memory),
            (None, engine.min_free, engine.memory)
        );
    }

    #[test]
    fn listen_has_no_peer() {
        for line in ["listen 4000 --drain", "--drain listen 4000"] {
            let config = config(line).unwrap();
            assert_eq!((config.peer, config.port, config.drain), (None, 4000, true), "{line}");
        }
    }

    #[test]
    fn every_option() {
        let config = config(
            "--dir d --outgoing o --incoming i --bind [::1]:5000 --password-file p --after-send archive \
             --on-conflict skip --drain --wait 1m --settle 250ms --temp-names none --json --progress never -vv --log-file l --limit-rate 20M \
             --congestion cubic --compress never --exit-on-auth-failure --in-flight 8 --max-file-size 1Gi --min-free 1G \
             --memory 64Mi fe80::1%eth0 65535",
        )
        .unwrap();
        assert_eq!(config.peer, Some(PeerAddress { host: "fe80::1%eth0".into(), port: 65535 }));
        assert_eq!(config.bind.unwrap().socket_addr(1).to_string(), "[::1]:5000");
        assert_eq!(config.folders.outgoing, Path::new("o"));
        assert_eq!(config.folders.incoming, Path::new("i"));
        assert_eq!(config.folders.state, Path::new("d").join(".rft"));
        assert_eq!((config.after_send, config.on_conflict), (AfterSend::Archive, OnConflict::Skip));
        assert!(config.drain && config.exit_on_auth_failure);
        assert_eq!(config.wait, Some(Duration::from_secs(60)));
        let quiet = Duration::from_millis(250);
        assert_eq!(config.waits, Waits { settle: quiet, after_close: quiet, ..Waits::DEFAULT });
        let limit = RateSchedule::constant(NonZeroU64::new(20_000_000));
        assert_eq!((config.temp_names, config.limit_rate), (TempNames::Send, limit));
        assert_eq!((config.congestion, config.in_flight), (Congestion::Cubic, 8));
        assert_eq!(config.compress, Compress::Never);
        assert_eq!(config.max_file_size, Some(1 << 30));
        assert_eq!((config.min_free, config.memory), (1_000_000_000, 64 << 20));
    }

    #[test]
    fn every_error_has_its_code() {
        for (line, code) in [
            ("", 2),
            ("bob", 2),
            ("listen", 2),
            ("bob 4000 extra", 2),
            ("bob 4000 --nonsense", 2),
            ("bob 4000 --password secret", 2),
            ("bob 4000 --after-send burn", 2),
            ("bob 4000 --on-conflict merge", 2),
            ("bob 4000 --congestion reno", 2),
            ("bob 4000 --progress maybe", 2),
            ("bob 4000 -q -v", 2),
            ("bob 4000 --bind nowhere", 2),
            ("bob 4000 --dir", 2),
            ("bob 4000 --outgoing x --incoming x", 2),
            ("bob 4000 --outgoing .", 2),
            ("bob 4000 --incoming Outgoing/in", 2),
            ("completions tcsh", 2),
            ("300.1.1.1 4000", 3),
            ("a..b 4000", 3),
            ("-1 4000", 3),
            ("bob 0", 4),
            ("bob 70000", 4),
            ("bob -1", 4),
            ("bob http", 4),
            ("listen 0", 4),
            ("bob 4000 --bind 127.0.0.1:99999", 4),
            ("bob 4000 --wait 5s", 2),
            ("bob 4000 --drain --wait soon", 14),
            ("bob 4000 --settle soon", 14),
            ("bob 4000 --settle -1", 14),
            ("bob 4000 --temp-names some", 2),
            ("bob 4000 --limit-rate fast", 14),
            ("bob 4000 --limit-rate 0", 14),
            ("bob 4000 --limit-rate -5", 14),
            ("bob 4000 --in-flight 0", 14),
            ("bob 4000 --in-flight many", 14),
            ("bob 4000 --in-flight 1025", 14),
            ("bob 4000 --max-file-size 1X", 14),
            ("bob 4000 --min-free x", 14),
            ("bob 4000 --memory 1K", 14),
            ("bob 4000 --metrics nowhere", 14),
            ("bob 4000 --metrics -1", 14),
            ("bob 4000 --metrics 127.0.0.1:99999", 14),
        ] {
            assert_eq!(config(line).map(|_| ()), Err(code), "rft {line}");
        }
    }
}
