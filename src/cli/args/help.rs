//! The texts of `-h` and `--help` beside those of the options.

use rft::config::TempNames;
use std::sync::LazyLock;

pub(super) const USAGE: &str = "rft [OPTIONS] <PEER> <PORT>, or rft [OPTIONS] listen <PORT>
       rft <COMMAND> [OPTIONS]";

pub(super) const EXAMPLES: &str = "\
Two hosts, the same password; one's ./Outgoing lands in the other's ./Incoming:
  alice$ rft bob.example.org 4000          bob$ rft alice.example.org 4000
alice behind NAT; or once, until all is sent:
  alice$ rft --drain bob.example.org 4000  bob$ rft listen 4000";

/// The text below all options: the examples, and the names that `--temp-names` leaves alone.
pub(super) fn after_long_help() -> clap::builder::StyledStr {
    format!("{EXAMPLES}\n\nNames of unfinished files (--temp-names): {}", TempNames::LIST).into()
}

/// The version, the commit that this program is built from, if it is known, and the protocol.
pub(super) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let commit = match env!("RFT_COMMIT") {
        "" => String::new(),
        commit => format!("commit {commit}, "),
    };
    format!("{} ({commit}protocol {})", env!("CARGO_PKG_VERSION"), rft::PROTOCOL)
});

#[cfg(test)]
mod tests {
    use crate::cli::args::CommandLine;
    use clap::CommandFactory;

    #[test]
    fn the_version_has_commit_and_protocol() {
        let version = CommandLine::command().render_version();
        let commit = env!("RFT_COMMIT");
        let commit = if commit.is_empty() { commit } else { &format!("commit {commit}, ") };
        let number = env!("CARGO_PKG_VERSION");
        assert_eq!(version, format!("rft {number} ({commit}protocol rft/1)\n"));
    }

    #[test]
    fn short_help_fits_a_screen_and_long_help_is_complete() {
        let short = CommandLine::command().term_width(100).render_help().to_string();
        assert!(short.lines().count() <= 48, "{short}");
        let long = CommandLine::command().term_width(100).render_long_help().to_string();
        for word in ["listen <PORT>", "bob$ rft listen 4000", "--drain", "alice$ rft bob"] {
            assert!(short.contains(word) && long.contains(word), "{word} is missing:\n{short}");
        }
        for command in CommandLine::command().get_subcommands() {
            assert!(short.contains(&format!("  {}  ", command.get_name())), "{short}");
        }
        for option in CommandLine::command().get_arguments().filter(|arg| !arg.is_hide_set()) {
            if let Some(name) = option.get_long() {
                assert!(long.contains(&format!("--{name}")), "{name} is missing:\n{long}");
            }
        }
    }
}
