//! A child that fell is there again, and only the message in its hand is lost.

use std::sync::atomic::Ordering;

use caduceus_actors::supervision::{AskError, ChildState, Fault, Lane, RestartPolicy, Strategy};

use crate::support::{
    CEILING, Diary, Ping, Subject, generous, inject, tree, until, until_generation, until_state, within,
};

#[actix::test]
async fn crashed_child_answers_again_and_its_reason_is_redacted() {
    let subject = Subject::new("a", &Diary::default());
    let root = tree(Strategy::OneForOne, [subject.spec().on(&Lane::new("work"))]);
    assert_eq!(subject.ping().await, 1);
    subject.crash();
    assert_eq!(subject.ping().await, 2);
    let node = until_generation(&root, "a", 2).await;
    let last = node.last_exit.expect("it has fallen");
    assert_eq!((last.word.as_str(), last.text.as_str()), ("panic", "panic: the secret is [redacted]"));
    root.stop().await;
    assert_eq!(root.join_lanes(CEILING).await, 0);
}
