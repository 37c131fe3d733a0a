//! A profile's `.env`: one assignment a line, nothing expanded, the process environment never read.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;

/// Longest file that is read, in bytes. Far above any real one; a log that was renamed by mistake must not be read whole.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// The values of one `.env`. `Debug` shows names only; the values are wiped on drop.
#[derive(Clone, Default)]
pub struct EnvFile(BTreeMap<String, SecretString>);

/// Reads `text`. A line that is no assignment is skipped, nothing is repaired, the last one of a name wins.
#[must_use]
pub fn parse(text: &str) -> EnvFile {
    parse_lines(text.split(['\n', '\r']))
}

/// The same with the lines already cut, for the one place that needs the original's other line ends.
pub(super) fn parse_lines<'a>(lines: impl Iterator<Item = &'a str>) -> EnvFile {
    let assignments = lines.filter_map(Assignment::of);
    EnvFile(assignments.map(|found| (found.name.to_owned(), SecretString::from(found.value))).collect())
}

impl EnvFile {
    /// The value of `name`, byte for byte.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&SecretString> {
        self.0.get(name)
    }

    /// The names held, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SecretString)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many names are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is held, as for a missing file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for EnvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.names().map(|name| (name, format_args!("[redacted]")))).finish()
    }
}

/// One line taken apart.
pub(super) struct Assignment<'a> {
    pub(super) name: &'a str,
    /// Without the quotes.
    pub(super) value: &'a str,
    /// Where in the line the value begins, quotes included.
    pub(super) value_at: usize,
}

impl<'a> Assignment<'a> {
    /// Takes `line` apart, or `None` if it assigns nothing.
    pub(super) fn of(line: &'a str) -> Option<Self> {
        let trimmed = line.trim_matches(is_space);
        if trimmed.starts_with('#') {
            return None;
        }
        let rest = trimmed.strip_prefix("export ").unwrap_or(trimmed);
        let (name, value) = rest.split_once('=')?;
        let name = name.trim_matches(is_space);
        if name.is_empty() {
            return None;
        }
        let value_at = line.len() - line.trim_start_matches(is_space).len() + (trimmed.len() - value.len());
        let indent = value.len() - value.trim_start_matches(is_space).len();
        let value = unquoted(value.trim_matches(is_space));
        Some(Self { name, value, value_at: value_at + indent })
    }
}

/// Strips one pair of quotes that match.
fn unquoted(value: &str) -> &str {
    let inside = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inside('\'').or_else(|| inside('"')).unwrap_or(value)
}

/// White space as the original trims it, which counts four separators that Unicode does not.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    fn value<'a>(file: &'a EnvFile, name: &str) -> Option<&'a str> {
        file.get(name).map(ExposeSecret::expose_secret)
    }

    #[test]
    fn nothing_is_expanded() {
        let file = parse("A=$HOME\nB=${PATH}\nC=$\n");
        assert_eq!(value(&file, "A"), Some("$HOME"));
        assert_eq!(value(&file, "B"), Some("${PATH}"));
        assert_eq!(value(&file, "C"), Some("$"));
    }

    #[test]
    fn a_value_is_not_cut_at_a_form_feed_or_line_separator() {
        let file = parse("A=one\u{c}two\u{2028}three\u{85}four");
        assert_eq!(value(&file, "A"), Some("one\u{c}two\u{2028}three\u{85}four"));
    }

    #[test]
    fn debug_shows_no_value() {
        let shown = format!("{:?}", parse("KEY=hunter2-hunter2"));
        assert_eq!(shown, "{\"KEY\": [redacted]}");
    }

    proptest! {
        #[test]
        fn no_text_panics_and_no_value_holds_a_line_end(text in "(?s).{0,200}") {
            for (name, value) in parse(&text).iter() {
                prop_assert!(!name.is_empty());
                prop_assert!(!value.expose_secret().contains(['\n', '\r']));
            }
        }

        #[test]
        fn every_name_and_value_stands_in_the_text_as_it_is(text in "(?s)[A-Z=$'\"{}%\\\\ #\\n\\r]{0,200}") {
            for (name, value) in parse(&text).iter() {
                prop_assert!(text.contains(name) && text.contains(value.expose_secret()), "{name} in {text:?}");
            }
        }

        #[test]
        fn of_two_texts_in_a_row_the_later_wins_and_nothing_else_changes(one in "(?s).{0,100}", two in "(?s).{0,100}") {
            let (one_file, two_file, both) = (parse(&one), parse(&two), parse(&format!("{one}\n{two}")));
            let names: std::collections::BTreeSet<_> = one_file.names().chain(two_file.names()).collect();
            prop_assert_eq!(both.names().collect::<Vec<_>>(), names.iter().copied().collect::<Vec<_>>());
            for name in names {
                prop_assert_eq!(value(&both, name), value(&two_file, name).or(value(&one_file, name)));
            }
        }

        #[test]
        fn a_plain_assignment_reads_back(name in "[A-Z_][A-Z0-9_]{0,20}", text in "[!-~&&[^'\"]]{0,40}") {
            let file = parse(&format!("export  {name} = {text} \r\n"));
            prop_assert_eq!(value(&file, &name), Some(text.as_str()));
        }
    }
}
