//! Finds the commands that the documents quote.

use std::fs;
use std::path::Path;

/// A command in a document.
pub struct Quoted {
    /// The document and the line.
    pub place: String,
    /// The line, for messages.
    pub text: String,
    /// Its words: the program first, quotes removed.
    pub words: Vec<String>,
    /// It stands in a block, to be pasted, and not in a sentence.
    pub block: bool,
}

/// All commands of all documents. Those of `docs/measurements/` belong to earlier builds.
pub fn all(root: &Path) -> Vec<Quoted> {
    let mut documents =
        vec!["README.md".to_owned(), "CONTRIBUTING.md".into(), "SECURITY.md".into()];
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        documents.extend(name.ends_with(".md").then(|| format!("docs/{name}")));
    }
    documents.sort();
    let mut found = Vec::new();
    for document in documents {
        let text = fs::read_to_string(root.join(&document)).unwrap();
        for (number, line) in text.lines().enumerate() {
            let place = format!("{document}:{}", number + 1);
            match line.strip_prefix("    ") {
                Some(line) => quote(&place, line, true, &mut found),
                None => {
                    for span in line.split('`').skip(1).step_by(2) {
                        quote(&place, span, false, &mut found);
                    }
                }
            }
        }
    }
    found
}

/// Whether these words stand for a class of commands: they have placeholders or choices.
pub fn is_form(words: &[String]) -> bool {
    let placeholder = |word: &String| {
        word.contains(['[', '<', '|', '$', '%'])
            || word.contains("...")
            || word.chars().filter(|c| c.is_alphabetic()).count() > 1
                && word.chars().all(|c| !c.is_lowercase() && !c.is_ascii_digit())
                && !word.starts_with('-')
    };
    words.iter().any(placeholder)
}

fn quote(place: &str, line: &str, block: bool, found: &mut Vec<Quoted>) {
    let text = line.trim();
    // A prompt, or the line of a unit.
    let command = ["alice$ ", "bob$ ", "$ ", "ExecStart="]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .unwrap_or(text)
        .trim_start();
    for words in split(command, block) {
        let program = words.first().map(String::as_str).unwrap_or_default();
        // A version follows the name in what rft prints.
        let printed = words.get(1).is_some_and(|word| word.starts_with("0."));
        if printed {
            continue;
        }
        if program == "rft" || program.ends_with("/rft") || program.starts_with("scripts/") {
            found.push(Quoted { place: place.into(), text: text.into(), words, block });
        } else if let [cargo, run, .., dashes, _] = &words[..]
            && (cargo.as_str(), run.as_str(), dashes.as_str()) == ("cargo", "run", "--")
        {
            let words = vec!["rft".into(), words.last().unwrap().clone()];
            found.push(Quoted { place: place.into(), text: text.into(), words, block });
        }
    }
}

/// The simple commands of a line of shell, each as its words. In a block a description follows a
/// command after two spaces or more, or after `#`.
fn split(line: &str, block: bool) -> Vec<Vec<String>> {
    let (mut commands, mut words) = (Vec::new(), Vec::new());
    let mut word = None::<String>;
    let mut quote = None;
    let mut redirected = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (_, Some(open)) if c == open => quote = None,
            (_, Some(_)) => word.get_or_insert_default().push(c),
            ('\'' | '"', None) => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (' ', None) => {
                let ended = word.take();
                if !std::mem::take(&mut redirected) || ended.is_none() {
                    words.extend(ended);
                }
                if block && matches!(chars.peek(), Some(' ' | '#')) {
                    break;
                }
            }
            // `off|RATE` in a form is no pipe: those have spaces around them.
            ('|', None) if word.is_some() => word.get_or_insert_default().push(c),
            (';' | '|' | '&' | '(' | ')', None) => {
                words.extend(word.take().filter(|_| !std::mem::take(&mut redirected)));
                commands.push(std::mem::take(&mut words));
            }
            ('>' | '<', None) if word.is_none() && chars.peek() == Some(&' ') => {
                redirected = true;
                chars.next();
            }
            ('\\', None) if chars.peek().is_none() => {}
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word.filter(|_| !redirected));
    commands.push(words);
    commands.retain(|words| !words.is_empty());
    commands
}

#[test]
fn splits_lines_of_shell() {
    let words = |line: &str| split(line, true);
    assert_eq!(words("rft status   # what"), [["rft", "status"]]);
    assert_eq!(
        words("rft pause; rft limit 2M  steer"),
        [vec!["rft", "pause"], vec!["rft", "limit", "2M"]]
    );
    assert_eq!(words("(umask 077; rft x > f) | tee pw")[1], ["rft", "x"]);
    assert_eq!(words("rft limit '08:00-18:00 2M'"), [["rft", "limit", "08:00-18:00 2M"]]);
    assert_eq!(words("rft limit RATE|off"), [["rft", "limit", "RATE|off"]]);
}
