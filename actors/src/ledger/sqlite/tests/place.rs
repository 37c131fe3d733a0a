//! The move of a ledger that an earlier version kept elsewhere.

use std::fs;

use super::*;
use crate::ledger::sqlite::names::with_ending;
use crate::ledger::sqlite::open::OpenError;
use crate::ledger::sqlite::place::{FORMER_PATH, PATH, find, prepare};
use crate::ledger::tests::received;

/// A home with a ledger of three events at its former path, one of which is only in the log.
fn home_of_an_earlier_version() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let writer = LedgerWriter::open(home.path().join(FORMER_PATH)).unwrap();
    for number in 0..3 {
        record(&writer, number);
    }
    // Copied while it is open, as a killed process leaves it.
    let kept: Vec<_> = ["", "-wal", "-shm"]
        .map(|ending| with_ending(&home.path().join(FORMER_PATH), ending))
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    close(&writer);
    for (path, bytes) in kept {
        fs::write(path, bytes).unwrap();
    }
    home
}

fn events(home: &Path) -> usize {
    let writer = LedgerWriter::open(prepare(home).unwrap()).unwrap();
    let events = received(&writer).len();
    close(&writer);
    events
}

#[test]
fn a_ledger_at_its_former_path_is_moved_with_its_log() {
    let home = home_of_an_earlier_version();
    assert_eq!(find(home.path()), home.path().join(FORMER_PATH));
    assert_eq!(events(home.path()), 3);
    assert_eq!(find(home.path()), home.path().join(PATH));
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["caduceus"]);
    assert_eq!(events(home.path()), 3, "the second start finds it in its place");
}

#[test]
fn a_log_without_its_file_at_the_new_path_is_not_mixed_with_another_ledger() {
    let home = home_of_an_earlier_version();
    fs::create_dir(home.path().join("caduceus")).unwrap();
    fs::write(with_ending(&home.path().join(PATH), "-wal"), "left by a killed process").unwrap();
    assert!(matches!(prepare(home.path()), Err(OpenError::Two { .. })));
    assert!(home.path().join(FORMER_PATH).exists());
}

#[test]
fn a_ledger_that_is_moved_is_not_examined_by_the_mark_of_another_one() {
    let home = home_of_an_earlier_version();
    let other = tempfile::tempdir().unwrap();
    let writer = LedgerWriter::open(other.path().join("ledger")).unwrap();
    record(&writer, 9);
    fs::create_dir(home.path().join("caduceus")).unwrap();
    let synced = |path: &Path| with_ending(path, "-synced");
    fs::copy(synced(&other.path().join("ledger")), synced(&home.path().join(PATH))).unwrap();
    close(&writer);
    let writer = LedgerWriter::open(prepare(home.path()).unwrap()).unwrap();
    assert_eq!((received(&writer).len(), writer.view().damage), (3, Vec::new()));
    close(&writer);
}

#[test]
fn a_mark_that_is_no_file_is_named_in_the_error() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ledger");
    fs::create_dir(with_ending(&path, "-synced")).unwrap();
    let Err(OpenError::File { path: named, .. }) = LedgerWriter::open(path.clone()) else { panic!("it opened") };
    assert_eq!(named, with_ending(&path, "-synced"));
}

#[test]
fn a_corrupt_ledger_at_the_former_path_is_set_aside_there() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join(FORMER_PATH), "this is no ledger").unwrap();
    assert!(
        matches!(prepare(home.path()), Err(OpenError::Corrupt { set_aside, .. }) if set_aside.parent() == Some(home.path()))
    );
    assert_eq!(events(home.path()), 0, "the next start has a new one");
}

#[test]
fn two_ledgers_are_refused_and_both_stay() {
    let home = home_of_an_earlier_version();
    close(
        &LedgerWriter::open({
            fs::create_dir(home.path().join("caduceus")).unwrap();
            home.path().join(PATH)
        })
        .unwrap(),
    );
    let error = prepare(home.path()).unwrap_err();
    assert!(matches!(&error, OpenError::Two { .. }) && !error.is_temporary(), "{error}");
    assert!(home.path().join(PATH).exists() && home.path().join(FORMER_PATH).exists());
}

#[test]
fn a_ledger_that_an_earlier_version_has_open_stays_where_it_is() {
    let home = tempfile::tempdir().unwrap();
    let writer = LedgerWriter::open(home.path().join(FORMER_PATH)).unwrap();
    assert!(matches!(prepare(home.path()), Err(OpenError::Locked(path)) if path == home.path().join(FORMER_PATH)));
    close(&writer);
}

#[test]
fn what_is_not_a_file_at_the_former_path_is_named() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(FORMER_PATH)).unwrap();
    let error = prepare(home.path()).unwrap_err();
    assert!(matches!(&error, OpenError::File { path, .. } if *path == home.path().join(FORMER_PATH)), "{error}");
}
