//! The protocol between gateway and agent: JSON lines over the agent's standard input and output.

use serde::Serialize;
use serde_json::{Value, json};

use caduceus_contract::json::RawJson;
use caduceus_contract::messages::ledger::HistoryEntry;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::action::ActionResult;
use caduceus_contract::wire::descriptor::Descriptor;

/// The first line for an agent.
#[derive(Debug, Serialize)]
pub(super) struct TurnOpening<'a> {
    pub(super) turn_id: TurnId,
    pub(super) session_key: &'a str,
    pub(super) profile: &'a str,
    pub(super) attempt: u32,
    pub(super) event: &'a RawJson,
    pub(super) history: &'a [HistoryEntry],
    pub(super) descriptor: &'a Descriptor,
}

/// One line of an agent.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AgentLine {
    /// The reply grows.
    Text(String),
    /// The reply ends, possibly with this text.
    Final(Option<String>),
    /// An action for the chat.
    Action { id: Value, action: Value },
    /// A type of a later version.
    Unknown,
    /// Not a line of the protocol.
    Bad,
}

/// Reads one line. A blank one is unknown, not bad.
pub(super) fn parse(line: &str) -> AgentLine {
    let line = line.trim();
    if line.is_empty() {
        return AgentLine::Unknown;
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else { return AgentLine::Bad };
    let text = match fields.remove("text") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(_) => return AgentLine::Bad,
    };
    match (fields.get("type").and_then(Value::as_str), text) {
        (Some("text"), Some(text)) => AgentLine::Text(text),
        (Some("final"), text) => AgentLine::Final(text),
        (Some("action"), _) => match fields.remove("action") {
            Some(action @ Value::Object(_)) => {
                AgentLine::Action { id: fields.remove("id").unwrap_or_default(), action }
            }
            _ => AgentLine::Bad,
        },
        (None, _) | (Some("text"), None) => AgentLine::Bad,
        (Some(_), _) => AgentLine::Unknown,
    }
}

/// The answer to an action.
pub(super) fn result(id: &Value, result: &ActionResult) -> String {
    line(&json!({"type": "result", "id": id, "result": result}))
}

/// An event for an agent that is steered.
pub(super) fn event(raw: &RawJson) -> String {
    #[derive(Serialize)]
    #[serde(tag = "type", rename = "event")]
    struct EventLine<'a> {
        event: &'a RawJson,
    }
    line(&EventLine { event: raw })
}

/// `message` as one line with its end.
pub(super) fn line(message: &impl Serialize) -> String {
    let mut line = serde_json::to_string(message).expect("every message has a JSON form");
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_lines_of_the_protocol_are_parsed() {
        assert_eq!(parse(r#"{"type":"text","text":"a\nb"}"#), AgentLine::Text("a\nb".into()));
        assert_eq!(parse(r#"{"type":"final"}"#), AgentLine::Final(None));
        assert_eq!(parse(r#"{"type":"final","text":"x"}"#), AgentLine::Final(Some("x".into())));
        let action = parse(r#"{"type":"action","id":7,"action":{"op":"react"}}"#);
        assert_eq!(action, AgentLine::Action { id: json!(7), action: json!({"op": "react"}) });
    }

    #[test]
    fn a_later_type_is_skipped_and_a_bad_line_is_an_error() {
        assert_eq!(parse(r#"{"type":"thought","text":"hm"}"#), AgentLine::Unknown);
        assert_eq!(parse("  "), AgentLine::Unknown);
        for bad in ["hello", "[]", "{}", r#"{"type":"text"}"#, r#"{"type":"text","text":1}"#, r#"{"type":"action"}"#] {
            assert_eq!(parse(bad), AgentLine::Bad, "{bad}");
        }
    }

    #[test]
    fn an_answer_is_one_line() {
        let line = result(&json!("a"), &ActionResult::failed("line\nbreak"));
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.starts_with(r#"{"type":"result","id":"a","result":{"success":false"#), "{line}");
        assert_eq!(event(&RawJson::of(&json!({"text": "x"}))), "{\"type\":\"event\",\"event\":{\"text\":\"x\"}}\n");
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "(?s).{0,100}") {
            parse(&line);
        }
    }
}
