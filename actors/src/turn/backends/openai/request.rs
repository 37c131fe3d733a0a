//! The request to a chat completions server.

use bytes::Bytes;
use serde_json::{Value, json};

use super::attached;
use crate::profile::agent::OpenAiSettings;
use caduceus_contract::messages::ledger::HistoryEntry;
use caduceus_contract::wire::event::InboundEvent;

/// Between the reference text of an event and the text for the agent.
const MESSAGE_TITLE: &str = "[New message]";

/// The request to answer `event`, after `history`, oldest first.
pub(super) fn body(settings: &OpenAiSettings, history: &[HistoryEntry], event: &InboundEvent) -> Bytes {
    let message = |role: &str, content: &str| json!({"role": role, "content": content});
    let kept = &history[history.len().saturating_sub(settings.history)..];
    // A turn without text left an empty entry, which some servers refuse.
    let entries = kept.iter().filter(|entry| !entry.content.trim().is_empty());
    let mut messages: Vec<Value> = settings.system.iter().map(|system| message("system", system)).collect();
    messages.extend(entries.map(|entry| message(&entry.role, &entry.content)));
    messages.push(json!({"role": "user", "content": attached::content(words(event), event)}));
    let request = json!({"model": settings.model, "stream": true, "messages": messages});
    Bytes::from(request.to_string())
}

/// The text of the event, below the text around it.
fn words(event: &InboundEvent) -> String {
    match &event.channel_context {
        Some(context) => format!("{context}\n\n{MESSAGE_TITLE}\n{}", event.text),
        None => event.text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request_json(history: &[(&str, &str)], keep: usize, system: Option<&str>, event: &InboundEvent) -> Value {
        let settings = OpenAiSettings {
            base_url: "http://a.example".to_owned(),
            model: "m1".to_owned(),
            api_key_env: None,
            system: system.map(str::to_owned),
            history: keep,
            timeout: Duration::from_secs(1),
        };
        let entry = |(role, content): &(&str, &str)| HistoryEntry {
            role: (*role).to_owned().into(),
            content: (*content).into(),
        };
        let history: Vec<HistoryEntry> = history.iter().map(entry).collect();
        serde_json::from_slice(&body(&settings, &history, event)).unwrap()
    }

    fn event(text: &str) -> InboundEvent {
        InboundEvent { text: text.to_owned(), ..InboundEvent::default() }
    }

    #[test]
    fn the_request_has_the_system_prompt_then_the_end_of_the_history_then_the_message() {
        let history = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", " "), ("assistant", "d")];
        let expected = json!({"model": "m1", "stream": true, "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": "d"},
            {"role": "user", "content": "e"},
        ]});
        assert_eq!(request_json(&history, 3, Some("be kind"), &event("e")), expected);
        assert_eq!(request_json(&history, 0, None, &event("e"))["messages"], json!([{"role": "user", "content": "e"}]));
    }

    #[test]
    fn reference_text_is_before_the_message_and_marked() {
        let event =
            InboundEvent { channel_context: Some("[Recent channel messages]\nAnn: hi".into()), ..event("well?") };
        let request = request_json(&[], 40, None, &event);
        let content = request["messages"][0]["content"].as_str().unwrap();
        assert_eq!(content, "[Recent channel messages]\nAnn: hi\n\n[New message]\nwell?");
    }
}
