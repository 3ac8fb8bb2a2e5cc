//! Rust sources as tokens, and the paths that stand in them. Comments, strings, `use` trees, inline
//! modules and `#[cfg(test)]` are understood; macros are not.

use std::path::{Path, PathBuf};

/// The sources under `src/`: whether it is a `mod.rs`, its module and its text.
pub fn read_sources() -> Vec<(bool, Vec<String>, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(!files.is_empty());
    let read = |file: &PathBuf| {
        let module = module_path(file.strip_prefix(&root).unwrap());
        (file.ends_with("mod.rs"), module, std::fs::read_to_string(file).unwrap())
    };
    files.iter().map(read).collect()
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
pub fn test_modules(module: &[String], tokens: &[Token]) -> Vec<Vec<String>> {
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

/// A piece of source: a word, `::`, or one sign.
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// `text` without comments, strings, characters, lifetimes and space.
pub fn tokens(text: &str) -> Vec<Token> {
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
pub struct Reference {
    pub path: Vec<String>,
    pub line: usize,
    /// How many inline modules it stands in.
    pub inline: usize,
    /// Whether one of these is under `#[cfg(test)]`.
    pub test: bool,
    /// Whether it stands in a `use`.
    pub import: bool,
}

/// Every path of a `use` tree, and every path of two names or more elsewhere.
pub fn references(tokens: &[Token]) -> Vec<Reference> {
    let text = |at: usize| tokens.get(at).map_or("", |t| t.text.as_str());
    let (mut found, mut at) = (Vec::new(), 0);
    let mut blocks: Vec<Option<bool>> = Vec::new(); // per open brace: is it a module, and is that one a test's
    let mut test_item = false; // the attributes before the next item say cfg(test)
    while at < tokens.len() {
        let inline = blocks.iter().flatten().count();
        let test = blocks.iter().flatten().any(|test| *test);
        let (test, import) = (test || test_item, text(at) == "use");
        let mut add = |path: Vec<String>, line| {
            found.push(Reference { path, line, inline, test, import });
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
