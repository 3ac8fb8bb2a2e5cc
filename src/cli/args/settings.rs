//! The configuration file: options of the peer under their long names, `rft.toml` in `--dir` or the
//! file of `--config`. Its options become words in front of those of the command line, which wins.

use super::{CommandLine, hooks};
use crate::cli::exit::Failure;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, Parser, ValueHint};
use rft::config::Folders;
use rft::{cause, escape};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The name of the file in `--dir`.
const FILE: &str = "rft.toml";
/// Options that a file cannot have.
const NOT_IN_FILES: &[&str] = &["config", "help", "version"];
/// Largest file, in bytes.
const MAX_SIZE: u64 = 64 * 1024;

/// One option in force.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) name: String,
    /// `None` if it is not set and has no default.
    pub(crate) value: Option<String>,
    /// Where it is from.
    pub(crate) source: String,
}

/// What a file sets.
#[derive(Debug)]
pub(super) struct FileSettings {
    pub(super) file: PathBuf,
    /// Words for the parser.
    pub(super) words: Vec<OsString>,
    /// The long names and lines of the options that are in force.
    pub(super) lines: Vec<(String, usize)>,
}

/// Reads the file that the command line selects. Options that `matches` has from the command line
/// are left out, and the port if `has_port`. `None` without a file.
///
/// # Errors
/// The file cannot be used, or an option in it: the exit code that it has on the command line.
pub(super) fn read(matches: &ArgMatches, has_port: bool) -> Result<Option<FileSettings>, Failure> {
    let named = matches.get_one::<PathBuf>("config");
    let dir = dir_of(matches);
    let file = named.cloned().unwrap_or_else(|| dir.join(FILE));
    let unusable = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("the configuration file {} cannot be used: {why}", file.display()))
    };
    let text = match text_of(&file, named.is_some()) {
        Ok(text) => text,
        Err(Unread::System(error))
            if named.is_none() && error.kind() == std::io::ErrorKind::NotFound =>
        {
            return Ok(None);
        }
        Err(Unread::System(error)) => return Err(unusable(&cause::of(&error))),
        Err(Unread::Refused(why)) => return Err(unusable(&why)),
    };
    let document = Document { file: &file, text: &text };
    let settings = document.words(named.is_some(), |arg| {
        let given = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        let wins = match arg.get_id().as_str() {
            "port_option" => has_port,
            "quiet" | "verbose" => given("quiet") || given("verbose"),
            id => given(id),
        };
        !wins
    })?;
    Ok(Some(settings))
}

/// Why there is no text.
enum Unread {
    System(std::io::Error),
    Refused(String),
}

/// The text. A file that was not named must be one that only the user can write: another user
/// could make it send other files.
fn text_of(file: &Path, named: bool) -> Result<String, Unread> {
    use std::io::Read;
    if is_fifo(&std::fs::metadata(file).map_err(Unread::System)?) {
        return Err(Unread::Refused("it is a FIFO, and opening one waits for a writer".into()));
    }
    let opened = std::fs::File::open(file).map_err(Unread::System)?;
    let metadata = opened.metadata().map_err(Unread::System)?;
    if !named && let Some(why) = changeable_by_others(&metadata) {
        let file = file.display();
        return Err(Unread::Refused(format!("{why}; give --config {file} if that is intended")));
    }
    let mut bytes = Vec::new();
    opened.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(Unread::System)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(Unread::Refused(format!("it has more than {MAX_SIZE} bytes")));
    }
    String::from_utf8(bytes)
        .map_err(|_| Unread::Refused("it is not UTF-8 text; save it as UTF-8".into()))
}

#[cfg(unix)]
fn is_fifo(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type())
}

#[cfg(not(unix))]
fn is_fifo(_: &std::fs::Metadata) -> bool {
    false
}

#[cfg(unix)]
fn changeable_by_others(metadata: &std::fs::Metadata) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;
    let own = [0, rustix::process::geteuid().as_raw()].contains(&metadata.uid());
    match metadata.mode() & 0o022 {
        _ if !own => Some("it belongs to another user"),
        0 => None,
        _ => Some("other users can change it (chmod go-w prevents that)"),
    }
}

/// On Windows a file has the access list of its folder, and no mode.
#[cfg(not(unix))]
fn changeable_by_others(_: &std::fs::Metadata) -> Option<&'static str> {
    None
}

struct Document<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Document<'_> {
    /// The words of the options that `counts` accepts, and their lines. All are checked.
    fn words(
        &self,
        may_have_dir: bool,
        counts: impl Fn(&Arg) -> bool,
    ) -> Result<FileSettings, Failure> {
        let table = DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            self.wrong(at, &Failure::usage(format!("not TOML: {message}")))
        })?;
        let command = CommandLine::command();
        let mut entries: Vec<_> = table.get_ref().iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let (mut words, mut lines) = (Vec::new(), Vec::new());
        for (key, value) in entries {
            let at = key.span().start;
            let name: &str = key.get_ref();
            if value.get_ref().is_table() {
                let reason = "there are no sections; write all options without one";
                return Err(self.wrong(at, &Failure::usage(reason)));
            }
            let arg = option(&command, name, may_have_dir).map_err(|f| self.wrong(at, &f))?;
            let of_option = self.option_words(arg, name, value).map_err(|f| self.wrong(at, &f))?;
            check(name, &of_option).map_err(|f| self.wrong(at, &f))?;
            if counts(arg) {
                words.extend(of_option);
                lines.push((name.to_owned(), self.line(at)));
            }
        }
        Ok(FileSettings { file: self.file.to_owned(), words, lines })
    }

    /// The words of one option. A path is relative to the file's folder.
    fn option_words(
        &self,
        arg: &Arg,
        name: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<OsString>, Failure> {
        let flag = OsString::from(format!("--{name}"));
        let wanted = |what: &str| Failure::usage(format!("{name} needs {what}"));
        match (arg.get_action(), value.get_ref()) {
            (ArgAction::SetTrue, DeValue::Boolean(on)) => Ok(vec![flag; usize::from(*on)]),
            (ArgAction::SetTrue, _) => Err(wanted("true or false, without quotes")),
            (ArgAction::Count, DeValue::Integer(number)) => {
                let times = number.as_str().parse().ok().filter(|times| *times <= 2);
                times.map(|times| vec![flag; times]).ok_or_else(|| wanted("0, 1 or 2"))
            }
            (ArgAction::Count, _) => Err(wanted("0, 1 or 2")),
            (_, DeValue::String(text)) if name == hooks::OPTION => {
                let words = hooks::split(text).map_err(wanted)?;
                Ok(vec![self.command_line(words).into()])
            }
            (_, DeValue::Array(array)) if name == hooks::OPTION => {
                let word = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
                    DeValue::String(text) => Some(text.to_string()),
                    _ => None,
                };
                let words: Option<Vec<String>> = array.iter().map(word).collect();
                let words = words.filter(|words| !words.is_empty());
                let words =
                    words.ok_or_else(|| wanted("texts in double quotes, separated by commas"))?;
                Ok(vec![self.command_line(words).into()])
            }
            (_, DeValue::String(text)) => {
                let is_path =
                    matches!(arg.get_value_hint(), ValueHint::DirPath | ValueHint::FilePath);
                let text: &str = text;
                let choices: Vec<_> = arg.get_possible_values();
                if !choices.is_empty() && !choices.iter().any(|choice| choice.matches(text, false))
                {
                    let names: Vec<_> = choices.iter().map(|choice| choice.get_name()).collect();
                    let text = escape(text.as_bytes());
                    let names = names.join(", ");
                    return Err(Failure::usage(format!("{name}: {text} is not one of {names}")));
                }
                let folder = self.file.parent().filter(|_| is_path && text != "-");
                let mut word = flag;
                word.push("=");
                word.push(folder.map_or_else(|| text.into(), |folder| folder.join(text)));
                Ok(vec![word])
            }
            (_, DeValue::Integer(number)) if number.radix() == 10 => {
                Ok(vec![format!("--{name}={}", number.as_str()).into()])
            }
            (_, DeValue::Float(number)) => Ok(vec![format!("--{name}={}", number.as_str()).into()]),
            _ => Err(wanted("a text in double quotes, or a number")),
        }
    }

    /// The option with the words of a command. A path of the program is relative to the file's folder.
    fn command_line(&self, mut words: Vec<String>) -> String {
        if let (Some(folder), Some(program)) = (self.file.parent(), words.first_mut())
            && hooks::is_path(program)
            && let Some(whole) = folder.join(&*program).to_str()
        {
            *program = whole.to_owned();
        }
        format!("--{}={}", hooks::OPTION, hooks::join(&words))
    }

    fn line(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|&b| b == b'\n').count() + 1
    }

    fn wrong(&self, at: usize, failure: &Failure) -> Failure {
        let (file, line) = (self.file.display(), self.line(at));
        Failure::new(failure.code, format!("{file}, line {line}: {}", failure.reason))
    }
}

/// The option of this name.
fn option<'a>(
    command: &'a clap::Command,
    name: &str,
    may_have_dir: bool,
) -> Result<&'a Arg, Failure> {
    let is_option = |arg: &&Arg| {
        arg.get_long().is_some_and(|long| long == name && !NOT_IN_FILES.contains(&long))
    };
    match command.get_arguments().find(is_option) {
        Some(_) if name == "dir" && !may_have_dir => Err(Failure::usage(
            "dir is the folder of this file; give --dir on the command line, or this file with --config",
        )),
        Some(arg) => Ok(arg),
        None if name == "password" => Err(Failure::usage(
            "the password is never in this file; write password-file = \"FILE\"",
        )),
        None => {
            let name = escape(name.as_bytes());
            let dashed = name.replace('_', "-");
            let known = command.get_arguments().any(|arg| arg.get_long() == Some(&dashed));
            Err(Failure::usage(if known && dashed != name {
                format!("there is no option {name}; write {dashed}")
            } else {
                format!("there is no option {name}; rft --help lists them, each with its long name")
            }))
        }
    }
}

/// Checks the value as the command line does, with all else that the option needs.
fn check(name: &str, words: &[OsString]) -> Result<(), Failure> {
    let needed: &[&str] = match name {
        // Any path will do, and one is right or wrong only beside the others.
        "dir" | "outgoing" | "incoming" => return Ok(()),
        "port" => &["bob"],
        "wait" => &["bob", "1", "--drain"],
        // Whether there is a program is known only of the whole.
        "quarantine" => return Ok(()),
        _ => &["bob", "1"],
    };
    let line = ["rft"].iter().chain(needed).map(OsString::from).chain(words.iter().cloned());
    let line = CommandLine::try_parse_from(line)
        .map_err(|_| Failure::usage(format!("{name} has a value that it cannot have")))?;
    line.config()?;
    line.metrics().map(|_| ())
}

/// All options in force, from the matches of all words.
pub(super) fn in_force(matches: &ArgMatches, settings: Option<&FileSettings>) -> Vec<Setting> {
    let command = CommandLine::command();
    let dir = dir_of(matches);
    let options = command.get_arguments().filter(|arg| {
        arg.get_long().is_some_and(|long| !NOT_IN_FILES.contains(&long)) && !arg.is_hide_set()
    });
    let mut all: Vec<Setting> = options
        .map(|arg| {
            let name = arg.get_long().unwrap_or_default();
            let id = arg.get_id().as_str();
            let raw = matches.try_get_raw(id).ok().flatten();
            let value = match arg.get_action() {
                ArgAction::SetTrue => Some(matches.get_flag(id).to_string()),
                ArgAction::Count => Some(matches.get_count(id).to_string()),
                _ => raw
                    .and_then(|mut raw| raw.next())
                    .map(|raw| raw.to_string_lossy().into_owned())
                    .or_else(|| default_of(name, dir)),
            };
            let at = settings
                .and_then(|s| s.lines.iter().find(|(key, _)| key == name).map(|l| (s, l.1)));
            let given = matches.value_source(id) == Some(ValueSource::CommandLine);
            let source = match at {
                Some((settings, line)) => format!("{}, line {line}", settings.file.display()),
                None if given => "command line".to_owned(),
                None => "default".to_owned(),
            };
            Setting { name: name.to_owned(), value, source }
        })
        .collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

fn dir_of(matches: &ArgMatches) -> &Path {
    matches.get_one::<PathBuf>("dir").map_or(Path::new("."), PathBuf::as_path)
}

/// The default of an option that clap has none for.
fn default_of(name: &str, dir: &Path) -> Option<String> {
    let folders = Folders::in_dir(dir);
    match name {
        "outgoing" => Some(folders.outgoing.display().to_string()),
        "incoming" => Some(folders.incoming.display().to_string()),
        "log-file" => Some(folders.state.join("rft.log").display().to_string()),
        "bind" => Some("all addresses".to_owned()),
        _ => None,
    }
}

/// Refuses a file that the peer could have sent.
///
/// # Errors
/// Exit code 2.
pub(super) fn check_place(file: &Path, incoming: &Path) -> Result<(), Failure> {
    let whole = |path: &Path| path.canonicalize().ok();
    if let (Some(whole_file), Some(incoming)) = (whole(file), whole(incoming))
        && whole_file.starts_with(&incoming)
    {
        return Err(Failure::usage(format!(
            "the configuration file {} is in Incoming, where the peer writes; move it, and name it with --config",
            file.display()
        )));
    }
    Ok(())
}
