//! Discord interactions: a slash command, a pressed button or a submitted form, converted into an event.
//!
//! The source is composed exactly as the connector does it, so that the session key is the one under which it holds the
//! interaction token.

use serde_json::{Map, Value};

use super::event::{InboundEvent, RELAY, Source};
use crate::json::{identifier, truthy};

/// The kind of a follow-up that uses the interaction token.
pub const FOLLOW_UP_KIND: &str = "discord.interaction_token";

/// The body is not a JSON object, so there is nothing to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the interaction is not a JSON object")]
pub struct InteractionError;

/// The event of an interaction.
///
/// # Errors
/// [`InteractionError`] if the body is not a JSON object.
pub fn event(body: &[u8]) -> Result<InboundEvent, InteractionError> {
    let payload: Map<String, Value> = serde_json::from_slice(body).map_err(|_| InteractionError)?;
    let id = |name: &str| identifier(payload.get(name));
    let data = payload.get("data").unwrap_or(&Value::Null);
    let text = match payload.get("type").and_then(Value::as_u64) {
        Some(2) => command(data),
        Some(3) => identifier(data.get("custom_id")).unwrap_or_default(),
        Some(5) => form(data),
        _ => String::new(),
    };
    let member = payload.get("member").and_then(|member| member.get("user")).filter(|user| truthy(user));
    let user = member.or_else(|| payload.get("user")).unwrap_or(&Value::Null);
    let guild = id("guild_id");
    let message_id = id("id");
    let source = Source {
        platform: RELAY.into(),
        chat_id: id("channel_id").unwrap_or_default(),
        chat_type: if guild.is_some() { "channel" } else { "dm" }.into(),
        user_id: identifier(user.get("id")),
        user_name: identifier(user.get("username")),
        scope_id: guild,
        message_id: message_id.clone(),
        ..Source::default()
    };
    Ok(InboundEvent { text, message_id, source, ..InboundEvent::default() })
}

/// The name of the command, then its options; a subcommand is an option with options of its own.
fn command(data: &Value) -> String {
    let mut words = Vec::new();
    let mut level = Some(data);
    while let Some(part) = level.take() {
        words.extend(identifier(part.get("name")));
        for option in part.get("options").and_then(Value::as_array).into_iter().flatten() {
            match option.get("value") {
                Some(value) => words.push(labelled(identifier(option.get("name")), value)),
                // At most one subcommand is chosen, and it has no siblings.
                None => level = Some(option),
            }
        }
    }
    words.join(" ")
}

/// The name of the form, then a line per field; the fields are in rows, or wrapped one by one.
fn form(data: &Value) -> String {
    let mut lines: Vec<String> = identifier(data.get("custom_id")).into_iter().collect();
    let mut rows: Vec<&Value> = data.get("components").and_then(Value::as_array).into_iter().flatten().collect();
    rows.reverse();
    while let Some(part) = rows.pop() {
        if let Some(value) = part.get("value") {
            lines.push(labelled(identifier(part.get("custom_id")), value));
        }
        rows.extend(part.get("components").and_then(Value::as_array).into_iter().flatten().rev());
        rows.extend(part.get("component"));
    }
    lines.join("\n")
}

fn labelled(name: Option<String>, value: &Value) -> String {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    name.map_or_else(|| value.clone(), |name| format!("{name}: {value}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(body: &Value) -> String {
        event(body.to_string().as_bytes()).unwrap().text
    }

    #[test]
    fn the_text_of_a_command_includes_its_options() {
        let options = json!([{"name": "q", "value": "why"}, {"name": "n", "value": 3}]);
        assert_eq!(text(&json!({"type": 2, "data": {"name": "ask", "options": options}})), "ask q: why n: 3");
        let nested = json!([{"name": "add", "options": options}]);
        assert_eq!(text(&json!({"type": 2, "data": {"name": "list", "options": nested}})), "list add q: why n: 3");
        assert_eq!(text(&json!({"type": 2, "data": {"name": "ask"}})), "ask");
    }

    #[test]
    fn the_text_of_a_button_or_form_is_the_choice() {
        assert_eq!(text(&json!({"type": 3, "data": {"custom_id": "p:1"}})), "p:1");
        let row = |id: &str, value: &str| json!({"components": [{"custom_id": id, "value": value}]});
        let form = json!({"custom_id": "f", "components": [row("a", "1"), row("b", "2")]});
        assert_eq!(text(&json!({"type": 5, "data": form})), "f\na: 1\nb: 2");
        assert_eq!(text(&json!({"type": 1})), "");
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = event(&body);
        }
    }
}
