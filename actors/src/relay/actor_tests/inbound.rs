//! From the socket to the dispatcher, and the acknowledgement back.

use serde_json::{Value, json};
use tokio::sync::mpsc::error::TryRecvError;

use super::peer::{event, frame};
use super::rig::{LinkBench, identity, quick};
use super::waits::{never, run, within};
use super::*;
use crate::relay::arrival::PLACES;
use caduceus_contract::messages::dispatch::NotRecorded;
use caduceus_contract::messages::relay::LinkChanged;

fn ack(buffer_id: &str) -> Value {
    json!({"type": "inbound_ack", "bufferId": buffer_id})
}

#[test]
fn event_is_acknowledged_only_after_the_dispatcher_has_answered() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        peer.inbound("m1", Some("b1")).await;
        let (inbound, answer) = bench.offer().await;
        assert_eq!(inbound.event.message_id.as_deref(), Some("m1"));
        assert_eq!((inbound.buffer_id.as_deref(), inbound.raw_event), (Some("b1"), RawJson::of(&event("m1"))));
        assert_eq!(inbound.descriptor.unwrap().platform, "discord");
        never("an acknowledgement", peer.read()).await;
        answer.send(Ok(())).unwrap();
        assert_eq!(peer.frame().await, ack("b1"));
        let view = bench.view().await;
        assert_eq!((view.frames["inbound"], view.frames["inbound_ack"]), (1, 1));
        assert!(view.last_inbound_age_ms.is_some() && view.last_ack_age_ms.is_some());
    });
}

#[test]
fn event_without_a_buffer_id_is_not_acknowledged() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        peer.inbound("m1", None).await;
        bench.offer().await.1.send(Ok(())).unwrap();
        peer.inbound("m2", Some("b2")).await;
        bench.offer().await.1.send(Ok(())).unwrap();
        assert_eq!(peer.frame().await, ack("b2"));
    });
}

#[test]
fn event_that_was_not_taken_is_offered_again_before_later_ones() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        peer.inbound("m1", Some("b1")).await;
        let (_, first) = bench.offer().await;
        first.send(Err(NotRecorded::LedgerUnavailable)).unwrap();
        for round in 0..3 {
            let (inbound, answer) = bench.offer().await;
            assert_eq!(inbound.event.message_id.as_deref(), Some("m1"), "round {round}");
            if round == 0 {
                peer.inbound("m2", Some("b2")).await;
                never("a second event", bench.offered.recv()).await;
            }
            let last = round == 2;
            answer.send(if last { Ok(()) } else { Err(NotRecorded::LedgerUnavailable) }).unwrap();
        }
        assert_eq!(peer.frame().await, ack("b1"));
        let (inbound, answer) = bench.offer().await;
        assert_eq!(inbound.event.message_id.as_deref(), Some("m2"));
        answer.send(Ok(())).unwrap();
        assert_eq!(peer.frame().await, ack("b2"));
    });
}

#[test]
fn event_without_an_answer_of_the_dispatcher_is_offered_again() {
    run(async {
        let timings = LinkTimings { take: Duration::from_millis(50), ..quick() };
        let mut bench = LinkBench::with(timings, vec![identity("discord", "")]);
        let mut peer = bench.connector.serve().await;
        peer.inbound("m1", Some("b1")).await;
        drop(bench.offer().await);
        let (_, answer) = bench.offer().await;
        answer.send(Ok(())).unwrap();
        assert_eq!(peer.frame().await, ack("b1"));
    });
}

#[test]
fn late_answer_for_an_older_connection_is_not_acknowledged_on_the_new_one() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        peer.inbound("m1", Some("b1")).await;
        let (_, answer) = bench.offer().await;
        peer.close(1012, "").await;
        let mut peer = bench.connector.serve().await;
        bench.until(LinkState::Connected).await;
        answer.send(Ok(())).unwrap();
        never("an acknowledgement", peer.read()).await;
    });
}

#[test]
fn saturated_dispatcher_pauses_the_reading() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        for number in 0..600 {
            peer.inbound(&format!("m{number}"), Some(&format!("b{number}"))).await;
        }
        let mut offered = Vec::new();
        for _ in 0..PLACES {
            offered.push(bench.offer().await);
        }
        never("one event more than there are places", bench.offered.recv()).await;
        assert_eq!(bench.view().await.state, LinkState::Connected);
        for (_, answer) in offered {
            answer.send(Ok(())).unwrap();
        }
        for number in PLACES..600 {
            let (inbound, answer) = bench.offer().await;
            assert_eq!(inbound.event.message_id, Some(format!("m{number}")), "events keep their order");
            answer.send(Ok(())).unwrap();
        }
        for number in 0..600 {
            assert_eq!(peer.frame().await, ack(&format!("b{number}")));
        }
    });
}

#[test]
fn large_events_take_more_places_than_small_ones() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let mut large = event("m");
        large["text"] = "x".repeat(4 * 1024 * 1024).into();
        let frame = format!("{}\n", json!({"type": "inbound", "event": large}));
        // Backpressure: the writes of the connector stall.
        let flood = async {
            for _ in 0..40 {
                peer.send_text(frame.clone()).await;
            }
        };
        never("the end of the flood", flood).await;
        let mut offered = Vec::new();
        while let Ok(offer) = tokio::time::timeout(Duration::from_millis(500), bench.offered.recv()).await {
            offered.push(offer);
        }
        assert!((1..=4).contains(&offered.len()), "{} events of 4 MiB are in memory", offered.len());
        assert_eq!(
            bench.view().await.state,
            LinkState::Connected,
            "the idle timeout is suspended while reading is paused"
        );
    });
}

#[test]
fn message_may_hold_several_lines_or_part_of_one_and_may_be_binary() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let line = |id: &str| format!("{}\n", json!({"type": "inbound", "event": event(id)}));
        let text = [line("m1"), "\n \n".into(), line("m2"), line("m3")].concat();
        let (head, tail) = text.split_at(text.len() - 40);
        peer.send_text(head).await;
        for id in ["m1", "m2"] {
            assert_eq!(bench.offer().await.0.event.message_id.as_deref(), Some(id));
        }
        assert!(matches!(bench.offered.try_recv(), Err(TryRecvError::Empty)));
        peer.send_binary(tail.as_bytes()).await;
        assert_eq!(bench.offer().await.0.event.message_id.as_deref(), Some("m3"));
    });
}

#[test]
fn hostile_lines_are_counted_and_the_link_stays_up() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let hostile = [
            "nonsense",
            "[]",
            "17",
            "null",
            "\u{0}",
            r#"{"type": 5}"#,
            r#"{"type": "inbound"}"#,
            r#"{"type": "inbound", "event": "text"}"#,
            // A line that can be acknowledged is a dead letter: it has separate tests.
            r#"{"type": "inbound", "event": {"text": 5}}"#,
            r#"{"type": "inbound", "event": {"source": []}}"#,
            r#"{"type": "inbound", "event": {}, "bufferId": {}}"#,
            r#"{"type": "descriptor", "descriptor": {"platform": 5}}"#,
            r#"{"type": "outbound_result", "requestId": [], "result": {}}"#,
            r#"{"type": "outbound_result", "requestId": "r", "result": "yes"}"#,
            r#"{"type": "interrupt_inbound"}"#,
            r#"{"type": "passthrough_forward", "forward": {"bodyB64": "%%%"}}"#,
            r#"{"type": "passthrough_forward", "forward": {"bodyB64": ""}}"#,
            &deep,
        ];
        for line in hostile {
            peer.send_text(format!("{line}\n")).await;
        }
        peer.send_binary(b"\xff\xfe\n").await;
        // Its type is of a later contract, which is not an error.
        peer.send_json(json!({"type": "from_the_future", "x": 1})).await;
        peer.send_json(json!({"type": "outbound_result", "requestId": "unknown", "result": {"success": true}})).await;
        peer.inbound("good", None).await;
        assert_eq!(bench.offer().await.0.event.message_id.as_deref(), Some("good"));
        let view = bench.view().await;
        assert_eq!(view.skipped, hostile.len() as u64 + 1);
        assert_eq!((view.state, view.generation), (LinkState::Connected, 1));
        assert!(!view.frames.contains_key("from_the_future"), "names of the connector do not appear in the view");
    });
}

#[test]
fn line_above_the_limit_closes_with_1009_and_redials() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let part = "x".repeat(1024 * 1024);
        for _ in 0..9 {
            peer.send_text(part.clone()).await;
        }
        assert_eq!(within("the close", peer.read()).await, Err(Some(1009)));
        drop(peer);
        bench.connector.serve().await;
        bench.until(LinkState::Connected).await;
    });
}

#[test]
fn interrupt_stops_the_session() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        peer.send_json(json!({"type": "interrupt_inbound", "session_key": "agent:main:discord:dm:c", "chat_id": "c"}))
            .await;
        let stop = within("the order to stop", bench.stops.recv()).await.unwrap();
        assert_eq!(stop.session_key, "agent:main:discord:dm:c");
    });
}

#[test]
fn forwarded_interaction_is_an_event_and_is_acknowledged() {
    use base64::Engine;
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let body = json!({"type": 2, "id": "i1", "channel_id": "111", "guild_id": "999",
            "data": {"name": "ask"}, "member": {"user": {"id": "42", "username": "ann"}}});
        let body = base64::prelude::BASE64_STANDARD.encode(body.to_string());
        peer.send_json(json!({"type": "passthrough_forward", "bufferId": "b1", "forward": {
            "platform": "discord", "botId": "b9", "method": "POST", "path": "/", "headers": [], "bodyB64": body,
            "profile": "work"}}))
            .await;
        let (inbound, answer) = bench.offer().await;
        assert_eq!((inbound.event.text.as_str(), inbound.bot_id.as_deref()), ("ask", Some("b9")));
        assert_eq!(inbound.event.source.scope_id.as_deref(), Some("999"));
        assert_eq!(inbound.event.source.profile.as_deref(), Some("work"));
        answer.send(Ok(())).unwrap();
        assert_eq!(peer.frame().await, ack("b1"));
        assert_eq!(bench.view().await.frames["passthrough_forward"], 1);
    });
}

#[test]
fn a_link_reports_its_descriptors_once_every_identity_is_described_and_withdraws_them_when_it_goes_down() {
    run(async {
        let mut bench = LinkBench::with(quick(), vec![identity("discord", "b1"), identity("telegram", "b2")]);
        let mut peer = bench.connector.accept().await;
        for platform in ["discord", "telegram"] {
            assert_eq!(peer.frame().await["platform"], platform);
        }
        peer.describe("discord").await;
        let known = |change: &LinkChanged| -> Option<Vec<String>> {
            Some(change.descriptors.as_ref()?.iter().map(|known| known.platform.clone()).collect())
        };
        let mut change = within("a change", bench.changes.recv()).await.unwrap();
        while change.state != LinkState::Connected {
            assert_eq!(known(&change), None);
            change = within("a change", bench.changes.recv()).await.unwrap();
        }
        assert_eq!(known(&change), None, "a reply to telegram would be split by the limit of discord");
        peer.inbound("m1", Some("b1")).await;
        assert_eq!(bench.offer().await.0.descriptor.unwrap().platform, "discord");
        let mut telegram = event("m2");
        telegram["source"]["platform"] = "telegram".into();
        peer.send_json(json!({"type": "inbound", "event": telegram})).await;
        assert_eq!(bench.offer().await.0.descriptor, None, "the event waits for the descriptor");
        peer.describe("telegram").await;
        let change = within("a change", bench.changes.recv()).await.unwrap();
        assert_eq!(known(&change), Some(vec!["discord".to_owned(), "telegram".to_owned()]));
        bench.link.send(ResendLinkState { dispatcher: 1 }).await.unwrap();
        bench.link.send(ResendLinkState { dispatcher: 0 }).await.unwrap();
        let again = within("the change once more", bench.changes.recv()).await.unwrap();
        assert_eq!((again.state, known(&again)), (change.state, known(&change)));
        peer.close(1001, "").await;
        let change = within("a change", bench.changes.recv()).await.unwrap();
        assert_eq!((change.state, known(&change)), (LinkState::Waiting, None), "sent once, to the one that asked");
    });
}

#[test]
fn an_identity_without_a_descriptor_delays_the_others_for_a_bounded_time() {
    run(async {
        let timings = LinkTimings { handshake: Duration::from_millis(100), ..quick() };
        let mut bench = LinkBench::with(timings, vec![identity("discord", "b1"), identity("telegram", "b2")]);
        let mut peer = bench.connector.accept().await;
        peer.describe("discord").await;
        let described = async { while bench.changes.recv().await.unwrap().descriptors.is_none() {} };
        within("the descriptors", described).await;
    });
}

#[test]
fn events_of_one_read_are_offered_in_one_message_and_acknowledged_in_order() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let lines = [1, 2, 3, 4, 5].map(|number| frame(&format!("m{number}"), Some(&format!("b{number}"))).to_string());
        peer.send_text(lines.join("\n") + "\n").await;
        let mut answers = Vec::new();
        for number in 1..=5 {
            let (offered, answer) = bench.offer().await;
            assert_eq!(offered.event.message_id, Some(format!("m{number}")));
            answers.push(answer);
        }
        assert_eq!(bench.messages.get(), 1);
        // The stub answers the message when it has all of them.
        for answer in answers.into_iter().rev() {
            answer.send(Ok(())).unwrap();
        }
        for number in 1..=5 {
            assert_eq!(peer.frame().await, ack(&format!("b{number}")));
        }
    });
}

#[test]
fn one_event_of_a_message_that_was_not_taken_is_offered_again_alone() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let lines = [1, 2, 3].map(|number| frame(&format!("m{number}"), Some(&format!("b{number}"))).to_string());
        peer.send_text(lines.join("\n") + "\n").await;
        for answer in [Ok(()), Err(NotRecorded::LedgerUnavailable), Ok(())] {
            bench.offer().await.1.send(answer).unwrap();
        }
        assert_eq!(peer.frame().await, ack("b1"));
        let (again, answer) = bench.offer().await;
        assert_eq!(again.event.message_id.as_deref(), Some("m2"));
        answer.send(Ok(())).unwrap();
        assert_eq!(peer.frame().await, ack("b2"));
        assert_eq!(peer.frame().await, ack("b3"));
    });
}
