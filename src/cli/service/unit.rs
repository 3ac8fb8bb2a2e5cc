//! The text of a unit: the template that packages have too, with the values of one service.

use super::scope::Scope;
use crate::cli::exit::Failure;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// For the system.
const SYSTEM: &str = include_str!("../../../packaging/systemd/rft@.service");
/// For a user.
const USER: &str = include_str!("../../../packaging/systemd/user/rft@.service");
/// The first line of a unit that rft wrote.
pub(super) const MARK: &str =
    "# Written by `rft service install`; `rft service remove` removes it.";
/// Folders that `ProtectHome=yes` hides.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// A port below this one needs a capability.
const FREE_PORTS: u16 = 1024;

/// The values of one service.
pub(super) struct Values<'a> {
    pub(super) scope: &'a Scope,
    pub(super) program: &'a Path,
    /// The words after the program.
    pub(super) words: &'a [OsString],
    /// `None` if the configuration file names it.
    pub(super) password: Option<&'a Path>,
    /// The folders that the service writes to.
    pub(super) folders: &'a [PathBuf],
    pub(super) user: &'a str,
    pub(super) port: u16,
}

/// The text.
///
/// # Errors
/// A path or a word has bytes that a unit cannot have: exit code 2.
pub(super) fn text(values: &Values<'_>) -> Result<String, Failure> {
    let template = match values.scope {
        Scope::System => SYSTEM,
        Scope::User { .. } => USER,
    };
    // The comment at the beginning describes the template.
    let body = template.split_once("\n\n").map_or(template, |(_, body)| body);
    let mut text = format!("{MARK}\n\n");
    for line in body.lines() {
        for line in lines_for(line, values)? {
            text.push_str(&line);
            text.push('\n');
        }
    }
    Ok(text)
}

/// What becomes of a line of the template.
fn lines_for(line: &str, values: &Values<'_>) -> Result<Vec<String>, Failure> {
    let (key, _) = line.split_once('=').unwrap_or((line, ""));
    let with = |value: String| Ok(vec![format!("{key}={value}")]);
    let paths = || {
        let quoted = values.folders.iter().map(|path| quoted(path.as_os_str(), WordPlace::Path));
        quoted.collect::<Result<Vec<_>, _>>().map(|paths| paths.join(" "))
    };
    match key {
        "EnvironmentFile" => Ok(Vec::new()),
        "LoadCredential" => match values.password {
            None => Ok(Vec::new()),
            // The rest of the line is the path, without quotes.
            Some(path) => with(format!("password:{}", escaped(path.as_os_str(), WordPlace::Path)?)),
        },
        "ExecStart" => {
            let mut words = vec![quoted(values.program.as_os_str(), WordPlace::Path)?];
            for word in values.words {
                words.push(quoted(word, WordPlace::Word)?);
            }
            with(words.join(" "))
        }
        "User" => with(quoted(OsStr::new(values.user), WordPlace::Path)?),
        "RequiresMountsFor" | "ReadWritePaths" => with(paths()?),
        // The folders are mounted writable on top of it.
        "ProtectHome" if values.folders.iter().any(|path| is_in_a_home(path)) => {
            with("read-only".to_owned())
        }
        "CapabilityBoundingSet" if values.port < FREE_PORTS => Ok(vec![
            "# For a port below 1024.".to_owned(),
            "CapabilityBoundingSet=CAP_NET_BIND_SERVICE".to_owned(),
            "AmbientCapabilities=CAP_NET_BIND_SERVICE".to_owned(),
        ]),
        _ => Ok(vec![line.to_owned()]),
    }
}

/// Whether a path is one of the folders that a service of the system does not see.
pub(super) fn is_in_a_home(path: &Path) -> bool {
    HOMES.iter().any(|home| path.starts_with(home))
}

/// Where a word stands; a variable is replaced in the words of a program only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WordPlace {
    Path,
    Word,
}

/// A word in quotes, if it needs them.
fn quoted(word: &OsStr, place: WordPlace) -> Result<String, Failure> {
    let escaped = escaped(word, place)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@+,%".contains(&b);
    if !escaped.is_empty() && escaped.bytes().all(plain) {
        return Ok(escaped);
    }
    Ok(format!("\"{}\"", escaped.replace('\\', r"\\").replace('"', "\\\"")))
}

fn escaped(word: &OsStr, place: WordPlace) -> Result<String, Failure> {
    let text = word.to_str().filter(|text| !text.chars().any(char::is_control));
    let Some(text) = text else {
        return Err(Failure::usage(format!(
            "{} cannot be in a unit of systemd, which is UTF-8 text in lines; rename it",
            rft::escape(word.as_encoded_bytes())
        )));
    };
    let text = text.replace('%', "%%");
    Ok(if place == WordPlace::Word { text.replace('$', "$$") } else { text })
}

/// The words of the peer in a unit of this name, also in one from the template: those after the
/// program that are no variable.
pub(super) fn words_in(unit: &str, name: &str, home: &Path) -> Vec<OsString> {
    let Some(line) = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")) else {
        return Vec::new();
    };
    let (home, mut words) = (home.to_string_lossy(), Vec::new());
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = next_word(rest);
        rest = after.trim_start();
        if word.starts_with('$') && !word.starts_with("$$") {
            continue;
        }
        words.push(expanded(&word.replace("$$", "$"), name, &home).into());
    }
    words.drain(..words.len().min(1));
    words
}

/// The password file in a unit that rft wrote.
pub(super) fn password_in(unit: &str) -> Option<PathBuf> {
    let path = unit.lines().find_map(|line| line.strip_prefix("LoadCredential=password:"))?;
    Some(path.replace("%%", "%").into())
}

/// The word with the values of the specifiers that the templates and [`text`] use.
fn expanded(word: &str, name: &str, home: &str) -> String {
    let mut pieces = word.split('%');
    let mut whole = pieces.next().unwrap_or_default().to_owned();
    while let Some(piece) = pieces.next() {
        let (value, rest) = match piece.chars().next() {
            Some('i') => (name, &piece[1..]),
            Some('h') => (home, &piece[1..]),
            // Of two percent signs the second one ended this piece.
            None => ("%", pieces.next().unwrap_or_default()),
            Some(_) => ("%", piece),
        };
        whole.push_str(value);
        whole.push_str(rest);
    }
    whole
}

/// The first word, without its quotes, and the rest.
fn next_word(text: &str) -> (String, &str) {
    let (mut word, mut quoted, mut escape) = (String::new(), false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if std::mem::take(&mut escape) => word.push(c),
            '\\' => escape = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => return (word, &text[at..]),
            _ => word.push(c),
        }
    }
    (word, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(scope: &Scope, words: &[&str], folders: &[&str], port: u16) -> String {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let folders: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
        text(&Values {
            scope,
            program: Path::new("/opt/r f/rft"),
            words: &words,
            password: Some(Path::new("/etc/rft/50 %.password")),
            folders: &folders,
            user: "rft",
            port,
        })
        .unwrap()
    }

    fn user() -> Scope {
        Scope::User { home: "/home/u".into(), config: "/home/u/.config".into() }
    }

    #[test]
    fn a_unit_is_the_template_with_its_values() {
        let text = unit(
            &Scope::System,
            &["--dir", "/srv/rft/bob", "bob", "4000"],
            &["/srv/rft/bob"],
            4000,
        );
        for line in [
            MARK,
            "User=rft",
            "LoadCredential=password:/etc/rft/50 %%.password",
            "ExecStart=\"/opt/r f/rft\" --dir /srv/rft/bob bob 4000",
            "ReadWritePaths=/srv/rft/bob",
            "RequiresMountsFor=/srv/rft/bob",
            "ProtectHome=yes",
            "CapabilityBoundingSet=",
            "Type=notify",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is missing:\n{text}");
        }
        assert_eq!(password_in(&text).unwrap(), Path::new("/etc/rft/50 %.password"));
        assert!(!text.contains("EnvironmentFile") && !text.contains("RFT_ARGS"), "{text}");
        // All the other lines are those of the template.
        let changed = ["LoadCredential", "ExecStart", "ReadWritePaths", "RequiresMountsFor"];
        let rest = |text: &str| -> Vec<String> {
            let (_, body) = text.split_once("\n\n").unwrap();
            let kept = |line: &&str| {
                let key = line.split('=').next().unwrap_or_default();
                !changed.contains(&key) && key != "EnvironmentFile"
            };
            body.lines().filter(kept).map(str::to_owned).collect()
        };
        assert_eq!(rest(&text), rest(SYSTEM));
    }

    #[test]
    fn a_home_a_low_port_and_a_user_have_their_lines() {
        let text = unit(&Scope::System, &["bob", "53"], &["/home/a/rft", "/data/in"], 53);
        assert!(text.contains("\nProtectHome=read-only\n"), "{text}");
        assert!(text.contains("\nReadWritePaths=/home/a/rft /data/in\n"), "{text}");
        assert!(text.contains("\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n"), "{text}");
        let text = unit(&user(), &["bob", "4000"], &["/home/u/rft"], 4000);
        assert!(!text.contains("ReadWritePaths") && !text.contains("User="), "{text}");
        assert!(text.contains("WantedBy=default.target"), "{text}");
    }

    #[test]
    fn words_are_read_back_as_they_were_written() {
        let words = [
            "--dir",
            "/a b/$x/100%/\"q\"/back\\slash/%i",
            "--limit-rate=2M",
            "fe80::1%eth0",
            "4000",
        ];
        let text = unit(&Scope::System, &words, &["/a"], 4000);
        assert_eq!(words_in(&text, "bob", Path::new("/home/u")), words);
        assert_eq!(words_in(SYSTEM, "bob", Path::new("/")), ["--dir", "/srv/rft/bob"]);
        assert_eq!(words_in(USER, "bob", Path::new("/home/u")), ["--dir", "/home/u/rft/bob"]);
        assert!(words_in("[Service]\n", "bob", Path::new("/")).is_empty());
    }

    #[test]
    fn a_line_break_never_gets_into_a_unit() {
        let words = [OsString::from("--dir"), OsString::from("/a\nExecStartPost=/bin/sh")];
        let refused = text(&Values {
            scope: &Scope::System,
            program: Path::new("/usr/bin/rft"),
            words: &words,
            password: None,
            folders: &[],
            user: "rft",
            port: 4000,
        });
        assert_eq!(refused.unwrap_err().code, 2);
    }
}
