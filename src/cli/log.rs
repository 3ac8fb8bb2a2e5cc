//! The full log in a file that is rotated by size, and log lines on the terminal.

pub(super) mod record;

use super::output::Output;
use super::output::text::log_line;
use rft::cause;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Size at which a log file is rotated, in bytes.
const MAX_SIZE: u64 = 10 << 20;
/// Number of files: `rft.log`, `rft.log.1`, `rft.log.2`.
const FILES: u32 = 3;
/// Environment variable that filters the log file, in the syntax of tracing's `EnvFilter`.
pub(super) const VARIABLE: &str = "RFT_LOG";
/// quinn warns about single packets, and an attacker can send any number of them.
const FULL_FILTER: &str = "warn,quinn=error,quinn_proto=error,rft=debug";
/// The same for the terminal with a single `-v`.
const TERMINAL_FILTER: &str = "warn,quinn=error,quinn_proto=error,rft=info";

/// Starts the log to `path` and, with `-v`, to the terminal. Without the file `rft` runs too: the
/// problems are returned as texts of warnings.
pub(crate) fn start(path: &Path, verbose: u8, output: &Output) -> Vec<String> {
    let mut warnings = Vec::new();
    let filter = std::env::var(VARIABLE).ok().and_then(|text| {
        let parsed = EnvFilter::try_new(text);
        parsed
            .map_err(|error| {
                warnings.push(format!("{VARIABLE} cannot be parsed and is ignored: {error}"))
            })
            .ok()
    });
    let file = RotatingFile::open(path, MAX_SIZE)
        .map_err(|error| {
            let why = cause::of(&error);
            warnings.push(format!(
                "there is no log: {}: {why}; --log-file names another file",
                path.display()
            ));
        })
        .ok();
    let to_file = file.map(|file| {
        let filter = filter.unwrap_or_else(|| EnvFilter::new(FULL_FILTER));
        tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(Mutex::new(file))
            .with_filter(filter)
    });
    let to_terminal = (verbose > 0).then(|| {
        let filter = if verbose == 1 { TERMINAL_FILTER } else { FULL_FILTER };
        let filter = EnvFilter::new(format!("{filter},{}=off", record::TARGET));
        tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(LogWriter(output.clone()))
            .with_filter(filter)
    });
    // Fails only if the process has a subscriber already, which would be a defect.
    if tracing_subscriber::registry().with(to_file).with(to_terminal).try_init().is_err() {
        warnings.push("there is no log: this process has another one already".to_owned());
    }
    warnings
}

/// The folder of a log file and its rotated ones.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that is renamed to `.1`, and that one to `.2`, when it is full.
struct RotatingFile {
    path: PathBuf,
    /// `None` if the file could not be opened again.
    file: Option<File>,
    size: u64,
    max_size: u64,
}

impl RotatingFile {
    /// Opens the file to append to it, and creates its folder.
    fn open(path: &Path, max_size: u64) -> io::Result<Self> {
        create_folder(folder_of(path))?;
        let (file, size) = open_to_append(path)?;
        Ok(Self { path: path.to_owned(), file: Some(file), size, max_size })
    }

    /// A file that cannot be renamed continues to grow.
    fn rotate(&mut self) -> io::Result<()> {
        // Windows does not rename an open file.
        self.file = None;
        for number in (1..FILES).rev() {
            let from = if number == 1 { self.path.clone() } else { self.numbered(number - 1) };
            drop(fs::rename(from, self.numbered(number)));
        }
        let (file, size) = open_to_append(&self.path)?;
        (self.file, self.size) = (Some(file), size);
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Write for RotatingFile {
    /// Writes one event; the formatter passes each in one call.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = log_line(event);
        if self.file.is_none() || (self.size > 0 && self.size + line.len() as u64 > self.max_size) {
            self.rotate()?;
        }
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        file.write_all(line.as_bytes())?;
        self.size += line.len() as u64;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), File::flush)
    }
}

/// Creates the folder of a log. `.rft` is for this user alone, since a log has names of files.
#[cfg(unix)]
pub(crate) fn create_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if folder.file_name().is_some_and(|name| name == ".rft") {
        if let Some(base) = folder.parent() {
            fs::create_dir_all(base)?;
        }
        return fs::DirBuilder::new().mode(0o700).recursive(true).create(folder);
    }
    fs::create_dir_all(folder)
}

#[cfg(not(unix))]
pub(crate) fn create_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

fn open_to_append(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// Passes log lines to the printing thread.
struct LogWriter(Output);

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter(&self.0)
    }
}

/// Receives one event per call, as the formatter writes it.
struct LineWriter<'a>(&'a Output);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // It has its time already.
        self.0.report(log_line(line).trim_end().to_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_files_are_rotated_and_the_oldest_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("base/.rft/rft.log");
        let mut log = RotatingFile::open(&path, 10).unwrap();
        for line in ["one 1\n", "two 2\n", "three\n", "four\n", "five\n", "six 6\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(path.with_file_name(name)).unwrap();
        assert_eq!(read("rft.log"), "six 6\n");
        assert_eq!(read("rft.log.1"), "four\nfive\n");
        assert_eq!(read("rft.log.2"), "three\n");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 3);
    }

    /// For any text in an event, through the formatter and the writer of the file.
    #[test]
    fn a_log_event_is_one_line_without_control_characters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let file = Mutex::new(RotatingFile::open(&path, 1 << 20).unwrap());
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(file);
        let text = "x\n2026-01-01 INFO forged\r\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}\u{2028}\u{7f}";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!("{text}");
            tracing::warn!(text, "field");
            tracing::warn!(%text, "shown");
            tracing::warn!(error = ?text, "debug");
        });
        let log = fs::read_to_string(&path).unwrap();
        assert_eq!(log.lines().count(), 4, "{log:?}");
        let is_control = |c: &char| rft::is_unprintable(*c) && *c != '\n';
        assert_eq!(log.chars().find(is_control), None, "{log:?}");
    }

    #[test]
    fn a_restart_appends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        for line in ["one\n", "two\n"] {
            RotatingFile::open(&path, 10).unwrap().write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        RotatingFile::open(&path, 10).unwrap().write_all(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_line_longer_than_the_limit_is_written_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        RotatingFile::open(&path, 4).unwrap().write_all(b"long line\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "long line\n");
        assert!(!path.with_file_name("x.log.1").exists());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("base/.rft/rft.log");
        drop(RotatingFile::open(&path, 10).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn a_folder_in_its_place_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(RotatingFile::open(dir.path(), 10).is_err());
    }
}
