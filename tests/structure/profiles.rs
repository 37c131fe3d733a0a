//! A panic unwinds in every profile: supervision depends on it.

use std::path::Path;

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
    assert!(top.join("Cargo.toml").exists() && top.join("actors/Cargo.toml").exists(), "both manifests are checked");
    for name in ["Cargo.toml", "actors/Cargo.toml", ".cargo/config.toml", ".cargo/config", "actors/.cargo/config.toml"]
    {
        let text = std::fs::read_to_string(top.join(name)).unwrap_or_default();
        assert_eq!(aborts(&text), Vec::<&str>::new(), "{name} makes a panic end the process");
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
