//! What is left in the files of a person who was erased: nothing.

use std::fs;

use super::*;
use crate::ledger::store::{Expiry, Store as _};
use crate::ledger::tests::suite::people::{conversation_of, erase, event_of, reply_to};
use crate::ledger::tests::suite::transactions::commit;
use caduceus_contract::api::ledger_data::{ErasurePlace, LedgerPart, Person};
use caduceus_contract::json::RawJson;
use caduceus_contract::messages::ledger_control::ErasePerson;

fn ann() -> Person {
    Person { user: "ann".to_owned(), platform: None }
}

/// The files of the ledger in which `words` are.
fn files_with(home: &Home, words: &str) -> Vec<String> {
    let directory = home.path.parent().unwrap();
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let has = |path: &PathBuf| {
        let content = fs::read(path).unwrap();
        content.windows(words.len()).any(|part| part == words.as_bytes())
    };
    let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    files.filter(has).map(name).collect()
}

#[test]
fn no_file_of_the_ledger_has_a_text_of_a_person_who_was_erased() {
    let home = Home::new();
    let mut store = home.open_store();
    // Longer than a page, so that it is in pages of its own.
    let long = |number| {
        let text = serde_json::json!({"text": format!("secret-canary {number} {}", "x".repeat(20_000))});
        RecordInbound { event: RawJson::of(&text), ..event_of("ann", number, InboundState::Done) }
    };
    for number in 1..=20_u64 {
        commit(&mut store, number.cast_signed(), &long(number));
    }
    commit(&mut store, 30, &reply_to("ann", 1, OutboundState::Delivered));
    for turn in 0..30 {
        // The oldest entries are replaced and deleted.
        commit(&mut store, 30, &conversation_of("ann", &format!("secret-canary said {turn}")));
    }
    commit(&mut store, 30, &event_of("bob", 99, InboundState::Done));
    // Some were deleted by their age before.
    let expiry = Expiry { changed_before_ms: 10, excess_inbound: 0, excess_outbound: 0, slice: 100 };
    store.delete_expired(&expiry).unwrap();
    assert!(!files_with(&home, "secret-canary").is_empty(), "the search finds what is there");
    let erased = erase(&mut store, &ann());
    assert_eq!((erased.events, erased.replies, erased.conversations), (11, 1, 1));
    assert_eq!(store.clear_log().unwrap(), [""; 0]);
    for words in ["secret-canary", "answer to ann", "ann says"] {
        assert_eq!(files_with(&home, words), [""; 0], "{words}");
    }
    assert!(!files_with(&home, "bob says").is_empty());
    drop(store);
    let mut store = home.open_store();
    while store.check_rows().unwrap() {}
    assert_eq!((store.corrupt_rows(), store.damage()), (0, &[][..]));
    assert!(files_with(&home, "secret-canary").is_empty());
    assert!(!has_filler(&store));
}

/// Whether the table is there that fills free pages.
fn has_filler(store: &SqliteStore) -> bool {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'filled')";
    store.connection().query_row(sql, (), |row| row.get(0)).unwrap()
}

/// The files of `home` as they are now, as a killed process leaves them.
fn killed(home: &Home) -> Home {
    let copy = Home::new();
    for ending in ["", "-wal", "-synced"] {
        fs::copy(format!("{}{ending}", home.path.display()), format!("{}{ending}", copy.path.display())).unwrap();
    }
    copy
}

#[test]
fn an_erasure_that_a_kill_ended_leaves_no_filled_pages_after_the_next_open() {
    let home = Home::new();
    let mut store = home.open_store();
    // More than one step fills, so that both the filling and the release are ended half-way.
    let long = |number: u64| {
        let text = serde_json::json!({"text": format!("secret-canary {}", "x".repeat(200_000))});
        RecordInbound { event: RawJson::of(&text), ..event_of("ann", number, InboundState::Done) }
    };
    for number in 1..=12 {
        commit(&mut store, 1, &long(number));
    }
    let mut from = ErasurePlace::BEGINNING;
    let mut ended_in = std::collections::BTreeMap::<LedgerPart, Vec<Home>>::new();
    while from.at.part != LedgerPart::Log {
        let step = ErasePerson { person: ann(), profile: None, from };
        from = commit(&mut store, 2, &step).next.unwrap();
        if has_filler(&store) {
            ended_in.entry(from.at.part).or_default().push(killed(&home));
        }
    }
    let steps = |part| ended_in.get(&part).map_or(0, Vec::len);
    assert!(steps(LedgerPart::FreePages) > 1 && steps(LedgerPart::Filled) > 1, "{from}");
    for home in ended_in.into_values().flatten() {
        let mut store = home.open_store();
        assert!(!has_filler(&store));
        while store.check_rows().unwrap() {}
        assert_eq!((store.corrupt_rows(), store.damage()), (0, &[][..]));
        // The client that goes on, or begins anew, finds what is left to do.
        assert_eq!(erase(&mut store, &ann()).open, 0);
        store.clear_log().unwrap();
        assert_eq!(files_with(&home, "secret-canary"), [""; 0]);
        assert!(!has_filler(&store));
    }
}

#[test]
fn the_pages_that_an_erasure_filled_are_given_back_while_the_gateway_runs_if_its_client_ends() {
    let home = Home::new();
    let mut store = home.open_store();
    for number in 1..=12 {
        let text = serde_json::json!({"text": format!("secret-canary {}", "x".repeat(200_000))});
        commit(
            &mut store,
            1,
            &RecordInbound { event: RawJson::of(&text), ..event_of("ann", number, InboundState::Done) },
        );
    }
    let mut from = ErasurePlace::BEGINNING;
    while from.at.part != LedgerPart::Filled {
        from = commit(&mut store, 2, &ErasePerson { person: ann(), profile: None, from }).next.unwrap();
    }
    assert!(has_filler(&store));
    let expiry = Expiry { changed_before_ms: 0, excess_inbound: 0, excess_outbound: 0, slice: 100 };
    assert!(!store.delete_expired(&expiry).unwrap().more);
    assert!(has_filler(&store), "a client that goes on a moment later finds them");
    // Its last step was an hour ago.
    let an_hour = std::time::Duration::from_hours(1);
    store.opened.rows.memory.filled_at = std::time::Instant::now().checked_sub(an_hour);
    let mut slices = 1;
    while store.delete_expired(&expiry).unwrap().more {
        slices += 1;
    }
    assert!(slices > 1 && !has_filler(&store));
    assert_eq!(files_with(&home, "secret-canary").len(), 1, "the log, which the erasure that is repeated cuts off");
    assert_eq!(erase(&mut store, &ann()).open, 0);
    assert!(!has_filler(&store));
}

#[test]
fn a_log_that_was_cut_off_is_no_damage_and_a_reader_delays_the_cut() {
    let home = Home::new();
    let mut store = home.open_store();
    commit(&mut store, 1, &event(1));
    let reader = home.peek();
    reader.execute_batch("BEGIN; SELECT count(*) FROM inbound;").unwrap();
    commit(&mut store, 1, &event(2));
    assert!(store.clear_log().unwrap_err().can_pass());
    reader.execute_batch("COMMIT").unwrap();
    drop(reader);
    store.clear_log().unwrap();
    assert_eq!(fs::metadata(format!("{}-wal", home.path.display())).unwrap().len(), 0);
    let copy = killed(&home);
    let opened = copy.open_store();
    assert_eq!((opened.damage(), opened.row_counts().inbound().values().sum::<u64>()), (&[][..], 2));
    drop(opened);
    commit(&mut store, 2, &event(3));
    drop(store);
    assert_eq!(home.open_store().row_counts().inbound().values().sum::<u64>(), 3);
}

#[test]
fn a_damaged_copy_beside_the_ledger_is_named_after_an_erasure() {
    let home = Home::new();
    fs::write(format!("{}.damaged-20260101T000000000Z", home.path.display()), "old").unwrap();
    let mut store = home.open_store();
    assert_eq!(store.clear_log().unwrap(), ["ledger.db.damaged-20260101T000000000Z"]);
}

#[test]
fn a_corrupt_row_of_a_person_loses_its_text_and_stays_corrupt() {
    let home = Home::new();
    let mut store = home.open_store();
    commit(&mut store, 1, &event_of("ann", 1, InboundState::Done));
    commit(&mut store, 1, &event_of("bob", 2, InboundState::Done));
    store.connection().execute("UPDATE inbound SET gateway = 'other' WHERE id = 1", ()).unwrap();
    assert_eq!(erase(&mut store, &ann()).events, 1);
    let read = |row| event_and_user(&home.peek(), row);
    assert_eq!(read(1), (r#"{"erased":true}"#.to_owned(), None));
    while store.check_rows().unwrap() {}
    assert_eq!(store.corrupt_rows(), 1);
}

fn event_and_user(file: &rusqlite::Connection, row: i64) -> (String, Option<String>) {
    let read = "SELECT event, user_id FROM inbound WHERE id = ?";
    file.query_row(read, [row], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}
