//! The password: from a file, from the environment, or typed twice. Never from the command line.

use super::exit::Failure;
use super::prompt::{Prompt, PromptError};
use rft::Password;
use rft::cause;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// Environment variable with the password.
pub(super) const VARIABLE: &str = "RFT_PASSWORD";
/// The folder of the credentials that a service manager hands over (systemd.exec(5)).
pub(super) const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// The name of the password in it.
pub(super) const CREDENTIAL: &str = "password";
/// Bytes read from a password file.
const MAX_FILE_SIZE: u64 = 64 * 1024;
/// A password with fewer characters gets a warning.
const MIN_CHARS: usize = 8;
/// How often the user may type two different passwords.
const MAX_TRIES: u32 = 3;

/// The questions at the terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Questions {
    first: &'static str,
    /// For a password that a mistake would change on one host only.
    again: Option<&'static str>,
}

/// For a password that both users choose.
pub(crate) const TWICE: Questions =
    Questions { first: "Password (the same on both hosts): ", again: Some("Once more: ") };
/// For a password that the other host has printed.
pub(crate) const ONCE: Questions =
    Questions { first: "Password (the sender has it): ", again: None };

/// The file that means the standard input.
const STDIN: &str = "-";

/// Reads the password from the first source that exists: `file`, the credentials of the service
/// manager, the environment, the terminal. The file `-` is the standard input, or the prompt if
/// that is a terminal.
/// Calls `warn` with the text of each warning.
///
/// # Errors
/// Exit code 2, or that of a signal at the prompt.
pub(crate) fn obtain(
    file: Option<&Path>,
    questions: Questions,
    warn: &mut dyn FnMut(String),
) -> Result<Password, Failure> {
    let credential = credential();
    let file = file.or(credential.as_deref());
    let dash = file.is_some_and(|path| path == Path::new(STDIN));
    let prompts = (dash || file.is_none()) && io::stdin().is_terminal();
    let (typed, source) = if dash && !prompts {
        let why = |why: &dyn std::fmt::Display| {
            Failure::usage(format!("the password cannot be read from the standard input: {why}"))
        };
        let input = stdin().map_err(|error| why(&cause::of(&error)))?;
        (from_line(input, &why)?, "the first line of the standard input".to_owned())
    } else if let Some(path) = file.filter(|_| !dash) {
        (from_file(path, warn)?, format!("the first line of {}", path.display()))
    } else if let Some(value) = std::env::var_os(VARIABLE).filter(|_| !dash) {
        (from_environment(value)?, VARIABLE.to_owned())
    } else if prompts {
        let mut prompt = Prompt::open().map_err(PromptError::Terminal).map_err(prompt_failed)?;
        (from_prompt(questions, &mut |text| prompt.ask(text))?, "the password".to_owned())
    } else {
        return Err(Failure::usage(format!(
            "there is no password, and no terminal to ask for it; give --password-file FILE or set {VARIABLE}"
        )));
    };
    let password = Password::new(&typed).map_err(|_| {
        Failure::usage(format!("{source} is empty; `rft passphrase` makes a good password"))
    })?;
    if password.chars() < MIN_CHARS {
        warn(
            "the password is short and can be guessed; `rft passphrase` makes a good one"
                .to_owned(),
        );
    }
    Ok(password)
}

/// The password among the credentials, if there is one.
fn credential() -> Option<PathBuf> {
    let file = Path::new(&std::env::var_os(CREDENTIALS)?).join(CREDENTIAL);
    file.is_file().then_some(file)
}

/// Checks the password file of a service, which no other user may read. Returns the texts of
/// warnings.
///
/// # Errors
/// Exit code 2.
pub(super) fn check_file(path: &Path) -> Result<Vec<String>, Failure> {
    if File::open(path).is_ok_and(|file| others_can_read(&file)) {
        let path = path.display();
        return Err(Failure::usage(format!(
            "other users of this host can read the password file {path}; type: chmod 600 {path}"
        )));
    }
    let mut warnings = Vec::new();
    obtain(Some(path), TWICE, &mut |warning| warnings.push(warning))?;
    Ok(warnings)
}

/// A password that this program has made.
///
/// # Errors
/// Exit code 2 if it is empty.
pub(crate) fn made(phrase: &str) -> Result<Password, Failure> {
    Password::new(phrase).map_err(|_| Failure::usage("the password is empty"))
}

fn from_file(path: &Path, warn: &mut dyn FnMut(String)) -> Result<Zeroizing<String>, Failure> {
    let unusable = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("the password file {} cannot be used: {why}", path.display()))
    };
    let file = File::open(path).map_err(|error| unusable(&cause::of(&error)))?;
    // A credential is in a folder of its own, and its access list looks like rights of the group.
    let private = std::env::var_os(CREDENTIALS).is_some_and(|folder| path.starts_with(folder));
    if !private && others_can_read(&file) {
        warn(format!(
            "other users of this host can read the password file {path}; change that with chmod 600 {path}",
            path = path.display()
        ));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_SIZE as usize));
    file.take(MAX_FILE_SIZE)
        .read_to_end(&mut bytes)
        .map_err(|error| unusable(&cause::of(&error)))?;
    first_line(&bytes).map_err(|why| unusable(&why))
}

/// The standard input without the buffer of [`io::stdin`], which would keep the password.
fn stdin() -> io::Result<File> {
    #[cfg(unix)]
    return std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned().map(File::from);
    #[cfg(windows)]
    return std::os::windows::io::AsHandle::as_handle(&io::stdin())
        .try_clone_to_owned()
        .map(File::from);
}

/// Reads no further than the first line, byte by byte: the writer may keep the pipe open, and a
/// program may read the rest.
fn from_line(
    mut input: impl Read,
    unusable: &dyn Fn(&dyn std::fmt::Display) -> Failure,
) -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_FILE_SIZE as usize));
    let mut byte = [0];
    while line.len() < MAX_FILE_SIZE as usize && byte[0] != b'\n' {
        match input.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unusable(&cause::of(&error))),
        }
    }
    byte.zeroize();
    first_line(&line).map_err(|why| unusable(&why))
}

/// The first line without its end, and without the byte order mark of Windows editors.
fn first_line(bytes: &[u8]) -> Result<Zeroizing<String>, &'static str> {
    const NOT_UTF8: &str = "it is not UTF-8 text; save it as UTF-8";
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = std::str::from_utf8(line).map_err(|_| NOT_UTF8)?;
    // UTF-16 text in ASCII letters is valid UTF-8 with a NUL after each letter.
    if line.contains('\0') { Err(NOT_UTF8) } else { Ok(Zeroizing::new(line.to_owned())) }
}

#[cfg(unix)]
fn others_can_read(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o044 != 0)
}

/// On Windows a file has the access list of its folder, and no mode.
#[cfg(not(unix))]
fn others_can_read(_: &File) -> bool {
    false
}

fn from_environment(value: OsString) -> Result<Zeroizing<String>, Failure> {
    value.into_string().map(Zeroizing::new).map_err(|value| {
        value.into_encoded_bytes().zeroize();
        Failure::usage(format!("{VARIABLE} is not UTF-8 text"))
    })
}

/// Asks until the user types the same password twice, or a password that is known at the other
/// host once.
fn from_prompt(
    questions: Questions,
    ask: &mut dyn FnMut(&str) -> Result<Zeroizing<String>, PromptError>,
) -> Result<Zeroizing<String>, Failure> {
    let mut prompt = questions.first;
    for _ in 0..MAX_TRIES {
        let first = ask(prompt).map_err(prompt_failed)?;
        if first.is_empty() {
            prompt = "An empty password protects nothing. Password: ";
            continue;
        }
        let Some(again) = questions.again else { return Ok(first) };
        let second = ask(again).map_err(prompt_failed)?;
        if first == second {
            return Ok(first);
        }
        prompt = "These two differ. Password: ";
    }
    Err(Failure::usage(format!(
        "in {MAX_TRIES} tries no password was typed twice alike; start rft again"
    )))
}

fn prompt_failed(error: PromptError) -> Failure {
    match error {
        PromptError::Stopped(code) => Failure::new(code, "stopped at the password prompt"),
        PromptError::Terminal(error) => Failure::usage(format!(
            "the password cannot be read from the terminal: {}; give --password-file FILE or set {VARIABLE}",
            cause::of(&error)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    fn code(result: Result<Password, Failure>) -> Option<u8> {
        result.err().map(|failure| failure.code)
    }

    #[test]
    fn the_first_line_is_the_password() {
        for content in
            ["secret one", "secret one\n", "secret one\r\nmore\n", "\u{feff}secret one\n\n"]
        {
            assert_eq!(*first_line(content.as_bytes()).unwrap(), "secret one", "{content:?}");
        }
        assert_eq!(*first_line(b" spaces stay \n").unwrap(), " spaces stay ");
        assert!(first_line(b"\xff\xfes\0e\0").is_err() && first_line(b"s\0e\0").is_err());
    }

    #[test]
    fn empty_and_missing_files_are_refused() {
        for content in ["", "\n", "\r\nsecond line"] {
            assert_eq!(
                code(obtain(Some(file(content.as_bytes()).path()), TWICE, &mut |_| {})),
                Some(2),
                "{content:?}"
            );
        }
        assert_eq!(code(obtain(Some(Path::new("/no/such/file")), TWICE, &mut |_| {})), Some(2));
    }

    #[test]
    fn the_standard_input_is_read_to_the_end_of_the_line_only() {
        let why = |why: &dyn std::fmt::Display| Failure::usage(why.to_string());
        // A read after the line would fail.
        let mut pipe = b"secret one\r\n".chain(Broken);
        assert_eq!(*from_line(&mut pipe, &why).unwrap(), "secret one");
        assert_eq!(*from_line(&b"without an end"[..], &why).unwrap(), "without an end");
        assert!(from_line(&b"\xff\n"[..], &why).is_err() && from_line(Broken, &why).is_err());
        let long = vec![b'x'; 2 * MAX_FILE_SIZE as usize];
        assert_eq!(from_line(&long[..], &why).unwrap().len(), MAX_FILE_SIZE as usize);
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }

    #[test]
    fn short_passwords_get_a_warning() {
        for (content, warned) in [("1234567", true), ("12345678", false)] {
            let mut warnings = Vec::new();
            obtain(Some(file(content.as_bytes()).path()), TWICE, &mut |warning| {
                warnings.push(warning)
            })
            .unwrap();
            assert_eq!(
                warnings.iter().any(|text| text.contains("rft passphrase")),
                warned,
                "{content}"
            );
            assert!(warnings.iter().all(|text| !text.contains(content)));
        }
    }

    #[cfg(unix)]
    #[test]
    fn files_that_others_can_read_get_a_warning() {
        use std::os::unix::fs::PermissionsExt;
        let file = file(b"long enough\n");
        for (mode, warned) in [(0o600, false), (0o640, true), (0o604, true), (0o622, false)] {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let mut warnings = Vec::new();
            obtain(Some(file.path()), TWICE, &mut |warning| warnings.push(warning)).unwrap();
            assert_eq!(!warnings.is_empty(), warned, "{mode:o}");
        }
    }

    #[test]
    fn the_environment_must_be_text() {
        assert_eq!(*from_environment("täglich".into()).unwrap(), "täglich");
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStringExt;
            assert!(from_environment(OsString::from_vec(vec![0xff])).is_err());
        }
    }

    /// The result when the user types these answers, in this order.
    fn type_in(answers: &[&str]) -> Result<String, u8> {
        let mut answers = answers.iter();
        let mut ask = |_: &str| match answers.next() {
            Some(&"^C") => Err(PromptError::Stopped(130)),
            Some(answer) => Ok(Zeroizing::new((*answer).to_owned())),
            None => Err(PromptError::Terminal(io::ErrorKind::UnexpectedEof.into())),
        };
        from_prompt(TWICE, &mut ask).map(|typed| typed.to_string()).map_err(|failure| failure.code)
    }

    #[test]
    fn the_prompt_asks_until_both_answers_are_equal() {
        assert_eq!(type_in(&["one", "one"]), Ok("one".into()));
        assert_eq!(type_in(&["one", "two", "", "three", "three"]), Ok("three".into()));
        assert_eq!(type_in(&["a", "b", "a", "b", "a", "b", "a", "a"]), Err(2));
        assert_eq!(type_in(&["a", "^C"]), Err(130));
        assert_eq!(type_in(&[]), Err(2));
    }
}
