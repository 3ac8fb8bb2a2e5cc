//! First words that are no host: commands of other programs, and mistyped ones of this program.

use super::place::Place;
use super::{CommandLine, LISTEN};
use crate::cli::exit::Failure;
use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue};
use rft::escape;

/// Words that other programs send files with.
const SENDING: &[&str] = &["push", "upload", "copy", "cp", "share", "add"];
/// Words that other programs receive files with.
const RECEIVING: &[&str] =
    &["recv", "get", "pull", "download", "fetch", "accept", "serve", "server"];
/// Words that other programs start with.
const STARTING: &[&str] = &["start", "run", "connect", "sync", "peer"];

/// Refuses such a word where no port is beside it; with one it can be a host's name.
///
/// # Errors
/// Exit code 2, with the line to type.
pub(super) fn check(place: &Place) -> Result<(), Failure> {
    let Some((first, after)) = place.without_port() else { return Ok(()) };
    let what = match first {
        _ if SENDING.contains(&first) => {
            "type: rft send FILE... PEER PORT, for one exchange, or rft PEER PORT, and put the files into Outgoing"
                .to_owned()
        }
        _ if RECEIVING.contains(&first) => {
            "type: rft receive PORT, for one exchange, or rft PEER PORT, which receives for as long as it runs"
                .to_owned()
        }
        _ if STARTING.contains(&first) => {
            "PEER and PORT alone start it; type: rft PEER PORT, for example: rft bob 4000".to_owned()
        }
        "help" => match after.first().filter(|word| is_command(word)) {
            Some(word) => format!("it is an option; type: rft {word} --help"),
            None => "it is an option; type: rft --help".to_owned(),
        },
        "version" => "it is an option; type: rft --version".to_owned(),
        _ => return mistyped(first),
    };
    Err(Failure::usage(format!("rft has no command {first}: {what}")))
}

fn mistyped(first: &str) -> Result<(), Failure> {
    let Some(command) = similar(first) else { return Ok(()) };
    let first = escape(first.as_bytes());
    Err(Failure::usage(format!(
        "rft has no command {first}; type: rft {command}, or for a host of this name: rft {first} 4000"
    )))
}

/// Whether the word is a command.
pub(super) fn is_command(word: &str) -> bool {
    CommandLine::command().get_subcommands().any(|command| command.get_name() == word)
}

/// The command that the word resembles most. clap compares, with a parser that has no PEER.
pub(super) fn similar(word: &str) -> Option<String> {
    if word.starts_with('-') || word == LISTEN || is_command(word) {
        return None;
    }
    let full = CommandLine::command();
    let bare = clap::Command::new("rft")
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(full.get_subcommands().cloned());
    let error = bare.try_get_matches_from(["rft", word]).err()?;
    match error.get(ContextKind::SuggestedSubcommand)? {
        ContextValue::Strings(names) => names.last().cloned(),
        ContextValue::String(name) => Some(name.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_commands_are_recognised_and_hosts_are_not() {
        for (word, command) in [
            ("statsu", Some("status")),
            ("stats", Some("status")),
            ("hsitory", Some("history")),
            ("chekc", Some("check")),
            ("pasphrase", Some("passphrase")),
            ("bob", None),
            ("alice.example.org", None),
            ("192.0.2.7", None),
            ("status", None),
            ("listen", None),
        ] {
            assert_eq!(similar(word).as_deref(), command, "{word}");
        }
    }
}
