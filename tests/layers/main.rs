//! Checks the layers of `docs/design.md` against the text of `src/`.
//!
//! [`LAYERS`] is the rule: a reference that its row does not list is forbidden. The check reads the
//! sources as text (`source`). No files may form a circle (`circles`), and the name of a type stands
//! once (`names`).

#![allow(clippy::unwrap_used)]

mod circles;
mod names;
mod source;

use source::{Reference, read_sources, references, test_modules, tokens};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

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
    Layer { name: "cli", layers: &["daemon", "check", "put", "control", "metrics", "config", "event", "status", "history", "hindrance", "rate_schedule", "error", "hooks", "proto", "crypto", "cause"],
        crates: &["blake3", "clap", "clap_complete", "clap_mangen", "console", "data_encoding", "jiff", "landlock", "rand", "ratatui", "rpassword", "rustix", "sd_notify", "serde", "serde_json",
                  "thiserror", "tokio", "toml", "tracing", "tracing_subscriber", "windows_service", "zeroize"] },
    // commands of the same user: it asks a process, and reaches nothing beneath
    Layer { name: "control", layers: &["daemon", "store", "status", "history", "rate_schedule", "proto", "cause"],
        crates: &["data_encoding", "rand", "rustix", "serde", "serde_json", "thiserror", "tokio", "tracing"] },
    // the same facts over HTTP, to read
    Layer { name: "metrics", layers: &["daemon", "status", "hindrance", "cause"],
        crates: &["bytes", "data_encoding", "http_body_util", "hyper", "hyper_util", "prometheus_client", "serde_json", "sha2", "thiserror", "tokio", "tracing"] },
    Layer { name: "check", layers: &["peering", "transport", "store", "config", "hindrance", "cause"], crates: &["rustix", "tokio", "tracing"] },
    // `rft put`: copies into Outgoing, without a process
    Layer { name: "put", layers: &["store", "proto", "failpoint"], crates: &["thiserror"] },
    Layer { name: "daemon", layers: &["outbox", "inbox", "hooks", "peering", "session", "transport", "store", "proto", "crypto", "config", "event", "status", "history", "hindrance", "rate_schedule", "error", "failpoint", "meter"],
        crates: &["bytes", "jiff", "rand", "thiserror", "tokio", "tracing", "zeroize"] },
    Layer { name: "outbox", layers: &["session", "transport", "store", "compress", "proto", "crypto", "config", "event", "status", "failpoint", "cause", "meter"],
        crates: &["blake3", "bytes", "ignore", "notify", "rand", "thiserror", "tokio", "tracing"] },
    Layer { name: "inbox", layers: &["hooks", "session", "transport", "store", "compress", "proto", "crypto", "config", "event", "failpoint", "meter"],
        crates: &["blake3", "bytes", "rand", "thiserror", "tokio", "tracing"] },
    Layer { name: "peering", layers: &["session", "transport", "proto", "crypto", "config", "event", "hindrance", "failpoint", "cause"],
        crates: &["quinn", "quinn_proto", "rand", "thiserror", "tokio", "tracing"] },
    Layer { name: "session", layers: &["transport", "proto", "crypto", "status", "failpoint", "cause"],
        crates: &["bytes", "quinn", "quinn_proto", "rand", "thiserror", "tokio", "tracing"] },
    // packets and paths: no password, no session key, no file name
    Layer { name: "transport", layers: &["crypto", "config", "hindrance", "cause"],
        crates: &["bytes", "hmac", "if_addrs", "nix", "quinn", "quinn_proto", "rand", "rcgen", "reed_solomon_simd", "rustix", "rustls", "sha2", "socket2", "thiserror", "tokio", "tracing", "zeroize"] },
    // a name from the wire is `proto`'s type, and the folders accept nothing else
    Layer { name: "store", layers: &["proto", "config", "event", "failpoint", "cause"],
        crates: &["blake3", "bytes", "cap_fs_ext", "cap_std", "fs4", "ignore", "open_writers", "rand", "redb", "renamore", "rustix", "tempfile", "thiserror", "tokio", "tracing",
                  "winx"] },
    Layer { name: "crypto", layers: &[],
        crates: &["argon2", "blake3", "bytes", "curve25519_dalek", "data_encoding", "hmac", "ml_kem", "rand", "ring", "sha2", "thiserror",
                  "unicode_normalization", "zeroize"] },
    Layer { name: "proto", layers: &[], crates: &["bytes", "data_encoding", "thiserror"] },
    Layer { name: "compress", layers: &[], crates: &["bytes", "thiserror", "zstd"] },
    // the helper process that runs programs, and the pipe to it
    Layer { name: "hooks", layers: &["config", "event", "proto", "cause"], crates: &["bytes", "data_encoding", "nix", "rustix", "thiserror", "tokio", "tracing"] },
    // bodies of the fuzz targets, in no release
    Layer { name: "fuzzing", layers: &["control", "history", "outbox", "inbox", "session", "transport", "store", "proto", "crypto", "config", "event", "meter"],
        crates: &["blake3", "bytes", "tempfile", "tokio"] },
    // for the tests outside of src/, in no release
    Layer { name: "internals", layers: &["peering", "session", "transport", "store", "compress", "proto", "crypto", "failpoint"], crates: &[] },
    // plain values: the input and output of the engine
    Layer { name: "config", layers: &["proto", "rate_schedule"], crates: &["thiserror"] },
    // the rate limit by the time of the week
    Layer { name: "rate_schedule", layers: &[], crates: &["jiff", "serde", "thiserror"] },
    Layer { name: "status", layers: &["config", "hindrance", "proto"], crates: &["data_encoding", "jiff", "serde"] },
    Layer { name: "history", layers: &["status", "config", "proto"], crates: &["bytes", "serde"] },
    Layer { name: "hindrance", layers: &[], crates: &["serde"] },
    Layer { name: "event", layers: &["config", "status", "hindrance", "proto"], crates: &[] },
    // why a run ends: the errors of all layers
    Layer { name: "error", layers: &["outbox", "peering", "hooks", "store", "transport", "status", "proto", "crypto"], crates: &["thiserror"] },
    // causes of system errors, for people
    Layer { name: "cause", layers: &[], crates: &[] },
    // where transfers spend their time
    Layer { name: "meter", layers: &[], crates: &[] },
    // for tests: where the program is killed or a call fails
    Layer { name: "failpoint", layers: &[], crates: &["rustix"] },
];

/// Crates that exactly one layer may name, regardless of the table above.
const OWNED: &[(&str, &str)] = &[
    ("rustls", "transport"),
    ("rcgen", "transport"),
    ("reed_solomon_simd", "transport"),
    ("socket2", "transport"),
    ("redb", "store"),
    ("hyper", "metrics"),
    ("hyper_util", "metrics"),
    ("http_body_util", "metrics"),
    ("prometheus_client", "metrics"),
    ("zstd", "compress"),
    ("cap_std", "store"),
    ("notify", "outbox"),
    ("open_writers", "store"),
    ("ml_kem", "crypto"),
    ("ring", "crypto"),
    ("argon2", "crypto"),
    ("curve25519_dalek", "crypto"),
    ("clap", "cli"),
    ("landlock", "cli"),
    ("rpassword", "cli"),
    ("sd_notify", "cli"),
    ("toml", "cli"),
    ("windows_service", "cli"),
];

/// Pairs that the table must never contain.
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
    let sources = read_sources();
    let test_modules: Vec<_> =
        sources.iter().flat_map(|(_, module, text)| test_modules(module, &tokens(text))).collect();

    let mut report = String::new();
    for (_, module, text) in &sources {
        // a file under `#[cfg(test)] mod name;` may name any crate, as an inline test module may
        let test = test_modules.iter().any(|test| module.starts_with(test));
        let crates = if test { &BTreeSet::new() } else { &dependencies };
        for (line, what) in violations(module, text, crates) {
            writeln!(report, "{}, line {line}: {what}", module.join("::")).unwrap();
        }
    }
    assert!(
        report.is_empty(),
        "references across layers (the rule is LAYERS in tests/layers/main.rs):\n{report}"
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
    // a file of tests is recognised by its declaration
    let declared = test_modules(
        &["crypto".to_owned()],
        &tokens("mod a; #[cfg(test)]\n#[allow(x)]\nmod b; mod c;"),
    );
    assert_eq!(declared, [["crypto", "b"]]);
    // permitted references, and text that is no code
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

/// Forbidden references in `text`, the source of `module`, with their line numbers.
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
        let Reference { path, line, inline, test, .. } = reference;
        let supers = path.iter().take_while(|p| *p == "super").count();
        let (head, rest) = match path[0].as_str() {
            // `main` is a crate root: like the library's, its modules have their layer as the first
            // name
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
