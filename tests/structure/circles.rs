//! No two files of a crate import each other, directly or through others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source::{Module, Sources};

/// The sources of the supervision library.
fn supervision() -> Sources {
    let mut sources = Sources::default();
    sources.read("caduceus_supervision", &Path::new(env!("CARGO_MANIFEST_DIR")).join("actors/supervision/src"));
    sources.without_tests()
}

/// The files from which a walk along the imports returns to its start.
fn in_circles(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let comes_back = |start: &&Module| {
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
    imports.keys().filter(comes_back).map(|module| module.join("::")).collect()
}

#[test]
fn no_files_of_the_supervision_library_import_each_other() {
    let sources = supervision();
    assert!(sources.0.len() > 30, "only {} files were found", sources.0.len());
    assert_eq!(in_circles(&sources.imports_with_own_modules()), Vec::<String>::new());
}

/// The sources of the program: its commands, HTTP, the connector.
fn program() -> Sources {
    let mut sources = Sources::default();
    sources.read("caduceus", &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    sources.without_tests()
}

#[test]
fn no_files_of_the_program_import_each_other() {
    let sources = program();
    assert!(sources.0.len() > 100, "only {} files were found", sources.0.len());
    assert_eq!(in_circles(&sources.imports_with_own_modules()), Vec::<String>::new());
}

#[test]
fn a_planted_circle_through_a_module_and_its_own_is_found() {
    let mut sources = program();
    let name = |path: &str| path.split("::").map(str::to_owned).collect();
    sources.add(name("caduceus::planted"), "mod part; use part::Part; pub(crate) struct Whole;");
    sources.add(name("caduceus::planted::part"), "use super::Whole; pub(crate) struct Part;");
    let found = in_circles(&sources.imports_with_own_modules());
    assert_eq!(found, ["caduceus::planted", "caduceus::planted::part"]);
}

#[test]
fn no_files_of_the_actors_import_each_other() {
    let mut sources = Sources::default();
    sources.read("caduceus_actors", &Path::new(env!("CARGO_MANIFEST_DIR")).join("actors/src"));
    let sources = sources.without_tests();
    assert!(sources.0.len() > 200, "only {} files were found", sources.0.len());
    assert_eq!(in_circles(&sources.imports_with_own_modules()), Vec::<String>::new());
}

#[test]
fn a_planted_circle_is_found() {
    let mut sources = supervision();
    let name = |last: &str| vec!["caduceus_supervision".to_owned(), last.to_owned()];
    sources.add(name("one"), "use crate::two::Two; pub(crate) struct One;");
    sources.add(name("two"), "use crate::three::Three; pub(crate) struct Two;");
    sources.add(name("three"), "use crate::one::One; use crate::exit::ExitReason; pub(crate) struct Three;");
    let found = in_circles(&sources.imports());
    assert_eq!(found, ["one", "three", "two"].map(|last| format!("caduceus_supervision::{last}")));
}
