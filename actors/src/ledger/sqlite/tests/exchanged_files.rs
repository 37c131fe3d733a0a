//! Files that are put beside a ledger, or in its place.

use super::*;
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
