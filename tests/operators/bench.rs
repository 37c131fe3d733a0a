//! `caduceus bench`: every row measures something, and kept runs become one table. Figures are not judged here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::command::caduceus;
use crate::support::binary;

/// All rows in their short form take half a minute alone.
const CEILING_S: &str = "300";

#[test]
fn every_row_measures_and_kept_runs_become_one_table() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.json");
    let output = Command::new("timeout")
        .arg(CEILING_S)
        .arg(binary().get_program())
        .args(["bench", "--short", "--disk", directory.path().to_str().unwrap(), "--keep", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!((&report["short"], &report["failed"]), (&json!(true), &json!([])));
    let figures = report["figures"].as_array().unwrap();
    let measured: BTreeSet<_> = figures.iter().map(|figure| figure["row"].as_str().unwrap()).collect();
    let rows = caduceus(&["bench", "rows"], &[]).with(0).output;
    let listed: BTreeSet<_> = rows.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(measured, listed);
    for figure in figures {
        assert!(figure["value"].as_f64().is_some_and(|value| value >= 0.0), "{figure}");
    }
    let turn = figures.iter().find(|figure| figure["row"] == "turn" && figure["case"] == "64 in flight").unwrap();
    assert!(turn["name"] == "gateway CPU a turn" && turn["value"].as_f64().unwrap() > 0.0, "{turn}");

    let table = caduceus(&["bench", "table", file.to_str().unwrap()], &[]).with(0).output;
    assert!(table.contains("| turn 64 in flight | gateway CPU a turn, µs | ≤ 40.0 |"), "{table}");
}

#[test]
fn an_unknown_row_and_a_file_that_is_no_run_are_named() {
    caduceus(&["bench", "turns"], &[])
        .with(1)
        .contains_text("there is no row \"turns\"; the rows are commit, client, turn");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.json");
    fs::write(&file, "{}").unwrap();
    caduceus(&["bench", "table", file.to_str().unwrap()], &[]).with(1).contains_text("run.json is not a kept run");
}

#[test]
fn the_table_in_the_documentation_is_that_of_the_kept_runs() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let runs = fs::read_dir(docs.join("performance")).unwrap().map(|entry| entry.unwrap().path());
    let mut runs: Vec<_> = runs.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    // Their names begin with their dates.
    runs.sort();
    assert!(!runs.is_empty(), "a run is kept");
    let arguments: Vec<_> = ["bench", "table"].into_iter().chain(runs.iter().filter_map(|run| run.to_str())).collect();
    let table = caduceus(&arguments, &[]).with(0).output;
    let page = fs::read_to_string(docs.join("performance.md")).unwrap();
    assert!(
        page.contains(table.trim()),
        "docs/performance.md has another table than `bench table docs/performance/*.json`"
    );
}
