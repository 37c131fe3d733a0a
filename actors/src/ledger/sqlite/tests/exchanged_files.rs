//! Files that are put beside a ledger, or in its place, and a ledger that is taken away.

use super::*;
use crate::ledger::sqlite::carry_over::{CarryError, DamagedFile, carry_over};
use crate::ledger::sqlite::high_water::write_back;
use crate::ledger::sqlite::names::with_ending;
use crate::ledger::tests::received;

/// A closed ledger with these events.
fn closed(events: std::ops::Range<u64>) -> Home {
    let home = Home::new();
    let writer = home.open();
    for number in events {
        record(&writer, number);
    }
    close(&writer);
    home
}

#[test]
fn a_ledger_is_not_examined_by_the_mark_and_the_page_of_another_one() {
    let (other, home) = (closed(0..1), closed(1..4));
    let synced = |home: &Home| with_ending(&home.path, "-synced");
    std::fs::copy(synced(&other), synced(&home)).unwrap();
    let before = std::fs::read(&home.path).unwrap();
    let writer = home.open();
    assert_eq!((received(&writer).len(), writer.view().damage), (3, vec![]));
    close(&writer);
    assert_eq!(std::fs::read(&home.path).unwrap()[100..200], before[100..200], "the tree of the schema");
    // From now on it has its own.
    let mut bytes = std::fs::read(&home.path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&home.path, bytes).unwrap();
    let writer = home.open();
    assert_eq!((received(&writer).len(), writer.view().damage.len()), (3, 1));
}

#[test]
fn an_exchange_that_was_begun_is_finished_and_reported() {
    let (good, home) = (closed(0..2), closed(2..3));
    std::fs::copy(&good.path, with_ending(&home.path, "-carried")).unwrap();
    let writer = home.open();
    assert_eq!(received(&writer).len(), 2);
    assert!(writer.view().damage.join("; ").contains("made of a damaged one"), "{:?}", writer.view().damage);
    assert!(!with_ending(&home.path, "-carried").exists());
}

/// What lies in the directory of a ledger because of an exchange: copies, the new file, and files set aside.
fn left_beside(home: &Home) -> Vec<String> {
    let names = home.path.parent().unwrap().read_dir().unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| ["-source", "-new", "-carried", ".damaged-"].iter().any(|part| name.contains(part))).collect()
}

#[test]
fn an_exchange_that_fails_leaves_no_copy_that_takes_room() {
    let home = closed(0..50);
    let (synced, below_a_file) = (with_ending(&home.path, "-synced"), with_ending(&home.path, ".lock").join("aside"));
    let damaged = DamagedFile { path: &home.path, aside: &below_a_file, head: None, is_cut: false, without_log: false };
    // The new file is complete, and the damaged one gets no second name.
    let failed = carry_over(&damaged);
    assert!(matches!(failed, Err(CarryError::File(_))), "{failed:?}");
    assert_eq!((left_beside(&home), home.path.exists(), synced.exists()), (vec![], true, true));
    // The copy is complete, and cannot be read by this version.
    home.peek().pragma_update(None, "user_version", 99).unwrap();
    let failed = carry_over(&damaged);
    assert!(matches!(failed, Err(CarryError::Newer(99))), "{failed:?}");
    assert_eq!((left_beside(&home), home.path.exists(), synced.exists()), (vec![], true, true));
}

#[test]
fn an_open_ledger_stays_at_its_path_if_no_copy_of_its_first_page_can_be_made() {
    let home = closed(0..0);
    let before = std::fs::metadata(&home.path).unwrap().len();
    let writer = home.open();
    let long = caduceus_contract::json::RawJson::of(&"x".repeat(400_000));
    wait(writer.ask(RecordInbound { event: long, ..event(1) })).unwrap();
    close(&writer);
    let writer = home.open();
    record(&writer, 2);
    // As a killed process leaves it, without the pages behind those that a start reads: SQLite refuses to write the log back.
    let cut = Home::new();
    for ending in ["", "-wal"] {
        std::fs::copy(with_ending(&home.path, ending), with_ending(&cut.path, ending)).unwrap();
    }
    std::fs::File::options().write(true).open(&cut.path).unwrap().set_len(before).unwrap();
    // The reason is made into text only for a log that is written.
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
    let writer = tracing::subscriber::with_default(subscriber, || cut.open());
    let refused = write_back(&cut.peek()).expect_err("the file is too short for its log");
    assert_eq!(refused.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseCorrupt));
    assert_eq!(wait(writer.ask(ReadInbound { id: InboundId(2) })).unwrap().event, event(2).event.get());
    assert_eq!((left_beside(&cut), cut.path.exists()), (vec![], true));
    assert_eq!(writer.view().write_error, None);
}

#[test]
fn a_ledger_that_was_taken_away_accepts_nothing_until_it_is_back_and_keeps_what_has_happened() {
    let home = Home::new();
    let writer = home.open();
    let first = record(&writer, 1);
    let (directory, away) = (home.path.parent().unwrap(), tempfile::tempdir().unwrap());
    let moved = away.path().join("ledger");
    std::fs::rename(directory, &moved).unwrap();
    let begun = std::time::Instant::now();
    while writer.view().write_error.is_none() {
        assert!(begun.elapsed() < CEILING, "not found within the timeout: {:?}", writer.view());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let refused = wait(writer.ask(event(2)));
    assert!(matches!(&refused, Err(LedgerError::Unwritable(reason)) if reason.contains("removed")), "{refused:?}");
    assert_eq!(received(&writer).len(), 1, "what is there is still read");
    let ended = writer.ask(mark(first, InboundState::Done));
    assert_eq!(home.peek_at(&moved).query_row("SELECT max(id) FROM inbound", (), |row| row.get(0)), Ok(first.0));
    std::fs::rename(&moved, directory).unwrap();
    wait(ended).unwrap();
    assert_eq!((writer.view().write_error, received(&writer).len()), (None, 0));
    record(&writer, 2);
}
