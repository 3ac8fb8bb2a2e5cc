//! The output of `rft completions` and `rft man`.

mod sections;

use super::exit::Failure;
use super::{args, exit};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use rft::config::TempNames;
use rft::escape;
use sections::{Entry, Sections};
use std::io;

/// Exit codes of every command that is no peer, in their sense.
const COMMON_CODES: [(u8, &str); 3] = [
    (exit::DONE, "done"),
    (exit::UNKNOWN, "an error without its own code"),
    (exit::ARGUMENTS, "improper arguments"),
];

/// The completion script of a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::full_command(), "rft", &mut script);
    script
}

/// The names of all pages, one a line, each that of its file without `.1`.
pub(crate) fn page_names() -> String {
    let commands = commands();
    let names = commands.iter().map(|command| format!("rft-{}", command.get_name()));
    std::iter::once("rft".to_owned()).chain(names).map(|name| name + "\n").collect()
}

/// The man page of rft, or of a command.
///
/// # Errors
/// There is no such command: exit code 2.
pub(crate) fn man_page(command: Option<&str>) -> Result<Vec<u8>, Failure> {
    let command = command.map(|name| name.strip_prefix("rft-").unwrap_or(name));
    let page = match command.filter(|name| *name != "rft") {
        None => main_page(),
        Some(name) => match commands().iter().find(|command| command.get_name() == name) {
            Some(command) => command_page(command),
            None => {
                return Err(Failure::usage(format!(
                    "rft has no command {}, and no page of it; type: rft man --list, which lists all pages",
                    escape(name.as_bytes())
                )));
            }
        },
    };
    page.map_err(|error| super::unknown("the man page cannot be written", &error))
}

/// All commands, in alphabetical order, and `listen`.
fn commands() -> Vec<clap::Command> {
    let mut full = args::full_command();
    full.build();
    let mut commands: Vec<_> = full.get_subcommands().cloned().collect();
    commands.sort_by(|one, other| one.get_name().cmp(other.get_name()));
    commands
}

fn main_page() -> io::Result<Vec<u8>> {
    let man = Man::new(args::full_command());
    let mut page = start("rft", &man)?;
    man.render_subcommands_section(&mut page)?;
    let mut rest = Roff::new();
    rest.control("SH", ["UNFINISHED FILES"]);
    rest.text([roman(format!("--temp-names leaves these names alone: {}.", TempNames::LIST))]);
    add(&mut rest, &sections::MAIN);
    see_also(&mut rest, commands().iter().map(clap::Command::get_name).collect());
    rest.to_writer(&mut page)?;
    Ok(page)
}

fn command_page(command: &clap::Command) -> io::Result<Vec<u8>> {
    let name = command.get_name();
    let man = Man::new(command.clone());
    let mut page = start(&format!("rft-{name}"), &man)?;
    let mut rest = Roff::new();
    if let Some(sections) = sections::of(name) {
        add(&mut rest, sections);
    }
    see_also(&mut rest, Vec::new());
    rest.to_writer(&mut page)?;
    Ok(page)
}

/// The title and the sections that clap has. A page has no date, which clap's title cannot leave
/// out.
fn start(name: &str, man: &Man) -> io::Result<Vec<u8>> {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = format!(".TH {name} 1 \"\" \"rft {version}\" \"User Commands\"\n").into_bytes();
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    Ok(page)
}

/// The sections that clap does not have.
fn add(page: &mut Roff, sections: &Sections) {
    let mut terms = |heading: &str, entries: &[Entry]| {
        if !entries.is_empty() {
            page.control("SH", [heading]);
        }
        for &(term, meaning) in entries {
            item(page, bold(term), meaning);
        }
    };
    terms("ENVIRONMENT", sections.environment);
    terms("FILES", sections.files);
    page.control("SH", ["EXIT STATUS"]);
    let is_peer = sections.codes.contains(&exit::DONE);
    let common = COMMON_CODES.into_iter().filter(|_| !is_peer);
    let own = exit::TABLE.into_iter().filter(|(code, _)| sections.codes.contains(code));
    for (code, meaning) in common.chain(own) {
        item(page, bold(code.to_string()), meaning);
    }
    if !sections.examples.is_empty() {
        page.control("SH", ["EXAMPLES"]);
    }
    for (i, &(line, purpose)) in sections.examples.iter().enumerate() {
        if i > 0 {
            page.control("PP", []);
        }
        page.text([roman(purpose)]);
        page.control("PP", []);
        page.control("RS", ["4"]);
        page.control("nf", []);
        page.text([bold(line)]);
        page.control("fi", []);
        page.control("RE", []);
    }
}

fn item(page: &mut Roff, term: Inline, meaning: &str) {
    page.control("TP", []);
    page.text([term]);
    page.text([roman(meaning)]);
}

/// The pages of all commands, or from each of them the page of rft.
fn see_also(page: &mut Roff, commands: Vec<&str>) {
    page.control("SH", ["SEE ALSO"]);
    let names: Vec<String> = match &commands[..] {
        [] => vec!["rft".to_owned()],
        _ => commands.iter().map(|name| format!("rft-{name}")).collect(),
    };
    let mut words = Vec::new();
    for (i, name) in names.into_iter().enumerate() {
        words.push(roman(if i == 0 { "" } else { ", " }));
        words.extend([italic(name), roman("(1)")]);
    }
    page.text(words);
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_knows_listen_and_the_options() {
        for &shell in clap_complete::Shell::value_variants() {
            let script = String::from_utf8(completions(shell)).unwrap();
            for word in ["listen", "check", "passphrase", "on-conflict"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    fn page(command: Option<&str>) -> String {
        String::from_utf8(man_page(command).unwrap()).unwrap()
    }

    #[test]
    fn the_main_page_has_everything() {
        let main = page(None);
        assert_eq!(page(Some("rft")), main);
        for text in ["after\\-send", "the port is not valid", "listen", "UNFINISHED FILES"] {
            assert!(main.contains(text), "{text} is missing");
        }
        for (code, meaning) in exit::TABLE {
            let meaning = meaning.replace('-', "\\-").replace('\'', "\\*(Aq");
            assert!(main.contains(&format!("\\fB{code}\\fR\n{meaning}")), "{code}: {meaning}");
        }
    }

    #[test]
    fn every_command_has_a_page_with_examples() {
        for name in page_names().lines() {
            let page = page(Some(name));
            let title = format!(".TH {name} 1 ");
            assert!(page.contains(&title), "{name}: no {title}");
            for heading in ["NAME", "SYNOPSIS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"] {
                let title = |line: &&str| line.trim_matches('"').ends_with(heading);
                let titles = page.lines().filter(|line| line.starts_with(".SH "));
                assert_eq!(titles.filter(title).count(), 1, "{name}: {heading}");
            }
            assert!(
                page.contains(&name.replace('-', " ")) && !page.contains(".SH EXTRA"),
                "{name}"
            );
        }
        for name in ["status", "rft-status"] {
            let status = page(Some(name));
            assert!(status.contains("\\fB18\\fR") && !status.contains("\\fB19\\fR"));
            assert!(status.contains("NO_COLOR") && !status.contains("RFT_PASSWORD"));
        }
        assert_eq!(man_page(Some("nope")).map_err(|failure| failure.code), Err(exit::ARGUMENTS));
    }
}
