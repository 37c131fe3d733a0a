//! Interrupted work: found again, counted, and finally deleted.

use super::*;

const WINDOW: Duration = Duration::from_mins(2);

fn interrupted(number: u64, chat: &str) -> RecordInbound {
    RecordInbound { state: InboundState::Interrupted, session: session(chat), ..event(number) }
}

fn last(writer: &LedgerWriter, chat: &str) -> Option<InboundId> {
    wait(writer.ask(LastInterrupted { session: session(chat) })).unwrap().map(|row| row.id)
}

/// The answer to a start at this time in milliseconds.
pub(super) fn restart(writer: &LedgerWriter, at_ms: i64) -> usize {
    wait(writer.ask(NoteRestart { started_at_ms: 1_800_000_000_000 + at_ms, within: WINDOW })).unwrap()
}

#[test]
fn the_newest_interrupted_event_of_a_session_is_found_behind_any_number_of_others() {
    let home = Home::new();
    let writer = home.open();
    // Fewer at a time than the queue of the thread has places.
    for numbers in (1..=10_500).collect::<Vec<u64>>().chunks(3_500) {
        let answers: Vec<_> = numbers.iter().map(|number| writer.ask(interrupted(*number, "chat"))).collect();
        for answer in answers {
            wait(answer).unwrap();
        }
    }
    wait(writer.ask(interrupted(20_000, "other"))).unwrap();
    record(&writer, 20_001);
    assert_eq!(last(&writer, "chat"), Some(InboundId(10_500)));
    assert_eq!(last(&writer, "other"), Some(InboundId(10_501)));
    assert_eq!(last(&writer, "third"), None);
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
fn an_interrupted_event_is_deleted_after_a_week_and_not_before() {
    let home = Home::new();
    let writer = home.open();
    for number in [1, 2] {
        wait(writer.ask(interrupted(number, "chat"))).unwrap();
    }
    // The newest row of all stays in any state.
    record(&writer, 3);
    close(&writer);
    let day_ms = 24 * 3_600 * 1_000_i64;
    let age = |row: i64, days: i64| {
        let sql = "UPDATE inbound_marks SET changed_at_ms = changed_at_ms - ? WHERE id = ?";
        home.peek().execute(sql, (days * day_ms, row)).unwrap();
    };
    age(1, 8);
    age(2, 6);
    let writer = home.open();
    let begun = std::time::Instant::now();
    while writer.view().inbound.get(&InboundState::Interrupted) != Some(&1) {
        assert!(begun.elapsed() < CEILING, "the old one was not deleted within the timeout: {:?}", writer.view());
        std::thread::sleep(Duration::from_millis(10));
    }
    let left: i64 =
        home.peek().query_row("SELECT id FROM inbound_marks WHERE state = 3", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 2);
}

#[test]
fn starts_within_the_window_are_counted_each_once_and_over_restarts() {
    let home = Home::new();
    let writer = home.open();
    assert_eq!([0, 0, 1_000, 2_000].map(|at| restart(&writer, at)), [1, 1, 2, 3]);
    close(&writer);
    let writer = home.open();
    assert_eq!(restart(&writer, 3_000), 4);
    assert_eq!(restart(&writer, 121_500), 3, "starts before the window do not count");
    assert_eq!(restart(&writer, -500_000), 1, "starts in the future, after a clock was set back, do not count");
}
