//! A profile's `.env`: one assignment per line, nothing expanded, the process environment never read.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;

/// Longest file that is read, in bytes. Far above any real one; a log renamed by mistake must not be read whole.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// The values of one `.env`. `Debug` shows names only; the values are wiped on drop.
#[derive(Clone, Default)]
pub struct EnvFile {
    values: BTreeMap<String, SecretString>,
    /// The ambiguous ones, by name.
    ambiguities: BTreeMap<String, Ambiguity>,
}

/// A value that other readers of `.env` files read differently. The value counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ambiguity {
    /// It begins with a quote that is not closed on its line.
    OpenQuote,
    /// Text in the form of a comment follows it, and is part of it.
    Comment,
    /// It contains an invisible character, or a typographic quote.
    UnusualCharacter,
    /// Backticks enclose it, and are part of it.
    Backticks,
    /// It refers to another variable by `${NAME}`, which stays unchanged.
    Reference,
}

/// Reads `text`. A line that is not an assignment is skipped, nothing is repaired, the last one of a name applies.
#[must_use]
pub fn parse(text: &str) -> EnvFile {
    parse_lines(text.split(['\n', '\r']))
}

/// The same with the lines already split, for the one caller that needs the original's other line ends.
pub(super) fn parse_lines<'a>(lines: impl Iterator<Item = &'a str>) -> EnvFile {
    let mut file = EnvFile::default();
    for found in lines.filter_map(Assignment::of) {
        file.values.insert(found.name.to_owned(), SecretString::from(found.value));
        match found.ambiguity() {
            Some(ambiguity) => file.ambiguities.insert(found.name.to_owned(), ambiguity),
            None => file.ambiguities.remove(found.name),
        };
    }
    file
}

impl EnvFile {
    /// The value of `name`, byte for byte.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&SecretString> {
        self.values.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SecretString)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The number of names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no values, as for a missing file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The names with ambiguous values, sorted.
    pub fn ambiguities(&self) -> impl Iterator<Item = (&str, Ambiguity)> {
        self.ambiguities.iter().map(|(name, ambiguity)| (name.as_str(), *ambiguity))
    }
}

impl fmt::Debug for EnvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.names().map(|name| (name, format_args!("[redacted]")))).finish()
    }
}

/// One parsed line.
pub(super) struct Assignment<'a> {
    pub(super) name: &'a str,
    /// Without the quotes.
    pub(super) value: &'a str,
    /// The position of the value in the line, quotes included.
    pub(super) value_at: usize,
    /// The quotes around the value.
    quoted: Option<char>,
}

impl<'a> Assignment<'a> {
    /// Parses `line`; `None` if it assigns nothing.
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
        let trimmed = value.trim_matches(is_space);
        let value = unquoted(trimmed);
        let quoted = trimmed.chars().next().filter(|_| value.len() < trimmed.len());
        Some(Self { name, value, value_at: value_at + indent, quoted })
    }

    /// The ambiguity of the value, if there is one.
    fn ambiguity(&self) -> Option<Ambiguity> {
        let odd = |c: char| {
            matches!(c, '\u{feff}' | '\u{a0}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}')
                || matches!(c, '\u{2018}'..='\u{201f}')
        };
        if self.name.contains(odd) || self.value.contains(odd) {
            return Some(Ambiguity::UnusualCharacter);
        }
        if self.quoted != Some('\'') && refers(self.value) {
            return Some(Ambiguity::Reference);
        }
        if self.quoted.is_some() {
            return None;
        }
        let opened = ['"', '\'', '`'].into_iter().find_map(|quote| Some((quote, self.value.strip_prefix(quote)?)));
        match opened {
            Some((quote, rest)) if !rest.contains(quote) => Some(Ambiguity::OpenQuote),
            Some(('`', rest)) if rest.find('`') == Some(rest.len() - 1) => Some(Ambiguity::Backticks),
            _ if [" #", "\t#"].iter().any(|mark| self.value.contains(mark)) => Some(Ambiguity::Comment),
            _ => None,
        }
    }
}

/// Whether `value` contains a `${NAME}`.
fn refers(value: &str) -> bool {
    let is_name = |name: &str| {
        !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    value.split("${").skip(1).filter_map(|rest| rest.split_once('}')).any(|(name, _)| is_name(name))
}

/// Strips one pair of matching quotes.
fn unquoted(value: &str) -> &str {
    let inside = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inside('\'').or_else(|| inside('"')).unwrap_or(value)
}

/// White space as the original trims it, including four separators that Unicode does not count.
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
    fn values_that_other_readers_read_differently_are_named_by_the_last_line_of_the_name() {
        for (line, expected) in [
            ("K=\"-----BEGIN PRIVATE KEY-----", Some(Ambiguity::OpenQuote)),
            ("K='", Some(Ambiguity::OpenQuote)),
            ("K=sk-1 # my key", Some(Ambiguity::Comment)),
            ("K=\"sk-1\" # my key", Some(Ambiguity::Comment)),
            ("K=sk-1\t# my key", Some(Ambiguity::Comment)),
            ("K=\u{201c}sk-1\u{201d}", Some(Ambiguity::UnusualCharacter)),
            ("K=sk-1\u{200b}", Some(Ambiguity::UnusualCharacter)),
            ("K=`sk-1`", Some(Ambiguity::Backticks)),
            ("K=`sk-1` and `more`", None),
            ("K=${BASE}-key", Some(Ambiguity::Reference)),
            ("K=\"${BASE}-key\"", Some(Ambiguity::Reference)),
            ("K='${BASE}-key'", None),
            ("K=pa${$w0rd}1", None),
            ("K=pa$$w0rd", None),
            ("K=\"sk # 1\"", None),
            ("K=sk#1", None),
            ("K=it's", None),
            ("# K=\"x", None),
            ("K=\"open\nK=good", None),
            ("K=good\nK=\"open", Some(Ambiguity::OpenQuote)),
        ] {
            assert_eq!(parse(line).ambiguities().next(), expected.map(|ambiguity| ("K", ambiguity)), "{line:?}");
        }
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
        fn every_name_and_value_is_a_part_of_the_text(text in "(?s)[A-Z=$'\"{}%\\\\ #\\n\\r]{0,200}") {
            for (name, value) in parse(&text).iter() {
                prop_assert!(text.contains(name) && text.contains(value.expose_secret()), "{name} in {text:?}");
            }
        }

        #[test]
        fn of_two_concatenated_texts_the_later_overrides_the_earlier(one in "(?s).{0,100}", two in "(?s).{0,100}") {
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
