//! Whether two files have the same content.

use crate::store::tree::os;
use std::fs::File;
use std::io::{self, Read, Seek};

/// Bytes that are compared in each of so many places before a file is read to the end.
const SAMPLE: usize = 16 * 1024;
const SAMPLES: u64 = 8;

/// Whether two files of this size agree in some places, so that not all of a large one is read to
/// see that it is another one.
pub(crate) fn samples_agree(one: &File, other: &File, size: u64) -> bool {
    let (mut left, mut right) = (vec![0; SAMPLE], vec![0; SAMPLE]);
    let last = size.saturating_sub(SAMPLE as u64);
    (0..SAMPLES).all(|number| {
        let offset = last / (SAMPLES - 1) * number;
        match (os::read_at(one, &mut left, offset), os::read_at(other, &mut right, offset)) {
            (Ok(n), Ok(m)) => left[..n.min(m)] == right[..n.min(m)],
            // The hash decides.
            _ => true,
        }
    })
}

/// BLAKE3 of a file, which is to have this size.
pub(crate) fn hash_of(mut file: &File, size: u64) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    // On Windows a read at an offset moves the position.
    file.rewind()?;
    let mut file = file.take(size + 1);
    let mut length = 0;
    loop {
        match file.read(&mut buffer)? {
            0 if length == size => return Ok(*hasher.finalize().as_bytes()),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}
