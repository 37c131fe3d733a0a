//! What the gate tells the dispatcher of itself.

use std::time::{Duration, Instant};

use actix::clock::sleep;
use caduceus_actors::drain::messages::{BeginDrain, DrainChanged};

use crate::tree::{News, TIMEOUT, Tree};

#[actix::test]
async fn a_gate_that_fell_before_it_told_of_a_drain_has_a_successor_that_does() {
    let tree = Tree::start().await;
    let order = BeginDrain { principal: "test".to_owned(), ..BeginDrain::default() };
    tree.doors().begin.ask(order, TIMEOUT).await.expect("the gate answers");
    let news = tree.news();
    until_told(&news).await;
    // As if that had never arrived.
    news.lock().expect("nobody panics with the news in hand").clear();
    tree.fall().await;
    assert!(until_told(&news).await.draining, "the drain is on");
    tree.stop().await;
}

async fn until_told(news: &News) -> DrainChanged {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let told =
            news.lock().expect("nobody panics with the news in hand").iter().rfind(|news| news.draining).cloned();
        if let Some(last) = told {
            return last;
        }
        assert!(Instant::now() < deadline, "nobody told of the drain");
        sleep(Duration::from_millis(1)).await;
    }
}
