//! A link whose events go to several dispatchers, one of which refuses.

use serde_json::{Value, json};

use super::peer::event;
use super::rig::{LinkBench, Offered};
use super::waits::{never, run};
use super::*;
use caduceus_contract::messages::dispatch::NotRecorded;
use caduceus_contract::share::DispatchShare;

/// A chat of each of two dispatchers.
fn chats() -> [String; 2] {
    [0, 1].map(|number| {
        let share = DispatchShare::each(2).nth(number).unwrap();
        (0..100).map(|chat| chat.to_string()).find(|chat| share.contains_chat_of("discord", chat)).unwrap()
    })
}

fn frame(name: &str, chat: &str) -> Value {
    let mut event = event(name);
    event["source"]["chat_id"] = chat.into();
    json!({"type": "inbound", "event": event, "bufferId": name})
}

fn name(offered: &Offered) -> &str {
    offered.0.buffer_id.as_deref().unwrap()
}

fn take((_, answer): Offered) {
    answer.send(Ok(())).unwrap();
}

fn refuse((_, answer): Offered) {
    answer.send(Err(NotRecorded::LedgerUnavailable)).unwrap();
}

#[test]
fn order_of_a_link_holds_when_one_of_two_dispatchers_refuses() {
    run(async {
        let mut bench = LinkBench::dispatchers(2);
        let mut peer = bench.connector.serve().await;
        bench.until(LinkState::Connected).await;
        let [first, second] = chats();
        peer.send_text(format!("{}\n{}\n", frame("a1", &first), frame("b1", &second))).await;
        let [a1, b1] = [bench.offer().await, bench.offer().await];
        assert_eq!([name(&a1), name(&b1)], ["a1", "b1"]);
        assert_eq!(bench.messages.get(), 2, "one to each");
        refuse(a1);
        LinkBench::settled().await;
        // The other dispatcher has not answered. Nothing is offered behind the refused event, to neither.
        peer.send_text(format!("{}\n{}\n", frame("b2", &second), frame("a2", &first))).await;
        never("an event behind the refused one", bench.offered.recv()).await;
        take(b1);
        for round in 0..2 {
            let a1 = bench.offer().await;
            assert_eq!(name(&a1), "a1", "round {round}");
            never("another event", bench.offered.recv()).await;
            never("an acknowledgement before that of an earlier event", peer.read()).await;
            if round == 0 { refuse(a1) } else { take(a1) }
        }
        for expected in ["b2", "a2"] {
            let offered = bench.offer().await;
            assert_eq!(name(&offered), expected, "in order of arrival, one by one");
            never("another event", bench.offered.recv()).await;
            take(offered);
        }
        for expected in ["a1", "b1", "b2", "a2"] {
            assert_eq!(peer.frame().await, json!({"type": "inbound_ack", "bufferId": expected}));
        }
        // Both are offered to again, together.
        peer.send_text(format!("{}\n{}\n", frame("a3", &first), frame("b3", &second))).await;
        let [a3, b3] = [bench.offer().await, bench.offer().await];
        take(b3);
        never("an acknowledgement before that of an earlier event", peer.read()).await;
        take(a3);
        for expected in ["a3", "b3"] {
            assert_eq!(peer.frame().await, json!({"type": "inbound_ack", "bufferId": expected}));
        }
    });
}
