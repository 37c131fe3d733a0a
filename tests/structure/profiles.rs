//! A panic unwinds in every profile: supervision depends on it.

use std::path::Path;

use crate::source::CRATES;

/// The lines of a manifest or a configuration of cargo by which a panic would end the process.
fn aborts(text: &str) -> Vec<&str> {
    let sets = |line: &&str| {
        let line: String = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        line.contains("panic=") && line.contains("abort")
    };
    text.lines().filter(sets).collect()
}

#[test]
fn no_profile_ends_the_process_at_a_panic() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, sources) in CRATES {
        let package = top.join(sources).parent().unwrap().to_owned();
        assert!(package.join("Cargo.toml").exists(), "the manifest of {name} is checked");
        for file in ["Cargo.toml", ".cargo/config.toml", ".cargo/config"] {
            let text = std::fs::read_to_string(package.join(file)).unwrap_or_default();
            assert_eq!(aborts(&text), Vec::<&str>::new(), "{file} of {name} makes a panic end the process");
        }
    }
}

#[test]
fn this_build_unwinds() {
    const { assert!(cfg!(panic = "unwind")) };
}

#[test]
fn a_planted_abort_is_found() {
    for planted in ["panic = \"abort\"", "  panic='abort' # small", "rustflags = [\"-C\", \"panic=abort\"]"] {
        assert_eq!(aborts(&format!("[profile.release]\n{planted}\n")).len(), 1, "{planted}");
    }
    assert!(aborts("# panic = \"abort\" would break supervision\npanic = \"unwind\"").is_empty());
}
