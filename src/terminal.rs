//! Escapes control characters: names, sentences and errors may come from a connector, a file or a chat, and a terminal must not act on
//! them.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Longest foreign text that is shown in one line; what is longer ends in `…`.
const MAX_CHARS: usize = 400;

/// A text for people: control characters except line ends are escaped.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n', unicode)
}

/// A JSON document: only its strings can hold such characters, and JSON can escape them.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    let number = |c: char, to: &mut String| {
        let mut units = [0; 2];
        c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(to, "\\u{unit:04x}"))
    };
    escaped(text, |c| c == '\n', number)
}

/// A foreign text, to be shown within a line: it cannot end the line, and its length is bounded.
pub(crate) fn one_line(text: &str) -> String {
    let cut: String = text.chars().take(MAX_CHARS).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{}{more}", escaped(&cut, |_| false, unicode))
}

fn unicode(c: char, to: &mut String) -> fmt::Result {
    write!(to, "{}", c.escape_unicode())
}

/// `text` with `escape` for every character that a terminal interprets, except those that are `allowed`.
fn escaped(
    text: &str,
    allowed: impl Fn(char) -> bool,
    escape: impl Fn(char, &mut String) -> fmt::Result,
) -> Cow<'_, str> {
    let odd = |c: char| is_interpreted(c) && !allowed(c);
    if !text.contains(odd) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if odd(c) {
            // A `String` takes everything.
            let _ = escape(c, &mut safe);
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Whether a terminal interprets it, reorders the text after it, or does not show it.
fn is_interpreted(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const HOSTILE: &str = "a\u{1b}]0;x\u{7}\u{9b}2J\u{202e}b\u{7f}\r\u{2028}c\u{e0041}";

    #[test]
    fn characters_that_a_terminal_interprets_are_escaped() {
        let shown = one_line(HOSTILE);
        assert_eq!(shown, r"a\u{1b}]0;x\u{7}\u{9b}2J\u{202e}b\u{7f}\u{d}\u{2028}c\u{e0041}");
        assert_eq!(one_line("two\nlines"), r"two\u{a}lines", "a foreign text cannot begin a line");
        assert_eq!(one_line("größer, 日本語, 🔌"), "größer, 日本語, 🔌");
        assert_eq!(one_line(&"x".repeat(10_000)).chars().count(), MAX_CHARS + 1);
        assert_eq!(text("ours\nand \u{1b}theirs\n"), "ours\nand \\u{1b}theirs\n");
    }

    #[test]
    fn json_has_the_same_content_after_its_control_characters_are_escaped() {
        let value = json!({"name": HOSTILE, HOSTILE: 1});
        let written = format!("{value:#}\n");
        let written = super::json(&written);
        assert!(!written.contains(|c| c != '\n' && is_interpreted(c)), "{written:?}");
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), value);
    }
}
