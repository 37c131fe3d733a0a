//! No two files of a crate import each other, directly or through others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source::{CRATES, Module, SourceTree};

/// The sources of one crate.
fn sources_of(name: &str) -> SourceTree {
    let (_, folder) = CRATES.into_iter().find(|(of, _)| *of == name).expect("the crate is in the list");
    let mut sources = SourceTree::default();
    sources.read(name, &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    sources.without_tests()
}

/// The files from which a walk along the imports returns to its start.
fn in_cycles(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let is_in_cycle = |start: &&Module| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![*start]);
        while let Some(module) = left.pop() {
            for target in imports.get(module).into_iter().flatten() {
                if target == *start {
                    return true;
                }
                if seen.insert(target) {
                    left.push(target);
                }
            }
        }
        false
    };
    imports.keys().filter(is_in_cycle).map(|module| module.join("::")).collect()
}

#[test]
fn no_files_of_a_crate_import_each_other() {
    let fewest = [
        ("caduceus", 90),
        ("caduceus_actors", 170),
        ("caduceus_connector", 20),
        ("caduceus_contract", 30),
        ("caduceus_supervision", 30),
    ];
    assert_eq!(fewest.map(|(name, _)| name), CRATES.map(|(name, _)| name), "every crate is checked");
    for (name, fewest) in fewest {
        let sources = sources_of(name);
        assert!(sources.0.len() > fewest, "only {} files were found of {name}", sources.0.len());
        assert_eq!(in_cycles(&sources.imports_with_own_modules()), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_planted_cycle_through_a_module_and_its_own_is_found() {
    let mut sources = sources_of("caduceus");
    let name = |path: &str| path.split("::").map(str::to_owned).collect();
    sources.add(name("caduceus::planted"), "mod part; use part::Part; pub(crate) struct Whole;");
    sources.add(name("caduceus::planted::part"), "use super::Whole; pub(crate) struct Part;");
    let found = in_cycles(&sources.imports_with_own_modules());
    assert_eq!(found, ["caduceus::planted", "caduceus::planted::part"]);
}

#[test]
fn a_planted_cycle_is_found() {
    let mut sources = sources_of("caduceus_supervision");
    let name = |last: &str| vec!["caduceus_supervision".to_owned(), last.to_owned()];
    sources.add(name("one"), "use crate::two::Two; pub(crate) struct One;");
    sources.add(name("two"), "use crate::three::Three; pub(crate) struct Two;");
    sources.add(name("three"), "use crate::one::One; use crate::exit::ExitReason; pub(crate) struct Three;");
    let found = in_cycles(&sources.imports());
    assert_eq!(found, ["one", "three", "two"].map(|last| format!("caduceus_supervision::{last}")));
}
