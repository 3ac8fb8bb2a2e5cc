//! Reads the command line. Each mistake that clap finds becomes one sentence with the line to type.

use super::settings::{self, FileSettings};
use super::{Command, CommandLine, habits};
use crate::cli::exit::{self, Failure};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser};
use rft::escape;
use std::ffi::OsString;
use std::path::Path;

/// Options of other programs that have the password after them.
const PASSWORD_OPTIONS: &[&str] =
    &["--password", "--pass", "--passwd", "--pw", "--passphrase", "--secret"];

/// Why there is no command line to run.
pub(crate) enum Unparsed {
    /// The help or the version is asked for.
    Text(Box<clap::Error>),
    Wrong(Failure),
}

/// Reads the arguments of the process.
///
/// # Errors
/// [`Unparsed`]; exit codes 2 and 14.
pub(crate) fn parse() -> Result<CommandLine, Unparsed> {
    parse_from(std::env::args_os().skip(1).collect())
}

/// Reads the arguments of a process.
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_from(words: Vec<OsString>) -> Result<CommandLine, Unparsed> {
    let typed = Typed(words.iter().map(|word| word.to_string_lossy().into_owned()).collect());
    let parsed = matches_of(&words).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Unparsed::Text(Box::new(error)),
        _ => Unparsed::Wrong(typed.sentence(&error)),
    });
    let (line, matches) = parsed?;
    if let Some(failure) = typed.misplaced_command(&line) {
        return Err(Unparsed::Wrong(failure));
    }
    let (place, matches) = match (&line.command, matches.subcommand()) {
        (None, _) => (&line.place, &matches),
        (Some(Command::Config(args)), Some((_, own))) => (&args.place, own),
        _ => return Ok(line),
    };
    let whole = settings::read(matches, place.gives_port())
        .and_then(|settings| with_file(&words, settings));
    match whole {
        Ok(line) => Ok(line),
        // The peer ends with it: with --json that is an event.
        Err(failure) if line.command.is_none() => {
            Ok(CommandLine { wrong_file: Some(failure), ..line })
        }
        Err(failure) => Err(Unparsed::Wrong(failure)),
    }
}

fn matches_of(words: &[OsString]) -> Result<(CommandLine, clap::ArgMatches), clap::Error> {
    let rft = OsString::from("rft");
    let words = std::iter::once(&rft).chain(words);
    let matches = CommandLine::command().try_get_matches_from(words)?;
    CommandLine::from_arg_matches(&matches).map(|line| (line, matches))
}

/// The command line with the options of the file in front of its own.
fn with_file(words: &[OsString], file: Option<FileSettings>) -> Result<CommandLine, Failure> {
    let added = file.as_ref().map(|file| &file.words[..]).unwrap_or_default();
    // `rft config` has the same options after its name.
    let at = usize::from(words.first().is_some_and(|word| word == "config"));
    let (command, own) = words.split_at(at);
    let whole = [command, added, own].concat();
    let (mut line, matches) = matches_of(&whole).map_err(|error| {
        let words = whole.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let failure = Typed(words).sentence(&error);
        let file = file.as_ref().map(|file| file.file.display().to_string()).unwrap_or_default();
        Failure::new(failure.code, format!("with {file}: {}", failure.reason))
    })?;
    let own = matches.subcommand().map_or(&matches, |(_, own)| own);
    line.settings = settings::in_force(own, file.as_ref());
    line.config_file = file.map(|file| file.file);
    if let Some(file) = &line.config_file {
        let options = match &line.command {
            Some(Command::Config(args)) => &args.options,
            _ => &line.options,
        };
        settings::check_place(file, &options.folders()?.incoming)?;
    }
    Ok(line)
}

/// The words after `rft`.
struct Typed(Vec<String>);

impl Typed {
    /// A command after an option of the peer, `rft -v status`: clap takes it for PEER.
    fn misplaced_command(&self, line: &CommandLine) -> Option<Failure> {
        let (first, _) = line.place.without_port().filter(|_| line.command.is_none())?;
        let command = Some(first).filter(|word| habits::is_command(word))?;
        Some(self.command_first(command))
    }

    fn command_first(&self, command: &str) -> Failure {
        let at = self.0.iter().position(|word| word == command).unwrap_or_default();
        let name = vec![command.to_owned()];
        let (before, after) = (&self.0[..at], self.0.get(at + 1..).unwrap_or_default());
        let whole = [&name, before, after].concat();
        let line = [whole, [&name, after].concat()].into_iter().find(|words| is_right(words));
        let line = shown(&line.unwrap_or(name));
        Failure::usage(format!("a command comes first, and its own options after it; type: {line}"))
    }

    /// The sentence for an error of clap.
    fn sentence(&self, error: &clap::Error) -> Failure {
        let text = |kind| error.get(kind).map(text_of).unwrap_or_default();
        let (arg, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
        // clap adds the names of the values: `--dir <DIR>`.
        let option = arg.split([' ', '=', '[']).next().unwrap_or_default();
        match error.kind() {
            ErrorKind::UnknownArgument if option.starts_with('-') => {
                self.unknown_option(option, &text(ContextKind::SuggestedArg))
            }
            ErrorKind::UnknownArgument => self.unknown_word(&arg),
            ErrorKind::InvalidValue if value.is_empty() => {
                let (_, name) = arg.split_once(' ').unwrap_or_default();
                let name = name.trim_matches(['<', '>']);
                Failure::usage(format!("{option} needs a value after it; type: {option} {name}"))
            }
            ErrorKind::InvalidValue => {
                let valid = text(ContextKind::ValidValue);
                self.not_one_of(option, &value, &valid, &text(ContextKind::SuggestedValue))
            }
            ErrorKind::ValueValidation => {
                let value = printable(&value);
                let reason =
                    format!("{option} {value}: not a whole number; type, for example: {option} 20");
                Failure::new(exit::NUMBER, reason)
            }
            ErrorKind::TooManyValues => {
                let line =
                    self.replaced(option, option).map_or_else(|| option.to_owned(), |l| shown(&l));
                Failure::usage(format!("{option} takes no value; type: {line}"))
            }
            ErrorKind::ArgumentConflict => conflict(option, &text(ContextKind::PriorArg)),
            ErrorKind::MissingRequiredArgument => self.missing(&arg),
            ErrorKind::InvalidUtf8 => Failure::usage(
                "a word of the command line is not UTF-8 text, and only folders and files may have such names; type PEER, PORT and numbers in ASCII",
            ),
            _ => Failure::usage("the command line cannot be understood; type: rft --help"),
        }
    }

    fn unknown_option(&self, option: &str, suggested: &str) -> Failure {
        let rft = self.command();
        if PASSWORD_OPTIONS.contains(&option) {
            return Failure::usage(
                "the password is never an argument, since other users can read those; type: rft --password-file FILE PEER PORT, or set the variable RFT_PASSWORD, or give neither and type it at the prompt",
            );
        }
        let option = printable(option);
        let wrong = format!("{rft} has no option {option}");
        if let Some(line) = self.replaced(&option, suggested).filter(|_| !suggested.is_empty()) {
            return Failure::usage(format!("{wrong}; type: {}", shown(&line)));
        }
        if let Some(command) = self.0.iter().find(|word| habits::is_command(word)) {
            if self.0.first() != Some(command) {
                return self.command_first(command);
            }
        } else if let Some(line) = self.mistyped_command() {
            let first = printable(&self.0[0]);
            return Failure::usage(format!("rft has no command {first}; type: {}", shown(&line)));
        }
        if let Some(line) = self.of_a_command().filter(|_| rft == "rft") {
            let line = shown(&line);
            return Failure::usage(format!("{option} is an option of a command; type: {line}"));
        }
        let without = self.0.iter().filter(|&word| !is_option(word, &option)).cloned().collect();
        let line =
            Some(without).filter(|line: &Vec<String>| line.len() < self.0.len() && is_right(line));
        Failure::usage(match line {
            Some(line) => {
                format!("{wrong}; type: {} ({rft} --help lists the options)", shown(&line))
            }
            None => format!("{wrong}; type: {rft} --help, which lists them"),
        })
    }

    /// An argument that a command does not take.
    fn unknown_word(&self, word: &str) -> Failure {
        let rft = self.command();
        let at = self.0.iter().position(|typed| typed == word).unwrap_or(self.0.len());
        let (before, after) = (self.0[..at].to_vec(), self.0.get(at + 1..).unwrap_or_default());
        let is_folder = word.contains(std::path::is_separator) || Path::new(word).is_dir();
        let dir = [&before[..], &["--dir".to_owned(), word.to_owned()], after].concat();
        let without = [&before[..], after].concat();
        let lines = [Some(dir).filter(|_| is_folder), Some(without), Some(before)];
        let line = lines.into_iter().flatten().find(|words| is_right(words));
        let word = printable(word);
        Failure::usage(match line {
            Some(line) => format!("{rft} takes no word {word} there; type: {}", shown(&line)),
            None => format!("{rft} takes no word {word} there; type: {rft} --help"),
        })
    }

    fn not_one_of(&self, option: &str, value: &str, valid: &str, suggested: &str) -> Failure {
        let (wrong, choices) = (printable(value), valid.replace(", ", "|"));
        let attached = format!("{option}={value}");
        let words = self.0.iter().map(|word| match word {
            word if word == value => suggested.to_owned(),
            word if *word == attached => format!("{option}={suggested}"),
            word => word.clone(),
        });
        let line = Some(words.collect())
            .filter(|line: &Vec<String>| !suggested.is_empty() && is_right(line));
        let line = line.map_or_else(|| format!("{option} {choices}"), |line| shown(&line));
        // An argument without a dash has its own name.
        if option.starts_with('-') {
            Failure::usage(format!("{option} {wrong}: not one of {valid}; type: {line}"))
        } else {
            let rft = self.command();
            Failure::usage(format!("{wrong} is not one of {valid}; type: {rft} {choices}"))
        }
    }

    fn missing(&self, arguments: &str) -> Failure {
        let rft = self.command();
        let names = arguments.replace(['<', '>'], "");
        let name = rft.trim_start_matches("rft ");
        let full = CommandLine::command();
        let command = full.find_subcommand(name);
        let values = command.into_iter().flat_map(clap::Command::get_positionals);
        let example = values.flat_map(clap::Arg::get_possible_values).next();
        let example = example.map_or_else(|| names.clone(), |value| value.get_name().to_owned());
        let for_example = if example == names { "type" } else { "type, for example" };
        Failure::usage(format!("{rft} needs {names}; {for_example}: {rft} {example}"))
    }

    /// `rft`, or `rft` with the command.
    fn command(&self) -> String {
        let first = self.0.first().filter(|word| habits::is_command(word));
        first.map_or_else(|| "rft".to_owned(), |command| format!("rft {command}"))
    }

    /// The words with another option, if they are right then.
    fn replaced(&self, option: &str, by: &str) -> Option<Vec<String>> {
        let words = self.0.iter().map(|word| match word.split_once('=') {
            Some((name, _)) if name == option && by == option => by.to_owned(),
            Some((name, value)) if name == option => format!("{by}={value}"),
            _ if word == option => by.to_owned(),
            _ => word.clone(),
        });
        Some(words.collect()).filter(|words: &Vec<String>| is_right(words))
    }

    /// The words after the command that they are right for.
    fn of_a_command(&self) -> Option<Vec<String>> {
        let full = CommandLine::command();
        let mut commands = full.get_subcommands();
        let line =
            |command: &clap::Command| [&[command.get_name().to_owned()], &self.0[..]].concat();
        commands.find_map(|command| Some(line(command)).filter(|words| is_right(words)))
    }

    /// The words with the command that the first resembles, if they are right then.
    fn mistyped_command(&self) -> Option<Vec<String>> {
        let (first, after) = self.0.split_first()?;
        let words = [&[habits::similar(first)?], after].concat();
        Some(words).filter(|words| is_right(words))
    }
}

/// The word is this option, with or without a value in it.
fn is_option(word: &str, option: &str) -> bool {
    word.split('=').next() == Some(option)
}

fn conflict(option: &str, prior: &str) -> Failure {
    let prior = prior.split([' ', '=', '[', '.']).next().unwrap_or_default();
    let option = option.trim_end_matches('.');
    Failure::usage(if option == prior || prior.is_empty() {
        format!("{option} is given twice; type it once")
    } else {
        format!("{option} and {prior} exclude each other; type one of them")
    })
}

/// Whether rft would run this.
fn is_right(words: &[String]) -> bool {
    let words = std::iter::once("rft").chain(words.iter().map(String::as_str));
    CommandLine::try_parse_from(words).is_ok_and(|line| {
        line.command.is_some() || line.place.target("rft").is_ok_and(|target| target.is_some())
    })
}

/// The line, as a shell takes it.
fn shown(words: &[String]) -> String {
    let mut line = "rft".to_owned();
    for word in words {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@%[],+~\\".contains(&b);
        line.push(' ');
        if !word.is_empty() && word.bytes().all(plain) {
            line.push_str(word);
        } else {
            line.push_str(&format!("'{}'", printable(word)));
        }
    }
    line
}

fn printable(text: &str) -> String {
    escape(text.as_bytes())
}

fn text_of(value: &ContextValue) -> String {
    match value {
        ContextValue::String(text) => text.clone(),
        ContextValue::Strings(texts) => texts.join(", "),
        _ => String::new(),
    }
}
