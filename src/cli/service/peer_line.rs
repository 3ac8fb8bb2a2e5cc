//! The command line of the peer that a service runs: paths are absolute, since a service starts in
//! another folder, and the password is left out.

use crate::cli::args::CommandLine;
use crate::cli::args::service::path_options;
use crate::cli::args::wrong::{self, Unparsed};
use crate::cli::exit::Failure;
use rft::cause;
use rft::config::Config;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The words that were typed.
#[derive(Debug)]
pub(super) struct TypedWords {
    words: Vec<OsString>,
    /// `--password-file`.
    password: Option<PathBuf>,
    has_dir: bool,
    /// PEER.
    pub(super) host: String,
}

/// The whole line.
pub(super) struct PeerLine {
    /// The words after `rft`, with `--dir`.
    pub(super) words: Vec<OsString>,
    pub(super) config: Config,
    /// The base folder.
    pub(super) dir: PathBuf,
    pub(super) log_file: PathBuf,
    /// The password file on the command line, or that of the configuration file.
    pub(super) password: Option<PasswordFile>,
}

/// Where the password is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PasswordFile {
    /// The service manager hands it over.
    Given(PathBuf),
    /// The configuration file names it, and rft reads it itself.
    InConfig(PathBuf),
}

impl TypedWords {
    /// Reads the words.
    ///
    /// # Errors
    /// They are no peer's: exit code 2 and those of the peer.
    pub(super) fn read(words: &[OsString]) -> Result<Self, Failure> {
        if words.is_empty() {
            return Err(Failure::usage(
                "the peer is missing; type, for example: rft service install bob.example.org 4000",
            ));
        }
        let text = words.iter().map(|word| word.to_str()).collect::<Option<Vec<&str>>>();
        let text = text.ok_or_else(|| {
            Failure::usage(
                "a word is not UTF-8 text, and a service cannot have it; rename the folder or file",
            )
        })?;
        if let Some(word) = text.iter().find(|word| is_of_service(word)) {
            return Err(Failure::usage(format!(
                "{word} is an option of rft service, and comes before PEER; type: rft service install {word} ... PEER PORT"
            )));
        }
        let line = parsed(words.to_vec())?;
        line.must_be_a_peer()?;
        let host = line.host_word().unwrap_or_default().to_owned();
        let paths = path_options();
        let mut typed = Self { words: Vec::new(), password: None, has_dir: false, host };
        let mut rest = text.iter();
        while let Some(word) = rest.next() {
            let option = split(word).filter(|(name, _)| paths.iter().any(|path| path == name));
            let Some((option, attached)) = option else {
                typed.words.push(word.into());
                continue;
            };
            // The parser has found a value for each.
            let value = attached.or_else(|| rest.next().copied()).unwrap_or_default();
            typed.add(option, value)?;
        }
        Ok(typed)
    }

    fn add(&mut self, option: &str, value: &str) -> Result<(), Failure> {
        if option == "password-file" && value == "-" {
            return Err(Failure::usage(
                "a service has no standard input to read the password from; give --password-file FILE",
            ));
        }
        let path = absolute(Path::new(value))?;
        match option {
            "password-file" => self.password = Some(path),
            _ => {
                self.has_dir |= option == "dir";
                self.words.push(format!("--{option}").into());
                self.words.push(path.into());
            }
        }
        Ok(())
    }

    /// The whole line, in this folder if none was typed.
    ///
    /// # Errors
    /// The exit codes of the peer.
    pub(super) fn in_folder(mut self, folder: &Path) -> Result<PeerLine, Failure> {
        if !self.has_dir {
            self.words.splice(..0, ["--dir".into(), folder.into()]);
        }
        let line = parsed(self.words.clone())?;
        let config = line.config()?;
        line.metrics()?;
        let in_config = line.options.password_file.clone().map(PasswordFile::InConfig);
        Ok(PeerLine {
            config,
            dir: line.dir().to_owned(),
            log_file: line.log_file(),
            password: self.password.map(PasswordFile::Given).or(in_config),
            words: self.words,
        })
    }
}

/// Parses the words as those of a process.
///
/// # Errors
/// Exit codes 2 and 14.
pub(super) fn parsed(words: Vec<OsString>) -> Result<CommandLine, Failure> {
    wrong::parse_from(words).map_err(|unparsed| match unparsed {
        Unparsed::Wrong(failure) => failure,
        Unparsed::Text(_) => Failure::usage("a service prints no help; type: rft service --help"),
    })
}

/// Whether the word is an option of `rft service`; the peer has none of these names.
fn is_of_service(word: &str) -> bool {
    let name = word.split('=').next().unwrap_or_default();
    ["--user", "--system", "--name", "--run-as", "--dry-run"].contains(&name)
}

/// The long option that a word is, and the value in it.
fn split(word: &str) -> Option<(&str, Option<&str>)> {
    let option = word.strip_prefix("--")?;
    Some(option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value))))
}

/// The path without links, `.` and `..`, which systemd does not take.
#[cfg(unix)]
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    use std::path::Component;
    let unusable = |why: &str| {
        Failure::usage(format!("{} cannot be used: {why}; give another path", path.display()))
    };
    let absolute = std::path::absolute(path).map_err(|error| unusable(&cause::of(&error)))?;
    let mut there = absolute.as_path();
    while let (false, Some(above)) = (there.exists(), there.parent()) {
        there = above;
    }
    let missing = absolute.strip_prefix(there).unwrap_or(Path::new(""));
    if missing.components().any(|part| part == Component::ParentDir) {
        return Err(unusable("it leads through a folder that does not exist"));
    }
    let whole = there.canonicalize().map_err(|error| unusable(&cause::of(&error)))?;
    Ok(if missing.as_os_str().is_empty() { whole } else { whole.join(missing) })
}

#[cfg(windows)]
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        let why = cause::of(&error);
        Failure::usage(format!("{} cannot be used: {why}; give another path", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &str) -> Result<PeerLine, Failure> {
        let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        TypedWords::read(&words)?.in_folder(Path::new("/srv/rft/bob"))
    }

    #[test]
    fn paths_are_absolute_and_the_password_is_left_out() {
        let here = std::env::current_dir().unwrap();
        let line = line(
            "--outgoing=out --password-file pw --log-file src/../l bob:4000 --limit-rate 20M --json",
        )
        .unwrap();
        let at = |name: &str| here.join(name).into_os_string();
        let expected: Vec<OsString> = vec![
            "--dir".into(),
            "/srv/rft/bob".into(),
            "--outgoing".into(),
            at("out"),
            "--log-file".into(),
            at("l"),
            "bob:4000".into(),
            "--limit-rate".into(),
            "20M".into(),
            "--json".into(),
        ];
        assert_eq!(line.words, expected);
        assert_eq!(line.password, Some(PasswordFile::Given(at("pw").into())));
        assert_eq!(line.config.port, 4000);
    }

    #[test]
    fn a_folder_that_is_named_stays() {
        let line = line("--dir /data listen 4000").unwrap();
        assert_eq!((line.dir.as_path(), line.password), (Path::new("/data"), None));
        assert_eq!(line.config.peer, None);
    }

    #[test]
    fn other_lines_are_refused_with_the_codes_of_a_peer() {
        for (words, code) in [
            ("status", 2),
            ("bob", 2),
            ("bob 70000", 4),
            ("256.1.1.1 4000", 3),
            ("bob 4000 --limit-rate fast", 14),
            ("bob 4000 --metrics nowhere", 14),
            ("bob 4000 --password-file -", 2),
            ("bob 4000 --nonsense", 2),
            ("--help", 2),
        ] {
            assert_eq!(line(words).map(|_| ()).map_err(|f| f.code), Err(code), "{words}");
        }
    }
}
