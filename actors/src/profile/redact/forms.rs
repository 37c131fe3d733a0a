//! Every way in which a secret may be written.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use zeroize::{Zeroize, Zeroizing};

use super::index::WINDOW;

/// Shorter values are words of everyday text.
const MIN_CHARS: usize = 8;

/// The texts that show `value`: as it is, escaped as in JSON or by `Debug`, in hex, in base64. Percent-encoding is not among them: it
/// has too many forms, so the text is decoded instead.
///
/// Of a value in several lines also each line, for logs are written line by line.
pub(super) fn of(value: &SecretString) -> Vec<Zeroizing<Vec<u8>>> {
    let value = value.expose_secret();
    let mut texts = Vec::new();
    for part in std::iter::once(value).chain(value.lines()) {
        for part in [part, part.trim()] {
            if part.chars().count() >= MIN_CHARS {
                write_down(part, &mut texts);
            }
        }
    }
    texts.sort_unstable();
    texts.dedup();
    let mut forms: Vec<_> = texts.into_iter().map(|text| Zeroizing::new(text.into_bytes())).collect();
    // Of a value of 8 characters the base64 inside a longer text is a little longer, so nothing is lost here.
    forms.retain(|form| form.len() >= WINDOW);
    forms
}

fn write_down(value: &str, texts: &mut Vec<String>) {
    texts.extend([
        value.to_owned(),
        value.escape_debug().to_string(),
        serde_json::to_string(value).map(|quoted| quoted[1..quoted.len() - 1].to_owned()).unwrap_or_default(),
        ascii_json(value),
        hex::encode(value),
        hex::encode_upper(value),
        STANDARD.encode(value),
    ]);
    if value.contains(' ') {
        // As a form is sent, once its percent signs are decoded.
        texts.push(value.replace(' ', "+"));
    }
    for shift in 0..3 {
        texts.extend([inner_base64(value, shift, &STANDARD_NO_PAD), inner_base64(value, shift, &URL_SAFE_NO_PAD)]);
    }
}

/// What is always the same of the base64 of a text that holds `value` after `shift` bytes of something else.
fn inner_base64(value: &str, shift: usize, engine: &impl Engine) -> String {
    let mut padded = vec![0; shift];
    padded.extend_from_slice(value.as_bytes());
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

/// JSON that keeps to ASCII, as Python writes it.
fn ascii_json(value: &str) -> String {
    let mut text = String::with_capacity(value.len() * 6);
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            ' '..='~' => text.push(c),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                let _ = write!(text, "\\u{unit:04x}");
            }),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> Vec<String> {
        of(&SecretString::from(value)).iter().map(|form| String::from_utf8(form.to_vec()).unwrap()).collect()
    }

    #[test]
    fn the_spellings_of_json_and_of_debug_are_among_them() {
        let forms = shown("ä\"\\\t1🔑 long");
        for form in [r#"ä\"\\\t1🔑 long"#, r#"\u00e4\"\\\t1\ud83d\udd11 long"#, "ä\"\\\t1🔑 long", "ä\"\\\t1🔑+long"]
        {
            assert!(forms.iter().any(|found| found == form), "{form} is not among {forms:?}");
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
