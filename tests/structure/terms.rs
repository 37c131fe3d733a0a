//! The code uses the terms of the field: a term that `tests/terms.tsv` replaces occurs nowhere.

use std::path::{Path, PathBuf};

/// The replaced terms, and their replacements.
fn terms() -> Vec<(String, String)> {
    let table = std::fs::read_to_string(top().join("tests/terms.tsv")).unwrap();
    let rows = table.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    rows.map(|row| match row.as_slice() {
        [term, kind, replacement] if matches!(kind.as_str(), "identifier" | "phrase") => {
            (term.clone(), replacement.clone())
        }
        other => panic!("no row of the table: {other:?}"),
    })
    .collect()
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file, document, page and script, without the changelog, which describes the past.
fn files() -> Vec<PathBuf> {
    let mut left: Vec<PathBuf> = ["src", "actors", "tests", "docs", "deploy", "README.md", "CONTRIBUTING.md"]
        .map(|name| top().join(name))
        .into_iter()
        .filter(|path| path.exists())
        .collect();
    let mut found = Vec::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path
            .extension()
            .is_some_and(|kind| ["rs", "md", "html", "js", "css", "yaml"].iter().any(|one| kind == *one))
        {
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

#[test]
fn no_replaced_term_occurs() {
    let (terms, files) = (terms(), files());
    assert!(files.len() > 300, "only {} files were found", files.len());
    let mut found = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let occurring = terms.iter().filter(|(term, _)| has_word(&text, term));
        found.extend(occurring.map(|(term, instead)| format!("{}: {term} is {instead}", path.display())));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_planted_term_is_found_and_a_part_of_a_word_is_none() {
    let joined = format!("{}{}", "Le", "ash");
    assert!(has_word(&format!("struct {joined};"), &joined));
    assert!(!has_word(&format!("struct {joined}ed; let a_{joined} = 1;"), &joined));
}
