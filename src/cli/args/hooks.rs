//! `--on-received` and its companions: the words of a command line, without a shell.

use super::units;
use crate::cli::exit::Failure;
use clap::{Args, ValueHint};
use rft::cause;
use rft::config::{Folders, Hooks};
use rft::escape;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The long name of the option with the command.
pub(super) const OPTION: &str = "on-received";
/// Upper bound of `--hook-retries`.
const MAX_RETRIES: usize = 100;
/// Upper bound of `--hook-parallel`.
const MAX_PARALLEL: usize = 64;
/// Bounds of `--hook-timeout`.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
const MAX_TIMEOUT: Duration = Duration::from_secs(86_400);

/// The options about a program for received files.
#[derive(Debug, Args)]
pub(super) struct HookArgs {
    /// Run this program, with the path after its own words, for each received file
    #[arg(
        long,
        value_name = "CMD",
        value_hint = ValueHint::CommandString,
        help_heading = "Received files",
        hide_short_help = true
    )]
    on_received: Option<String>,
    /// A received file appears only when the program has accepted it with exit code 0
    #[arg(long, help_heading = "Received files", hide_short_help = true)]
    quarantine: bool,
    /// Time that the program may take
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "60s",
        allow_negative_numbers = true,
        help_heading = "Received files",
        hide_short_help = true
    )]
    hook_timeout: String,
    /// Further attempts when the program fails
    #[arg(
        long,
        value_name = "N",
        default_value = "2",
        allow_negative_numbers = true,
        help_heading = "Received files",
        hide_short_help = true
    )]
    hook_retries: String,
    /// Number of programs that run at once
    #[arg(
        long,
        value_name = "N",
        default_value = "2",
        allow_negative_numbers = true,
        help_heading = "Received files",
        hide_short_help = true
    )]
    hook_parallel: String,
}

impl HookArgs {
    /// The program for received files.
    ///
    /// # Errors
    /// Exit codes 2 and 14.
    pub(super) fn hooks(&self, folders: &Folders) -> Result<Option<Hooks>, Failure> {
        let timeout = units::duration("--hook-timeout", &self.hook_timeout)?;
        if !(MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout) {
            return Err(Failure::new(
                crate::cli::exit::NUMBER,
                "--hook-timeout must be between 1ms and 24h",
            ));
        }
        let retries = units::count("--hook-retries", &self.hook_retries, 0, MAX_RETRIES)?;
        let parallel = units::count("--hook-parallel", &self.hook_parallel, 1, MAX_PARALLEL)?;
        let Some(line) = &self.on_received else {
            return match self.quarantine {
                false => Ok(None),
                true => Err(Failure::usage(
                    "--quarantine needs the program that checks the files; add --on-received CMD",
                )),
            };
        };
        let words = split(line).map_err(|why| {
            Failure::usage(format!("--on-received needs {why}; got: {}", shown(line)))
        })?;
        let mut words = words.into_iter();
        let program = program_of(&words.next().unwrap_or_default(), folders)?;
        let arguments = words.map(OsString::from).collect();
        let retries = u32::try_from(retries).unwrap_or(u32::MAX);
        let quarantine = self.quarantine;
        Ok(Some(Hooks { program, arguments, timeout, retries, parallel, quarantine }))
    }
}

fn shown(text: &str) -> String {
    escape(text.as_bytes())
}

/// The words of a line: separated by spaces, and literal within single or double quotes. Nothing is
/// expanded, and a backslash is an ordinary character, as in a path of Windows.
///
/// # Errors
/// What the line needs to have.
pub(super) fn split(line: &str) -> Result<Vec<String>, &'static str> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    match (quote, words.first()) {
        (Some(_), _) => Err("a quote at the end of the quoted part"),
        (None, None) => Err("a program"),
        (None, Some(program)) if program.is_empty() => Err("a program"),
        _ if line.contains('\0') => Err("a line without NUL"),
        _ => Ok(words),
    }
}

/// The line that [`split`] takes apart into these words.
pub(super) fn join(words: &[String]) -> String {
    let quoted = |word: &String| {
        let is_plain = |c: char| !c.is_whitespace() && c != '\'' && c != '"';
        match word.split_once('\'') {
            _ if !word.is_empty() && word.chars().all(is_plain) => word.clone(),
            None => format!("'{word}'"),
            Some(_) => word
                .split_inclusive('\'')
                .map(|part| match part.strip_suffix('\'') {
                    Some(before) => format!("'{before}'\"'\""),
                    None => format!("'{part}'"),
                })
                .collect(),
        }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Whether a program is given by its path, and not by a name to look for in `PATH`.
pub(super) fn is_path(program: &str) -> bool {
    program.contains(std::path::is_separator)
}

/// The absolute path of the program: one that exists, and that the peer cannot have sent.
fn program_of(program: &str, folders: &Folders) -> Result<PathBuf, Failure> {
    let unusable = |why: &str| {
        Failure::usage(format!("the program {} of --on-received {why}", shown(program)))
    };
    let path = if is_path(program) {
        std::path::absolute(program).map_err(|error| unusable(&cause::of(&error)))?
    } else {
        in_path(program).ok_or_else(|| unusable("is not in PATH; give its path"))?
    };
    match path.metadata() {
        Err(error) => return Err(unusable(&format!("cannot be used: {}", cause::of(&error)))),
        Ok(meta) if !meta.is_file() => return Err(unusable("is not a file")),
        Ok(meta) if !is_executable(&meta) => {
            return Err(unusable("is not executable; chmod +x makes it so"));
        }
        Ok(_) => {}
    }
    let whole = |path: &Path| path.canonicalize().ok();
    if let (Some(program), Some(incoming)) = (whole(&path), whole(&folders.incoming))
        && program.starts_with(incoming)
    {
        return Err(unusable("is in Incoming, where the peer writes; move it elsewhere"));
    }
    Ok(path)
}

fn in_path(program: &str) -> Option<PathBuf> {
    let suffixes: &[&str] = if cfg!(windows) { &["", ".exe", ".bat", ".cmd"] } else { &[""] };
    let folders = env::var_os("PATH")?;
    let named = |folder: PathBuf| {
        suffixes.iter().map(move |suffix| folder.join(format!("{program}{suffix}")))
    };
    // A relative folder would depend on where rft was started.
    let folders = env::split_paths(&folders).filter(|folder| folder.is_absolute());
    folders
        .flat_map(named)
        .find(|path| path.metadata().is_ok_and(|meta| meta.is_file() && is_executable(&meta)))
}

#[cfg(unix)]
fn is_executable(meta: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    meta.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &std::fs::Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_without_a_shell() {
        for (line, words) in [
            ("scan", &["scan"][..]),
            ("  /bin/scan   --fast\t-x ", &["/bin/scan", "--fast", "-x"]),
            ("'/my programs/scan' \"a 'b'\" ''", &["/my programs/scan", "a 'b'", ""]),
            (r"C:\Tools\scan.exe /a", &[r"C:\Tools\scan.exe", "/a"]),
            ("sh -c 'echo $1' a\"b c\"d", &["sh", "-c", "echo $1", "ab cd"]),
            ("x $(y) ~ * ; |", &["x", "$(y)", "~", "*", ";", "|"]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        for line in ["", "   ", "'a", "a \"b", "'' b", "a\0"] {
            assert!(split(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn joined_words_are_split_into_the_same() {
        for words in [
            &["a"][..],
            &["/my programs/scan", "", "it's", "'", "''x''", "a\"b", "'\"'", "\n", "-x"],
        ] {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(split(&join(&words)).unwrap(), words, "{}", join(&words));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_program_exists_and_is_not_the_peers() {
        let base = tempfile::tempdir().unwrap();
        let folders = Folders::in_dir(base.path());
        std::fs::create_dir(&folders.incoming).unwrap();
        let path = |name: &str| base.path().join(name).to_str().unwrap().to_owned();
        assert!(program_of("sh", &folders).unwrap().is_absolute());
        assert_eq!(program_of("/bin/sh", &folders).unwrap(), Path::new("/bin/sh"));
        std::fs::write(path("plain"), "").unwrap();
        std::fs::copy("/bin/sh", path("Incoming/sh")).unwrap();
        for (program, why) in [
            ("no-such-program", "is not in PATH"),
            ("/no/such", "cannot be used: there is no such file"),
            (&path("plain"), "chmod +x"),
            (&path("Incoming"), "is not a file"),
            (&path("Incoming/sh"), "is in Incoming"),
        ] {
            let failure = program_of(program, &folders).unwrap_err();
            assert!(failure.code == 2 && failure.reason.contains(why), "{}", failure.reason);
        }
    }
}
