//! The table of keys in `docs/configuration.md` is that of their declarations, and every key of an agent is documented.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use caduceus_actors::settings::Values;

/// The functions with which the settings read a key.
const READS: [&str; 8] =
    [".section(\"", ".text(\"", ".texts(\"", ".count(\"", ".seconds(\"", ".millis(\"", ".word(\"", ".address(\""];

/// The keys that a source reads, without its tests.
fn keys(source: &str) -> BTreeSet<String> {
    let flat: String = source.split("#[cfg(test)]").next().unwrap_or_default().split_whitespace().collect();
    let read_by = |how: &&str| {
        let after: Vec<String> =
            flat.split(how).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect();
        after
    };
    READS.iter().flat_map(read_by).collect()
}

/// The sources below a directory that read keys.
fn sources(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        if path.is_dir() {
            return sources(&path);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        if text.contains("Section<") { vec![text] } else { Vec::new() }
    };
    entries.flat_map(read).collect()
}

#[test]
fn every_key_of_an_agent_is_documented() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(top.join(name)).unwrap();
    let page = read("docs/configuration.md");
    let mut found = keys(&read("actors/src/settings/agent.rs"));
    found.extend(keys(&read("actors/src/settings/notices.rs")));
    // Each backend reads its keys in its own file.
    found.extend(sources(&top.join("actors/src/turn")).iter().flat_map(|source| keys(source)));
    assert!(found.len() > 10 && found.contains("api_key_env") && found.contains("chat_id"), "{found:?}");
    let words: BTreeSet<&str> =
        page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
    let missing: Vec<_> = found.iter().filter(|key| !words.contains(key.as_str())).collect();
    assert!(missing.is_empty(), "missing in docs/configuration.md: {missing:?}");
}

#[test]
fn the_table_of_the_documentation_is_that_of_the_declarations() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(top.join("docs/configuration.md")).unwrap();
    let table = Values::documentation();
    let head = table.lines().next().unwrap();
    let (before, rest) = page.split_once(head).expect("the page has the head of the table");
    let (_, after) = rest.split_once("\n\n").expect("the table is not the end of the page");
    let expected = format!("{before}{table}\n{after}");
    if page != expected {
        let fresh = top.join("target/configuration.md");
        std::fs::write(&fresh, expected).unwrap();
        panic!("the keys have changed: check {} and copy it to docs/configuration.md", fresh.display());
    }
}
