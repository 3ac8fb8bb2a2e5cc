//! Pure: the end of what a hook wrote.

/// Bytes that are kept.
pub(super) const MAX_OUTPUT: usize = 4096;

/// The last bytes of a stream.
#[derive(Debug, Default)]
pub(super) struct OutputTail(Vec<u8>);

impl OutputTail {
    /// Takes further bytes of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(MAX_OUTPUT)..];
        let excess = (self.0.len() + kept.len()).saturating_sub(MAX_OUTPUT);
        self.0.drain(..excess);
        self.0.extend_from_slice(kept);
    }

    /// The bytes.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// The last line with text in it, cut to `max` bytes.
pub(super) fn last_line(output: &[u8], max: usize) -> String {
    let mut lines = output.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let line = lines.rfind(|line| !line.is_empty()).unwrap_or_default();
    let mut text = String::from_utf8_lossy(line).into_owned();
    text.truncate(text.floor_char_boundary(max));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept() {
        let mut tail = OutputTail::default();
        for byte in 0..10u8 {
            tail.push(&vec![byte; 1000]);
        }
        let kept = tail.take();
        assert_eq!((kept.len(), kept[0], kept[MAX_OUTPUT - 1]), (MAX_OUTPUT, 5, 9));
        tail.push(&vec![7; MAX_OUTPUT * 3]);
        assert_eq!(tail.take(), vec![7; MAX_OUTPUT]);
        tail.push(b"ab");
        tail.push(b"cd");
        assert_eq!(tail.take(), b"abcd");
    }

    #[test]
    fn the_last_line_has_text() {
        for (output, line) in [
            (&b""[..], ""),
            (b"one\ntwo\r\n\n  \n", "two"),
            (b"no end", "no end"),
            (b"\xff\n", "\u{fffd}"),
        ] {
            assert_eq!(last_line(output, 100), line);
        }
        assert_eq!(last_line("aé".as_bytes(), 2), "a");
    }
}
