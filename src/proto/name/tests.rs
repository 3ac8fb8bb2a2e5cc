use super::*;
use proptest::prelude::*;

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_joined_name_is_at_most_as_long_as_a_parsed_one() {
    let above = vec!["x".repeat(255); 15].join("/");
    assert_eq!(above.len() + 1 + 256, MAX_NAME);
    assert!(name(&above).join(&[b'y'; 255]).is_ok());
    let longer = name(&above[1..]).join(b"ab").unwrap();
    assert_eq!(longer.join(&[b'y'; 254]).unwrap().as_bytes().len(), MAX_NAME);
    assert_eq!(longer.join(&[b'y'; 255]), Err(NameError::TooLong));
}

#[test]
fn a_link_may_climb_only_first_and_its_target_is_a_path() {
    let link = name("a/b/link");
    assert!(link_stays_inside(&link, b"../../c"));
    // Through another link, `c/..` may be anywhere.
    assert!(!link_stays_inside(&link, b"c/../d"));
    assert!(!link_stays_inside(&link, b"c\0d"));
    let long = |length: usize| b"x/".repeat(length / 2 + 1)[..length].to_vec();
    assert!(link_stays_inside(&link, &long(MAX_NAME)));
    assert!(!link_stays_inside(&link, &long(MAX_NAME + 1)));
}

#[test]
fn only_plain_relative_names_are_valid() {
    for good in [
        "a/.rft",
        "a/.rftignore",
        "a/b/.rft-x/y",
        "a",
        "a/b",
        "a b/ü",
        "..a",
        "a..",
        "...",
        "a/.b",
        "\u{1b}[31m",
        "con",
        "a:b",
        "\\",
    ] {
        assert_eq!(Name::parse(good.as_bytes()).unwrap().as_bytes(), good.as_bytes());
    }
    assert!(Name::parse(b"\xff\xfe").is_ok());
    let long = vec![b'x'; 256];
    for (bad, why) in [
        (&b""[..], NameError::Empty),
        (b"/etc/passwd", NameError::Empty),
        (b"a//b", NameError::Empty),
        (b"a/", NameError::Empty),
        (b"..", NameError::Dots),
        (b"a/../b", NameError::Dots),
        (b"./a", NameError::Dots),
        (b"a\0b", NameError::Nul),
        (&long, NameError::TooLong),
        (b".rft", NameError::Reserved),
        (b".rft/x", NameError::Reserved),
        (b".rftignore", NameError::Reserved),
        (b".rft-x/y", NameError::Reserved),
    ] {
        assert_eq!(Name::parse(bad), Err(why), "{}", escape(bad));
    }
    let deep = vec![&b"abc"[..]; 1025].join(&b'/');
    assert_eq!(Name::parse(&deep), Err(NameError::TooLong));
}

#[test]
fn a_name_has_components() {
    let n = name("a/b/c.txt");
    assert_eq!(n.leaf(), b"c.txt");
    assert_eq!(n.depth(), 3);
    assert_eq!(n.parent().unwrap(), name("a/b"));
    assert_eq!(name("c").parent(), None);
    assert_eq!(n.with_leaf(b"d").unwrap(), name("a/b/d"));
    assert_eq!(name("c").with_leaf(b"d").unwrap(), name("d"));
    assert_eq!(n.with_leaf(b"../d"), Err(NameError::Empty));
    assert_eq!(name("a").join(b".."), Err(NameError::Dots));
}

#[test]
fn links_that_leave_the_tree_are_refused() {
    for (link, target, inside) in [
        ("l", "a", true),
        ("l", "a/b", true),
        ("d/l", "../a", true),
        ("d/l", "..", true),
        ("l", "..", false),
        ("d/l", "../../a", false),
        ("l", "/etc/passwd", false),
        ("l", "a/../b", false),
        ("d/l", "x/../../b", false),
        ("l", "", false),
        ("l", ".rft/key", false),
        ("l", "./.rft-x", false),
        ("d/l", "../.rftignore", false),
        ("d/l", ".rftignore", true),
        ("d/l", ".rft/key", false),
        ("d/l", "a/.RFT/key", false),
        ("l", "a/.rft-x", true),
        ("l", "./a//b", true),
    ] {
        assert_eq!(link_stays_inside(&name(link), target.as_bytes()), inside, "{link} -> {target}");
    }
}

#[test]
fn characters_that_a_terminal_interprets_are_escaped() {
    assert_eq!(escape(b"plain \xc3\xbc"), "plain \u{fc}");
    assert_eq!(escape(b"\x1b[2J\n\r\x7f\\"), "\\x1b[2J\\x0a\\x0d\\x7f\\\\");
    assert_eq!(escape("\u{202e}gpj.exe\u{9b}".as_bytes()), "\\u{202e}gpj.exe\\u{9b}");
    assert_eq!(escape(b"\xff!"), "\\xff!");
}

#[test]
fn invalid_names_on_windows_are_known() {
    for bad in [
        "con",
        "CON.txt",
        "aux ",
        "Nul.tar.gz",
        "COM1",
        "lpt9.x",
        "com\u{b9}",
        "a:b",
        "a?",
        "a.",
        "a ",
        "\u{1}",
        "a\\b",
    ] {
        assert!(!is_windows_name(bad), "{bad}");
    }
    for good in ["console", "com", "com10", "lpt", "a.b", " a", ".x", "ü"] {
        assert!(is_windows_name(good), "{good}");
    }
}

proptest! {
    #[test]
    fn a_name_survives_conversion_to_a_path_and_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(name) = Name::parse(&bytes)
            && let Ok(path) = name.to_path()
        {
            prop_assert!(path.is_relative());
            prop_assert_eq!(Name::from_path(&path).unwrap(), name);
        }
    }

    #[test]
    fn escaped_text_is_printable(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        prop_assert!(escape(&bytes).chars().all(|c| !c.is_control() && !reorders_text(c)));
    }
}
