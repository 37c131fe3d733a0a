use proptest::prelude::*;

use super::*;
use caduceus_contract::wire::descriptor::LenUnit;

/// A reply, its chat, and a clock.
struct FakeChat {
    reply: Reply,
    now: Instant,
    messages: Vec<String>,
    durable: usize,
    actions: usize,
    max_actions: usize,
    /// The time of a running post or edit.
    grown: Vec<Instant>,
}

impl FakeChat {
    fn new(supports_edit: bool, limit: usize) -> Self {
        Self::of(&Descriptor { supports_edit, max_message_length: limit, ..Descriptor::default() })
    }

    fn of(descriptor: &Descriptor) -> Self {
        let reply = Reply::new(descriptor, true);
        Self {
            reply,
            now: Instant::now(),
            messages: Vec::new(),
            durable: 0,
            actions: 0,
            max_actions: 1_000,
            grown: Vec::new(),
        }
    }

    fn say(&mut self, text: &str) {
        self.reply.push(text, self.now);
    }

    /// Carries out the due actions; returns the next wait.
    fn run(&mut self) -> ReplyStep {
        loop {
            match self.reply.next(self.now) {
                ReplyStep::Do(action) => self.carry_out(&action),
                step => return step,
            }
        }
    }

    fn carry_out(&mut self, action: &ReplyAction) {
        self.actions += 1;
        assert!(self.actions < self.max_actions, "it does not end");
        self.durable += usize::from(action.last);
        self.grown.extend((!action.last).then_some(self.now));
        if !action.shown_already {
            match &action.edits {
                Some(id) => self.messages[id.parse::<usize>().unwrap()].clone_from(&action.content),
                None => self.messages.push(action.content.clone()),
            }
        }
        let id = action.edits.clone().unwrap_or_else(|| (self.messages.len() - 1).to_string());
        let result = ActionResult { success: true, message_id: Some(id), ..ActionResult::default() };
        self.reply.report(action, &result, self.now);
    }

    fn later(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }
}

#[test]
fn a_quick_reply_is_one_message_and_one_durable_action() {
    let mut chat = FakeChat::new(true, 100);
    chat.say("hello\n");
    assert!(matches!(chat.run(), ReplyStep::Wait(_)));
    chat.reply.finish(None, chat.now);
    assert_eq!(chat.run(), ReplyStep::Done);
    assert_eq!((chat.messages.as_slice(), chat.actions, chat.durable), (&["hello".to_owned()][..], 1, 1));
}

#[test]
fn a_slow_reply_grows_at_most_once_a_second_and_its_end_is_durable() {
    let mut chat = FakeChat::new(true, 1_000);
    for _ in 0..50 {
        chat.say("word ");
        chat.run();
        chat.later(100);
    }
    assert!((4..=6).contains(&chat.actions), "{} in 5 s", chat.actions);
    assert_eq!(chat.durable, 0);
    chat.reply.finish(None, chat.now);
    assert_eq!(chat.run(), ReplyStep::Done);
    assert_eq!(chat.messages, ["word ".repeat(50).trim_end()]);
    assert_eq!(chat.durable, 1);
}

#[test]
fn a_message_that_the_chat_shows_already_is_recorded_and_not_sent_again() {
    let mut chat = FakeChat::new(true, 100);
    chat.say("all of it");
    chat.later(1_000);
    chat.run();
    assert_eq!(chat.messages, ["all of it"]);
    chat.reply.finish(None, chat.now);
    let ReplyStep::Do(action) = chat.reply.next(chat.now) else { panic!("nothing is written down") };
    assert!(action.last && action.shown_already);
}

#[test]
fn a_long_reply_becomes_several_durable_messages() {
    for supports_edit in [true, false] {
        let mut chat = FakeChat::new(supports_edit, 20);
        for _ in 0..10 {
            chat.say("twelve chars\n");
            chat.run();
            chat.later(400);
        }
        chat.reply.finish(None, chat.now);
        assert_eq!(chat.run(), ReplyStep::Done);
        assert_eq!(chat.messages, ["twelve chars"; 10], "edits: {supports_edit}");
        assert_eq!(chat.durable, 10);
    }
}

#[test]
fn without_edits_only_complete_messages_are_posted() {
    let mut chat = FakeChat::new(false, 20);
    chat.say("twelve chars\n");
    chat.later(10_000);
    assert_eq!(chat.run(), ReplyStep::Idle);
    assert!(chat.messages.is_empty());
    chat.say("and twelve more\n");
    assert!(matches!(chat.run(), ReplyStep::Wait(_)));
    chat.later(1_000);
    assert_eq!(chat.run(), ReplyStep::Idle);
    assert_eq!(chat.messages, ["twelve chars"]);
}

#[test]
fn an_abandoned_reply_finishes_its_current_message_and_starts_no_other() {
    let mut chat = FakeChat::new(true, 20);
    chat.say("twelve chars\n");
    chat.later(1_000);
    chat.run();
    chat.say("twelve more\nand so on\nand on\nand on");
    chat.reply.abandon(None);
    assert_eq!(chat.run(), ReplyStep::Done);
    assert_eq!(chat.messages, ["twelve chars"]);
    assert_eq!(chat.durable, 1);
}

const MARK: &str = "(stopped)";

#[test]
fn a_stopped_reply_closes_its_code_and_is_marked() {
    let mut chat = FakeChat::new(true, 100);
    chat.say("look:\n```rs\nlet a = 1;\n");
    chat.later(1_000);
    chat.run();
    chat.reply.abandon(Some(MARK));
    assert_eq!(chat.run(), ReplyStep::Done);
    assert_eq!(chat.messages, ["look:\n```rs\nlet a = 1;\n```\n\n(stopped)"]);
    assert_eq!(chat.durable, 1);
    chat.reply.abandon(Some("(again)"));
    assert_eq!(chat.run(), ReplyStep::Done);
    assert_eq!(chat.messages.len(), 1);
}

#[test]
fn a_mark_that_does_not_fit_is_a_separate_message() {
    let mut chat = FakeChat::new(true, 20);
    chat.say("twelve chars\n");
    chat.later(1_000);
    chat.run();
    chat.say("twelve more\nand so on\nand on\nand on");
    chat.reply.abandon(Some(MARK));
    assert_eq!(chat.run(), ReplyStep::Done);
    assert_eq!(chat.messages, ["twelve chars", MARK]);
}

#[test]
fn a_reply_without_a_message_in_the_chat_is_not_marked() {
    let mut chat = FakeChat::new(true, 20);
    chat.say("twelve chars\n");
    chat.reply.abandon(Some(MARK));
    assert_eq!(chat.run(), ReplyStep::Done);
    assert!(chat.messages.is_empty());
}

#[test]
fn a_reply_stopped_between_two_messages_is_marked() {
    let mut chat = FakeChat::new(false, 20);
    chat.say("twelve chars\ntwelve more\nand so on");
    chat.later(1_000);
    let ReplyStep::Do(first) = chat.reply.next(chat.now) else { panic!("nothing to do") };
    // The first message is being posted at the time of the stop.
    chat.reply.abandon(Some(MARK));
    chat.carry_out(&first);
    assert_eq!(chat.run(), ReplyStep::Done);
    assert_eq!(chat.messages, ["twelve chars", MARK]);
}

#[test]
fn a_message_that_is_being_posted_at_the_stop_is_finished() {
    let mut chat = FakeChat::new(true, 50);
    chat.say("~~~\none");
    chat.later(1_000);
    let ReplyStep::Do(first) = chat.reply.next(chat.now) else { panic!("nothing to do") };
    chat.reply.abandon(Some(MARK));
    chat.carry_out(&first);
    assert_eq!(chat.run(), ReplyStep::Done);
    assert_eq!(chat.messages, ["~~~\none\n~~~\n\n(stopped)"]);
}

#[test]
fn open_code_is_closed_when_the_agent_fails_or_is_stopped_while_it_is_sent() {
    let mut chat = FakeChat::new(false, 100);
    chat.say("```\none\n");
    chat.reply.finish_broken(chat.now);
    chat.run();
    assert_eq!(chat.messages, ["```\none\n```"]);

    let mut chat = FakeChat::new(true, 100);
    chat.say("```\none\n");
    chat.later(1_000);
    chat.run();
    chat.say("two\n");
    chat.reply.finish(None, chat.now);
    let ReplyStep::Do(edit) = chat.reply.next(chat.now) else { panic!("no edit") };
    chat.reply.report(&edit, &ActionResult::failed("too old"), chat.now);
    let ReplyStep::Do(again) = chat.reply.next(chat.now) else { panic!("no new message") };
    chat.reply.report(&again, &ActionResult::ambiguous("no answer"), chat.now);
    assert!(!chat.reply.was_refused());
}

#[test]
fn a_refused_message_is_recorded_and_later_ones_are_sent() {
    let mut chat = FakeChat::new(false, 20);
    chat.say("twelve chars\ntwelve more\n");
    chat.reply.finish(None, chat.now);
    let ReplyStep::Do(first) = chat.reply.next(chat.now) else { panic!("nothing to do") };
    chat.reply.report(&first, &ActionResult::failed("message too long"), chat.now);
    assert!(chat.reply.was_refused());
    assert_eq!(chat.run(), ReplyStep::Done);
    assert_eq!(chat.messages, ["twelve more"]);
}

#[test]
fn a_final_text_that_repeats_a_partly_sent_reply_adds_the_rest_once() {
    for lead in ["", "\n\n"] {
        let mut chat = FakeChat::new(true, 20);
        chat.say(&format!("{lead}twelve chars\ntwelve more\n"));
        chat.later(1_000);
        chat.run();
        chat.reply.finish(Some("twelve chars\ntwelve more and the end"), chat.now);
        assert_eq!(chat.run(), ReplyStep::Done);
        assert_eq!(chat.messages, ["twelve chars", "twelve more and the", "end"]);
    }
}

/// CPU time of this thread in nanoseconds.
fn worked() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap()
}

/// The work on a reply of this many lines, updated every second while it grows.
fn work_on(lines: usize, supports_edit: bool) -> u64 {
    let before = worked();
    let mut chat = FakeChat::new(supports_edit, 2_000);
    chat.max_actions = usize::MAX;
    for _ in 0..lines {
        chat.say("one line of a long answer that goes on and on\u{a0}\u{a0}\n");
        chat.run();
        chat.later(1_100);
    }
    chat.reply.finish(None, chat.now);
    assert_eq!(chat.run(), ReplyStep::Done);
    worked() - before
}

#[test]
fn the_text_at_the_end_of_a_turn_is_that_of_the_reply() {
    for text in ["", "one", " \n one  two\t\n", " \n", "\u{a0}é\u{2003}"] {
        let mut reply = Reply::new(&Descriptor::default(), true);
        reply.push(text, Instant::now());
        let before = reply.text().to_owned();
        assert_eq!((reply.into_text(), before.as_str()), (before.clone(), text.trim()));
    }
}

#[test]
fn the_cost_of_an_update_does_not_grow_with_the_reply() {
    for supports_edit in [true, false] {
        let least = |lines| (0..3).map(|_| work_on(lines, supports_edit)).min().unwrap().max(1);
        let (less, more) = (least(500), least(4_000));
        println!("500 and 4000 looks, edits {supports_edit}: {less} ns and {more} ns, ×{}", more / less);
        assert!(more / less < 24, "eight times the text takes {less} and {more} ns");
    }
}

#[test]
fn an_empty_reply_posts_nothing() {
    let mut chat = FakeChat::new(true, 20);
    chat.say(" \n\n");
    chat.reply.finish(None, chat.now);
    assert_eq!(chat.run(), ReplyStep::Done);
    assert_eq!(chat.actions, 0);
}

#[test]
fn a_final_text_that_repeats_everything_replaces_it_and_another_is_added() {
    let mut chat = FakeChat::new(false, 100);
    chat.say("one");
    chat.reply.finish(Some("one two"), chat.now);
    chat.run();
    assert_eq!(chat.messages, ["one two"]);
    let mut chat = FakeChat::new(false, 100);
    chat.say("one ");
    chat.reply.finish(Some("two"), chat.now);
    chat.run();
    assert_eq!(chat.messages, ["one two"]);
}

#[test]
fn a_message_that_cannot_be_edited_any_more_is_posted_again_once() {
    let mut chat = FakeChat::new(true, 100);
    chat.say("one");
    chat.later(1_000);
    chat.run();
    chat.reply.finish(Some(" two"), chat.now);
    let ReplyStep::Do(edit) = chat.reply.next(chat.now) else { panic!("no edit") };
    assert!(edit.edits.is_some());
    chat.reply.report(&edit, &ActionResult::failed("message is too old"), chat.now);
    let ReplyStep::Do(again) = chat.reply.next(chat.now) else { panic!("no new message") };
    assert_eq!((again.edits.as_ref(), again.content.as_str()), (None, "one two"));
    chat.reply.report(&again, &ActionResult::failed("no"), chat.now);
    assert_eq!(chat.reply.next(chat.now), ReplyStep::Done);
}

#[test]
fn a_growing_message_without_an_id_is_not_edited_until_the_end() {
    let mut chat = FakeChat::new(true, 100);
    chat.say("one");
    chat.later(1_000);
    let ReplyStep::Do(post) = chat.reply.next(chat.now) else { panic!("nothing is posted") };
    chat.reply.report(&post, &ActionResult::ambiguous("no answer"), chat.now);
    chat.say(" two");
    chat.later(5_000);
    assert_eq!(chat.run(), ReplyStep::Idle);
    chat.reply.finish(None, chat.now);
    assert_eq!(chat.run(), ReplyStep::Done);
    assert_eq!(chat.messages, ["one two"]);
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z ]{0,40}", "[a-zé😀]{0,60}", Just("\n".to_owned()), Just("\n\n    code\n".to_owned())]
}

proptest! {
    #[test]
    fn for_any_pieces_the_chat_shows_the_whole_text_once_in_messages_that_fit(
        said in prop::collection::vec((words(), 0_u64..1_500), 1..30),
        supports_edit: bool,
        limit in 20_usize..200,
        utf16: bool,
    ) {
        let len_unit = if utf16 { LenUnit::Utf16 } else { LenUnit::Chars };
        let mut chat = FakeChat::of(&Descriptor { supports_edit, max_message_length: limit, len_unit, ..Descriptor::default() });
        for (text, wait) in &said {
            chat.say(text);
            chat.run();
            chat.later(*wait);
        }
        chat.reply.finish(None, chat.now);
        prop_assert_eq!(chat.run(), ReplyStep::Done);
        let solid = |text: &str| text.split_whitespace().collect::<String>();
        let whole: String = said.iter().map(|(text, _)| text.as_str()).collect();
        prop_assert_eq!(solid(&chat.messages.concat()), solid(&whole));
        prop_assert!(chat.messages.iter().all(|message| len_unit.len(message) <= limit));
        prop_assert_eq!(chat.durable, chat.messages.len(), "each message is recorded once");
        let often = chat.grown.windows(2).find(|pair| pair[1] - pair[0] < GROW_EVERY);
        prop_assert_eq!(often, None, "it was edited twice within a second");
        prop_assert!(supports_edit || chat.grown.is_empty());
    }
}
