//! `name (1).ext`: the alternative to a name that is taken.

use crate::proto::name::{MAX_COMPONENT, Name};

/// Maximum number in a numbered name. If all are taken, the file is refused.
pub(crate) const MAX_NUMBER: u32 = 9_999;

/// The name with ` (number)` before its extension; for 0 the name itself. If the component gets too
/// long, the part before the number is cut, but never inside a UTF-8 character. `None` if the
/// result is no valid name.
pub(crate) fn numbered(name: &Name, number: u32) -> Option<Name> {
    if number == 0 {
        return Some(name.clone());
    }
    let leaf = name.leaf();
    // A leading dot marks a hidden file and begins no extension. A long "extension" is part of the
    // name.
    let dot = leaf.iter().rposition(|&b| b == b'.').filter(|&at| at > 0 && leaf.len() - at <= 32);
    let (stem, extension) = leaf.split_at(dot.unwrap_or(leaf.len()));
    let suffix = format!(" ({number})");
    let room = MAX_COMPONENT.checked_sub(suffix.len() + extension.len())?;
    let mut leaf = cut(stem, room).to_vec();
    leaf.extend_from_slice(suffix.as_bytes());
    leaf.extend_from_slice(extension);
    name.with_leaf(&leaf).ok()
}

fn cut(bytes: &[u8], room: usize) -> &[u8] {
    if bytes.len() <= room {
        return bytes;
    }
    // Steps back over the continuation bytes (0b10xxxxxx) of a character that would be split. Bytes
    // that are not UTF-8 are cut anywhere.
    let mut end = room;
    while end > 0 && room - end < 4 && bytes[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &bytes[..if bytes[end] & 0xc0 == 0x80 { room } else { end }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(from: &str, number: u32, to: &str) {
        let name = numbered(&Name::parse(from.as_bytes()).unwrap(), number).unwrap();
        assert_eq!(String::from_utf8_lossy(name.as_bytes()), to);
    }

    #[test]
    fn the_number_stands_before_the_extension() {
        check("a.txt", 0, "a.txt");
        check("a.txt", 1, "a (1).txt");
        check("d/a.tar.gz", 12, "d/a.tar (12).gz");
        check("d.e/a", 2, "d.e/a (2)");
        check(".hidden", 1, ".hidden (1)");
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let long = format!("{}.txt", "\u{20ac}".repeat(83));
        let name = numbered(&Name::parse(long.as_bytes()).unwrap(), 10).unwrap();
        let text = std::str::from_utf8(name.leaf()).unwrap();
        assert!(text.len() <= MAX_COMPONENT && text.ends_with("\u{20ac} (10).txt"), "{text}");
        let bytes = vec![0x80; MAX_COMPONENT];
        assert_eq!(numbered(&Name::parse(&bytes).unwrap(), 1).unwrap().leaf().len(), MAX_COMPONENT);
    }

    proptest! {
        #[test]
        fn a_numbered_name_is_valid_and_another_one(
            bytes in proptest::collection::vec(prop_oneof![Just(b'.'), Just(0xe2), any::<u8>()], 1..=MAX_COMPONENT),
            number in 1..=MAX_NUMBER,
        ) {
            if let Ok(name) = Name::parse(&bytes)
                && let Some(beside) = numbered(&name, number)
            {
                prop_assert_eq!(beside.parent(), name.parent());
                prop_assert!(beside.leaf().len() <= MAX_COMPONENT);
                let text = String::from_utf8_lossy(beside.leaf()).into_owned();
                let mark = format!(" ({number})");
                prop_assert!(text.contains(&mark), "{}", text);
                prop_assert!(std::str::from_utf8(name.leaf()).is_err() || std::str::from_utf8(beside.leaf()).is_ok());
                prop_assert_ne!(numbered(&name, number % MAX_NUMBER + 1), Some(beside));
            }
        }
    }
}
