//! Every key that `caduceus.yaml` may have is documented.

use std::collections::BTreeSet;
use std::path::Path;

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

#[test]
fn every_key_of_the_settings_is_documented() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(top.join(name)).unwrap();
    let page = read("docs/configuration.md");
    let mut found = keys(&read("actors/src/settings/load.rs"));
    found.extend(keys(&read("actors/src/settings/agent.rs")));
    found.extend(keys(&read("actors/src/settings/relay.rs")));
    found.extend(keys(&read("actors/src/settings/notices.rs")));
    assert!(
        found.len() > 20
            && found.contains("wedge_after_ms")
            && found.contains("api_key_env")
            && found.contains("ca_file"),
        "{found:?}"
    );
    let words: BTreeSet<&str> =
        page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
    let missing: Vec<_> = found.iter().filter(|key| !words.contains(key.as_str())).collect();
    assert!(missing.is_empty(), "missing in docs/configuration.md: {missing:?}");
}
