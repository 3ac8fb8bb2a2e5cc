//! `rft send` and `rft receive`: one exchange without folders of its own. Each runs a peer that ends
//! when everything has crossed, and removes its state then. The same command resumes an exchange
//! that was interrupted.

mod source;
mod state;

use super::args::{OnceArgs, ReceiveArgs, SendArgs};
use super::exit::{self, Failure};
use super::launch::{Launch, Once, PasswordSource, ShowOptions};
use super::password::VARIABLE;
use super::{host, passphrase, peer};
use rft::Name;
use rft::config::{AfterSend, Config, Exchange, Folders, OnConflict, PeerAddress, TempNames};
use source::{STDIN, Wanted};
use state::{StateClaim, States};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use zeroize::Zeroizing;

/// Names in the first line.
const MAX_NAMED: usize = 5;
/// The file in the state folder with a password that was made.
const PASSWORD: &str = "password";

/// `rft send FILE... PEER PORT`.
pub(crate) fn send(args: &SendArgs) -> ExitCode {
    let begun = NamedFiles::of(args)
        .and_then(|sending| Ok((States::open(&sending.wanted.paths())?, sending)));
    let (states, sending) = match begun {
        Ok(begun) => begun,
        Err(failure) => return refused(&args.once, failure),
    };
    let claim = match states.claim_sending(&key_of(args)) {
        Ok(claim) => claim,
        Err(failure) => return refused(&args.once, failure),
    };
    let launch = sending.launch(args, &claim, states.path());
    run(&args.once, launch, claim)
}

/// `rft receive PORT`.
pub(crate) fn receive(args: &ReceiveArgs) -> ExitCode {
    let begun = args.port().and_then(|port| {
        let unusable = |error: io::Error| {
            let (into, why) = (args.into.display(), rft::cause::of(&error));
            Failure::new(exit::FOLDERS, format!("{into}: {why}; give another --into"))
        };
        fs::create_dir_all(&args.into).map_err(unusable)?;
        let into = args.into.canonicalize().map_err(unusable)?;
        Ok((port, into, States::open(&[])?))
    });
    let (port, into, states) = match begun {
        Ok(begun) => begun,
        Err(failure) => return refused(&args.once, failure),
    };
    let claim = match states.claim_receiving(&into) {
        Ok(claim) => claim,
        Err(failure) => return refused(&args.once, failure),
    };
    let launch = receiving(args, port, &into, &claim, states.path());
    run(&args.once, launch, claim)
}

/// The end of a command that cannot begin.
fn refused(args: &OnceArgs, failure: Failure) -> ExitCode {
    ExitCode::from(peer::launch(Launch::failed(show(args), failure)).code)
}

/// Runs the peer. Its state is removed unless it is needed to resume.
fn run(args: &OnceArgs, launch: Result<Launch, Failure>, claim: StateClaim<'_>) -> ExitCode {
    let launch = launch.unwrap_or_else(|failure| Launch::failed(show(args), failure));
    let ended = peer::launch(launch);
    if ended.code == exit::DONE || (claim.is_new && !ended.moved) {
        claim.remove();
    }
    ExitCode::from(ended.code)
}

/// What `rft send` is asked for.
struct NamedFiles {
    wanted: Wanted,
    peer: PeerAddress,
}

impl NamedFiles {
    fn of(args: &SendArgs) -> Result<Self, Failure> {
        let (files, peer) = args.files_and_peer()?;
        let password = args.once.password_file.as_deref();
        if password == Some(Path::new(STDIN)) && files.iter().any(|file| file == STDIN) {
            return Err(Failure::usage(
                "the standard input cannot be both the password and the file; give the password by --password-file FILE or RFT_PASSWORD",
            ));
        }
        Ok(Self { wanted: Wanted::of(files, args.as_name.as_deref())?, peer })
    }

    fn launch(
        self,
        args: &SendArgs,
        claim: &StateClaim<'_>,
        states: &Path,
    ) -> Result<Launch, Failure> {
        let port = self.peer.port;
        let source = self.wanted.prepare(claim)?;
        let own = Folders::in_dir(claim.path());
        let folders = Folders { outgoing: source.folder, reads_outgoing: true, ..own };
        let mut lines = vec![format!("sending {}", list(&source.names))];
        let exchange = Exchange::Send { only: source.names };
        let config = config(&args.once, Some(self.peer), port, folders, exchange)?;
        let given = args.once.password_file.clone();
        let (password, password_line) = if given.is_some() || std::env::var_os(VARIABLE).is_some() {
            (PasswordSource::User(given), None)
        } else {
            let phrase = phrase(claim)?;
            let line = format!("and there the password   {}", *phrase);
            (PasswordSource::Made(phrase), Some(line))
        };
        lines.push(format!("on the other host, type  rft receive {port}"));
        let writable = states.to_owned();
        let once = Once { writable, lines, password_line, last_line: None };
        Ok(launch(&args.once, config, password, once))
    }
}

fn receiving(
    args: &ReceiveArgs,
    port: u16,
    into: &Path,
    claim: &StateClaim<'_>,
    states: &Path,
) -> Result<Launch, Failure> {
    let state = claim.path().to_owned();
    // It sends nothing: no entry of its state folder is named.
    let folders =
        Folders { incoming: into.to_owned(), outgoing: state.clone(), state, reads_outgoing: true };
    let config = config(&args.once, None, port, folders, Exchange::Receive)?;
    let host = Some(host::name()).filter(|name| !name.is_empty());
    let host = host.unwrap_or_else(|| "PEER".to_owned());
    let lines = vec![
        format!("received files land in   {}", into.display()),
        format!("on the other host, type  rft send FILE... {host} {port}"),
    ];
    let last_line = Some(format!("received files are in {}", into.display()));
    let once = Once { writable: states.to_owned(), lines, password_line: None, last_line };
    let password = PasswordSource::Told(args.once.password_file.clone());
    Ok(launch(&args.once, config, password, once))
}

/// The configuration of a peer for one exchange.
fn config(
    args: &OnceArgs,
    peer: Option<PeerAddress>,
    port: u16,
    folders: Folders,
    exchange: Exchange,
) -> Result<Config, Failure> {
    let mut config = Config::new(peer, port, &folders.state);
    config.folders = folders;
    config.exchange = exchange;
    config.drain = true;
    config.after_send = AfterSend::Keep;
    config.on_conflict = OnConflict::Rename;
    config.temp_names = TempNames::Send;
    config.history = Duration::ZERO;
    args.apply(&mut config)?;
    Ok(config)
}

fn launch(args: &OnceArgs, config: Config, password: PasswordSource, once: Once) -> Launch {
    Launch {
        log_file: config.folders.state.join("rft.log"),
        config: Ok(config),
        metrics: None,
        password,
        show: show(args),
        config_file: None,
        no_sandbox: false,
        once: Some(once),
    }
}

fn show(args: &OnceArgs) -> ShowOptions {
    let &OnceArgs { json, quiet, verbose, .. } = args;
    ShowOptions { json, quiet, verbose, ..ShowOptions::default() }
}

/// A few names, and how many more there are.
fn list(names: &[Name]) -> String {
    let shown: Vec<_> = names.iter().take(MAX_NAMED).map(Name::to_string).collect();
    let more = names.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &more
}

/// The same for the same command in the same folder.
fn key_of(args: &SendArgs) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("rft 1 state of one exchange");
    let here = std::env::current_dir().unwrap_or_default();
    let as_name = args.as_name.as_deref().unwrap_or(Path::new(""));
    let first = [here.as_os_str(), as_name.as_os_str()];
    for word in first.into_iter().chain(args.words().iter().map(|word| &**word)) {
        let bytes = word.as_encoded_bytes();
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// The password that was made for this exchange, or a fresh one. The same command has the same: the
/// receiver may still wait with it.
fn phrase(claim: &StateClaim<'_>) -> Result<Zeroizing<String>, Failure> {
    let path = claim.path().join(PASSWORD);
    if let Ok(known) = fs::read_to_string(&path).map(Zeroizing::new)
        && !known.is_empty()
    {
        return Ok(known);
    }
    let phrase = passphrase::generate()
        .map_err(|error| super::unknown("the system has no random numbers", &error))?;
    let mut options = fs::File::options();
    options.create(true).write(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&path).and_then(|mut file| file.write_all(phrase.as_bytes()));
    written.map_err(|error| {
        let (path, why) = (path.display(), rft::cause::of(&error));
        Failure::new(exit::FOLDERS, format!("{path} cannot be written: {why}"))
    })?;
    Ok(phrase)
}
