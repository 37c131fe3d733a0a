//! The conversation of each session.

use super::*;

pub(super) fn a_session_keeps_its_last_entries_and_those_of_others_stay<H: TestHome>() {
    let home = H::new();
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

pub(super) fn a_session_of_a_failed_transaction_has_a_valid_row_when_it_is_used_again<H: TestHome>() {
    let home = H::new();
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
