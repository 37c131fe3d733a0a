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
fn whose_chat_an_event_is_of_is_read_once_and_remembered_while_the_event_is_open() {
    let home = Home::new();
    let mut store = home.open_store();
    let mut replies = LastReplies::default();
    for number in 1..=3 {
        let mut ledger = LedgerTransaction::new(store.begin(1_000).unwrap(), &mut replies);
        event(number).run(&mut ledger).unwrap();
        ledger.commit().unwrap();
    }
    let mut list = |share: DispatchShare, store: &mut SqliteStore| {
        let list = ListWaiting { share, states: vec![InboundState::Received], after: None, limit: 9 };
        list.run(&mut LedgerTransaction::new(store.begin(1_000).unwrap(), &mut replies)).unwrap().rows.len()
    };
    let [own, other] =
        [true, false].map(|own| DispatchShare::each(2).find(|share| share.contains(&session("chat")) == own).unwrap());
    assert_eq!(list(DispatchShare::ALL, &mut store), 3);
    assert_eq!(store.opened.rows.memory.chats(), 0, "one dispatcher has all");
    assert_eq!((list(own, &mut store), store.opened.rows.memory.chats()), (3, 3));
    // Not read again: nothing is found in the file.
    store.opened.connection.execute_batch("UPDATE inbound SET session = 'none'").unwrap();
    assert_eq!((list(other, &mut store), store.opened.rows.corrupt.count()), (0, 0));
    let mut replies = LastReplies::default();
    let mut ledger = LedgerTransaction::new(store.begin(1_000).unwrap(), &mut replies);
    mark(InboundId(2), InboundState::Done).run(&mut ledger).unwrap();
    ledger.commit().unwrap();
    assert_eq!(store.opened.rows.memory.chats(), 2);
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
