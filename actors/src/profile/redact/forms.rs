//! The forms of a secret: every way in which it may be written once the escapes of a text are taken off.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::index::WINDOW;
use super::views;
use crate::json::wipe;

/// Shorter values are words of everyday text.
const MIN_CHARS: usize = 8;
/// Shorter users of a URL are names: `postgres`.
const MIN_TOKEN: usize = 16;
/// Characters of a line of base64: of mail, and of a PEM.
const BASE64_LINES: [usize; 2] = [76, 64];
/// So deep values within values are looked for: a JSON text in a JSON text, a URL in that.
const MAX_DEPTH: usize = 4;

type ValueForm = Zeroizing<Vec<u8>>;

/// The texts that show `value`: as it is, in hex, in base64, and each of these without the escapes that it may have itself, for a text
/// loses these together with its own. Escapes are not among them: they are taken off the text.
///
/// Of a value in several lines also each line, for logs are written line by line; of a URL its password; of a JSON value its leaves.
pub(super) fn of(value: &SecretString) -> Vec<ValueForm> {
    let mut parts = Vec::new();
    take_apart(value.expose_secret().as_bytes(), 0, &mut parts);
    parts.sort_unstable_by(|one, other| one.as_slice().cmp(other.as_slice()));
    parts.dedup();
    let mut forms = Vec::new();
    for part in &parts {
        write_down(part, &mut forms);
    }
    forms.sort_unstable_by(|one, other| one.as_slice().cmp(other.as_slice()));
    forms.dedup();
    // Of a value of 8 characters the base64 inside a longer text is a little longer, so nothing is lost here.
    forms.retain(|form| form.len() >= WINDOW);
    forms
}

/// What of `value` is secret by itself.
fn take_apart(value: &[u8], depth: usize, parts: &mut Vec<ValueForm>) {
    take_lines(value, parts);
    let mut rounds = vec![Zeroizing::new(value.to_vec())];
    while let Some(view) =
        rounds.last().filter(|_| rounds.len() <= views::MAX_ROUNDS).and_then(|text| views::unescaped(text))
    {
        take_lines(&view.bytes, parts);
        rounds.push(view.bytes);
    }
    if rounds.last().is_some_and(|text| text.len() < WINDOW) && is_long(value) {
        take_escaped(value, parts);
    }
    if depth == MAX_DEPTH {
        return;
    }
    if let Ok(text) = std::str::from_utf8(value) {
        for secret in url_secrets(text) {
            take_apart(secret.as_bytes(), depth + 1, parts);
        }
    }
    // A JSON value may stand in the file with its quotes escaped.
    for text in &rounds {
        if let Ok(mut json) = serde_json::from_slice::<Value>(text) {
            take_leaves(&json, depth, parts);
            wipe(&mut json);
            break;
        }
    }
}

/// Of a value that is too short without its own escapes the text is not known by these, so that some of the text's are taken with it.
fn take_escaped(value: &[u8], parts: &mut Vec<ValueForm>) {
    let Ok(text) = std::str::from_utf8(value) else { return };
    let json = Zeroizing::new(serde_json::to_string(text).unwrap_or_default());
    parts.extend(json.get(1..json.len().saturating_sub(1)).map(|json| Zeroizing::new(json.as_bytes().to_vec())));
    parts.push(Zeroizing::new(text.escape_debug().to_string().into_bytes()));
}

/// `text` and its lines, with and without the blanks around.
fn take_lines(text: &[u8], parts: &mut Vec<ValueForm>) {
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

fn take_leaves(json: &Value, depth: usize, parts: &mut Vec<ValueForm>) {
    match json {
        Value::String(leaf) => take_apart(leaf.as_bytes(), depth + 1, parts),
        Value::Array(items) => items.iter().for_each(|item| take_leaves(item, depth, parts)),
        Value::Object(fields) => fields.values().for_each(|field| take_leaves(field, depth, parts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The password of a URL, or who it names where there is none: many a token is given so.
fn url_secrets(text: &str) -> Vec<&str> {
    let Some((_, rest)) = text.split_once("://") else { return Vec::new() };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    // A password with a slash ends at the last `@`; a path may hold one too, so that both are meant.
    let users = [authority, rest].map(|place| place.rfind('@').map(|end| &place[..end]));
    let secret = |user: &'_ str| match user.split_once(':') {
        Some((_, password)) => Some(user.len() - password.len()),
        None => (user.len() >= MIN_TOKEN).then_some(0),
    };
    users.into_iter().flatten().filter_map(|user| Some(&user[secret(user)?..])).collect()
}

/// Of bytes that are no characters each counts for one.
fn is_long(text: &[u8]) -> bool {
    let chars =
        text.utf8_chunks().map(|chunk| chunk.valid().chars().count() + usize::from(!chunk.invalid().is_empty()));
    chars.sum::<usize>() >= MIN_CHARS
}

fn write_down(value: &[u8], forms: &mut Vec<ValueForm>) {
    let mut add = |text: Vec<u8>| forms.push(Zeroizing::new(text));
    add(value.to_vec());
    if value.contains(&b' ') {
        // As a form is sent, once its percent signs are decoded.
        add(value.iter().map(|byte| if *byte == b' ' { b'+' } else { *byte }).collect());
    }
    add(hex::encode(value).into_bytes());
    for whole in [Zeroizing::new(STANDARD.encode(value)), Zeroizing::new(URL_SAFE_NO_PAD.encode(value))] {
        // In lines, of which a log may hold each by itself.
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

/// What is always the same of the base64 of a text that holds `value` after `shift` bytes of something else.
fn inner_base64(value: &[u8], shift: usize, engine: &impl Engine) -> String {
    let mut padded = vec![0; shift];
    padded.extend_from_slice(value);
    let mut text = engine.encode(&padded);
    padded.zeroize();
    // The last character holds bits of what follows, those at the front bits of what came before.
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
    fn the_value_is_among_them_also_as_a_form_has_it_and_without_its_own_escapes() {
        let forms = shown(r"a%41 C:\\new-1");
        for form in [r"a%41 C:\\new-1", r"a%41+C:\\new-1", r"aA C:\new-1", "aA C:\new-1"] {
            assert!(forms.iter().any(|found| found == form), "{form} is not among {forms:?}");
        }
    }

    #[test]
    fn parts_that_are_secret_by_themselves_are_among_them() {
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
    fn a_value_of_several_lines_is_known_by_each_and_by_none_that_is_short() {
        let forms = shown("  begin of it\nend\r\nlast line  ");
        for line in ["  begin of it", "begin of it", "last line"] {
            assert!(forms.iter().any(|found| found == line), "{line}");
        }
        assert!(!forms.iter().any(|found| found == "end"));
    }

    #[test]
    fn nothing_is_made_of_a_short_value() {
        assert_eq!(shown("1234567"), Vec::<String>::new());
        assert_eq!(
            shown(" 1234567 ").iter().filter(|form| form.contains("1234567")).count(),
            2,
            "blanks count, and a plus for each"
        );
    }
}
