//! The text of a server's error, in every shape that servers use. For the log: it may contain anything.

use serde_json::Value;

/// The fields with the text, in order of precedence.
const WORDS: [&str; 9] =
    ["message", "msg", "detail", "error", "errors", "error_description", "title", "description", "reason"];
/// Further fields.
const FACTS: [&str; 4] = ["type", "code", "status", "param"];
/// Items of a list that are read.
const MAX_ITEMS: usize = 5;
/// Nested levels that are read.
const MAX_DEPTH: usize = 4;

/// The error, if this document with a success status reports one.
pub(super) fn error(document: &Value) -> Option<String> {
    let document = match document {
        Value::Array(items) => items.iter().find(|item| error(item).is_some())?,
        document => document,
    };
    let own = match &document["error"] {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) if text.is_empty() => None,
        Value::Object(none) if none.is_empty() && document.get("choices").is_some() => None,
        error => Some(error),
    };
    let alone = || {
        let text = |name: &str| document[name].is_string() || (name != "message" && document[name].is_array());
        document["object"] == "error"
            || (document.get("choices").is_none() && ["detail", "errors", "message"].into_iter().any(text))
    };
    let wrong = own.or_else(|| alone().then_some(document))?;
    Some(words(wrong, MAX_DEPTH).unwrap_or_else(|| "it does not say what".to_owned()))
}

/// The status in the server's text, if it is an HTTP status.
pub(super) fn status(document: &Value) -> Option<u16> {
    let document = if let Value::Array(items) = document { items.first()? } else { document };
    let error = if document["error"].is_object() { &document["error"] } else { document };
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let found = ["code", "status"].into_iter().find_map(|name| number(&error[name]))?;
    u16::try_from(found).ok().filter(|status| (400..600).contains(status))
}

/// Why a server refused, from the body of its answer; one line.
pub(super) fn of_refusal(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    // Some send an event even then.
    let bare = ["data:", "error:"].iter().find_map(|field| text.strip_prefix(field)).unwrap_or(text).trim();
    let json = |text: &str| serde_json::from_str::<Value>(text).ok().and_then(|document| words(&document, MAX_DEPTH));
    let first_line = || bare.lines().next().and_then(json);
    let found = json(bare)
        .or_else(first_line)
        .unwrap_or_else(|| if bare.starts_with('<') { page(bare) } else { bare.to_owned() });
    let line = found.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() { "it does not say why".to_owned() } else { line }
}

/// The text for a person.
fn words(document: &Value, depth: usize) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    let found = match document {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => {
            items.iter().take(MAX_ITEMS).filter_map(|item| words(item, depth)).collect::<Vec<_>>().join("; ")
        }
        Value::Object(_) => {
            let mut found: Vec<String> = Vec::new();
            // The position of the error in the request.
            if let Some(place) = document["loc"].as_array() {
                let place: Vec<String> = place.iter().filter_map(|part| words(part, depth)).collect();
                found.push(format!("{}:", place.join(".")));
            }
            let mut texts = WORDS.iter().filter_map(|name| words(&document[*name], depth));
            found.extend(texts.next());
            let facts = FACTS.iter().filter_map(|name| words(&document[*name], depth));
            found.extend(facts.map(|fact| format!("({fact})")));
            found.join(" ")
        }
        Value::Null | Value::Bool(_) => String::new(),
    };
    (!found.is_empty()).then_some(found)
}

/// The title of a page, or its text.
fn page(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").map(|at| at + 7).zip(lower.find("</title>")).filter(|(from, to)| from < to);
    if let Some((from, to)) = title {
        return format!("a page: {}", &text[from..to]);
    }
    let mut plain = String::from("a page: ");
    let mut inside = false;
    for c in text.chars() {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            c if !inside => plain.push(c),
            _ => {}
        }
    }
    plain
}

/// The text for a line of a log or for a terminal: without control characters.
pub(super) fn escaped(text: &str) -> String {
    let has_effect = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        if has_effect(c) {
            line.extend(c.escape_unicode());
        } else {
            line.push(c);
        }
        line
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reason_is_found_in_every_shape() {
        for (body, reason) in [
            (r#"{"error":{"message":"bad key","type":"auth","code":"k1"}}"#, "bad key (auth) (k1)"),
            (r#"{"error":"no model"}"#, "no model"),
            (r#"{"error":{"code":400}}"#, "(400)"),
            (r#"[{"error":{"code":400,"message":"Unknown name","status":"INVALID"}}]"#, "Unknown name (400) (INVALID)"),
            (r#"{"detail":"Not Found"}"#, "Not Found"),
            (
                r#"{"detail":[{"loc":["body","model"],"msg":"field required","type":"missing"}]}"#,
                "body.model: field required (missing)",
            ),
            (r#"{"detail":{"error":"busy"}}"#, "busy"),
            (r#"{"message":"Invalid API key","request_id":"r"}"#, "Invalid API key"),
            (r#"{"errors":[{"message":"a"},{"message":"b"}]}"#, "a; b"),
            (r#"{"title":"Bad","status":400}"#, "Bad (400)"),
            (r#""just text""#, "just text"),
            ("404 page not found\n", "404 page not found"),
            ("error: {\"code\":400,\"message\":\"too long\"}\n\n", "too long (400)"),
            ("data: {\"error\":{\"message\":\"quota\"}}\n\ndata: [DONE]\n\n", "quota"),
            ("\u{feff}{\"error\":\"marked\"}", "marked"),
            ("<html><head><TITLE>502 Bad\nGateway</TITLE></head></html>", "a page: 502 Bad Gateway"),
            ("<p>down <b>now</b></p>", "a page: down now"),
            ("{\"error\":{\"mess", "{\"error\":{\"mess"),
            ("{}", "{}"),
            (" \n", "it does not say why"),
        ] {
            assert_eq!(of_refusal(body.as_bytes()), reason, "{body}");
        }
        let deep = format!("{}\"x\"{}", "{\"error\":".repeat(100), "}".repeat(100));
        assert!(!of_refusal(deep.as_bytes()).is_empty());
    }

    #[test]
    fn a_valid_chunk_is_no_error() {
        for well in [
            json!({"choices": []}),
            json!({"error": null, "choices": []}),
            json!({"error": "", "choices": []}),
            json!({"error": {}, "choices": []}),
            json!({"usage": {"total_tokens": 3}}),
            json!({"message": {"role": "assistant", "content": "x"}}),
            json!([]),
        ] {
            assert_eq!(error(&well), None, "{well}");
        }
        assert_eq!(error(&json!({"object": "error", "message": "no"})).as_deref(), Some("no"));
        assert_eq!(error(&json!([{"error": {"message": "no"}}])).as_deref(), Some("no"));
        assert_eq!(error(&json!({"error": true})).as_deref(), Some("it does not say what"));
        assert_eq!(status(&json!({"error": {"code": 429}})), Some(429));
        assert_eq!((status(&json!({"error": {"code": "502"}})), status(&json!({"code": 7}))), (Some(502), None));
    }

    #[test]
    fn control_characters_are_escaped_in_the_log() {
        assert_eq!(escaped("a\u{1b}[2J\nb\u{202e}ä"), "a\\u{1b}[2J\\u{a}b\\u{202e}ä");
    }
}
