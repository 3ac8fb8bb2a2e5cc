//! Pure: the frames between rft and its helper: a length of four bytes, then the fields.

use super::environment::{HookFacts, bytes_of, os_string};
use super::output::MAX_OUTPUT;
use crate::event::HookEnd;
use crate::proto::codec::{Malformed, Reader, put_bytes};
use crate::proto::message::{Timestamp, TransferId};
use crate::proto::name::{MAX_NAME, Name};
use bytes::BufMut;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

/// Maximum length of a frame after its length, in bytes.
const MAX_FRAME: usize = 32 * 1024;
/// Maximum length of an absolute path.
const MAX_PATH: usize = 16 * 1024;
/// Maximum length of a peer's name, and of the reason why a program could not be started.
const MAX_TEXT: usize = 1024;

/// A request to run the hook once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    /// Repeated in the report.
    pub(super) number: u64,
    pub(super) facts: HookFacts,
}

/// The end of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HookReport {
    pub(super) number: u64,
    pub(crate) end: HookEnd,
    pub(crate) elapsed: Duration,
    /// The end of what it wrote.
    pub(crate) output: Vec<u8>,
}

/// Reads a frame; `None` at the end of the stream.
///
/// # Errors
/// The error of the stream, or [`io::ErrorKind::InvalidData`] if the frame is too long.
pub(super) fn read_frame(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(Some(frame))
}

/// The fields with their length in front.
fn framed(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = vec![0; 4];
    put(&mut frame);
    // The fields are bounded, far below 4 GiB.
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

impl Job {
    /// The frame; `None` if the path is longer than any system allows, or not Unicode on Windows.
    pub(super) fn to_frame(&self) -> Option<Vec<u8>> {
        let facts = &self.facts;
        let file = bytes_of(facts.file.as_os_str())?;
        (file.len() <= MAX_PATH).then(|| {
            framed(|out| {
                out.put_u64(self.number);
                out.put_u32(facts.attempt);
                out.put_u8(u8::from(facts.quarantine));
                out.put_u64(facts.size);
                out.put_slice(&facts.hash);
                out.put_slice(&facts.transfer.0);
                out.put_i64(facts.modified.seconds);
                out.put_u32(facts.modified.nanos);
                put_bytes(out, facts.peer.as_bytes(), MAX_TEXT);
                put_bytes(out, facts.name.as_bytes(), MAX_NAME);
                put_bytes(out, file, MAX_PATH);
            })
        })
    }

    /// # Errors
    /// [`Malformed`] for anything that [`Job::to_frame`] does not write.
    pub(super) fn parse(frame: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(frame);
        let (number, attempt, quarantine) = (r.u64()?, r.u32()?, r.bool()?);
        let (size, hash, transfer) = (r.u64()?, r.array()?, TransferId(r.array()?));
        let modified = Timestamp { seconds: r.i64()?, nanos: r.u32()? };
        let peer = text(&mut r)?;
        let name = Name::parse(r.bytes(MAX_NAME)?).map_err(|_| Malformed)?;
        let file = PathBuf::from(os_string(r.bytes(MAX_PATH)?).ok_or(Malformed)?);
        r.end()?;
        let facts =
            HookFacts { file, name, size, hash, peer, transfer, modified, attempt, quarantine };
        Ok(Self { number, facts })
    }
}

impl HookReport {
    pub(super) fn to_frame(&self) -> Vec<u8> {
        framed(|out| {
            out.put_u64(self.number);
            out.put_u64(u64::try_from(self.elapsed.as_micros()).unwrap_or(u64::MAX));
            let (kind, number, reason) = match &self.end {
                HookEnd::Exit(code) => (0, *code, ""),
                HookEnd::Signal(signal) => (1, *signal, ""),
                HookEnd::TimedOut => (2, 0, ""),
                HookEnd::NotStarted(reason) => (3, 0, reason.as_str()),
            };
            out.put_u8(kind);
            out.put_i32(number);
            put_bytes(out, reason.as_bytes(), MAX_TEXT);
            put_bytes(out, &self.output, MAX_OUTPUT);
        })
    }

    /// # Errors
    /// [`Malformed`] for anything that [`Report::to_frame`] does not write.
    pub(super) fn parse(frame: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(frame);
        let (number, elapsed) = (r.u64()?, Duration::from_micros(r.u64()?));
        let (kind, code) = (r.u8()?, i32::from_be_bytes(r.array()?));
        let reason = text(&mut r)?;
        let end = match kind {
            0 => HookEnd::Exit(code),
            1 => HookEnd::Signal(code),
            2 => HookEnd::TimedOut,
            3 => HookEnd::NotStarted(reason),
            _ => return Err(Malformed),
        };
        let output = r.bytes(MAX_OUTPUT)?.to_vec();
        r.end()?;
        Ok(Self { number, end, elapsed, output })
    }
}

fn text(r: &mut Reader<'_>) -> Result<String, Malformed> {
    // A text that was cut may end within a character.
    Ok(String::from_utf8_lossy(r.bytes(MAX_TEXT)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::environment::tests::facts;
    use super::*;

    #[test]
    fn jobs_and_reports_survive_their_frames() {
        let jobs = [b"a".to_vec(), b"d/-rf\n$(x)".to_vec(), vec![b'x'; 200]];
        let mut stream = Vec::new();
        let jobs = jobs.map(|name| Job { number: 7, facts: facts(&name) });
        jobs.iter().for_each(|job| stream.extend(job.to_frame().unwrap()));
        let mut stream = &stream[..];
        for job in jobs {
            let frame = read_frame(&mut stream).unwrap().unwrap();
            assert_eq!(Job::parse(&frame), Ok(job));
            assert_eq!(Job::parse(&frame[..frame.len() - 1]), Err(Malformed));
        }
        assert_eq!(read_frame(&mut stream).unwrap(), None);
        for end in [
            HookEnd::Exit(-1),
            HookEnd::Signal(9),
            HookEnd::TimedOut,
            HookEnd::NotStarted("no".into()),
        ] {
            let report = HookReport {
                number: 1,
                end,
                elapsed: Duration::from_micros(5),
                output: vec![0xff; 9],
            };
            assert_eq!(HookReport::parse(&report.to_frame()[4..]), Ok(report));
        }
    }

    #[test]
    fn a_long_or_cut_frame_is_an_error() {
        let mut long: &[u8] = &[0xff; 100];
        assert_eq!(read_frame(&mut long).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut cut: &[u8] = &[0, 0, 0, 9, 1];
        assert!(read_frame(&mut cut).is_err());
        let job = Job {
            number: 1,
            facts: HookFacts { file: "x".repeat(MAX_PATH + 1).into(), ..facts(b"a") },
        };
        assert!(job.to_frame().is_none());
    }
}
