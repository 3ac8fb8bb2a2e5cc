//! Decoders and names.

use crate::proto::chunk_set::ChunkSet;
use crate::proto::message::{
    Accept, Begin, Control, EntryKind, MAX_FORGET, MAX_MESSAGE, MAX_TEXT, Offer, Outcome, Settings,
    Trailer,
};
use crate::proto::name::{
    MAX_COMPONENT, MAX_NAME, Name, RESERVED_PREFIX, escape, link_stays_inside,
};
use bytes::BytesMut;

fn encoded(encode: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    encode(&mut out);
    out
}

/// Gives every decoder the same bytes: a message that a decoder accepts is encoded to the same
/// bytes again.
///
/// # Panics
/// If that does not hold.
pub fn messages(data: &[u8]) {
    if let Ok(offer) = Offer::decode(data) {
        assert_eq!(encoded(|out| offer.encode(out)), data);
        assert!(offer.modified.nanos < 1_000_000_000);
        assert!(matches!(offer.kind, EntryKind::File { .. }) || offer.size() == 0);
    }
    if let Ok(accept) = Accept::decode(data) {
        assert_eq!(accept.proofs.len(), accept.held.ranges().len());
        assert_eq!(
            ChunkSet::from_ranges(accept.held.ranges().to_vec()).as_ref(),
            Some(&accept.held)
        );
        assert!(data.len() <= MAX_MESSAGE);
        assert_eq!(encoded(|out| accept.encode(out)), data);
    }
    if let Ok(begin) = Begin::decode(data) {
        assert_eq!(encoded(|out| begin.encode(out)), data);
    }
    if let Ok((before, trailer)) = Trailer::split(data) {
        assert_eq!(encoded(|out| trailer.encode(out)), data[before.len()..]);
    }
    if let Ok(settings) = Settings::decode(data) {
        let bytes = encoded(|out| settings.encode(out));
        // Earlier versions end before the texts, and later ones may append fields.
        let both = bytes.len().min(data.len());
        assert_eq!(bytes[..both], data[..both]);
        assert!(both >= bytes.len() - 2);
    }
    if let Ok(control) = Control::decode(data) {
        assert_eq!(encoded(|out| control.encode(out)), data);
        assert!(!matches!(control, Control::Forget(ids) if ids.len() > MAX_FORGET));
    }
    match Outcome::decode(data) {
        // Invalid UTF-8 is replaced, which may make the text longer.
        Ok(outcome @ Outcome::Refused { .. }) => {
            let bytes = encoded(|out| outcome.encode(out));
            assert!(bytes.len() <= 4 + MAX_TEXT && Outcome::decode(&bytes).is_ok());
        }
        Ok(outcome) => assert_eq!(encoded(|out| outcome.encode(out)), data),
        Err(_) => {}
    }
}

/// A name, and the target of a link after a line feed: an accepted one stays below its root, and
/// its printed form is unambiguous and has no control characters.
///
/// # Panics
/// If that does not hold.
pub fn names(data: &[u8]) {
    let shown = escape(data);
    assert!(shown.chars().all(|c| !c.is_control()));
    assert_eq!(unescape(&shown), data);
    let (name, target) = match data.iter().rposition(|&b| b == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[][..]),
    };
    let Ok(name) = Name::parse(name) else { return };
    assert!(name.as_bytes().len() <= MAX_NAME);
    for part in name.components() {
        assert!((1..=MAX_COMPONENT).contains(&part.len()) && !part.contains(&0));
        assert!(part != b"." && part != b"..");
    }
    assert!(!name.as_bytes().starts_with(RESERVED_PREFIX));
    assert_eq!(name.depth(), name.components().count());
    let again =
        name.parent().map_or_else(|| Name::parse(name.leaf()), |parent| parent.join(name.leaf()));
    assert_eq!(again.as_ref(), Ok(&name));
    assert_eq!(name.with_leaf(name.leaf()).as_ref(), Ok(&name));
    if let Ok(path) = name.to_path() {
        let plain = |part| matches!(part, std::path::Component::Normal(_));
        assert!(path.components().all(plain) && path.components().count() == name.depth());
        assert_eq!(Name::from_path(&path).as_ref(), Ok(&name));
    }
    if link_stays_inside(&name, target) {
        // However the earlier parts resolve, it never climbs above the root.
        let mut depth = name.depth() - 1;
        for part in target.split(|&b| b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => depth = depth.checked_sub(1).expect("above the root"),
                _ => depth += 1,
            }
        }
        assert!(target[0] != b'/');
    }
}

/// The bytes before escaping.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else if let Some(after) = rest.strip_prefix('\\') {
            out.push(b'\\');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('x') {
            out.push(u8::from_str_radix(&after[..2], 16).unwrap());
            rest = &after[2..];
        } else {
            let (digits, after) = rest.strip_prefix("u{").unwrap().split_once('}').unwrap();
            let c = char::from_u32(u32::from_str_radix(digits, 16).unwrap()).unwrap();
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            rest = after;
        }
    }
    out
}
