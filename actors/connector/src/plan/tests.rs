use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::buffer::WINDOW;
use super::*;
use crate::inbound::{ChatInput, Push, Pushed};
use crate::saved::BUFFER_LIMIT;

/// A plan with one gateway, `gw`.
fn plan() -> ConnectorPlan {
    let mut plan = ConnectorPlan::new(SavedState::default(), false);
    plan.register(Some("gw".to_owned()), 0).unwrap();
    plan
}

#[test]
fn the_plan_is_a_value() {
    fn assert_value<T: Clone + std::hash::Hash + Eq>(_: &T) {}
    let (mut plan, mut other) = (plan(), ConnectorPlan::default());
    assert_value(&plan);
    assert!(plan != other);
    other.clone_from(&plan);
    let secret = |plan: &mut ConnectorPlan| plan.rotate("gw", 0, 0).unwrap().secret;
    assert_eq!(
        secret(&mut plan).expose_secret(),
        secret(&mut other).expose_secret(),
        "a decision depends on the plan and on the event only"
    );
    assert!(plan == other);
}

fn connect(plan: &mut ConnectorPlan, connection: u64) -> Vec<ConnectorStep> {
    plan.opened(connection, "gw", 0);
    plan.received(connection, r#"{"type":"hello","platform":"discord","botId":"b"}"#, 0)
}

fn push(plan: &mut ConnectorPlan, message_id: &str, now_ms: i64) -> (Pushed, Vec<ConnectorStep>) {
    let event = json!({"message_id": message_id, "source": {"chat_id": "c"}});
    plan.push(None, Push::Event { event, buffer_id: Some(message_id.to_owned()), live: false }, now_ms).unwrap()
}

fn acknowledge(plan: &mut ConnectorPlan, connection: u64, buffer_id: &str) -> Vec<ConnectorStep> {
    plan.received(connection, &json!({"type": "inbound_ack", "bufferId": buffer_id}).to_string(), 0)
}

/// Buffer ids of the frames written to a connection, in order.
fn written(steps: &[ConnectorStep], to: u64) -> Vec<String> {
    let line = |step: &ConnectorStep| match step {
        ConnectorStep::Write { connection, text, .. } if *connection == to => Some(text.clone()),
        _ => None,
    };
    let frame = |text: String| serde_json::from_str::<Value>(&text).unwrap()["bufferId"].as_str().map(str::to_owned);
    steps.iter().filter_map(line).filter_map(frame).collect()
}

#[test]
fn an_entry_stays_until_it_is_acknowledged() {
    let mut plan = plan();
    push(&mut plan, "a", 0);
    push(&mut plan, "b", 0);
    assert_eq!(written(&connect(&mut plan, 1), 1), ["a", "b"]);
    assert!(written(&acknowledge(&mut plan, 1, "a"), 1).is_empty(), "b is already sent");
    acknowledge(&mut plan, 1, "unknown");
    plan.closed(1, "gw", 0);
    assert_eq!(written(&connect(&mut plan, 2), 2), ["b"]);
    acknowledge(&mut plan, 2, "b");
    assert!(written(&connect(&mut plan, 3), 3).is_empty());
}

#[test]
fn a_gateway_that_does_not_acknowledge_receives_one_window() {
    let mut plan = plan();
    connect(&mut plan, 1);
    for number in 0..WINDOW {
        assert_eq!(push(&mut plan, &number.to_string(), 0).0.delivered, 1);
    }
    assert_eq!(push(&mut plan, "next", 0).0.delivered, 0);
    assert_eq!(written(&acknowledge(&mut plan, 1, "0"), 1), ["next"]);
}

#[test]
fn a_full_buffer_refuses_more() {
    let mut plan = plan();
    for number in 0..BUFFER_LIMIT {
        push(&mut plan, &number.to_string(), 0);
    }
    let push = Push::Event { event: json!({}), buffer_id: None, live: false };
    assert_eq!(plan.push(None, push, 0).unwrap_err(), PushError::Full);
}

#[test]
fn lines_of_a_superseded_connection_are_ignored() {
    let mut plan = plan();
    connect(&mut plan, 1);
    push(&mut plan, "a", 0);
    let steps = plan.opened(2, "gw", 0);
    let close = ConnectorStep::Close { connection: 1, code: SUPERSEDED_CODE, reason: "superseded".to_owned() };
    assert!(steps.contains(&close));
    assert!(acknowledge(&mut plan, 1, "a").is_empty());
    plan.closed(1, "gw", 0);
    let hello = plan.received(2, r#"{"type":"hello","platform":"discord"}"#, 0);
    assert_eq!(written(&hello, 2), ["a"], "the end of the superseded connection does not affect the newer one");
}

#[test]
fn a_disconnected_gateway_is_woken_once_a_minute() {
    let mut plan = plan();
    let access = plan.register(Some("gw".to_owned()), 0).unwrap().access_token;
    let request = json!({"gatewayId": "gw", "platform": "discord", "wakeUrl": "http://wake"});
    plan.provision(Some(&access), serde_json::from_value(request).unwrap(), 0).unwrap();
    let wakes = |steps: &[ConnectorStep]| steps.contains(&ConnectorStep::Wake { url: "http://wake".to_owned() });
    assert!(wakes(&push(&mut plan, "a", 1_000).1));
    assert!(!wakes(&push(&mut plan, "b", 60_999).1));
    assert!(wakes(&push(&mut plan, "c", 61_000).1));
    connect(&mut plan, 1);
    assert!(!wakes(&push(&mut plan, "d", 999_999).1), "it is connected");
}

#[test]
fn ids_are_unique_if_the_clock_steps_back() {
    let mut ids = MessageIds::default();
    let first = ids.next(5);
    assert_ne!(first, ids.next(5));
    assert_ne!(first, ids.next(4), "the clock stepped back");
}

#[test]
fn an_unnamed_gateway_must_be_unambiguous() {
    let mut plan = plan();
    plan.register(Some("other".to_owned()), 0).unwrap();
    let interrupt = || Push::Interrupt { session_key: "s".to_owned(), chat_id: String::new() };
    assert_eq!(plan.push(None, interrupt(), 0).unwrap_err(), PushError::Ambiguous);
    assert_eq!(plan.push(Some("unknown"), interrupt(), 0).unwrap_err(), PushError::Unknown);
    connect(&mut plan, 1);
    assert_eq!(plan.push(None, interrupt(), 0).unwrap().0.delivered, 1, "one is connected");
    assert_eq!(ConnectorPlan::default().push(None, interrupt(), 0).unwrap_err(), PushError::Unknown);
}

/// The lines written to a connection.
fn lines(steps: &[ConnectorStep]) -> Vec<String> {
    let line = |step: &ConnectorStep| match step {
        ConnectorStep::Write { text, .. } => Some(text.strip_suffix('\n').unwrap_or("no line end").to_owned()),
        _ => None,
    };
    steps.iter().filter_map(line).collect()
}

/// The connector's answer to one action.
fn act(plan: &mut ConnectorPlan, action: &Value) -> String {
    let frame = json!({"type": "outbound", "requestId": "r", "action": action});
    lines(&plan.received(1, &frame.to_string(), 0)).concat()
}

#[test]
fn the_fields_of_frames_have_this_order() {
    let mut plan = plan();
    assert_eq!(
        lines(&connect(&mut plan, 1)),
        [concat!(
            r#"{"type":"descriptor","descriptor":{"contract_version":1,"platform":"discord","label":"Discord","#,
            r#""max_message_length":2000,"supports_draft_streaming":false,"supports_edit":true,"supports_threads":true,"#,
            r#""markdown_dialect":"discord","len_unit":"chars","emoji":"🎮","#,
            r#""platform_hint":"A development connector: one person tries the gateway in a web page.","#,
            r#""pii_safe":false,"supports_context":false,"supported_ops":["send","edit","typing","follow_up","#,
            r#""get_chat_info","send_media","prompt","react","thread_create","thread_rename"]}}"#
        )]
    );
    let event = json!({"later": [1, 2.50], "text": "hi", "source": {"chat_id": "c"}});
    let buffered = Push::Event { event: event.clone(), buffer_id: Some("b".to_owned()), live: false };
    assert_eq!(
        lines(&plan.push(None, buffered, 0).unwrap().1),
        [r#"{"type":"inbound","event":{"later":[1,2.5],"text":"hi","source":{"chat_id":"c"}},"bufferId":"b"}"#]
    );
    let live = Push::Event { event, buffer_id: None, live: true };
    assert_eq!(
        lines(&plan.push(None, live, 0).unwrap().1),
        [r#"{"type":"inbound","event":{"later":[1,2.5],"text":"hi","source":{"chat_id":"c"}}}"#]
    );
    let forward = json!({"path": "/x", "bodyB64": "no base64", "later": 1});
    let forward = Push::Forward { forward, session_key: None, buffer_id: Some("f".to_owned()), live: false };
    assert_eq!(
        lines(&plan.push(None, forward, 0).unwrap().1),
        [r#"{"type":"passthrough_forward","forward":{"path":"/x","bodyB64":"no base64","later":1},"bufferId":"f"}"#]
    );
    let interrupt = Push::Interrupt { session_key: "s".to_owned(), chat_id: "c".to_owned() };
    assert_eq!(
        lines(&plan.push(None, interrupt, 0).unwrap().1),
        [r#"{"type":"interrupt_inbound","session_key":"s","chat_id":"c"}"#]
    );
    let echo = plan.received(1, r#"{"type":"interrupt","session_key":"agent:main:discord:dm:c","reason":null}"#, 0);
    assert_eq!(lines(&echo), [r#"{"type":"interrupt_inbound","session_key":"agent:main:discord:dm:c","chat_id":"c"}"#]);
    assert_eq!(lines(&plan.received(1, r#"{"type":"going_idle"}"#, 0)), [r#"{"type":"going_idle_ack"}"#]);
}

#[test]
fn the_fields_of_results_have_this_order() {
    let mut plan = plan();
    connect(&mut plan, 1);
    let result = |result: &str| format!(r#"{{"type":"outbound_result","requestId":"r","result":{result}}}"#);
    let send = json!({"op": "send", "chat_id": "c", "content": "x"});
    assert_eq!(act(&mut plan, &send), result(r#"{"success":true,"message_id":"1"}"#));
    let edit = json!({"op": "edit", "chat_id": "c", "message_id": "1", "content": "y"});
    assert_eq!(act(&mut plan, &edit), result(r#"{"success":true,"message_id":"1"}"#));
    let typing = json!({"op": "typing", "chat_id": "c"});
    assert_eq!(act(&mut plan, &typing), result(r#"{"success":true}"#));
    let info = json!({"op": "get_chat_info", "chat_id": "c"});
    assert_eq!(act(&mut plan, &info), result(r#"{"success":true,"chat_info":{"name":"c","type":"dm"}}"#));
    let thread = json!({"op": "thread_create", "chat_id": "c", "thread_name": "t"});
    assert_eq!(act(&mut plan, &thread), result(r#"{"success":true,"thread_id":"2"}"#));
    let edit = json!({"op": "edit", "chat_id": "c", "message_id": "9", "content": "y"});
    assert_eq!(act(&mut plan, &edit), result(r#"{"success":false,"error":"no such message"}"#));
    let unreadable = json!({"op": "send", "content": "x"});
    let refused = r#"{"success":false,"error":"action: `chat_id` is missing"}"#;
    assert_eq!(act(&mut plan, &unreadable), result(refused), "the gateway waits for an answer");
}

#[test]
fn the_fields_of_a_chat_page_message_have_this_order() {
    let mut plan = plan();
    connect(&mut plan, 1);
    let input = |more: Value| {
        let mut fields = json!({"platform": "discord", "user": {"id": "u", "name": "Ann"}});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<ChatInput>(fields).unwrap()
    };
    let line = |plan: &mut ConnectorPlan, input| lines(&plan.push_chat(input, 0).unwrap().2).concat();
    assert_eq!(
        line(&mut plan, input(json!({"text": "hi", "replyTo": "m"}))),
        concat!(
            r#"{"type":"inbound","event":{"text":"hi","message_type":"text","message_id":"1","reply_to_message_id":"m","#,
            r#""media_urls":[],"source":{"platform":"discord","chat_id":"dev-general","chat_type":"channel","#,
            r#""chat_name":"general","user_id":"u","user_name":"Ann","user_display_name":"Ann","thread_id":null,"#,
            r#""scope_id":"dev-guild","message_id":"1","profile":null}},"bufferId":"buffer-2"}"#
        )
    );
    let prompt = json!({"op": "prompt", "chat_id": "dev-general", "prompt_kind": "approval", "prompt_id": "p",
        "content": "Sure?", "options": [{"id": "y", "label": "Yes"}]});
    act(&mut plan, &prompt);
    let pressed = input(json!({"press": {"promptId": "p", "optionId": "y"}, "profile": "work", "threadId": "t"}));
    assert_eq!(
        line(&mut plan, pressed),
        concat!(
            r#"{"type":"inbound","event":{"text":"Yes","message_type":"text","message_id":"4","#,
            r#""reply_to_message_id":null,"media_urls":[],"source":{"platform":"discord","chat_id":"dev-general","#,
            r#""chat_type":"channel","chat_name":"general","user_id":"u","user_name":"Ann","user_display_name":"Ann","#,
            r#""thread_id":"t","scope_id":"dev-guild","message_id":"4","profile":"work"},"#,
            r#""prompt_response":{"prompt_id":"p","option_id":"y","label":"Yes"}},"bufferId":"buffer-5"}"#
        )
    );
}

#[test]
fn waiting_frames_survive_a_restart_unchanged() {
    let mut before = plan();
    push(&mut before, "a", 0);
    let saved = serde_json::to_string_pretty(before.saved()).unwrap();
    let mut after = ConnectorPlan::new(serde_json::from_str(&saved).unwrap(), false);
    let line = r#"{"type":"inbound","event":{"message_id":"a","source":{"chat_id":"c"}},"bufferId":"a"}"#;
    assert_eq!(lines(&connect(&mut after, 1))[1..], [line]);
}
