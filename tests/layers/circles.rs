//! No two files of `src/` may form a circle, through `use` or any other path.
//!
//! A file `x.rs` and the files of its folder `x/` are one unit. References between a `mod.rs` and
//! the files beneath it do not count either: it declares them, and they share its types. A path
//! that leads through another module's `use` counts for the file that defines the item. Tests are
//! left out.

use crate::source::{Reference, read_sources, references, test_modules, tokens};
use std::collections::{BTreeMap, BTreeSet};

type Module = Vec<String>;

/// The modules of the crate and their imports.
#[derive(Default)]
struct Modules {
    /// Every file's module, and the unit that it belongs to.
    units: BTreeMap<Module, Module>,
    /// Where the name at a path comes from, if a `use` brings it in.
    imports: BTreeMap<Module, Module>,
}

#[test]
fn no_files_form_a_circle() {
    let mut sources = read_sources();
    sources.retain(|(_, module, _)| !matches!(module[0].as_str(), "main" | "lib"));
    let (modules, references) = read(&sources);
    let found = circles(&edges(&modules, &references));
    assert!(found.is_empty(), "files that form a circle: {found:#?}");
}

#[test]
fn a_circle_is_found() {
    let found = |files: &[(&str, &str)]| {
        let split = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        let sources: Vec<_> = files
            .iter()
            .map(|(path, text)| {
                let mut module = split(path);
                let is_mod = module.last().is_some_and(|last| last == "mod");
                module.truncate(module.len() - usize::from(is_mod));
                (is_mod, module, (*text).to_owned())
            })
            .collect();
        let (modules, references) = read(&sources);
        circles(&edges(&modules, &references)).into_iter().flatten().collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    // Directly, and through a re-export of the parent.
    assert_eq!(found(&[("a", "use crate::b::B;"), ("b", "use super::a::A;")]), ["a", "b"]);
    assert_eq!(
        found(&[
            ("r/mod", "mod a; mod b; pub use b::B;"),
            ("r/a", "use super::B;"),
            ("r/b", "fn f() { crate::r::a::f() }"),
        ]),
        ["r::a", "r::b"]
    );
    // A folder belongs to its file.
    assert_eq!(
        found(&[("a", "mod c; use crate::b::B;"), ("a/c", ""), ("b", "use crate::a::c::C;")]),
        ["a", "b"]
    );
    assert_eq!(found(&[("a", "mod c; use c::C;"), ("a/c", "use super::A;")]), none);
    // The files beneath a mod.rs share its types.
    assert_eq!(found(&[("r/mod", "mod a; use a::A;"), ("r/a", "use super::R;")]), none);
    // Tests may look anywhere.
    assert_eq!(
        found(&[("a", "use crate::b::B;"), ("b", "#[cfg(test)] mod tests { use crate::a::A; }")]),
        none
    );
}

/// The modules of these sources (is it a `mod.rs`, its path, its text), and the references in each.
fn read(sources: &[(bool, Module, String)]) -> (Modules, Vec<(Module, Reference)>) {
    let (mut modules, mut found) = (Modules::default(), Vec::new());
    let tests: Vec<_> =
        sources.iter().flat_map(|(_, module, text)| test_modules(module, &tokens(text))).collect();
    let files: Vec<_> = sources
        .iter()
        .filter(|(_, module, _)| !tests.iter().any(|test| module.starts_with(test)))
        .collect();
    for (_, module, _) in &files {
        let owner = files
            .iter()
            .filter(|(is_mod, other, _)| !is_mod && module.starts_with(other))
            .min_by_key(|(_, other, _)| other.len());
        modules.units.insert(module.clone(), owner.map_or(module, |(_, owner, _)| owner).clone());
    }
    for (_, module, text) in files {
        for reference in references(&tokens(text)) {
            if reference.test {
                continue;
            }
            if reference.import
                && reference.inline == 0
                && let Some(path) = modules.absolute(module, &reference)
                && let Some(name) = path.last()
            {
                let at = module.iter().cloned().chain([name.clone()]).collect();
                modules.imports.insert(at, path);
            }
            found.push((module.clone(), reference));
        }
    }
    (modules, found)
}

impl Modules {
    /// The path of a reference from the root of the crate; `None` if it leads out of it.
    fn absolute(&self, module: &Module, reference: &Reference) -> Option<Module> {
        let path = &reference.path;
        let supers = path.iter().take_while(|part| *part == "super").count();
        match path[0].as_str() {
            "crate" => Some(path[1..].to_vec()),
            "super" => {
                let above = (module.len() + reference.inline).checked_sub(supers)?;
                let above = module.get(..above.min(module.len()))?;
                Some([above, &path[supers..]].concat())
            }
            "self" if reference.inline == 0 => Some([module, &path[1..]].concat()),
            head => {
                let child = [module.as_slice(), &[head.to_owned()]].concat();
                self.units.contains_key(&child).then(|| [module, &path[..]].concat())
            }
        }
    }

    /// The file that defines the item at this path.
    fn definition(&self, mut path: Module) -> Option<&Module> {
        // A name passes through a few modules at most.
        for _ in 0..5 {
            let prefixes = (1..=path.len()).rev();
            let import = prefixes
                .filter(|&length| !self.units.contains_key(&path[..length]))
                .find_map(|length| Some((length, self.imports.get(&path[..length])?)));
            let Some((length, origin)) = import else { break };
            path = [origin, &path[length..]].concat();
        }
        (1..=path.len())
            .rev()
            .find_map(|length| self.units.get_key_value(&path[..length]).map(|(module, _)| module))
    }
}

/// The units that each unit names.
fn edges(
    modules: &Modules,
    references: &[(Module, Reference)],
) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut edges: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (module, reference) in references {
        let path = modules.absolute(module, reference);
        let Some(target) = path.and_then(|path| modules.definition(path)) else { continue };
        if !module.starts_with(target) && !target.starts_with(module) {
            let (from, to) = (&modules.units[module], &modules.units[target]);
            edges.entry(from.clone()).or_default().insert(to.clone());
        }
    }
    edges
}

/// The sets of units that reach each other.
fn circles(edges: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<Vec<String>> {
    let reach: BTreeMap<_, _> = edges.keys().map(|unit| (unit, reached(unit, edges))).collect();
    let mut found = BTreeSet::new();
    for (unit, reached) in &reach {
        let circle: Vec<_> = reached
            .iter()
            .filter(|other| reach.get(*other).is_some_and(|back| back.contains(*unit)))
            .map(|other| other.join("::"))
            .collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found
}

fn reached<'a>(
    unit: &Module,
    edges: &'a BTreeMap<Module, BTreeSet<Module>>,
) -> BTreeSet<&'a Module> {
    let (mut found, mut next) = (BTreeSet::new(), vec![unit]);
    while let Some(unit) = next.pop() {
        for other in edges.get(unit).into_iter().flatten() {
            if found.insert(other) {
                next.push(edges.get_key_value(other).map_or(other, |(other, _)| other));
            }
        }
    }
    found
}
