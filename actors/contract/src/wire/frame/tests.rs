//! Frames in both directions.

use serde_json::json;

use super::*;

#[test]
fn a_frame_from_the_connector_reads_back_as_it_was_written() {
    let descriptor = serde_json::to_value(Descriptor::default()).unwrap();
    for wire in [
        json!({"type": "descriptor", "descriptor": descriptor}),
        json!({"type": "inbound", "event": {"text": "hi", "later": [1, {"a": null}]}, "bufferId": "b"}),
        json!({"type": "inbound", "event": {}}),
        json!({"type": "outbound_result", "requestId": "r", "result": {"success": true, "message_id": "m"}}),
        json!({"type": "interrupt_inbound", "session_key": "s", "chat_id": "c"}),
        json!({"type": "going_idle_ack"}),
        json!({"type": "passthrough_forward", "bufferId": "b", "forward": {
            "platform": "discord", "botId": "1", "method": "POST", "path": "/x",
            "headers": [["a", "b"]], "bodyB64": "e30=", "profile": "work"}}),
    ] {
        let frame = FromConnector::parse(wire.to_string().as_bytes()).unwrap().unwrap();
        assert!(wire["type"] == frame.kind() && KINDS.contains(&frame.kind()), "{}", frame.kind());
        let line = frame.to_line();
        assert!(line.ends_with('\n') && !line.trim_end().contains('\n'));
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), wire);
    }
}

#[test]
fn a_frame_from_the_gateway_reads_back_as_it_was_written() {
    let action = json!({"op": "get_chat_info", "chat_id": "c"});
    for wire in [
        json!({"type": "hello", "platform": "relay", "botId": ""}),
        json!({"type": "outbound", "requestId": "r", "action": action}),
        json!({"type": "outbound", "requestId": "r", "action": action, "platform": "slack", "botId": "1"}),
        json!({"type": "interrupt", "session_key": "s", "reason": null}),
        json!({"type": "going_idle"}),
        json!({"type": "inbound_ack", "bufferId": "b"}),
    ] {
        let frame = ToConnector::parse(wire.to_string().as_bytes()).unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&frame.to_line()).unwrap(), wire);
        assert!(KINDS.iter().any(|kind| wire["type"] == *kind), "{wire}");
    }
}

#[test]
fn what_we_do_not_know_of_an_event_is_kept_to_the_byte() {
    let event = r#"{"text":"hi","big":123456789012345678901234567890,"x":1.10}"#;
    let line = format!(r#"{{"type":"inbound","event":{event}}}"#);
    let Some(FromConnector::Inbound(inbound)) = FromConnector::parse(line.as_bytes()).unwrap() else {
        panic!("an inbound frame")
    };
    assert_eq!((inbound.raw.get(), inbound.event.text.as_str()), (event, "hi"));
}

#[test]
fn an_unknown_type_is_no_error() {
    for line in ["{}", r#"{"type":"later","event":7}"#, r#"{"type":null}"#, r#"{"type":"hello"}"#] {
        assert!(FromConnector::parse(line.as_bytes()).unwrap().is_none(), "{line}");
    }
    assert!(ToConnector::parse(br#"{"type":"descriptor"}"#).unwrap().is_none());
}

#[test]
fn a_bad_line_is_an_error_that_does_not_show_it() {
    let deep = format!(r#"{{"type":"inbound","event":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for line in [
        "",
        "x",
        "[]",
        "7",
        "{",
        &"[".repeat(100_000),
        &deep,
        r#"{"type":7}"#,
        r#"{"type":"inbound"}"#,
        r#"{"type":"inbound","event":"s3cret"}"#,
        r#"{"type":"inbound","event":{"text":["s3cret"]}}"#,
        r#"{"type":"inbound","event":{},"bufferId":{"s3cret":1}}"#,
        r#"{"type":"descriptor"}"#,
        r#"{"type":"descriptor","descriptor":{"platform":"s3cret"}}"#,
        r#"{"type":"outbound_result","result":{}}"#,
        r#"{"type":"outbound_result","requestId":"r","result":"s3cret"}"#,
        r#"{"type":"interrupt_inbound","chat_id":"s3cret"}"#,
        r#"{"type":"passthrough_forward","forward":{"bodyB64":"s3cret!"}}"#,
    ] {
        let error = FromConnector::parse(line.as_bytes()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
    assert_eq!(FromConnector::parse(b"{\"type\":\"\xff\"}").unwrap_err(), FrameError::NotAnObject);
}
