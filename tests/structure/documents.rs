//! The documents name only files, modules, tests, types and crates that exist.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The directories that a path in a document can begin below: the documents shorten those of the gateway and of its actors.
const BASES: [&str; 5] = ["", "actors/src", "src", "tests", "actors/tests"];

/// The first parts of paths in the repository; other paths are those of a home.
const TOPS: [&str; 5] = ["actors/", "src/", "tests/", "docs/", "deploy/"];

/// Types of other crates, named because they are not used.
const ABSENT: [&str; 1] = ["SystemService"];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(top().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    ["README.md", "CONTRIBUTING.md"].map(|name| top().join(name)).into_iter().chain(docs).collect()
}

/// The texts in backticks, without those of code blocks.
fn quoted(document: &str) -> Vec<String> {
    let outside: String = document.split("```").step_by(2).collect();
    outside.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn is_path(quoted: &str) -> bool {
    let letters = quoted.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-".contains(letter));
    let of_ours = TOPS.iter().any(|first| quoted.starts_with(first))
        || Path::new(quoted).extension().is_some_and(|kind| kind == "rs");
    letters && quoted.contains('/') && of_ours
}

/// Whether there is such a file or directory; the end `.rs` may be left out.
fn path_exists(path: &str) -> bool {
    BASES.iter().map(|base| top().join(base).join(path)).any(|path| path.exists() || path.with_extension("rs").exists())
}

fn is_module(quoted: &str) -> bool {
    let of_a_module = |part: &str| part.starts_with(|letter: char| letter.is_ascii_lowercase());
    let letters = |part: &str| part.chars().all(|letter| letter.is_ascii_lowercase() || "_0123456789".contains(letter));
    quoted.contains("::") && quoted.split("::").all(|part| of_a_module(part) && letters(part))
}

/// Whether there is such a module, as a file or within the file of its parent, or such a function.
fn module_exists(module: &str) -> bool {
    let path = module.replace("::", "/");
    let (parent, last) = path.rsplit_once('/').unwrap();
    let parents = ["", "/mod", "/main", "/lib"].map(|file| format!("{parent}{file}.rs"));
    let within =
        BASES.iter().flat_map(|base| parents.iter().map(move |file| top().join(base).join(file))).any(|file| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            text.contains(&format!("mod {last};"))
                || text.contains(&format!("mod {last} {{"))
                || text.contains(&format!("fn {last}("))
        });
    path_exists(&path) || within
}

/// `LedgerActor` and the like, not words in capitals.
fn is_type(quoted: &str) -> bool {
    let mixed =
        quoted.chars().filter(char::is_ascii_uppercase).count() > 1 && quoted.chars().any(|c| c.is_ascii_lowercase());
    mixed && quoted.starts_with(|c: char| c.is_ascii_uppercase()) && quoted.chars().all(|c| c.is_ascii_alphanumeric())
}

/// Every word of every Rust file below the three directories of sources.
fn words() -> HashSet<String> {
    let mut left: Vec<PathBuf> = ["src", "actors", "tests"].map(|name| top().join(name)).into();
    let mut words = HashSet::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            words.extend(text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned));
        }
    }
    words
}

fn crate_exists(name: &str, manifest: &str) -> bool {
    name == "caduceus" || manifest.contains(&format!("\n{name} = {{ path = "))
}

#[test]
fn everything_that_a_document_names_exists() {
    let (words, manifest) = (words(), std::fs::read_to_string(top().join("Cargo.toml")).unwrap());
    let (mut missing, mut checked) = (Vec::new(), 0);
    for document in documents() {
        for name in quoted(&std::fs::read_to_string(&document).unwrap()) {
            let exists = match name.as_str() {
                path if is_path(path) => path_exists(path),
                module if is_module(module) => module_exists(module),
                kind if is_type(kind) => words.contains(kind) || ABSENT.contains(&kind),
                name if name.starts_with("caduceus-") && !name.contains(' ') => crate_exists(name, &manifest),
                _ => continue,
            };
            checked += 1;
            if !exists {
                missing.push(format!("{}: `{name}`", document.display()));
            }
        }
    }
    assert!(checked > 100, "only {checked} names were found");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn a_planted_name_is_missing() {
    assert_eq!(quoted("a `b/c.rs` d\n```sh\n`e`\n```\n`f`"), ["b/c.rs", "f"]);
    assert!(is_path("actors/src/lib.rs") && path_exists("drain/plan.rs") && !path_exists("drain/no_such.rs"));
    assert!(is_module("service::hold") && module_exists("service::hold") && !module_exists("service::no_such"));
    assert!(is_type("LedgerActor") && !is_type("HTTPS") && !is_type("GATEWAY_RELAY_ID"));
    assert!(!crate_exists("caduceus-none", "\ncaduceus-actors = { path = \"actors\" }\n"));
}
