//! The conversation of each session.

use super::*;

fn entry(content: &str) -> HistoryEntry {
    HistoryEntry { role: "user".to_owned(), content: content.to_owned() }
}

fn append(writer: &LedgerWriter, chat: &str, contents: &[&str], keep: usize) {
    let entries = contents.iter().map(|content| entry(content)).collect();
    wait(writer.ask(AppendHistory { session: session(chat), entries, keep })).unwrap();
}

fn load(writer: &LedgerWriter, chat: &str, limit: usize) -> Vec<String> {
    let entries = wait(writer.ask(LoadHistory { session: session(chat), limit })).unwrap();
    entries.into_iter().map(|entry| entry.content).collect()
}

/// The rows of all conversations.
fn rows(home: &Home) -> i64 {
    home.peek().query_row("SELECT count(*) FROM history", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_session_keeps_its_last_entries_and_those_of_others_stay() {
    let home = Home::new();
    let writer = home.open();
    append(&writer, "other", &["x"], 3);
    append(&writer, "chat", &["a", "b"], 3);
    append(&writer, "chat", &["c", "d"], 3);
    assert_eq!(load(&writer, "chat", 10), ["b", "c", "d"]);
    assert_eq!(load(&writer, "chat", 2), ["c", "d"]);
    append(&writer, "chat", &["e", "f", "g"], 2);
    close(&writer);
    let writer = home.open();
    assert_eq!(load(&writer, "chat", 10), ["f", "g"]);
    assert_eq!(load(&writer, "other", 10), ["x"]);
}

#[test]
fn the_entries_of_a_turn_are_one_row_and_the_file_has_none_above_the_limit() {
    let home = Home::new();
    let writer = home.open();
    for turn in 0..5 {
        append(&writer, "chat", &[&format!("question {turn}"), &format!("answer {turn}")], 4);
    }
    assert_eq!(rows(&home), 2);
    append(&writer, "chat", &["a", "b", "c"], 4);
    assert_eq!(load(&writer, "chat", 9), ["answer 4", "a", "b", "c"]);
    let text: String =
        home.peek().query_row("SELECT group_concat(entries) FROM history", [], |row| row.get(0)).unwrap();
    assert!(!text.contains("question"), "an entry above the limit is in the file: {text}");
    append(&writer, "chat", &["d"], 0);
    assert_eq!((rows(&home), load(&writer, "chat", 9)), (0, vec![]));
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
    assert_eq!((rows(&home), load(&writer, "other", 9)), (1, vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn a_session_of_a_failed_transaction_has_a_valid_row_when_it_is_used_again() {
    let home = Home::new();
    let writer = home.open();
    let release = hold(&writer);
    let entries = vec![entry("owed")];
    let owed = writer.ask(AppendHistory { session: session("chat"), entries, keep: 9 });
    let refused = writer.ask(RefusedByDisk);
    drop(release);
    assert!(wait(refused).is_err());
    append(&writer, "other", &["x"], 9);
    append(&writer, "chat", &["a", "b"], 2);
    assert_eq!(wait(owed), Ok(()));
    assert_eq!((load(&writer, "chat", 9), load(&writer, "other", 9)), (vec!["a".into(), "b".into()], vec!["x".into()]));
    close(&writer);
    assert_eq!(load(&home.open(), "chat", 9), ["a", "b"]);
}
