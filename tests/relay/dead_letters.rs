//! Unusable frames, which the connector would send again: kept, counted, acknowledged, also across a crash.

use serde_json::{Value, json};

use crate::hostile::{HostileConnector, Wire, next_before, send_all};
use crate::support::{SOON, get, within};
use tokio_tungstenite::tungstenite::Message as Ws;

/// Sends a line and waits until it is acknowledged.
async fn acknowledged(wire: &mut Wire, line: &str, id: &str) {
    send_all(wire, [Ws::text(format!("{line}\n"))]).await;
    let acknowledged = async {
        loop {
            let frame = next_before(wire, SOON).await.expect("the link stays up");
            if frame["type"] == "inbound_ack" && frame["bufferId"] == id {
                return;
            }
        }
    };
    within(SOON, &format!("an acknowledgement of {id}"), acknowledged).await;
}

#[actix_web::test]
async fn an_unusable_frame_is_acknowledged_counted_once_and_not_run() {
    let mut connector = HostileConnector::start().await;
    let mut wire = connector.wire().await;
    let source = r#"{"platform":"discord","chat_id":"c","chat_type":"channel","user_id":"u"}"#;
    let long = "x".repeat(9 * 1024 * 1024);
    let lines = [
        (
            "surrogate",
            format!(r#"{{"type":"inbound","event":{{"text":"\ud800","source":{source}}},"bufferId":"surrogate"}}"#),
        ),
        ("kind", format!(r#"{{"type":"inbound","event":{{"text":[],"source":{source}}},"bufferId":"kind"}}"#)),
        ("deep", format!(r#"{{"type":"inbound","bufferId":"deep","event":{}{}}}"#, "[".repeat(500), "]".repeat(500))),
        ("cut", r#"{"type":"inbound","bufferId":"cut","event":{"text":"#.to_owned()),
        ("later", r#"{"type":"a_later_frame","bufferId":"later"}"#.to_owned()),
        ("forward", r#"{"type":"passthrough_forward","forward":{"bodyB64":"!"},"bufferId":"forward"}"#.to_owned()),
        ("long", format!(r#"{{"type":"inbound","event":{{"text":"{long}"}},"bufferId":"long"}}"#)),
    ];
    for (id, line) in &lines {
        acknowledged(&mut wire, line, id).await;
    }
    let all = json!(lines.len());
    // The status queries the ledger and the link one after the other.
    let dead = |status: &Value| status["ledger"]["inbound"]["dead"] == all && status["relay"][0]["dead_letters"] == all;
    let status = connector.world.until("the dead letters counted", dead).await;
    assert_eq!((&status["relay"][0]["generation"], &status["turns"]["done"]), (&json!(1), &json!(0)));
    let (_, metrics) = get(&connector.world.url("/metrics")).await;
    assert_eq!(metrics, Value::Null, "it is not JSON");
    drop(wire);

    connector.world.kill_gateway();
    connector.world.serve_unlinked();
    let mut wire = connector.wire().await;
    for (id, line) in &lines {
        acknowledged(&mut wire, line, id).await;
    }
    connector.still_serves("dead letters that came again", Some(wire)).await;
    let status = connector.world.until("one event done", |status| status["turns"]["done"] == json!(1)).await;
    assert_eq!(status["ledger"]["inbound"]["dead"], json!(lines.len()), "none is counted twice");
    assert_eq!(status["relay"][0]["dead_letters"], json!(0), "{}", status["relay"][0]);
}
