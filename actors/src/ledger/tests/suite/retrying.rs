//! Interrupted work: found again, counted, and finally deleted.

use super::*;

pub(super) fn the_newest_interrupted_event_of_a_session_is_found_behind_any_number_of_others<H: TestHome>() {
    let home = H::new();
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

pub(super) fn starts_within_the_window_are_counted_each_once_and_over_restarts<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    assert_eq!([0, 0, 1_000, 2_000].map(|at| restart(&writer, at)), [1, 1, 2, 3]);
    close(&writer);
    let writer = home.open();
    assert_eq!(restart(&writer, 3_000), 4);
    assert_eq!(restart(&writer, 121_500), 3, "starts before the window do not count");
    assert_eq!(restart(&writer, -500_000), 1, "starts in the future, after a clock was set back, do not count");
}
