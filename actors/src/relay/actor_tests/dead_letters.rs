//! Frames that expect an acknowledgement and cannot be used.

use serde_json::{Value, json};

use super::peer::{Peer, event};
use super::rig::LinkBench;
use super::waits::{never, run, within};
use super::*;
use caduceus_contract::messages::ledger::{InboundId, InboundState, LedgerError, Recorded};

fn ack(buffer_id: &str) -> Value {
    json!({"type": "inbound_ack", "bufferId": buffer_id})
}

fn new(row: i64) -> Recorded {
    Recorded::New(InboundId(row))
}

/// Asserts that the link is up and was dialled once only.
async fn is_up(bench: &LinkBench) -> bool {
    let view = bench.view().await;
    (view.state, view.generation) == (LinkState::Connected, 1)
}

async fn send_line(peer: &mut Peer, line: &[u8]) {
    peer.send_binary(&[line, b"\n"].concat()).await;
}

#[test]
fn every_unusable_frame_that_would_be_sent_again_is_kept_and_acknowledged() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let deep = format!(r#"{{"type":"inbound","bufferId":"b","event":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        let deep_text = format!(
            r#"{{"type":"inbound","bufferId":"b","event":{{"x":{}1{}}}}}"#,
            "{\"a\":".repeat(200),
            "}".repeat(200)
        );
        let lines: [&[u8]; 17] = [
            br#"{"type":"inbound","event":{"text":"\ud800"},"bufferId":"b"}"#,
            br#"{"type":"inbound","event":{"text":"x","source":{"chat_id":"\udfff\ud800"}},"bufferId":"b"}"#,
            br#"{"type":"inbound","event":{"text":5},"bufferId":"b"}"#,
            br#"{"type":"inbound","event":{"source":[]},"bufferId":"b"}"#,
            br#"{"type":"inbound","event":null,"bufferId":"b"}"#,
            br#"{"type":"inbound","bufferId":"b"}"#,
            br#"{"type":"inbound","event":"text","bufferId":"b"}"#,
            br#"{"type":"inbound","bufferId":"b","event":{"text":"cut off"#,
            br#"{"type":"inbound","bufferId":"b","event":{"text":1e}}"#,
            b"{\"type\":\"inbound\",\"bufferId\":\"b\",\"event\":{\"text\":\"\xff\"}}",
            br#"{"type":7,"bufferId":"b"}"#,
            br#"{"type":"from_the_future","x":1,"bufferId":"b"}"#,
            br#"{"bufferId":"b"}"#,
            br#"{"type":"passthrough_forward","forward":{"bodyB64":"%%%"},"bufferId":"b"}"#,
            br#"{"type":"passthrough_forward","forward":{"bodyB64":""},"bufferId":"b"}"#,
            br#"{"type":"descriptor","descriptor":{"platform":5},"bufferId":"b"}"#,
            br#"{"type":"outbound_result","requestId":[],"result":{},"bufferId":"b"}"#,
        ];
        let lines = lines.into_iter().chain([deep.as_bytes(), deep_text.as_bytes()]);
        for (number, line) in lines.enumerate() {
            let shown = String::from_utf8_lossy(line);
            send_line(&mut peer, line).await;
            let (record, answer) = bench.letter().await;
            assert_eq!((record.buffer_id.as_deref(), record.state), (Some("b"), InboundState::Dead), "{shown}");
            let kept: Value = serde_json::from_str(record.event.get()).unwrap();
            assert_eq!(kept["dead_letter"]["frame"], &*shown);
            answer.send(Ok(new(number.try_into().unwrap()))).unwrap();
            assert_eq!(peer.frame().await, ack("b"), "{shown}");
        }
        assert!(is_up(&bench).await);
        let view = bench.view().await;
        assert_eq!((view.dead_letters, view.skipped, view.frames.get("inbound")), (19, 0, None));
        assert!(bench.offered.try_recv().is_err(), "none of them runs");
    });
}

#[test]
fn dead_letter_is_acknowledged_only_once_it_is_on_disk_and_counted_once() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let bad = json!({"type": "inbound", "event": {"text": 5}, "bufferId": "b"});
        peer.send_json(bad.clone()).await;
        let (_, answer) = bench.letter().await;
        never("an acknowledgement", peer.read()).await;
        answer.send(Err(LedgerError::Unwritable("disk full".into()))).unwrap();
        let (_, answer) = bench.letter().await;
        answer.send(Ok(new(1))).unwrap();
        assert_eq!(peer.frame().await, ack("b"));
        peer.send_json(bad).await;
        let (_, answer) = bench.letter().await;
        answer.send(Ok(Recorded::Duplicate { id: InboundId(1), state: InboundState::Dead })).unwrap();
        assert_eq!(peer.frame().await, ack("b"));
        assert_eq!(bench.view().await.dead_letters, 1);
    });
}

#[test]
fn acknowledgements_of_events_and_dead_letters_keep_their_order() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        peer.inbound("m1", Some("b1")).await;
        peer.send_json(json!({"type": "inbound", "event": 7, "bufferId": "b2"})).await;
        let (_, dead) = bench.letter().await;
        // In a message of its own, so that it is answered apart.
        peer.inbound("m3", Some("b3")).await;
        dead.send(Ok(new(1))).unwrap();
        let ((_, first), (_, third)) = (bench.offer().await, bench.offer().await);
        never("an acknowledgement", peer.read()).await;
        first.send(Ok(())).unwrap();
        assert_eq!((peer.frame().await, peer.frame().await), (ack("b1"), ack("b2")));
        third.send(Ok(())).unwrap();
        assert_eq!(peer.frame().await, ack("b3"));
    });
}

#[test]
fn frame_without_an_event_is_acknowledged_after_it_was_handled() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        peer.send_json(
            json!({"type": "interrupt_inbound", "session_key": "agent:main:s", "chat_id": "c", "bufferId": "b"}),
        )
        .await;
        assert_eq!(within("the order to stop", bench.stops.recv()).await.unwrap().session_key, "agent:main:s");
        assert_eq!(peer.frame().await, ack("b"));
    });
}

#[test]
fn line_above_the_limit_is_a_dead_letter_without_its_body_in_one_message_or_in_many() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        for (mebibytes, pieces) in [(9, 1), (9, 9), (20, 1)] {
            let text = "x".repeat(mebibytes * 1024 * 1024);
            let line =
                json!({"event": {"text": text, "bufferId": "no"}, "type": "inbound", "bufferId": "b"}).to_string();
            for piece in line.as_bytes().chunks(line.len().div_ceil(pieces)) {
                peer.send_binary(piece).await;
            }
            peer.send_text("\n").await;
            let (record, answer) = bench.letter().await;
            let letter: Value = serde_json::from_str(record.event.get()).unwrap();
            assert_eq!(letter["dead_letter"]["frame"], Value::Null);
            assert_eq!(letter["dead_letter"]["bytes"], json!(line.len()));
            answer.send(Ok(new(1))).unwrap();
            assert_eq!(peer.frame().await, ack("b"), "{mebibytes} MiB in {pieces} messages");
        }
        // The next line is an ordinary event.
        peer.send_json(json!({"type": "inbound", "event": event("m")})).await;
        assert_eq!(bench.offer().await.0.event.message_id.as_deref(), Some("m"));
        assert!(is_up(&bench).await);
    });
}
