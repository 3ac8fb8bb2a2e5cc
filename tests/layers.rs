//! Who may name whom: the layers of `docs/design.md`, checked against the text of `src/`.
//!
//! [`LAYERS`] is the rule; what a row does not list is forbidden. The check reads the sources as
//! text: it knows comments, strings, `use` trees, `crate::`, `super::` and inline modules, and
//! nothing of macros or re-exports.

#![allow(clippy::unwrap_used)] // a test's own helpers

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// One top-level module (or `main`) of the crate.
struct Layer {
    name: &'static str,
    /// The other layers that it may name.
    layers: &'static [&'static str],
    /// The external crates that it may name; modules under `#[cfg(test)]` may name any.
    crates: &'static [&'static str],
}

/// The table, from the outside in. `lib` is the map of the crate and may name every layer, so it
/// has no row.
#[rustfmt::skip]
const LAYERS: &[Layer] = &[
    Layer { name: "main", layers: &["cli"], crates: &[] },
    Layer { name: "cli", layers: &["daemon", "config", "event", "proto", "crypto", "cause"],
        crates: &["blake3", "clap", "clap_complete", "clap_mangen", "console", "data_encoding", "indicatif", "jiff", "landlock", "rand", "rpassword", "rustix", "serde_json",
                  "thiserror", "tokio", "tracing", "tracing_subscriber", "zeroize"] },
    Layer { name: "daemon", layers: &["outbox", "inbox", "peering", "session", "transport", "store", "proto", "crypto", "config", "event", "failpoint"],
        crates: &["bytes", "rand", "thiserror", "tokio", "tracing", "zeroize"] },
    Layer { name: "outbox", layers: &["session", "transport", "store", "compress", "proto", "crypto", "config", "event", "failpoint", "cause"],
        crates: &["blake3", "bytes", "ignore", "notify", "rand", "thiserror", "tokio", "tracing"] },
    Layer { name: "inbox", layers: &["session", "transport", "store", "compress", "proto", "crypto", "config", "event", "failpoint"],
        crates: &["blake3", "bytes", "rand", "thiserror", "tokio", "tracing"] },
    Layer { name: "peering", layers: &["session", "transport", "proto", "crypto", "config", "event", "failpoint", "cause"],
        crates: &["quinn", "quinn_proto", "rand", "thiserror", "tokio", "tracing"] },
    Layer { name: "session", layers: &["transport", "proto", "crypto", "failpoint"],
        crates: &["bytes", "quinn", "quinn_proto", "rand", "thiserror", "tokio", "tracing"] },
    // packets and paths: no password, no key of a session, no name of a file
    Layer { name: "transport", layers: &["crypto", "config", "cause"],
        crates: &["bytes", "hmac", "if_addrs", "quinn", "quinn_proto", "rand", "rcgen", "reed_solomon_simd", "rustix", "rustls", "sha2", "socket2", "thiserror", "tokio", "tracing", "zeroize"] },
    // a name off the wire is `proto`'s type, and what the folders take
    Layer { name: "store", layers: &["proto", "config", "event", "failpoint", "cause"],
        crates: &["blake3", "bytes", "cap_fs_ext", "cap_std", "fs4", "ignore", "open_writers", "rand", "redb", "renamore", "rustix", "thiserror", "tokio", "tracing",
                  "winx"] },
    Layer { name: "crypto", layers: &[],
        crates: &["argon2", "blake3", "bytes", "curve25519_dalek", "data_encoding", "hmac", "ml_kem", "rand", "ring", "sha2", "thiserror",
                  "unicode_normalization", "zeroize"] },
    Layer { name: "proto", layers: &[], crates: &["bytes", "thiserror"] },
    Layer { name: "compress", layers: &[], crates: &["bytes", "thiserror", "zstd"] },
    // bodies of the fuzz targets, in no release
    Layer { name: "fuzzing", layers: &["outbox", "inbox", "session", "transport", "store", "proto", "crypto", "config", "event"],
        crates: &["blake3", "bytes", "tempfile", "tokio"] },
    // plain values: what goes into the engine, and what it tells
    Layer { name: "config", layers: &["proto"], crates: &["thiserror"] },
    Layer { name: "event", layers: &["proto"], crates: &[] },
    // what the system says, for people
    Layer { name: "cause", layers: &[], crates: &[] },
    // for tests: where the program dies or a call fails
    Layer { name: "failpoint", layers: &[], crates: &["rustix"] },
];

/// Crates that exactly one layer may name, whatever the table above comes to say.
const OWNED: &[(&str, &str)] = &[
    ("rustls", "transport"),
    ("rcgen", "transport"),
    ("reed_solomon_simd", "transport"),
    ("socket2", "transport"),
    ("redb", "store"),
    ("zstd", "compress"),
    ("cap_std", "store"),
    ("notify", "outbox"),
    ("open_writers", "store"),
    ("ml_kem", "crypto"),
    ("ring", "crypto"),
    ("argon2", "crypto"),
    ("curve25519_dalek", "crypto"),
    ("clap", "cli"),
    ("indicatif", "cli"),
    ("landlock", "cli"),
    ("rpassword", "cli"),
];

/// Pairs that may never stand in the table.
const NEVER: &[(&str, &str)] = &[
    ("outbox", "inbox"),
    ("inbox", "outbox"),
    ("proto", "crypto"),
    ("crypto", "proto"),
    ("transport", "session"),
    ("transport", "peering"),
    ("transport", "proto"),
    ("transport", "store"),
    ("session", "peering"),
    ("session", "store"),
    ("peering", "outbox"),
    ("peering", "inbox"),
    ("peering", "store"),
    ("store", "transport"),
    ("store", "session"),
];

#[test]
fn every_module_names_only_what_its_layer_may() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let dependencies = dependencies(&manifest);
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    assert!(!files.is_empty());

    let sources: Vec<_> = files
        .iter()
        .map(|file| {
            let module = module_path(file.strip_prefix(root.join("src")).unwrap());
            (file, module, std::fs::read_to_string(file).unwrap())
        })
        .collect();
    let test_modules: Vec<_> =
        sources.iter().flat_map(|(_, module, text)| test_modules(module, &tokens(text))).collect();

    let mut report = String::new();
    for (file, module, text) in &sources {
        // a file under `#[cfg(test)] mod name;` may name any crate, as an inline test module may
        let test = test_modules.iter().any(|test| module.starts_with(test));
        let crates = if test { &BTreeSet::new() } else { &dependencies };
        for (line, what) in violations(module, text, crates) {
            writeln!(report, "{}:{line}: {what}", file.display()).unwrap();
        }
    }
    assert!(
        report.is_empty(),
        "references across layers (the rule is LAYERS in tests/layers.rs):\n{report}"
    );
}

#[test]
fn the_table_agrees_with_itself() {
    for layer in LAYERS {
        for &other in layer.layers {
            assert!(
                LAYERS.iter().any(|l| l.name == other),
                "{} may name {other}, which has no row",
                layer.name
            );
            assert!(!NEVER.contains(&(layer.name, other)), "{} may never name {other}", layer.name);
            assert!(other != "cli" || layer.name == "main", "only main names cli");
        }
        for &name in layer.crates {
            let owner = OWNED.iter().find(|(owned, _)| *owned == name);
            assert!(
                owner.is_none_or(|(_, owner)| *owner == layer.name),
                "{name} belongs to one layer, not to {}",
                layer.name
            );
        }
    }
}

#[test]
fn a_forbidden_reference_is_found() {
    let dependencies = BTreeSet::from(["quinn".to_owned(), "bytes".to_owned(), "redb".to_owned()]);
    let found = |module: &[&str], text: &str| {
        let module: Vec<String> = module.iter().map(|s| (*s).to_owned()).collect();
        violations(&module, text, &dependencies)
            .into_iter()
            .map(|(line, what)| format!("{line} {what}"))
            .collect::<Vec<_>>()
    };
    // layers, in every way to write them
    assert_eq!(found(&["outbox", "queue"], "use crate::inbox::stage;"), ["1 outbox names inbox"]);
    assert_eq!(
        found(&["outbox"], "\nuse crate::{\n  store::Folder,\n  inbox::{stage, commit},\n};"),
        ["4 outbox names inbox"]
    );
    assert_eq!(found(&["session"], "fn f() { rft::store::open() }"), ["1 session names store"]);
    assert_eq!(
        found(&["proto", "name"], "type K = super::super::crypto::Key;"),
        ["1 proto names crypto"]
    );
    assert_eq!(
        found(&["crypto"], "mod tests { use super::super::proto::Name; }"),
        ["1 crypto names proto"]
    );
    assert_eq!(
        found(&["crypto"], "#[cfg(test)] mod tests { use crate::proto::Name; }"),
        ["1 crypto names proto"]
    );
    assert_eq!(found(&["daemon"], "pub(crate) use crate::cli as c;"), ["1 daemon names cli"]);
    assert_eq!(found(&["strange"], ""), ["1 strange has no row in LAYERS"]);
    // crates
    assert_eq!(
        found(&["store"], "#[derive(quinn::X)] struct A;"),
        ["1 store names the crate quinn"]
    );
    assert_eq!(
        found(&["inbox"], "use {bytes::Bytes, ::redb::Database};"),
        ["1 inbox names the crate redb"]
    );
    assert_eq!(
        found(&["cli"], "/// [`a`](b)\nfn a<'a>(x: &'a quinn::Y) {}"),
        ["2 cli names the crate quinn"]
    );
    assert_eq!(
        found(&["inbox"], "#[cfg(test)]\nmod tests { fn f() {} }\nuse redb;"),
        ["3 inbox names the crate redb"]
    );
    // a file of tests is told by its declaration
    let declared = test_modules(
        &["crypto".to_owned()],
        &tokens("mod a; #[cfg(test)]\n#[allow(x)]\nmod b; mod c;"),
    );
    assert_eq!(declared, [["crypto", "b"]]);
    // and what is allowed, or is no code
    let none: [&str; 0] = [];
    assert_eq!(
        found(
            &["outbox"],
            "use crate::store::Folder; use super::queue; use bytes::Bytes; use std::inbox;"
        ),
        none
    );
    assert_eq!(
        found(&["outbox"], "#[cfg(test)]\n#[allow(x)]\nmod tests { use redb::Database; }"),
        none
    );
    assert_eq!(
        found(&["outbox"], "// crate::inbox\n/* /* quinn::A */ crate::inbox::b */ //! redb::C"),
        none
    );
    assert_eq!(
        found(
            &["outbox"],
            r###"const A: &str = "crate::inbox"; const B: &str = r#"redb::"D""#; const C: u8 = b'"';"###
        ),
        none
    );
    assert_eq!(
        found(&["outbox"], "fn f() { self.redb; x.quinn::<u8>(); my::redb::f(); let c = '\"'; }"),
        none
    );
}

/// The external crates that the package may name in `src/`, as Rust spells them.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut names = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if (section == "[dependencies]" || section.ends_with(".dependencies]"))
            && !line.starts_with('#')
        {
            names.extend(line.split_once('=').map(|(name, _)| name.trim().replace('-', "_")));
        }
    }
    names
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// `session/record.rs` is `session::record`, `session/mod.rs` is `session`, and `main.rs` and
/// `lib.rs` stand for themselves.
fn module_path(file: &Path) -> Vec<String> {
    let mut path: Vec<String> =
        file.with_extension("").iter().map(|p| p.to_string_lossy().into_owned()).collect();
    if path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    path
}

/// The modules that `module` declares as `#[cfg(test)] mod name;`.
fn test_modules(module: &[String], tokens: &[Token]) -> Vec<Vec<String>> {
    let text = |at: usize| tokens.get(at).map_or("", |t| t.text.as_str());
    let declares = |at: &usize| text(*at) == "mod" && is_name(text(at + 1)) && text(at + 2) == ";";
    let is_test = |at: &usize| {
        let attributes: Vec<_> = tokens[..*at].iter().rev().map(|t| t.text.as_str()).collect();
        attributes
            .split(|t| matches!(*t, ";" | "{" | "}"))
            .next()
            .is_some_and(|since| since.windows(3).any(|w| w == ["test", "(", "cfg"]))
    };
    let parent = if matches!(module[0].as_str(), "lib" | "main") { &[] } else { module };
    (0..tokens.len())
        .filter(declares)
        .filter(is_test)
        .map(|at| parent.iter().cloned().chain([text(at + 1).to_owned()]).collect())
        .collect()
}

/// What `text`, the source of `module`, names and may not, with line numbers.
fn violations(
    module: &[String],
    text: &str,
    dependencies: &BTreeSet<String>,
) -> Vec<(usize, String)> {
    let own = module[0].as_str();
    if own == "lib" {
        return Vec::new();
    }
    let Some(layer) = LAYERS.iter().find(|l| l.name == own) else {
        return vec![(1, format!("{own} has no row in LAYERS"))];
    };
    let mut found = Vec::new();
    for reference in references(&tokens(text)) {
        let Reference { path, line, inline, test } = reference;
        let supers = path.iter().take_while(|p| *p == "super").count();
        let (head, rest) = match path[0].as_str() {
            // `main` is a crate root: its modules have their layer as their first name, as the
            // library's have
            "crate" | "rft" => (path.get(1), true),
            "super" if supers == module.len() + inline => (path.get(supers), true),
            "super" | "self" | "Self" => continue,
            _ => (path.first(), false),
        };
        let Some(head) = head.map(String::as_str) else { continue };
        if rest {
            if head != own && LAYERS.iter().any(|l| l.name == head) && !layer.layers.contains(&head)
            {
                found.push((line, format!("{own} names {head}")));
            }
        } else if dependencies.contains(head) && !layer.crates.contains(&head) && !test {
            found.push((line, format!("{own} names the crate {head}")));
        }
    }
    found.dedup(); // a tree on one line may name a layer more than once
    found
}

/// A piece of source: a word, `::`, or one sign.
struct Token {
    text: String,
    line: usize,
}

/// `text` without comments, strings, characters, lifetimes and space.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut line, mut tokens) = (0, 1, Vec::new());
    while at < chars.len() {
        let start = at;
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => at = find(&chars, at, |rest| rest[0] == '\n'),
            '/' if chars.get(at + 1) == Some(&'*') => at = end_of_comment(&chars, at),
            '"' => at = end_of_string(&chars, at + 1),
            '\'' => at = end_of_quote(&chars, at),
            'r' if matches!(chars.get(at + 1), Some('"' | '#'))
                && raw_hashes(&chars, at + 1).is_some() =>
            {
                let hashes = raw_hashes(&chars, at + 1).unwrap();
                let end: Vec<char> =
                    std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                at = find(&chars, at + 2 + hashes, |rest| rest.starts_with(&end)) + end.len();
            }
            c if is_word(c) => {
                at = find(&chars, at, |rest| !is_word(rest[0]));
                let word: String = chars[start..at].iter().collect();
                // `br"..."` and `b"..."`: the prefix is a word of its own here, and the raw string
                // keeps its `r`
                if word == "br" && matches!(chars.get(at), Some('"' | '#')) {
                    at -= 1;
                }
                tokens.push(Token { text: word, line });
            }
            ':' if chars.get(at + 1) == Some(&':') => {
                at += 2;
                tokens.push(Token { text: "::".to_owned(), line });
            }
            c => {
                at += 1;
                if !c.is_whitespace() {
                    tokens.push(Token { text: c.to_string(), line });
                }
            }
        }
        line += chars[start..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

/// The first place from `at` on whose rest satisfies `is`; the end of the text where there is none.
fn find(chars: &[char], at: usize, is: impl Fn(&[char]) -> bool) -> usize {
    (at..chars.len()).find(|&i| is(&chars[i..])).unwrap_or(chars.len())
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < chars.len() {
        match &chars[at..(at + 2).min(chars.len())] {
            ['/', '*'] => (depth, at) = (depth + 1, at + 2),
            ['*', '/'] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_string(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// A character literal is skipped whole; of a lifetime, the quote and the name.
fn end_of_quote(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        find(chars, at + 3, |rest| rest[0] == '\'') + 1
    } else if chars.get(at + 2) == Some(&'\'') {
        at + 3
    } else {
        find(chars, at + 1, |rest| !(rest[0].is_alphanumeric() || rest[0] == '_'))
    }
}

/// How many `#` open the raw string whose first sign after `r` is at `at`; none for a raw name
/// (`r#type`).
fn raw_hashes(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + hashes) == Some(&'"')).then_some(hashes)
}

/// A path that stands in the source.
struct Reference {
    path: Vec<String>,
    line: usize,
    /// How many inline modules it stands in.
    inline: usize,
    /// Whether one of these is under `#[cfg(test)]`.
    test: bool,
}

/// Every path of a `use` tree, and every path of two names or more elsewhere.
fn references(tokens: &[Token]) -> Vec<Reference> {
    let text = |at: usize| tokens.get(at).map_or("", |t| t.text.as_str());
    let (mut found, mut at) = (Vec::new(), 0);
    let mut blocks: Vec<Option<bool>> = Vec::new(); // per open brace: is it a module, and is that one a test's
    let mut test_item = false; // the attributes before the next item say cfg(test)
    while at < tokens.len() {
        let inline = blocks.iter().flatten().count();
        let test = blocks.iter().flatten().any(|test| *test);
        let mut add = |path: Vec<String>, line| {
            found.push(Reference { path, line, inline, test: test || test_item })
        };
        match text(at) {
            "#" if text(at + 1) == "["
                && text(at + 2) == "cfg"
                && text(at + 4) == "test"
                && text(at + 5) == ")" =>
            {
                test_item = true;
                at += 6;
            }
            "mod" if is_name(text(at + 1)) && text(at + 2) == "{" => {
                blocks.push(Some(test_item));
                test_item = false;
                at += 3;
            }
            "use" if text(at + 1) != "<" => {
                at = use_tree(tokens, at + 1, &[], &mut add);
                test_item = false;
            }
            sign @ ("{" | "}" | ";") => {
                if sign == "{" {
                    blocks.push(None);
                } else if sign == "}" {
                    blocks.pop();
                }
                test_item = false;
                at += 1;
            }
            name if is_name(name) && text(at + 1) == "::" && !inside_path(tokens, at) => {
                let (mut path, line) = (vec![name.to_owned()], tokens[at].line);
                while text(at + 1) == "::" && is_name(text(at + 2)) {
                    path.push(text(at + 2).to_owned());
                    at += 2;
                }
                add(path, line);
                at += 1;
            }
            _ => at += 1,
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Whether the name at `at` goes on with a path or a method call: `a::b` or `a.b`, not `::b`.
fn inside_path(tokens: &[Token], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).map_or("", |i| tokens[i].text.as_str());
    before(1) == "." || (before(1) == "::" && (is_name(before(2)) || before(2) == ">"))
}

/// Reads one `use` tree from `at` on, reports each of its paths, and returns the place after it.
fn use_tree(
    tokens: &[Token],
    mut at: usize,
    prefix: &[String],
    add: &mut impl FnMut(Vec<String>, usize),
) -> usize {
    let text = |at: usize| tokens.get(at).map_or(";", |t| t.text.as_str());
    let mut path = prefix.to_vec();
    loop {
        match text(at) {
            "::" => at += 1,
            "{" => {
                at += 1;
                while !matches!(text(at), "}" | ";") {
                    at = use_tree(tokens, at, &path, add);
                    at += usize::from(text(at) == ",");
                }
                return at + usize::from(text(at) == "}");
            }
            "as" => at += 2,
            "," | "}" | ";" => {
                if !path.is_empty() {
                    let line = tokens.get(at.saturating_sub(1)).map_or(0, |t| t.line);
                    add(path, line);
                }
                return at;
            }
            name => {
                path.push(name.to_owned());
                at += 1;
            }
        }
    }
}
