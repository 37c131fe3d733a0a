//! The forms of a secret: all its spellings once the escapes of a text are removed.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::index::WINDOW;
use super::views;
use caduceus_contract::json::wipe;

/// Shorter values are words of everyday text.
const MIN_CHARS: usize = 8;
/// Shorter users of a URL are names: `postgres`.
const MIN_TOKEN: usize = 16;
/// Characters in a line of base64: of mail, and of a PEM.
const BASE64_LINES: [usize; 2] = [76, 64];
/// Depth to which values inside values are searched: a JSON text in a JSON text, a URL in that.
const MAX_DEPTH: usize = 4;

type ValueForm = Zeroizing<Vec<u8>>;

/// The texts that reveal `value`: plain, in hex, in base64, and each of these without the escapes that it may contain, because a
/// text loses these together with its own. Escapes are not among the forms: they are removed from the text.
///
/// For a value of several lines also each line, because logs are written line by line; for a URL its password; for JSON its leaves.
pub(super) fn of(value: &SecretString) -> Vec<ValueForm> {
    let mut parts = Vec::new();
    collect_parts(value.expose_secret().as_bytes(), 0, &mut parts);
    parts.sort_unstable_by(|one, other| one.as_slice().cmp(other.as_slice()));
    parts.dedup();
    let mut forms = Vec::new();
    for part in &parts {
        add_encodings(part, &mut forms);
    }
    forms.sort_unstable_by(|one, other| one.as_slice().cmp(other.as_slice()));
    forms.dedup();
    // For a value of 8 characters the base64 inside a longer text is a little longer, so nothing is lost here.
    forms.retain(|form| form.len() >= WINDOW);
    forms
}

/// The parts of `value` that are secret by themselves.
fn collect_parts(value: &[u8], depth: usize, parts: &mut Vec<ValueForm>) {
    collect_lines(value, parts);
    let mut rounds = vec![Zeroizing::new(value.to_vec())];
    while let Some(view) =
        rounds.last().filter(|_| rounds.len() <= views::MAX_ROUNDS).and_then(|text| views::unescaped(text))
    {
        collect_lines(&view.bytes, parts);
        rounds.push(view.bytes);
    }
    if rounds.last().is_some_and(|text| text.len() < WINDOW) && is_long(value) {
        collect_escaped(value, parts);
    }
    if depth == MAX_DEPTH {
        return;
    }
    if let Ok(text) = std::str::from_utf8(value) {
        for secret in url_secrets(text) {
            collect_parts(secret.as_bytes(), depth + 1, parts);
        }
    }
    // A JSON value may be in the file with its quotes escaped.
    for text in &rounds {
        if let Ok(mut json) = serde_json::from_slice::<Value>(text) {
            collect_leaves(&json, depth, parts);
            wipe(&mut json);
            break;
        }
    }
}

/// A value that is too short without its own escapes is also searched for with them, so that some escapes of the text go too.
fn collect_escaped(value: &[u8], parts: &mut Vec<ValueForm>) {
    let Ok(text) = std::str::from_utf8(value) else { return };
    let json = Zeroizing::new(serde_json::to_string(text).unwrap_or_default());
    parts.extend(json.get(1..json.len().saturating_sub(1)).map(|json| Zeroizing::new(json.as_bytes().to_vec())));
    parts.push(Zeroizing::new(text.escape_debug().to_string().into_bytes()));
}

/// `text` and its lines, with and without surrounding blanks.
fn collect_lines(text: &[u8], parts: &mut Vec<ValueForm>) {
    let lines = text.split(|byte| matches!(byte, b'\n' | b'\r'));
    for part in std::iter::once(text).chain(lines) {
        let trimmed = std::str::from_utf8(part).map_or(part, |part| part.trim().as_bytes());
        for part in [part, trimmed] {
            if is_long(part) {
                parts.push(Zeroizing::new(part.to_vec()));
            }
        }
    }
}

fn collect_leaves(json: &Value, depth: usize, parts: &mut Vec<ValueForm>) {
    match json {
        Value::String(leaf) => collect_parts(leaf.as_bytes(), depth + 1, parts),
        Value::Array(items) => items.iter().for_each(|item| collect_leaves(item, depth, parts)),
        Value::Object(fields) => fields.values().for_each(|field| collect_leaves(field, depth, parts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The password of a URL, or its user if it has none: many tokens are given so.
fn url_secrets(text: &str) -> Vec<&str> {
    let Some((_, rest)) = text.split_once("://") else { return Vec::new() };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    // A password with a slash ends at the last `@`; a path may contain one too, so that both are used.
    let users = [authority, rest].map(|place| place.rfind('@').map(|end| &place[..end]));
    let secret = |user: &'_ str| match user.split_once(':') {
        Some((_, password)) => Some(user.len() - password.len()),
        None => (user.len() >= MIN_TOKEN).then_some(0),
    };
    users.into_iter().flatten().filter_map(|user| Some(&user[secret(user)?..])).collect()
}

/// Each byte of an invalid character counts as one.
fn is_long(text: &[u8]) -> bool {
    let chars =
        text.utf8_chunks().map(|chunk| chunk.valid().chars().count() + usize::from(!chunk.invalid().is_empty()));
    chars.sum::<usize>() >= MIN_CHARS
}

fn add_encodings(value: &[u8], forms: &mut Vec<ValueForm>) {
    let mut add = |text: Vec<u8>| forms.push(Zeroizing::new(text));
    add(value.to_vec());
    if value.contains(&b' ') {
        // As a form is sent, once its percent signs are decoded.
        add(value.iter().map(|byte| if *byte == b' ' { b'+' } else { *byte }).collect());
    }
    add(hex::encode(value).into_bytes());
    for whole in [Zeroizing::new(STANDARD.encode(value)), Zeroizing::new(URL_SAFE_NO_PAD.encode(value))] {
        // In lines, each of which may be alone in a log.
        for width in BASE64_LINES {
            let pieces = whole.as_bytes().chunks(width).filter(|piece| piece.len() > MIN_CHARS);
            pieces.for_each(|piece| add(piece.to_vec()));
        }
        add(whole.as_bytes().to_vec());
    }
    for shift in 0..3 {
        add(inner_base64(value, shift, &STANDARD_NO_PAD).into_bytes());
        add(inner_base64(value, shift, &URL_SAFE_NO_PAD).into_bytes());
    }
}

/// The constant part of the base64 of a text that contains `value` after `shift` other bytes.
fn inner_base64(value: &[u8], shift: usize, engine: &impl Engine) -> String {
    let mut padded = vec![0; shift];
    padded.extend_from_slice(value);
    let mut text = engine.encode(&padded);
    padded.zeroize();
    // The last character has bits of the following byte, those at the front bits of the preceding bytes.
    if !(shift + value.len()).is_multiple_of(3) {
        text.pop();
    }
    let inner = text[(shift * 8).div_ceil(6)..].to_owned();
    text.zeroize();
    inner
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> Vec<String> {
        of(&SecretString::from(value)).iter().map(|form| String::from_utf8_lossy(form).into_owned()).collect()
    }

    #[test]
    fn the_forms_include_the_value_form_encoded_and_without_its_own_escapes() {
        let forms = shown(r"a%41 C:\\new-1");
        for form in [r"a%41 C:\\new-1", r"a%41+C:\\new-1", r"aA C:\new-1", "aA C:\new-1"] {
            assert!(forms.iter().any(|found| found == form), "{form} is not among {forms:?}");
        }
    }

    #[test]
    fn the_forms_include_parts_that_are_secret_by_themselves() {
        for (value, part) in [
            (r"-----BEGIN KEY-----\nMIIEvQIBADANBg\n", "MIIEvQIBADANBg"),
            ("postgres://svc:pass-word-1@db:1/prod", "pass-word-1"),
            ("https://u:pass%2Fword-1@db", "pass/word-1"),
            ("https://u:pass/word-1@db", "pass/word-1"),
            ("https://ghp-token-1234567@github.example/x", "ghp-token-1234567"),
            (r#"{"a": [{"key": "leaf-leaf-1"}]}"#, "leaf-leaf-1"),
            (r#"{\"key\": \"leaf-leaf-1\"}"#, "leaf-leaf-1"),
            (r#"{"a": "{\"url\": \"amqp://u:leaf-leaf-1@h\"}"}"#, "leaf-leaf-1"),
        ] {
            assert!(shown(value).iter().any(|found| found == part), "{part} of {value}");
        }
    }

    #[test]
    fn a_value_of_several_lines_is_found_by_each_line_that_is_long_enough() {
        let forms = shown("  begin of it\nend\r\nlast line  ");
        for line in ["  begin of it", "begin of it", "last line"] {
            assert!(forms.iter().any(|found| found == line), "{line}");
        }
        assert!(!forms.iter().any(|found| found == "end"));
    }

    #[test]
    fn a_short_value_has_no_forms() {
        assert_eq!(shown("1234567"), Vec::<String>::new());
        assert_eq!(
            shown(" 1234567 ").iter().filter(|form| form.contains("1234567")).count(),
            2,
            "blanks count, and a plus for each"
        );
    }
}
