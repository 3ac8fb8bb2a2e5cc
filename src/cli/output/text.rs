//! Text for people: numbers, times, names, and the styles of lines.

use console::{Style, measure_text_width};
use rft::escape;
use rft::event::{Direction, SessionRole};
use std::time::Duration;

/// Bytes with three digits, in powers of 1000: `999 B`, `1.23 kB`, `45.6 MB`, `789 GB`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1000.0;
    let mut unit = 0;
    // 999.5 would round to 1000 of its unit.
    while value >= 999.5 {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// Bytes per second.
pub(crate) fn rate(per_second: f64) -> String {
    format!("{}/s", bytes(per_second as u64))
}

/// A duration: `0.12 s`, `3.4 s`, `56 s`, `7:08`, `1:02:03`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{:.2} s", time.as_secs_f64()),
        1..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

/// A remaining time, in whole seconds: `8 s`, `3:05`.
pub(crate) fn countdown(time: Duration) -> String {
    if time.as_secs() < 60 { format!("{} s", time.as_secs()) } else { span(time) }
}

/// A number with commas between its thousands: `1,234`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `1,234 files`.
pub(crate) fn files(n: u64) -> String {
    format!("{} file{}", count(n), if n == 1 { "" } else { "s" })
}

/// Text in exactly `width` columns. Spaces follow a short text. Of a long one the middle becomes
/// `…`, since both the start of a path and the end of a name distinguish files.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let have = measure_text_width(text);
    if have <= width {
        return format!("{text}{}", " ".repeat(width - have));
    }
    let Some(room) = width.checked_sub(1) else {
        return String::new();
    };
    let head = take_columns(text.chars(), room / 3);
    let head_width = measure_text_width(&head);
    let tail: String = take_columns(text.chars().rev(), room - head_width).chars().rev().collect();
    let rest = room - head_width - measure_text_width(&tail);
    format!("{head}…{tail}{}", " ".repeat(rest))
}

/// The first characters, up to `room` columns; a wide character needs two.
fn take_columns(chars: impl Iterator<Item = char>, room: usize) -> String {
    let mut taken = String::new();
    let mut used = 0;
    for c in chars {
        used += measure_text_width(c.encode_utf8(&mut [0; 4]));
        if used > room {
            break;
        }
        taken.push(c);
    }
    taken
}

/// The words of a line in lines of at most `width` columns; those after the first begin with
/// `indent` spaces more than the first. A line that fits, and a word that is too long, stay whole.
pub(crate) fn folded(line: &str, width: usize, indent: usize) -> Vec<String> {
    if measure_text_width(line) <= width {
        return vec![line.to_owned()];
    }
    let words = line.trim_start_matches(' ');
    let first = line.len() - words.len();
    let mut lines = vec![" ".repeat(first)];
    let (mut columns, mut is_begin) = (first, true);
    for word in words.split(' ') {
        let word_columns = measure_text_width(word);
        if !is_begin && columns + 1 + word_columns > width {
            columns = first + indent;
            lines.push(" ".repeat(columns));
            is_begin = true;
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(if is_begin { "" } else { " " });
            line.push_str(word);
        }
        columns += usize::from(!is_begin) + word_columns;
        is_begin = false;
    }
    lines
}

/// This peer's role in the handshake, as `--json` and the terminal call it.
pub(crate) fn role_name(role: SessionRole) -> &'static str {
    match role {
        SessionRole::Responder => "responder",
        SessionRole::Initiator => "initiator",
    }
}

/// Up for files that are sent, down for received ones.
pub(crate) fn arrow(direction: Direction) -> &'static str {
    match direction {
        Direction::Send => "↑",
        Direction::Receive => "↓",
    }
}

/// A round trip: `0.4 ms`, `41 ms`.
pub(crate) fn rtt(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    if millis < 9.95 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

/// A share, 0 to 1: `0.5 %`, `12 %`.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// Text that may come from a peer, with its control characters escaped. Names in it are escaped
/// already, so backslashes stay as they are.
pub(crate) fn printable(text: &str) -> String {
    escape(text.as_bytes()).replace("\\\\", "\\")
}

/// A line that is safe for a terminal, whatever its text: control characters are escaped, except
/// for the styles of [`Palette`] if `colours` is set.
pub(crate) fn for_terminal(line: &str, colours: bool) -> String {
    let mut parts = line.split('\u{1b}');
    let mut out = printable(parts.next().unwrap_or_default());
    for part in parts {
        let style = part.strip_prefix('[').and_then(|rest| {
            let (style, _) = rest.split_once('m')?;
            style
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b';')
                .then_some(style.len() + 2)
        });
        let (style, text) = part.split_at(style.filter(|_| colours).unwrap_or(0));
        out.push_str(if style.is_empty() { "\\x1b" } else { "\u{1b}" });
        out.push_str(style);
        out.push_str(&printable(text));
    }
    out
}

/// An event of the log as one line: its text can neither begin another line nor control a terminal
/// that shows the file.
pub(crate) fn log_line(event: &[u8]) -> String {
    let text = String::from_utf8_lossy(event);
    let line = text.strip_suffix('\n').unwrap_or(&text);
    // Most lines have nothing to escape.
    if line.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'\\') {
        return format!("{line}\n");
    }
    let mut line = printable(line);
    line.push('\n');
    line
}

/// The styles of lines. Without `colours` the text stays plain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    pub(crate) colours: bool,
}

impl Palette {
    fn apply(self, style: Style, text: &str) -> String {
        style.force_styling(self.colours).apply_to(text).to_string()
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.apply(Style::new().green(), text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.apply(Style::new().red().bold(), text)
    }

    pub(crate) fn warn(self, text: &str) -> String {
        self.apply(Style::new().yellow(), text)
    }

    pub(crate) fn accent(self, text: &str) -> String {
        self.apply(Style::new().cyan(), text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.apply(Style::new().dim(), text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.apply(Style::new().bold(), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (9_995, "10.0 kB"),
            (99_949, "99.9 kB"),
            (99_950, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (5_000_000, "5.00 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(n), text, "{n}");
        }
    }

    #[test]
    fn times_and_counts() {
        for (millis, text) in [
            (0, "0.00 s"),
            (123, "0.12 s"),
            (3_400, "3.4 s"),
            (59_999, "59 s"),
            (428_000, "7:08"),
            (3_723_000, "1:02:03"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
        for (n, text) in [(0, "0"), (999, "999"), (1234, "1,234"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), text);
        }
        assert_eq!((files(1), files(2)), ("1 file".into(), "2 files".into()));
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(fit("photos/a.jpg", 14), "photos/a.jpg  ");
        assert_eq!(fit("photos/2024/summer/beach.jpg", 16), "photo…/beach.jpg");
        assert_eq!(fit("x", 0), "");
        for width in 0..12 {
            assert_eq!(measure_text_width(&fit("日本語のファイル名.txt", width)), width);
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\\x1b b\u{1b}[2J\u{202e}"), "a\\x1b b\\x1b[2J\\u{202e}");
    }

    #[test]
    fn a_line_keeps_only_its_styles() {
        let line =
            "\u{1b}[31m\u{1b}[1mbad\u{1b}[0m a\\x1b\u{1b}]0;t\u{7}\u{1b}[2J\r\n\u{9b}\u{202e}";
        let rest = "\\x1b]0;t\\x07\\x1b[2J\\x0d\\x0a\\u{9b}\\u{202e}";
        let styled = format!("\u{1b}[31m\u{1b}[1mbad\u{1b}[0m a\\x1b{rest}");
        assert_eq!(for_terminal(line, true), styled);
        let plain = format!("\\x1b[31m\\x1b[1mbad\\x1b[0m a\\x1b{rest}");
        assert_eq!(for_terminal(line, false), plain);
    }

    #[test]
    fn plain_has_no_escapes() {
        let plain = Palette { colours: false };
        assert_eq!(plain.bad("x") + &plain.dim("y"), "xy");
        assert_eq!(Palette { colours: true }.good("x"), "\u{1b}[32mx\u{1b}[0m");
    }

    #[test]
    fn a_line_is_folded_between_words() {
        assert_eq!(folded("short", 10, 2), ["short"]);
        assert_eq!(folded("one two three four", 9, 2), ["one two", "  three", "  four"]);
        assert_eq!(folded("  far  apart words", 10, 2), ["  far ", "    apart", "    words"]);
        assert_eq!(folded("a word_of_twenty_columns", 8, 0), ["a", "word_of_twenty_columns"]);
        let coloured = "\u{1b}[33mno answer\u{1b}[0m here";
        assert_eq!(folded(coloured, 9, 0), ["\u{1b}[33mno answer\u{1b}[0m", "here"]);
    }
}
