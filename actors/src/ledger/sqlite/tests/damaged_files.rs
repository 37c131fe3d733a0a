//! Hundreds of damaged files, opened by the production code: what is served is right, and what is damaged is named.
//!
//! A file is damaged at a place that follows from its seed alone. `CADUCEUS_LONG` runs 10,000 seeds in place of 300, which takes half an hour;
//! `CADUCEUS_SEEDS=FROM..TO` runs these, in pieces or to repeat one that failed.

mod places;
mod template;
mod truth;

use std::collections::BTreeMap;

use places::{Class, damage};
use template::Template;
use truth::Outcome;

/// The seeds of this run.
#[expect(clippy::disallowed_methods, reason = "a test has no settings")]
fn seeds() -> std::ops::Range<u64> {
    if let Some(seeds) = std::env::var_os("CADUCEUS_SEEDS") {
        let seeds = seeds.into_string().unwrap();
        let (from, to) = seeds.split_once("..").expect("CADUCEUS_SEEDS is FROM..TO");
        return from.parse().unwrap()..to.parse().unwrap();
    }
    0..if std::env::var_os("CADUCEUS_LONG").is_some() { 10_000 } else { 300 }
}

#[test]
fn every_row_that_a_damaged_file_serves_is_right_and_all_that_is_damaged_is_named() {
    let templates = [Template::killed(), Template::closed()];
    let mut outcomes: BTreeMap<(Class, Outcome), u32> = BTreeMap::new();
    let mut failures = Vec::new();
    let seeds = seeds();
    for seed in seeds.clone() {
        let (class, template) =
            (Class::of(seed), &templates[usize::from(Class::of(seed).may_be_closed() && seed / 5 % 2 == 1)]);
        let home = template.copy();
        let what = damage(class, seed, &home.path);
        match truth::check(template, &home) {
            Ok(outcome) => *outcomes.entry((class, outcome)).or_default() += 1,
            Err(failure) => failures.push(format!("seed {seed}, {class:?}, {what}: {failure}")),
        }
    }
    eprintln!("seeds {seeds:?}: {outcomes:#?}");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    // The damage is not all in unused places, and a ledger that refused every file would serve nothing wrong either.
    let count = |outcome| outcomes.iter().filter(|((_, of), _)| *of == outcome).map(|(_, count)| count).sum::<u32>();
    if seeds.end - seeds.start >= 100 {
        assert!(
            count(Outcome::Named) > count(Outcome::Unused) / 2 && count(Outcome::Refused) * 20 < count(Outcome::Named)
        );
    }
}
