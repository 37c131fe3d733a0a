//! What is in memory beside the file.

use super::*;
use crate::ledger::repeats::LastReplies;
use crate::ledger::store::{Expiry, Store as _};
use crate::ledger::work::{LedgerTransaction, Work};

/// An event with a key of its message, or without, in a state that the retention may delete.
fn done(number: u64) -> RecordInbound {
    let message_id = (number > 0).then(|| format!("message-{number}"));
    RecordInbound { message_id, state: InboundState::Done, ..event(number) }
}

#[test]
fn the_retention_removes_the_keys_of_the_rows_that_it_deletes_and_keeps_those_of_others() {
    let home = Home::new();
    let mut store = home.open_store();
    let keys = |store: &SqliteStore| store.opened.rows.memory.keys();
    let mut replies = LastReplies::default();
    for number in 0..4 {
        let mut ledger = LedgerTransaction::new(store.begin(1_000).unwrap(), &mut replies);
        done(number).run(&mut ledger).unwrap();
        ledger.commit().unwrap();
    }
    assert_eq!(keys(&store), 7);
    let file = &store.opened.connection;
    file.execute_batch("UPDATE inbound_marks SET changed_at_ms = 0 WHERE id IN (1, 3)").unwrap();
    file.execute_batch("CREATE TRIGGER refuse BEFORE DELETE ON inbound BEGIN SELECT RAISE(ABORT, 'no'); END").unwrap();
    let expiry = Expiry { changed_before_ms: 1_000, excess_inbound: 0, excess_outbound: 0, slice: 100 };
    assert!(store.delete_expired(&expiry).is_err());
    assert_eq!(keys(&store), 7, "a sweep that failed removes none");
    store.opened.connection.execute_batch("DROP TRIGGER refuse").unwrap();
    store.delete_expired(&expiry).unwrap();
    assert_eq!(keys(&store), 4);
}
