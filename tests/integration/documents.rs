//! The commands of the documents: each complete one runs, and each form names options that exist.

mod quoted;
mod world;

use quoted::{Quoted, is_form};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use world::World;

/// Commands that tests of their own run: the word after `rft`, and one of these tests.
const RUN_ELSEWHERE: [(&str, &str); 4] = [
    ("receive", "files_and_folders_cross_once_and_stay_where_they_are"),
    ("send", "files_and_folders_cross_once_and_stay_where_they_are"),
    ("service", "a_service_is_installed_shown_and_removed"),
    ("top", "it_shows_the_state_and_leaves_the_terminal_as_it_was"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `--help` says of this command, or of `rft` itself if the word is no command.
fn help(command: &str) -> String {
    let mut rft = Command::new(env!("CARGO_BIN_EXE_rft"));
    rft.args((!command.is_empty()).then_some(command)).arg("--help").stdin(Stdio::null());
    String::from_utf8(rft.output().unwrap().stdout).unwrap()
}

/// The commands of `rft`, from its help.
fn commands() -> BTreeSet<String> {
    let help = help("");
    let (_, list) = help.split_once("Commands:\n").expect("a list of commands");
    let names = list.lines().take_while(|line| !line.is_empty());
    // Lines that go on with a description are indented further.
    let names = names.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn every_complete_command_runs() {
    let commands = commands();
    let quoted: Vec<_> = quoted::all(root()).into_iter().filter(|one| one.block).collect();
    let world = World::new();
    let (mut wrong, mut done) = (Vec::new(), BTreeSet::new());
    for one in &quoted {
        let Some((program, words)) = one.words.split_first() else { continue };
        if !program.ends_with("rft")
            || words.is_empty()
            || is_form(words)
            || !done.insert(words.to_vec())
        {
            continue;
        }
        let command = words.first().filter(|word| commands.contains(*word));
        let elsewhere = RUN_ELSEWHERE.iter().any(|(name, _)| command.is_some_and(|it| it == name));
        let result = match command {
            _ if elsewhere => Ok(()),
            Some(_) if words[0] != "listen" => world.run(words),
            _ => world.run_peer(words),
        };
        if let Err(why) = result {
            wrong.push(format!("{}: {}\n{why}", one.place, one.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(done.len() > 20, "only {} commands were found: {done:#?}", done.len());
}

#[test]
fn commands_that_run_elsewhere_have_a_test_there() {
    let mut folders = vec![root().join("tests/integration")];
    let mut sources = String::new();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                sources.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    for (command, test) in RUN_ELSEWHERE {
        assert!(sources.contains(&format!("fn {test}()")), "{command}: no test is named {test}");
    }
}

#[test]
fn every_option_of_a_command_exists() {
    let commands = commands();
    let mut helps = BTreeMap::new();
    let (mut wrong, mut options) = (Vec::new(), 0);
    for one in quoted::all(root()) {
        let Some((program, words)) = one.words.split_first() else { continue };
        if !program.ends_with("rft") {
            continue;
        }
        // `rft bob --json` takes the same options as `rft --json bob`.
        let command = words.first().filter(|word| commands.contains(*word)).cloned();
        let command = command.unwrap_or_default();
        let text = helps.entry(command.clone()).or_insert_with(|| help(&command));
        for word in words.iter().take_while(|word| *word != "--") {
            let option = word.split('=').next().unwrap().trim_matches(|c| "[]().,".contains(c));
            if option.starts_with('-') && option.len() > 1 {
                options += 1;
                if !names_option(text, option) {
                    wrong.push(format!("{}: `rft {command}` has no {option}", one.place));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(options > 30, "only {options} options were found");
}

/// Whether the help lists this option, as a whole word.
fn names_option(help: &str, option: &str) -> bool {
    help.split(|c: char| !(c.is_alphanumeric() || c == '-')).any(|word| word == option)
}

#[test]
fn every_script_and_its_options_exist() {
    let mut found = BTreeSet::new();
    let mut wrong = Vec::new();
    for Quoted { place, words, .. } in quoted::all(root()) {
        let Some(script) = words.first().filter(|word| word.starts_with("scripts/")) else {
            continue;
        };
        // The bench is a folder of Python beside its script.
        let mut text = fs::read_to_string(root().join(script)).unwrap_or_default();
        if script == "scripts/bench" {
            text += &fs::read_to_string(root().join("scripts/benchmark/__main__.py")).unwrap();
        }
        if text.is_empty() {
            wrong.push(format!("{place}: there is no {script}"));
        }
        for option in words.iter().filter(|word| word.starts_with("--")) {
            if !names_option(&text, option) {
                wrong.push(format!("{place}: {script} has no {option}"));
            }
        }
        found.insert(script.clone());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(found.len() > 8, "{found:?}");
}

#[test]
fn the_configuration_file_of_operation_md_is_valid() {
    let text = fs::read_to_string(root().join("docs/operation.md")).unwrap();
    let (_, section) = text.split_once("\n### The configuration file\n").unwrap();
    let section = section.split("\n## ").next().unwrap().split("\n### ").next().unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("    "));
    let settings: Vec<_> = lines.filter(|line| line.contains(" = ")).collect();
    assert!(settings.len() > 4, "{settings:?}");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rft.toml"), settings.join("\n")).unwrap();
    let mut rft = Command::new(env!("CARGO_BIN_EXE_rft"));
    let output = rft.args(["config", "bob"]).current_dir(dir.path()).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for setting in settings {
        let name = setting.split(" = ").next().unwrap();
        assert!(shown.contains(name), "{name} is not in force:\n{shown}");
    }
}
