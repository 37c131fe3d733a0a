//! Invalid files and rows.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::ledger::OpenError;
use crate::ledger::sqlite::names::{COMPANIONS, with_ending};
use crate::ledger::tests::{CEILING, append, interrupted, last, load, notices, notify, received, refused, waiting};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn only_the_owner_can_read_the_ledger_and_its_companion_files() {
    let home = Home::new();
    let writer = home.open();
    record(&writer, 1);
    for ending in ["", "-wal", "-shm", "-synced", ".lock"] {
        let path = PathBuf::from(format!("{}{ending}", home.path.display()));
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    close(&writer);
    std::fs::set_permissions(&home.path, PermissionsExt::from_mode(0o644)).unwrap();
    close(&home.open());
    assert_eq!(mode(&home.path), 0o600);
}

#[test]
fn a_second_writer_is_refused_because_the_ledger_is_in_use() {
    let home = Home::new();
    let writer = home.open();
    assert!(matches!(LedgerWriter::open(&home.path), Err(OpenError::Locked(path)) if path == home.path));
    close(&writer);
    close(&home.open());
}

/// The path of the file that was set aside.
fn set_aside(home: &Home) -> PathBuf {
    let directory = home.path.parent().unwrap().read_dir().unwrap();
    let mut paths = directory.map(|entry| entry.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.contains(".damaged-") && !COMPANIONS.iter().any(|ending| name.ends_with(ending))
    });
    paths.next().expect("a file was set aside")
}

#[test]
fn a_file_of_which_nothing_can_be_read_is_renamed_and_the_next_open_creates_a_new_one() {
    let home = Home::new();
    let bytes = vec![b'x'; 10_000];
    std::fs::write(&home.path, &bytes).unwrap();
    let Err(error) = LedgerWriter::open(&home.path) else { panic!("a corrupt file was opened") };
    let OpenError::Corrupt { set_aside, .. } = &error else { panic!("{error:?}") };
    assert!(error.to_string().contains(set_aside.to_str().unwrap()));
    assert_eq!(std::fs::read(set_aside).unwrap(), bytes);
    assert!(!home.path.exists());
    assert!(received(&home.open()).is_empty());
}

#[test]
fn a_damaged_first_page_is_restored_and_the_damaged_file_is_kept() {
    let spoil_head: fn(&mut Vec<u8>) = |bytes| bytes[..16].fill(b'x');
    let spoil_schema: fn(&mut Vec<u8>) = |bytes| bytes[100..4000].fill(0xff);
    for spoil in [spoil_head, spoil_schema] {
        let home = Home::new();
        let writer = home.open();
        record(&writer, 1);
        close(&writer);
        let mut bytes = std::fs::read(&home.path).unwrap();
        spoil(&mut bytes);
        std::fs::write(&home.path, &bytes).unwrap();

        let writer = home.open();
        assert_eq!(received(&writer).len(), 1);
        let damage = writer.view().damage;
        assert!(damage.len() == 1 && damage[0].contains("restored"), "{damage:?}");
        assert_eq!(std::fs::read(set_aside(&home)).unwrap(), bytes);
        close(&writer);
        assert_eq!(home.open().view().damage, Vec::<String>::new());
    }
}

#[test]
fn what_is_whole_of_a_file_that_was_cut_off_is_carried_over() {
    let home = Home::new();
    let writer = home.open();
    for number in 0..100 {
        record(&writer, number);
    }
    close(&writer);
    let bytes = std::fs::read(&home.path).unwrap();
    let file = std::fs::File::options().write(true).open(&home.path).unwrap();
    file.set_len(bytes.len() as u64 - 4096 - 7).unwrap();
    let writer = home.open();
    let rows = received(&writer);
    assert!((50..100).contains(&rows.len()), "{}", rows.len());
    assert!(rows.iter().all(|row| row.event == event(row.id.0.unsigned_abs() - 1).event.get()));
    let damage = writer.view().damage.join("; ");
    assert!(damage.contains("pages") && damage.contains(set_aside(&home).to_str().unwrap()), "{damage}");
    assert_eq!(std::fs::read(set_aside(&home)).unwrap(), bytes[..bytes.len() - 4096 - 7]);
    // The next start has nothing to report but the rows that are lost.
    close(&writer);
    assert_eq!(home.open().view().damage, Vec::<String>::new());
}

#[test]
fn an_exchange_of_files_that_was_begun_is_finished_by_the_next_start() {
    let home = Home::new();
    let writer = home.open();
    record(&writer, 1);
    close(&writer);
    let beside = |ending: &str| with_ending(&home.path, ending);
    std::fs::copy(&home.path, beside("-carried")).unwrap();
    // What the damaged file left.
    std::fs::write(&home.path, "damaged").unwrap();
    std::fs::write(beside("-wal"), "damaged").unwrap();
    assert_eq!(received(&home.open()).len(), 1);
    assert!(!beside("-carried").exists());
}

#[test]
fn rows_whose_log_was_cut_off_are_interrupted_and_their_replies_may_be_repeats() {
    let home = Home::new();
    let store = home.open_store();
    drop(store);
    let writer = home.open();
    record(&writer, 1);
    wait(writer.ask(reply(None, OutboundState::Pending))).unwrap();
    let pages = std::fs::metadata(with_ending(&home.path, "-wal")).unwrap().len();
    wait(writer.ask(mark(InboundId(1), InboundState::Done))).unwrap();
    // As a killed process leaves it, without the last commit.
    let copy = Home::new();
    for ending in ["", "-wal", "-synced"] {
        std::fs::copy(with_ending(&home.path, ending), with_ending(&copy.path, ending)).unwrap();
    }
    let log = std::fs::File::options().write(true).open(with_ending(&copy.path, "-wal")).unwrap();
    log.set_len(pages).unwrap();

    let writer = copy.open();
    assert!(received(&writer).is_empty());
    assert_eq!(last(&writer, "chat"), Some(InboundId(1)));
    let states = vec![OutboundState::Ambiguous];
    assert_eq!(wait(writer.ask(ListOutbound { states, after: None, limit: 9 })).unwrap().len(), 1);
    let damage = writer.view().damage.join("; ");
    assert!(damage.contains("write-ahead log is damaged"), "{damage}");
}

#[test]
fn a_log_that_another_program_wrote_back_and_removed_is_no_damage() {
    let home = Home::new();
    let writer = home.open();
    record(&writer, 1);
    let copy = Home::new();
    for ending in ["", "-wal", "-synced"] {
        std::fs::copy(with_ending(&home.path, ending), with_ending(&copy.path, ending)).unwrap();
    }
    let long_ago = std::time::SystemTime::now() - Duration::from_mins(1);
    let synced = std::fs::File::options().write(true).open(with_ending(&copy.path, "-synced")).unwrap();
    synced.set_modified(long_ago).unwrap();
    let rows: i64 = copy.peek().query_row("SELECT count(*) FROM inbound", (), |row| row.get(0)).unwrap();
    assert_eq!((rows, with_ending(&copy.path, "-wal").exists()), (1, false));
    let writer = copy.open();
    assert_eq!((received(&writer).len(), writer.view().damage), (1, vec![]));
}

#[test]
fn an_index_that_disagrees_with_its_table_is_made_again() {
    let home = Home::new();
    let writer = home.open();
    for number in 0..3 {
        append(&writer, &format!("chat-{number}"), &["hello"], 9);
    }
    close(&writer);
    let file = home.peek();
    file.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
    // The table has a row that the index lacks.
    file.execute_batch(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_master SET sql = 'CREATE INDEX history_session ON history (session) WHERE id > 9'
         WHERE name = 'history_session';",
    )
    .unwrap();
    drop(file);
    home.peek().execute_batch("REINDEX history_session").unwrap();
    let file = home.peek();
    file.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
    file.execute_batch(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_master SET sql = 'CREATE INDEX history_session ON history (session)'
         WHERE name = 'history_session';",
    )
    .unwrap();
    drop(file);
    let writer = home.open();
    let begun = std::time::Instant::now();
    while !writer.view().damage.iter().any(|what| what == "index history_session: made again") {
        assert!(begun.elapsed() < CEILING, "not found within the timeout: {:?}", writer.view());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(load(&writer, "chat-1", 9), ["hello"]);
}

#[test]
fn a_newer_ledger_is_refused_and_unchanged() {
    let home = Home::new();
    close(&home.open());
    home.peek().pragma_update(None, "user_version", 99).unwrap();
    let bytes = std::fs::read(&home.path).unwrap();
    let refused = LedgerWriter::open(&home.path);
    assert!(matches!(refused, Err(OpenError::Newer { found: 99, known: 8, .. })), "{refused:?}");
    assert_eq!(std::fs::read(&home.path).unwrap(), bytes);
}

#[test]
fn an_unusable_path_is_named_in_the_error() {
    let home = Home::new();
    let nowhere = home.path.join("below").join("ledger.db");
    assert!(
        matches!(LedgerWriter::open(&nowhere), Err(OpenError::File { path, .. }) if path.starts_with(nowhere.parent().unwrap()))
    );
    // A directory in place of the file.
    std::fs::create_dir(&home.path).unwrap();
    assert!(matches!(LedgerWriter::open(&home.path), Err(OpenError::File { path, .. }) if path == home.path));
}

#[test]
fn a_row_changed_by_another_program_is_not_used_and_the_others_are() {
    let home = Home::new();
    let writer = home.open();
    for number in 0..4 {
        record(&writer, number);
    }
    let peek = home.peek();
    peek.execute("UPDATE inbound SET event = replace(event, 'number', 'nember') WHERE id = 1", []).unwrap();
    peek.execute("UPDATE inbound_marks SET attempts = 2 WHERE id = 2", []).unwrap();
    peek.execute("UPDATE inbound SET event = CAST(x'ff' AS TEXT) WHERE id = 3", []).unwrap();

    let rows = wait(writer.ask(ListInbound {
        share: DispatchShare::ALL,
        states: vec![InboundState::Received],
        after: None,
        limit: 1,
    }))
    .unwrap();
    assert_eq!(
        rows.iter().map(|row| row.id.0).collect::<Vec<_>>(),
        [4],
        "a page has the requested number of valid rows"
    );
    assert_eq!(received(&writer).len(), 1);
    assert_eq!(writer.view().corrupt, 3);
    assert_eq!(
        wait(writer.ask(mark(InboundId(2), InboundState::Running))),
        Err(LedgerError::Corrupt { table: "inbound", row: 2 })
    );
    assert_eq!(writer.view().write_error, None);
}

#[test]
fn a_corrupt_reply_or_entry_is_left_out() {
    let home = Home::new();
    let writer = home.open();
    let ids: Vec<_> = (0..2).map(|_| wait(writer.ask(reply(None, OutboundState::Pending))).unwrap()).collect();
    let entries = ["a", "b"].map(|content| HistoryEntry { role: "user".into(), content: content.to_owned() });
    for entry in &entries {
        wait(writer.ask(AppendHistory { session: session("chat"), entries: vec![entry.clone()], keep: 9 })).unwrap();
    }
    let peek = home.peek();
    peek.execute("UPDATE outbound SET chat_id = 'chap' WHERE id = 1", []).unwrap();
    peek.execute("UPDATE history SET entries = replace(entries, 'user', 'users') WHERE id = 1", []).unwrap();

    let states = vec![OutboundState::Pending];
    let rows = wait(writer.ask(ListOutbound { states, after: None, limit: 9 })).unwrap();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), ids[1..]);
    let left = wait(writer.ask(LoadHistory { session: session("chat"), limit: 9 })).unwrap();
    assert_eq!(left, entries[1..]);
}

#[test]
fn a_corrupt_state_is_found_after_the_start_whatever_the_state_became() {
    let home = Home::new();
    let writer = home.open();
    for number in 0..3 {
        record(&writer, number);
    }
    wait(writer.ask(reply(None, OutboundState::Pending))).unwrap();
    close(&writer);
    // Done and delivered: nothing reads such a row again.
    home.peek().execute("UPDATE inbound_marks SET state = 4 WHERE id = 2", ()).unwrap();
    home.peek().execute("UPDATE outbound_marks SET state = 3", ()).unwrap();
    let writer = home.open();
    until_corrupt(&writer, 2);
    assert_eq!(received(&writer).iter().map(|row| row.id.0).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn a_corrupt_event_is_not_run_again_but_the_one_before_it() {
    let home = Home::new();
    let writer = home.open();
    for number in [1, 2] {
        wait(writer.ask(interrupted(number, "chat"))).unwrap();
    }
    close(&writer);
    home.peek().execute("UPDATE inbound SET event = '{\"text\":\"another\"}' WHERE id = 2", []).unwrap();
    let writer = home.open();
    assert_eq!(last(&writer, "chat"), Some(InboundId(1)));
    assert_eq!(writer.view().corrupt, 1);
}

#[test]
fn a_corrupt_row_is_skipped_and_delays_no_other() {
    let home = Home::new();
    let writer = home.open();
    for (number, chat) in [(1, "a"), (2, "a"), (3, "b")] {
        wait(writer.ask(refused(number, chat))).unwrap();
    }
    home.peek().execute("UPDATE inbound_marks SET attempts = 7 WHERE id IN (2, 3)", ()).unwrap();
    assert_eq!(notify(&writer, 10), 1);
    assert_eq!(notices(&writer), ["{\"op\":\"a 1\"}"]);
    assert_eq!(notify(&writer, 10), 0, "no row is left");
    assert_eq!(writer.view().corrupt, 2);
}

#[test]
fn a_corrupt_event_is_an_error_when_it_is_read_and_does_not_count_as_waiting() {
    let home = Home::new();
    let writer = home.open();
    for number in 1..=2 {
        record(&writer, number);
    }
    home.peek().execute("UPDATE inbound SET event = 'other' WHERE id = 2", ()).unwrap();
    let read = wait(writer.ask(ReadInbound { id: InboundId(2) }));
    assert_eq!(read, Err(LedgerError::Corrupt { table: "inbound", row: 2 }));
    assert_eq!(waiting(&writer, None, 10).len(), 1);
}

#[test]
fn a_conversation_is_served_to_its_session_only_even_if_the_number_of_the_session_is_corrupt() {
    let home = Home::new();
    let writer = home.open();
    append(&writer, "chat", &["secret"], 9);
    append(&writer, "other", &["public"], 9);
    close(&writer);
    home.peek().execute("UPDATE history SET session = 2", ()).unwrap();
    let writer = home.open();
    assert_eq!(load(&writer, "other", 9), ["public"]);
    assert_eq!(load(&writer, "chat", 9), Vec::<String>::new());
    assert_eq!(writer.view().corrupt, 1);
    // The corrupt row counts as one entry and is deleted like others.
    append(&writer, "other", &["a", "b"], 2);
    assert_eq!((history_rows(&home), load(&writer, "other", 9)), (1, vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn an_event_whose_key_hashes_were_changed_is_still_found_as_a_duplicate() {
    let home = Home::new();
    let writer = home.open();
    let ids = [1, 2, 3].map(|number| record(&writer, number));
    close(&writer);
    let damage = ["frame = frame + 1, message = NULL", "message = message + 1, frame = NULL", "keys_sum = 0"];
    let file = home.peek();
    for (InboundId(id), change) in ids.into_iter().zip(damage) {
        assert_eq!(file.execute(&format!("UPDATE inbound_marks SET {change} WHERE id = ?"), [id]).unwrap(), 1);
    }
    // Of a corrupt event nothing is known that could be hashed.
    file.execute("UPDATE inbound SET buffer_id = 'other' WHERE id = ?", [ids[2].0]).unwrap();
    drop(file);
    let writer = home.open();
    assert_eq!(writer.view().corrupt, 1);
    for (number, id) in [(1, ids[0]), (2, ids[1])] {
        let by_frame = RecordInbound { message_id: None, ..event(number) };
        let by_message = RecordInbound { buffer_id: None, ..event(number) };
        for again in [by_frame, by_message] {
            assert_eq!(wait(writer.ask(again)).unwrap(), Recorded::Duplicate { id, state: InboundState::Received });
        }
    }
    close(&writer);
    assert_eq!(home.open().view().corrupt, 1, "the others are mended in the file");
}
