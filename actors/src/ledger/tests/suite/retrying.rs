//! Interrupted work: found again, counted, and finally deleted.

use super::*;

pub(super) fn the_newest_interrupted_event_of_a_chat_is_found_behind_any_number_of_others<H: TestHome>() {
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

pub(super) fn the_interrupted_events_of_a_chat_are_those_of_all_its_sessions_newest_first<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    let user = |user: &str| Target { user_id: Some(user.to_owned()), ..in_chat("chat") };
    let thread = Target { thread_id: Some("thread".to_owned()), ..in_chat("chat") };
    let bot = Target { bot_id: None, ..in_chat("chat") };
    let link = Target { link: LinkId("relay-work".into()), ..in_chat("chat") };
    let targets = [user("ann"), user("bob"), thread.clone(), bot.clone(), link.clone(), in_chat("other"), user("ann")];
    for (number, target) in (1..).zip(targets) {
        let session = session(&format!("session-{number}"));
        wait(writer.ask(RecordInbound { target: Arc::new(target), session, ..interrupted(number, "chat") })).unwrap();
    }
    wait(writer.ask(RecordInbound { target: Arc::new(user("ann")), ..event(8) })).unwrap();
    let ids = |target, limit| list_interrupted(&writer, target, limit).iter().map(|id| id.0).collect::<Vec<_>>();
    assert_eq!(ids(user("carl"), 9), [7, 2, 1]);
    assert_eq!(ids(user("ann"), 2), [7, 2]);
    assert_eq!(
        [ids(thread, 9), ids(bot, 9), ids(link, 9), ids(in_chat("third"), 9)],
        [vec![3], vec![4], vec![5], vec![]]
    );
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
