//! Actions, their results, and the answers without a result.

use serde_json::json;

use super::peer::Peer;
use super::rig::{LinkBench, target};
use super::waits::{run, within};
use super::*;

async fn answer(peer: &mut Peer, request_id: &serde_json::Value, message_id: &str) {
    let result = json!({"success": true, "message_id": message_id});
    peer.send_json(json!({"type": "outbound_result", "requestId": request_id, "result": result})).await;
}

#[test]
fn each_result_answers_its_own_send_in_any_order() {
    run(async {
        let (bench, mut peer) = LinkBench::connected().await;
        let (one, two) = (bench.send("one"), bench.send("two"));
        let (first, second) = (peer.frame().await, peer.frame().await);
        assert_eq!(first["action"]["content"], "one");
        assert_eq!((&first["platform"], &first["botId"]), (&json!("discord"), &json!("b1")));
        assert_ne!(first["requestId"], second["requestId"]);
        assert_eq!(bench.view().await.waiting, 2);
        answer(&mut peer, &second["requestId"], "m2").await;
        answer(&mut peer, &first["requestId"], "m1").await;
        assert_eq!(one.await.message_id.as_deref(), Some("m1"));
        assert_eq!(two.await.message_id.as_deref(), Some("m2"));
        assert_eq!(bench.view().await.waiting, 0);
    });
}

#[test]
fn action_for_the_relay_platform_leaves_the_choice_to_the_connector() {
    run(async {
        let (bench, mut peer) = LinkBench::connected().await;
        let action = RawJson::of(&json!({"op": "send", "chat_id": "c", "content": "x"}));
        let frame = bench.link.send(SendAction { target: target("relay"), action: action.clone() });
        let foreign = bench.link.send(SendAction { target: target("slack"), action });
        let sent = peer.frame().await;
        assert!(sent.get("platform").is_none() && sent.get("botId").is_none());
        // The connector refuses an unknown bot; no other bot may send in its place.
        assert_eq!(peer.frame().await["platform"], "slack");
        drop((frame, foreign));
    });
}

#[test]
fn action_without_a_link_fails_at_once() {
    run(async {
        let bench = LinkBench::new();
        let result = bench.send("x").await;
        assert_eq!((result.success, result.error.as_deref()), (false, Some("relay not connected")));
        assert!(!result.ambiguous);
    });
}

#[test]
fn action_before_the_end_of_the_handshake_fails_at_once() {
    run(async {
        let mut bench = LinkBench::new();
        let _peer = bench.connector.accept().await;
        bench.until(LinkState::Handshaking).await;
        assert_eq!(bench.send("x").await.error.as_deref(), Some("relay not connected"));
    });
}

#[test]
fn action_that_was_written_is_ambiguous_once_the_link_is_cut() {
    run(async {
        let (bench, mut peer) = LinkBench::connected().await;
        let result = bench.send("x");
        peer.frame().await;
        drop(peer);
        let result = result.await;
        assert!(!result.success && result.ambiguous);
    });
}

#[test]
fn action_without_a_result_in_time_is_ambiguous() {
    run(async {
        let timings = LinkTimings { result: Duration::from_millis(50), ..quick() };
        let mut bench = LinkBench::with(timings, vec![identity("discord", "")]);
        let mut peer = bench.connector.serve().await;
        bench.until(LinkState::Connected).await;
        let result = bench.send("x");
        let request_id = peer.frame().await["requestId"].clone();
        assert!(result.await.ambiguous);
        answer(&mut peer, &request_id, "late").await;
        let result = bench.send("y");
        assert_eq!(peer.frame().await["action"]["content"], "y", "a late result has no effect");
        drop(result);
    });
}

#[test]
fn actions_still_queued_when_the_link_is_cut_are_not_ambiguous() {
    run(async {
        let (bench, peer) = LinkBench::connected().await;
        // The peer reads nothing: the first actions fill the buffers of the system, the others wait.
        let large = "x".repeat(128 * 1024);
        let results: Vec<_> = (0..64).map(|_| bench.send(&large)).collect();
        while bench.view().await.waiting < results.len() {
            tokio::task::yield_now().await;
        }
        drop(peer);
        let results = futures_util::future::join_all(results).await;
        assert!(results.iter().all(|result| !result.success));
        assert!(results[0].ambiguous, "a written action may have arrived");
        assert!(!results[63].ambiguous, "an unwritten action has not arrived");
        // After one that was not written, none was written.
        assert!(results.is_sorted_by_key(|result| !result.ambiguous));
    });
}

#[test]
fn queue_that_is_full_refuses_at_once() {
    run(async {
        let (bench, peer) = LinkBench::connected().await;
        let large = "x".repeat(12 * 1024);
        let mut results: Vec<_> = (0..1500).map(|_| bench.send(&large)).collect();
        let last = results.pop().unwrap().await;
        assert_eq!((last.success, last.error.as_deref()), (false, Some("relay queue full")));
        assert!(!last.ambiguous);
        assert!(bench.view().await.waiting < 1499, "a refused send is not pending");
        drop(peer);
        within("the answer to everyone", futures_util::future::join_all(results)).await;
    });
}

#[test]
fn reading_continues_while_writing_is_blocked() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let large = "x".repeat(128 * 1024);
        let _results: Vec<_> = (0..64).map(|_| bench.send(&large)).collect();
        peer.inbound("m1", None).await;
        assert_eq!(bench.offer().await.0.event.message_id.as_deref(), Some("m1"));
    });
}
