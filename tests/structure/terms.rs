//! The code uses the terms of the field: a term that `tests/terms.tsv` replaces occurs nowhere.
//!
//! An `identifier` is one word, in its exact case. A `phrase` is found in any case, and across the line breaks of a comment.

use std::path::{Path, PathBuf};

/// The kinds of files with prose or identifiers. Files without an extension are scripts and the container file.
const KINDS: [&str; 9] = ["rs", "md", "html", "js", "css", "yaml", "toml", "sh", "service"];

/// One row of the table.
struct Term {
    old: String,
    is_phrase: bool,
    replacement: String,
}

fn terms() -> Vec<Term> {
    let table = std::fs::read_to_string(top().join("tests/terms.tsv")).unwrap();
    let rows = table.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    rows.map(|row| match row.as_slice() {
        [term, kind, replacement] if matches!(kind.as_str(), "identifier" | "phrase") => {
            Term { old: term.clone(), is_phrase: kind == "phrase", replacement: replacement.clone() }
        }
        other => panic!("invalid row of the table: {other:?}"),
    })
    .collect()
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source, document, page, manifest, unit and script, without the changelog, which describes the past.
fn files() -> Vec<PathBuf> {
    let names =
        ["src", "actors", "tests", "docs", "deploy", "README.md", "CONTRIBUTING.md", "Cargo.toml", "clippy.toml"];
    let mut left: Vec<PathBuf> = names.map(|name| top().join(name)).into_iter().filter(|path| path.exists()).collect();
    let mut found = Vec::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_none_or(|kind| KINDS.iter().any(|one| kind == *one)) {
            found.push(path);
        }
    }
    found
}

/// Whether `term` occurs in `text` as a whole word.
fn has_word(text: &str, term: &str) -> bool {
    let part_of_a_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(term).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(part_of_a_word);
        let after = text[at + term.len()..].chars().next().is_some_and(part_of_a_word);
        !before && !after
    })
}

/// `text` in lower case as one line, without comment signs at the start of lines and line continuations at their ends.
fn prose(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim().trim_start_matches(['/', '!', '#', '*']).trim_end_matches('\\'));
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ").to_lowercase()
}

#[test]
fn no_replaced_term_occurs() {
    let (terms, files) = (terms(), files());
    assert!(files.len() > 300, "only {} files were found", files.len());
    let mut found = Vec::new();
    for path in files {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        let prose = prose(&text);
        let occurring = terms.iter().filter(|term| has_word(if term.is_phrase { &prose } else { &text }, &term.old));
        found.extend(occurring.map(|term| format!("{}: `{}` is `{}`", path.display(), term.old, term.replacement)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_planted_term_is_found_and_a_part_of_a_word_is_none() {
    let joined = format!("{}{}", "Le", "ash");
    assert!(has_word(&format!("struct {joined};"), &joined));
    assert!(!has_word(&format!("struct {joined}ed; let a_{joined} = 1;"), &joined));
}

#[test]
fn a_planted_phrase_is_found_across_the_lines_of_a_comment() {
    let (first, second) = ("for", "ever");
    let phrase = format!("{first} {second}");
    assert!(has_word(&prose(&format!("/// It waits {first}\n    /// {second}.\n")), &phrase));
    assert!(has_word(&prose(&format!("# It waits {}\n# {second}.\n", first.to_uppercase())), &phrase));
    assert!(!has_word(&prose(&format!("/// It waits {first} {second}y turn.\n")), &phrase));
}
