//! The web chat: the page, its stream of events, its messages.

use std::pin::Pin;

use awc::Client;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use serde_json::{Value, json};

use crate::gateway::WireGateway;
use crate::support::{Process, SOON, post, within};
use crate::{connector, register};

/// One window: the events it gets, in order.
struct Window {
    stream: Pin<Box<dyn Stream<Item = Result<Bytes, awc::error::PayloadError>>>>,
    received: String,
}

impl Window {
    async fn open(connector: &Process) -> Self {
        let stream = Client::default().get(format!("{}/chat/events", connector.url)).send().await.unwrap();
        assert_eq!(stream.headers().get("content-type").unwrap(), "text/event-stream");
        Self { stream: Box::pin(stream), received: String::new() }
    }

    /// The next event of a kind; others are skipped.
    async fn event(&mut self, kind: &str) -> Value {
        loop {
            while let Some(end) = self.received.find("\n\n") {
                let event: String = self.received.drain(..end + 2).collect();
                let change: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap().trim_end()).unwrap();
                if change["kind"] == kind {
                    return change;
                }
            }
            let chunk = within(SOON, kind, self.stream.next()).await.expect("the stream stays open").unwrap();
            self.received.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

fn message(text: &str) -> Value {
    json!({"platform": "telegram", "user": {"id": "77", "name": "Ada"}, "profile": " coder ", "text": text})
}

#[actix_web::test]
async fn the_page_is_one_document_under_a_strict_policy() {
    let connector = connector();
    let mut policies = Vec::new();
    for _ in 0..2 {
        let mut answer = Client::default().get(&connector.url).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let policy = answer.headers().get("content-security-policy").unwrap().to_str().unwrap().to_owned();
        let html = String::from_utf8(answer.body().limit(1024 * 1024).await.unwrap().to_vec()).unwrap();
        let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(html.matches(&format!("nonce=\"{nonce}\"")).count(), 2, "style and script have the nonce");
        assert!(!html.contains("{{nonce}}"));
        for outside in ["src=\"http", "href=\"http", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
        for id in ["message", "send", "log", "platform", "profile", "typing", "status"] {
            assert_eq!(html.matches(&format!(" id=\"{id}\"")).count(), 1, "{id}");
        }
        policies.push(policy);
    }
    assert_ne!(policies[0], policies[1], "every answer has its own nonce");
    let icon = Client::default().get(format!("{}/favicon.ico", connector.url)).send().await.unwrap();
    assert_eq!(icon.status().as_u16(), 204);
}

#[actix_web::test]
async fn a_message_reaches_the_gateway_and_every_change_reaches_every_window() {
    let connector = connector();
    let mut gateway = WireGateway::connect(&connector.url, &register(&connector, "gw-1").await).await;
    gateway.send_frame(&json!({"type": "hello", "platform": "telegram", "botId": "b"})).await;
    assert_eq!(gateway.frame().await["type"], "descriptor");
    let (mut first, mut second) = (Window::open(&connector).await, Window::open(&connector).await);
    assert_eq!(first.event("snapshot").await["rooms"], json!([]));
    assert_eq!(first.event("status").await["gateways"][0]["connected"], true);

    let (status, answer) = post(&format!("{}/chat/messages", connector.url), &message("hi")).await;
    assert_eq!((status, &answer["delivered"]), (202, &json!(1)));
    let inbound = gateway.frame().await;
    let source = &inbound["event"]["source"];
    assert_eq!(
        (&source["chat_type"], &source["chat_id"], &source["profile"]),
        (&json!("dm"), &json!("77"), &json!("coder"))
    );
    assert_eq!(inbound["event"]["message_id"], answer["messageId"]);
    for window in [&mut first, &mut second] {
        let change = window.event("message").await;
        assert_eq!((&change["message"]["from"], &change["message"]["text"]), (&json!("user"), &json!("hi")));
    }

    gateway.act(json!({"op": "typing", "chat_id": "77"})).await;
    assert_eq!(first.event("typing").await["place"]["platform"], "telegram");
    let sent =
        gateway.act(json!({"op": "send", "chat_id": "77", "content": "he", "reply_to": answer["messageId"]})).await;
    gateway.act(json!({"op": "edit", "chat_id": "77", "message_id": sent["message_id"], "content": "hello"})).await;
    gateway.act(json!({"op": "react", "chat_id": "77", "message_id": answer["messageId"], "emoji": "👍"})).await;
    assert_eq!(second.event("message").await["message"]["text"], "he");
    let edited = second.event("message").await;
    assert_eq!((&edited["message"]["text"], &edited["message"]["edits"]), (&json!("hello"), &json!(1)));
    assert_eq!(second.event("message").await["message"]["reactions"], json!({"👍": 1}));

    let mut late = Window::open(&connector).await;
    let messages = &late.event("snapshot").await["rooms"][0]["messages"];
    assert_eq!((&messages[0]["text"], &messages[1]["text"]), (&json!("hi"), &json!("hello")));
}

#[actix_web::test]
async fn a_prompt_is_answered_once() {
    let connector = connector();
    let mut gateway = WireGateway::connect(&connector.url, &register(&connector, "gw-1").await).await;
    let url = format!("{}/chat/messages", connector.url);
    post(&url, &message("hi")).await;
    gateway.frame().await;
    let prompt = json!({"op": "prompt", "chat_id": "77", "prompt_kind": "approval", "prompt_id": "p1", "content": "Sure?",
                        "options": [{"id": "y", "label": "Yes", "style": "primary"}, {"id": "n", "label": "No"}]});
    gateway.act(prompt).await;
    let press = |option: &str| json!({"platform": "telegram", "user": {"id": "77", "name": "Ada"}, "press": {"promptId": "p1", "optionId": option}});
    assert_eq!(post(&url, &press("maybe")).await.0, 409);
    assert_eq!(post(&url, &press("y")).await.0, 202);
    let event = &gateway.frame().await["event"];
    assert_eq!(event["prompt_response"], json!({"prompt_id": "p1", "option_id": "y", "label": "Yes"}));
    assert_eq!(event["text"], "Yes");
    assert_eq!(post(&url, &press("n")).await.1["error"], "prompt_answered");
}

#[actix_web::test]
async fn a_message_without_text_or_sender_is_refused() {
    let connector = connector();
    let url = format!("{}/chat/messages", connector.url);
    assert_eq!(post(&url, &message("hi")).await.1["error"], "unknown_gateway");
    register(&connector, "gw-1").await;
    for (key, value) in [
        ("text", json!(" \n")),
        ("text", json!("x".repeat(8_001))),
        ("platform", json!("smoke signals")),
        ("user", json!({"id": "", "name": "x"})),
        ("user", json!({"id": "x", "name": "x".repeat(65)})),
        ("profile", json!("x".repeat(65))),
    ] {
        let mut body = message("hi");
        body[key] = value;
        assert_eq!(post(&url, &body).await.0, 400, "{key}");
    }
}
