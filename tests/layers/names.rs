//! The name of a type stands once in `src/`, so that a reader who meets it knows which one it is.
//! Tests, fuzz targets and types inside functions are left out. Variants of one type for different
//! systems count as one.

use super::source::{Token, read_sources, test_modules, tokens};
use std::collections::{BTreeMap, BTreeSet};

/// Names that stand more than once, each with the reason.
const TWICE: &[(&str, &str)] =
    &[("Source", "the kind of a caller (peering), and what the control server answers from")];

#[test]
fn the_name_of_a_type_stands_once() {
    let sources = read_sources();
    let tests: Vec<_> =
        sources.iter().flat_map(|(_, module, text)| test_modules(module, &tokens(text))).collect();
    let mut modules: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, module, text) in &sources {
        let left_out = module.iter().any(|part| part == "fuzzing")
            || tests.iter().any(|test| module.starts_with(test));
        if left_out {
            continue;
        }
        let of_systems = |part: &&String| !matches!(part.as_str(), "unix" | "windows" | "other");
        let module: Vec<_> = module.iter().filter(of_systems).map(String::as_str).collect();
        for name in types(&tokens(text)) {
            modules.entry(name).or_default().insert(module.join("::"));
        }
    }
    let allowed = |name: &str| TWICE.iter().any(|(twice, _)| *twice == name);
    let twice: Vec<_> =
        modules.iter().filter(|(name, of)| of.len() > 1 && !allowed(name)).collect();
    assert!(twice.is_empty(), "names of types that stand more than once: {twice:#?}");
    let needless: Vec<_> =
        TWICE.iter().filter(|(name, _)| modules.get(*name).is_none_or(|of| of.len() < 2)).collect();
    assert!(needless.is_empty(), "exceptions that nothing needs: {needless:?}");
}

#[test]
fn a_repeated_name_is_found() {
    let found = |text: &str| types(&tokens(text));
    assert_eq!(
        found("pub struct A; enum B {} mod c { trait D {} pub(crate) type E = u8; }"),
        ["A", "B", "D", "E"]
    );
    assert_eq!(
        found("fn f() { struct Local; } impl X for Y { type Item = u8; } struct Z<T>(T);"),
        ["Z"]
    );
    assert_eq!(found("#[cfg(test)] mod tests { struct A; } struct B;"), ["B"]);
    assert_eq!(found("#[cfg(unix)] struct A; #[cfg(windows)] struct A;"), ["A", "A"]);
}

/// The types that a source defines outside of functions and tests.
fn types(tokens: &[Token]) -> Vec<String> {
    let text = |at: usize| tokens.get(at).map_or("", |t| t.text.as_str());
    let mut found = Vec::new();
    // Per open brace: whether it is that of a module which is no test's.
    let mut blocks: Vec<bool> = Vec::new();
    let mut is_test = false;
    for at in 0..tokens.len() {
        let before = |n: usize| at.checked_sub(n).map_or("", |at| text(at));
        match text(at) {
            "test" if before(1) == "(" && before(2) == "cfg" => is_test = true,
            "{" => {
                blocks.push(before(2) == "mod" && !is_test);
                is_test = false;
            }
            "}" => {
                blocks.pop();
            }
            ";" => is_test = false,
            "struct" | "enum" | "trait" | "union" | "type"
                if blocks.iter().all(|module| *module)
                    && text(at + 1).starts_with(char::is_uppercase) =>
            {
                found.push(text(at + 1).to_owned());
            }
            _ => {}
        }
    }
    found
}
