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
fn an_action_that_is_json_already_is_written_like_any_other() {
    let action =
        Action::parse(&json!({"op": "send", "chat_id": "c", "content": "a\n\"b\"", "metadata": {"x": 1}})).unwrap();
    for (platform, bot_id) in [(None, None), (Some("slack"), None), (Some("slack"), Some("1"))] {
        let frame = ToConnector::Outbound {
            request_id: "r".to_owned(),
            action: Box::new(action.clone()),
            platform: platform.map(str::to_owned),
            bot_id: bot_id.map(str::to_owned),
        };
        assert_eq!(outbound_line("r", &RawJson::of(&action), platform, bot_id), frame.to_line());
    }
}

#[test]
fn unknown_fields_of_an_event_are_kept_to_the_byte() {
    let event = r#"{"text":"hi","big":123456789012345678901234567890,"x":1.10}"#;
    let line = format!(r#"{{"type":"inbound","event":{event}}}"#);
    let Some(FromConnector::Inbound(inbound)) = FromConnector::parse(line.as_bytes()).unwrap() else {
        panic!("an inbound frame")
    };
    let read = inbound.read().unwrap();
    assert_eq!((inbound.event.get(), read.raw.get(), read.event.text.as_str()), (event, event, "hi"));
}

#[test]
fn an_event_that_readers_could_read_differently_is_written_anew() {
    for (event, raw) in [
        (r#"{"text":"a", "x":[{"b":1,"b":1.50}],"text":"hi"}"#, r#"{"text":"hi","x":[{"b":1.5}]}"#),
        ("{\"text\":\r\n\"hi\"}", r#"{"text":"hi"}"#),
    ] {
        let read = ReceivedEvent::read(event.to_owned().try_into().unwrap()).unwrap();
        assert_eq!((read.raw.get(), read.event.text.as_str()), (raw, "hi"));
    }
}

#[test]
fn an_unknown_type_is_no_error() {
    for line in ["{}", r#"{"type":"later","event":7}"#, r#"{"type":null}"#, r#"{"type":"hello"}"#] {
        assert!(FromConnector::parse(line.as_bytes()).unwrap().is_none(), "{line}");
    }
    assert!(ToConnector::parse(br#"{"type":"descriptor"}"#).unwrap().is_none());
}

/// Reads a line, and every field in it.
fn read(line: &[u8]) -> Result<(), FrameError> {
    match FromConnector::parse(line)? {
        Some(FromConnector::Inbound(frame)) => frame.read().map(drop),
        Some(FromConnector::PassthroughForward(frame)) => frame.read().map(drop),
        _ => Ok(()),
    }
}

#[test]
fn the_request_id_of_an_unreadable_action_is_read() {
    let read = |line: &str| ToConnector::read(line.as_bytes());
    let broken = read(r#"{"type":"outbound","requestId":"r","action":{"op":"send"}}"#);
    assert!(matches!(broken.frame, Err(FrameError::Action(_))));
    assert_eq!(broken.request_id.as_deref(), Some("r"));
    for line in [r#"{"type":"outbound","requestId":""}"#, r#"{"type":"hello","requestId":"r"}"#, "x"] {
        assert_eq!(read(line).request_id, None, "{line}");
    }
}

#[test]
fn a_forwarded_request_is_parsed_on_demand() {
    let line = br#"{"type":"passthrough_forward","forward":{"botId":"b","headers":[["a","b"],7],"bodyB64":"e30="}}"#;
    let Some(FromConnector::PassthroughForward(frame)) = FromConnector::parse(line).unwrap() else {
        panic!("a forward")
    };
    let forward = frame.read().unwrap();
    assert_eq!((forward.bot_id.as_str(), forward.body.as_slice(), forward.profile), ("b", &b"{}"[..], None));
    assert_eq!(forward.headers, [("a".to_owned(), "b".to_owned())]);
    assert_eq!(PassthroughForward::new(&json!({"bodyB64": "!"}), None).read(), Err(FrameError::Body));
}

#[test]
fn the_error_of_a_bad_line_does_not_contain_it() {
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
        let error = read(line.as_bytes()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
    assert_eq!(FromConnector::parse(b"{\"type\":\"\xff\"}").unwrap_err(), FrameError::NotAnObject);
}
