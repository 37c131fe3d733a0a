//! Slightly invalid JSON from servers: invalid numbers, unpaired surrogates.

use serde_json::Value;

/// Where unpaired surrogates are stored while the rest is parsed: at the end of the last private plane, which texts do not use.
const SURROGATES: u32 = 0x10_f800 - 0xd800;

/// A document, and how it was parsed.
pub(super) enum LenientJson {
    /// It is JSON.
    Strict(Value),
    /// It is JSON after repairs; it contains unpaired surrogates, see [`SurrogateJoiner`].
    Repaired(Value),
}

/// Parses `text`; `None` if even repairs do not help.
pub(super) fn read(text: &str) -> Option<LenientJson> {
    let strict = serde_json::from_str(text).ok().map(LenientJson::Strict);
    strict.or_else(|| serde_json::from_str(&repaired(text)).ok().map(LenientJson::Repaired))
}

/// With `null` for invalid numbers, and with unpaired surrogates, which a string cannot hold, stored as private characters.
fn repaired(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut within = false;
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '"' => {
                within = !within;
                out.push('"');
                1
            }
            '\\' if within => match (unit(rest), rest.get(6..).and_then(unit)) {
                (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => {
                    out.push_str(&rest[..12]);
                    12
                }
                (Some(surrogate @ 0xd800..0xe000), _) => {
                    out.extend(char::from_u32(SURROGATES + surrogate));
                    6
                }
                _ => {
                    let length = rest.chars().take(2).map(char::len_utf8).sum();
                    out.push_str(&rest[..length]);
                    length
                }
            },
            c => {
                let mut words = ["NaN", "Infinity", "-Infinity"].into_iter();
                if let Some(word) = words.find(|word| !within && rest.starts_with(word)) {
                    out.push_str("null");
                    word.len()
                } else {
                    out.push(c);
                    c.len_utf8()
                }
            }
        };
        rest = &rest[taken..];
    }
    out
}

/// The UTF-16 unit of the escape `\uXXXX`.
fn unit(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

/// Joins surrogates, which may arrive in two chunks. An unpaired one becomes U+FFFD.
#[derive(Debug, Default)]
pub(super) struct SurrogateJoiner {
    high: Option<u32>,
}

impl SurrogateJoiner {
    /// Adds `content` to `text`. Only repaired content is searched for surrogates.
    pub(super) fn push(&mut self, content: &str, repaired: bool, text: &mut String) {
        for c in content.chars() {
            let surrogate = Some(u32::from(c).wrapping_sub(SURROGATES))
                .filter(|surrogate| repaired && (0xd800..0xe000).contains(surrogate));
            match (surrogate, self.high.take()) {
                (Some(low @ 0xdc00..), Some(high)) => {
                    text.extend(char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)));
                }
                (surrogate, alone) => {
                    text.extend(alone.map(|_| '\u{fffd}'));
                    match surrogate {
                        Some(high @ ..0xdc00) => self.high = Some(high),
                        Some(_) => text.push('\u{fffd}'),
                        None => text.push(c),
                    }
                }
            }
        }
    }

    /// No more data.
    pub(super) fn end(&mut self, text: &mut String) {
        text.extend(self.high.take().map(|_| '\u{fffd}'));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content(chunks: &[&str]) -> Option<String> {
        let (mut surrogates, mut text) = (SurrogateJoiner::default(), String::new());
        for chunk in chunks {
            let (value, repaired) = match read(chunk)? {
                LenientJson::Strict(value) => (value, false),
                LenientJson::Repaired(value) => (value, true),
            };
            surrogates.push(value["c"].as_str()?, repaired, &mut text);
        }
        surrogates.end(&mut text);
        Some(text)
    }

    #[test]
    fn the_halves_of_a_surrogate_pair_are_joined_or_replaced() {
        for (chunks, expected) in [
            (&[r#"{"c":"a\ud83d\ude00b"}"#][..], "a😀b"),
            (&[r#"{"c":"a\ud83d"}"#, r#"{"c":"\ude00b"}"#], "a😀b"),
            (&[r#"{"c":"a\ud83d"}"#, r#"{"c":"b"}"#], "a\u{fffd}b"),
            (&[r#"{"c":"\ude00\ud83dx"}"#], "\u{fffd}\u{fffd}x"),
            (&[r#"{"c":"\uD83D\uD83D\uDE00 \\ud83d"}"#], "\u{fffd}😀 \\ud83d"),
            (&[r#"{"c":"a\ud83d"}"#], "a\u{fffd}"),
            (&["{\"c\":\"\u{10f83d}\"}"], "\u{10f83d}"),
        ] {
            assert_eq!(content(chunks).as_deref(), Some(expected), "{chunks:?}");
        }
    }

    #[test]
    fn invalid_numbers_are_skipped_and_words_are_not() {
        let chunk = r#"{"c":"NaN -Infinity","p":[NaN,-Infinity,Infinity,{"x":NaN}]}"#;
        assert_eq!(content(&[chunk]).as_deref(), Some("NaN -Infinity"));
        for broken in [r#"{"c":"a""#, r#"{"c":"\ud83"}"#, "NaNa", r#"{"c":"\u"#, "\\", r#"{"c":"\é"}"#, "{\"c\":\"\\"]
        {
            assert!(read(broken).is_none(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_valid_json_is_read_unchanged(text in "[{}\\[\\]\"\\\\u0-9a-fNI:, é😀-]{0,40}") {
            let strict = serde_json::from_str::<Value>(&text).ok();
            match read(&text) {
                Some(LenientJson::Strict(value)) => prop_assert_eq!(Some(value), strict),
                _ => prop_assert!(strict.is_none()),
            }
        }
    }
}
