//! Checks the documents against the code: the tests and messages that they name exist.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The text of every Rust file beneath these folders.
fn sources(folders: &[&str]) -> Vec<String> {
    let mut folders: Vec<_> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                texts.push(fs::read_to_string(path).unwrap());
            }
        }
    }
    texts
}

/// The items of the list under this heading: the bold start of each item, and its text.
fn items(document: &str, heading: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("docs").join(document)).unwrap();
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).expect("the heading is there");
    let section = section.split("\n## ").next().unwrap();
    let mut items = Vec::new();
    for item in section.split("\n- **").skip(1) {
        let item =
            item.split("\n\n").next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        let (head, text) = item.split_once("**").expect("the start of an item is bold");
        items.push((head.to_owned(), text.to_owned()));
    }
    items
}

/// The text between backquotes.
fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The names of all test functions.
fn tests() -> HashSet<String> {
    let mut names = HashSet::new();
    for text in sources(&["src", "tests"]) {
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let function = line.trim_start_matches("async ").strip_prefix("fn ");
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some(rest) = function {
                if is_test {
                    names.insert(rest.split('(').next().unwrap().to_owned());
                }
                is_test = false;
            }
        }
    }
    names
}

#[test]
fn security_md_names_existing_tests() {
    let tests = tests();
    let items = items("security.md", "What holds");
    assert!(items.len() > 30, "{} items", items.len());
    let mut wrong = Vec::new();
    for (attack, text) in items {
        let Some((_, test)) = text.rsplit_once("Tests:") else {
            panic!("no tests are named: {attack}")
        };
        let mut named = 0;
        for code in code(test) {
            let path = root().join("src").join(code.replace("::", "/"));
            let file =
                root().join(code).is_file() || path.with_extension("rs").is_file() || path.is_dir();
            let fuzzed = root().join(format!("fuzz/targets/{code}.rs")).is_file();
            if tests.contains(code.strip_prefix("fuzzing::tests::").unwrap_or(code)) {
                named += 1;
            } else if !file && !fuzzed {
                wrong.push(format!("{attack}: there is no test or file {code}"));
            }
        }
        if named == 0 {
            wrong.push(format!("{attack}: no test is named"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn operation_md_has_the_unit_that_packages_have() {
    let document = fs::read_to_string(root().join("docs/operation.md")).unwrap();
    let unit = fs::read_to_string(root().join("packaging/systemd/rft@.service")).unwrap();
    let indented = |line: &str| match line {
        "" => "\n".to_owned(),
        line => format!("    {line}\n"),
    };
    let block: String = unit.lines().map(indented).collect();
    assert!(
        document.contains(&format!("\n\n{block}\n")),
        "the unit in operation.md is another one"
    );
}

/// Joins lines that end with a backslash and collapses white space.
fn joined(text: &str) -> String {
    text.replace("\\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn operation_md_quotes_existing_messages() {
    let program = joined(&sources(&["src"]).join("\n"));
    let items = items("operation.md", "When something is wrong");
    assert!(items.len() > 25, "{} items", items.len());
    let (mut wrong, mut looked_for) = (Vec::new(), 0);
    for (head, _) in items {
        for message in code(&head) {
            let message = message.replace(".rftignore", "{IGNORE_FILE}");
            // The documents write dots or capitals for the variable parts of a message.
            for piece in message.split("...").map(|piece| piece.trim().trim_start_matches("N ")) {
                looked_for += 1;
                if !program.contains(piece) {
                    wrong.push(format!("no message says {piece:?}, of {message:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(looked_for > 25, "{looked_for}");
}

#[test]
fn the_packages_allow_the_buffers_that_rft_asks_for() {
    let wanted = rft::internals::transport::socket::KERNEL_BUFFER;
    let file = fs::read_to_string(root().join("packaging/sysctl/30-rft.conf")).unwrap();
    let operation = fs::read_to_string(root().join("docs/operation.md")).unwrap();
    for setting in ["net.core.rmem_max", "net.core.wmem_max"] {
        let line = format!("{setting} = {wanted}");
        assert!(file.lines().any(|it| it == line), "no line is {line:?}:\n{file}");
        let command = format!("{setting}={wanted}");
        assert!(operation.contains(&command), "operation.md does not say {command}");
    }
}
