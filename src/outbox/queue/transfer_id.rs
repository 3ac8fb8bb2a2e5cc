//! The id of a transfer, which the sender derives again after any restart (protocol.md section
//! 5.1).

use crate::proto::message::TransferId;
use crate::proto::name::Name;
use crate::store::{FileKind, Meta};

const TRANSFER: &str = "rft 1 transfer id";
const DELIVERED: &str = "rft 1 delivered mark";

/// The id of this content at this name.
///
/// It is the first 16 bytes of BLAKE3 in key-derivation mode, context `rft 1 transfer id`, over
///
/// | bytes | what |
/// | --- | --- |
/// | 16 | origin: random, made once by the sender's ledger |
/// | 1 | kind: 0 file, 1 folder, 2 link, as in an offer |
/// | 4 | permission bits, `ffffffff` where the sender has none |
/// | 8 | size in bytes, 0 for folders and links |
/// | 8 + 4 | modification time: seconds since 1970 (signed), nanoseconds |
/// | 8 | inode, or the file index of Windows |
/// | 2 + n | name, behind its length |
/// | 2 + n | target of a link, behind its length; empty for others |
///
/// all big-endian. The same file has the same id, without a journal. The device number is not part
/// of it, because some volumes get another one at every boot. Nor is the change time, which a new
/// hard link, an attribute or a rename changes without new content. A file with new content and its
/// old modification time has the same id; the sender compares hashes before it believes that the
/// receiver holds the transfer.
pub(crate) fn transfer_id(
    origin: &[u8; 16],
    name: &Name,
    meta: &Meta,
    target: &[u8],
) -> TransferId {
    derive(TRANSFER, origin, name, meta, target)
}

/// The ledger's mark of a kept file: as [`transfer_id`], with the context `rft 1 delivered mark`.
pub(crate) fn delivered_mark(
    origin: &[u8; 16],
    name: &Name,
    meta: &Meta,
    target: &[u8],
) -> TransferId {
    derive(DELIVERED, origin, name, meta, target)
}

fn derive(context: &str, origin: &[u8; 16], name: &Name, meta: &Meta, target: &[u8]) -> TransferId {
    let (kind, size) = match meta.kind {
        FileKind::File => (0, meta.size),
        FileKind::Folder => (1, 0),
        FileKind::Link => (2, 0),
        FileKind::Other => (3, 0),
    };
    let mut fields = Vec::with_capacity(80 + name.as_bytes().len() + target.len());
    fields.extend_from_slice(origin);
    fields.push(kind);
    fields.extend_from_slice(&meta.mode.unwrap_or(u32::MAX).to_be_bytes());
    fields.extend_from_slice(&size.to_be_bytes());
    fields.extend_from_slice(&meta.modified.seconds.to_be_bytes());
    fields.extend_from_slice(&meta.modified.nanos.to_be_bytes());
    fields.extend_from_slice(&meta.identity.inode.to_be_bytes());
    for bytes in [name.as_bytes(), target] {
        // Names and targets are at most 4,096 bytes long.
        fields.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
        fields.extend_from_slice(bytes);
    }
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(&fields);
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    TransferId(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::queue::model::{file, folder};

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn every_property_that_identifies_content_is_in_the_id() {
        let base = file(1, 10, 100);
        let id = transfer_id(&[1; 16], &name("a"), &base, b"");
        assert_eq!(id, transfer_id(&[1; 16], &name("a"), &base.clone(), b""));
        let mut others = vec![
            transfer_id(&[2; 16], &name("a"), &base, b""),
            transfer_id(&[1; 16], &name("b"), &base, b""),
            transfer_id(&[1; 16], &name("a"), &base, b"t"),
            delivered_mark(&[1; 16], &name("a"), &base, b""),
        ];
        let changes: [fn(&mut Meta); 7] = [
            |m| m.size += 1,
            |m| m.modified.seconds += 1,
            |m| m.modified.nanos += 1,
            |m| m.identity.inode += 1,
            |m| m.mode = None,
            |m| m.mode = Some(0o600),
            |m| m.kind = FileKind::Link,
        ];
        for change in changes {
            let mut meta = base;
            change(&mut meta);
            others.push(transfer_id(&[1; 16], &name("a"), &meta, b""));
        }
        others.push(id);
        let count = others.len();
        others.sort();
        others.dedup();
        assert_eq!(others.len(), count);
    }

    #[test]
    fn the_device_and_the_change_time_are_not_in_the_id() {
        let mut meta = file(1, 10, 100);
        let id = transfer_id(&[1; 16], &name("a"), &meta, b"");
        meta.identity.device += 1;
        meta.identity.changed.seconds += 1;
        assert_eq!(id, transfer_id(&[1; 16], &name("a"), &meta, b""));
        let mut dir = folder(1, 100);
        let id = transfer_id(&[1; 16], &name("d"), &dir, b"");
        dir.identity.changed.seconds += 1;
        dir.size += 4096;
        assert_eq!(id, transfer_id(&[1; 16], &name("d"), &dir, b""));
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        // Written out by hand, so that a change of the layout is seen.
        let mut bytes = vec![1; 16];
        bytes.push(0);
        bytes.extend([0, 0, 1, 0xa4]);
        bytes.extend(10u64.to_be_bytes());
        bytes.extend(100i64.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(7u64.to_be_bytes());
        bytes.extend([0, 1, b'a', 0, 0]);
        let expected = blake3::derive_key("rft 1 transfer id", &bytes);
        assert_eq!(transfer_id(&[1; 16], &name("a"), &file(7, 10, 100), b"").0, expected[..16]);
    }
}
