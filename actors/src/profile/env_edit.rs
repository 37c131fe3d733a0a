//! Sets values in the text of a `.env` and leaves every other byte unchanged.
//!
//! The values read back the same here and in the original, which also ends lines at form feeds and
//! Unicode separators.

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::env_file::{Assignment, parse_lines};

/// Why [`merge`] refused. Nothing was changed; the values are not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// A shell does not accept this name.
    #[error("`{0}` is not a name of letters, digits and underscores")]
    Name(String),
    /// The format cannot express a line end or a NUL.
    #[error("the value of `{0}` holds a line end or a NUL")]
    Value(String),
}

/// `text` with each of `values` assigned: in the last line that assigns the name, else in a new line at the end.
///
/// # Errors
/// [`MergeError`] if a name or a value is not possible in a `.env`.
pub fn merge(text: &str, values: &[(&str, &SecretString)]) -> Result<Zeroizing<String>, MergeError> {
    for (name, value) in values {
        if !is_name(name) {
            return Err(MergeError::Name((*name).to_owned()));
        }
        if value.expose_secret().contains(|c| c == '\0' || ends_line(c)) {
            return Err(MergeError::Value((*name).to_owned()));
        }
    }
    let merged = Zeroizing::new(text.to_owned());
    Ok(values.iter().fold(merged, |text, (name, value)| assigned(&text, name, value.expose_secret())))
}

/// `text` with one assignment changed or added.
fn assigned(text: &str, name: &str, value: &str) -> Zeroizing<String> {
    let written = quoted(value);
    let changed = match last_value(text, name) {
        Some(span) => join(&[&text[..span.start], &written, &text[span.end..]]),
        None => appended(text, name, &written),
    };
    // A line that only the original reads (after a form feed, for example) may override it there.
    let read = parse_lines(changed.split(ends_line));
    if read.get(name).is_some_and(|read| read.expose_secret() == value) {
        changed
    } else {
        appended(&changed, name, &written)
    }
}

/// The position of the value in the last line that assigns `name`.
fn last_value(text: &str, name: &str) -> Option<std::ops::Range<usize>> {
    let mut at = 0;
    let mut found = None;
    for line in text.split_inclusive(['\n', '\r']) {
        let content = line.trim_end_matches(['\n', '\r']);
        if let Some(assignment) = Assignment::of(content).filter(|assignment| assignment.name == name) {
            found = Some(at + assignment.value_at..at + content.len());
        }
        at += line.len();
    }
    found
}

fn appended(text: &str, name: &str, written: &str) -> Zeroizing<String> {
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let gap = if text.is_empty() || text.ends_with(['\n', '\r']) { "" } else { end };
    join(&[text, gap, name, "=", written, end])
}

/// One allocation of the right size: a string that grows leaves copies of the secret behind.
fn join(parts: &[&str]) -> Zeroizing<String> {
    let mut joined = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        joined.push_str(part);
    }
    joined
}

/// The value as written to the file. Quoted unless every reader of such files accepts it without quotes.
fn quoted(value: &str) -> Zeroizing<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,~".contains(c);
    if value.chars().all(plain) {
        return Zeroizing::new(value.to_owned());
    }
    // Only the outer pair is stripped by readers, so the same quote inside is harmless.
    let quote = if value.contains('\'') { "\"" } else { "'" };
    join(&[quote, value, quote])
}

fn is_name(name: &str) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    let bytes = name.as_bytes();
    bytes.first().is_some_and(letter) && bytes.iter().all(|byte| letter(byte) || byte.is_ascii_digit())
}

/// Where the original ends a line.
fn ends_line(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::env_file::parse;
    use super::*;

    fn merged(text: &str, name: &str, value: &str) -> String {
        merge(text, &[(name, &SecretString::from(value))]).unwrap().to_string()
    }

    #[test]
    fn other_lines_and_comments_keep_every_byte() {
        let text = "# top\r\n\r\n export A = 'old' \r\nB=2 # kept\r\nbroken\r\n";
        assert_eq!(merged(text, "A", "new"), "# top\r\n\r\n export A = new\r\nB=2 # kept\r\nbroken\r\n");
        assert_eq!(merged("A=1", "B", "2"), "A=1\nB=2\n");
        assert_eq!(merged("", "B", "2"), "B=2\n");
        assert_eq!(merged(text, "C", "x y"), format!("{text}C='x y'\r\n"));
    }

    #[test]
    fn the_last_line_of_a_name_is_changed() {
        assert_eq!(merged("A=1\nA=2\n", "A", "3"), "A=1\nA=3\n");
        assert_eq!(merged("#A=1\n", "A", "3"), "#A=1\nA=3\n");
    }

    #[test]
    fn an_assignment_that_only_the_original_reads_does_not_override_the_merged_value() {
        let text = merged("# note\u{c}A=old\nA=older\n# x\u{2028}A=oldest\n", "A", "new");
        let read = parse_lines(text.split(ends_line));
        assert_eq!(read.get("A").unwrap().expose_secret(), "new");
    }

    #[test]
    fn unrepresentable_names_and_values_are_refused() {
        let value = SecretString::from("a\nB=1");
        assert_eq!(merge("", &[("A", &value)]).unwrap_err(), MergeError::Value("A".into()));
        let value = SecretString::from("a");
        for name in ["", "A B", "A=", "1A", "ä", "A\n"] {
            assert_eq!(merge("", &[(name, &value)]).unwrap_err(), MergeError::Name(name.into()));
        }
    }

    proptest! {
        #[test]
        fn a_merged_value_reads_back_and_the_others_stay(
            text in "([A-C #='\"x]|\r\n|\n|\u{c}|\u{2028}){0,60}",
            name in "[A-D]",
            value in "[^\0\n\r\u{b}\u{c}\u{1c}\u{1d}\u{1e}\u{85}\u{2028}\u{2029}]{0,20}",
        ) {
            let after = merged(&text, &name, &value);
            for read in [parse(&after), parse_lines(after.split(ends_line))] {
                prop_assert_eq!(read.get(&name).unwrap().expose_secret(), &value);
            }
            let before = parse(&text);
            for (other, kept) in before.iter().filter(|(other, _)| *other != name) {
                let now = parse(&after);
                prop_assert_eq!(now.get(other).unwrap().expose_secret(), kept.expose_secret());
            }
        }
    }
}
