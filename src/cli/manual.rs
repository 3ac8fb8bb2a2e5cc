//! The output of `rft completions` and `rft man`.

use super::{args, exit};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::io;

/// The completion script of a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::full_command(), "rft", &mut script);
    script
}

/// The man page, with the exit codes.
///
/// # Errors
/// None in practice: the page is written to memory.
pub(crate) fn man_page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(args::full_command());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    let mut codes = Roff::new();
    codes.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in exit::TABLE {
        codes.control("TP", []);
        codes.text([bold(code.to_string())]);
        codes.text([roman(meaning)]);
    }
    codes.to_writer(&mut page)?;
    man.render_extra_section(&mut page)?;
    man.render_version_section(&mut page)?;
    Ok(page)
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

    #[test]
    fn the_man_page_has_options_and_exit_codes() {
        let page = String::from_utf8(man_page().unwrap()).unwrap();
        for text in ["after\\-send", "EXIT STATUS", "the port is not valid", "listen"] {
            assert!(page.contains(text), "{text} is missing");
        }
    }
}
