//! Reads a YAML file. All mistakes are reported together; none of its content is.
//!
//! The file is parsed to plain values first (a syntax error names the line); then keys are taken out one by one. The remaining keys
//! are unknown.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use super::original;
use crate::files::{FileError, Symlinks, Unusable, small};
use crate::nearest::distance;

/// Largest configuration file; the original's have up to about 100 KiB.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Longest time; it can be added to any instant without overflow.
const MAX_TIME: Duration = Duration::from_hours(366 * 24);

/// Reads a YAML file as a mapping. A missing or empty file is an empty mapping.
///
/// # Errors
/// One sentence that names the file, and the line where there is one; never the content.
pub(super) fn read_file(path: &Path) -> Result<Map<String, Value>, String> {
    read_text(path, parse)
}

/// The same for the original's `config.yaml`, parsed as the original parses it.
///
/// # Errors
/// See [`read_file`].
pub(super) fn read_original(path: &Path) -> Result<Map<String, Value>, String> {
    read_text(path, original::parse)
}

fn read_text(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<Map<String, Value>, String>,
) -> Result<Map<String, Value>, String> {
    let contents = match small::read(path, MAX_BYTES, Symlinks::Follow) {
        Err(FileError { why: Unusable::Missing, .. }) => return Ok(Map::new()),
        read => read.map_err(|error| error.to_string())?,
    };
    let named = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let text = contents.text().map_err(|why| named(&why))?;
    parse(text).map_err(|why| named(&why))
}

fn parse(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    // Snippets print the offending lines, which may hold a secret.
    let options = serde_saphyr::options! { with_snippet: false };
    match serde_saphyr::from_str_with_options::<Value>(text, options) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err("is not a mapping of keys to values".to_owned()),
        Err(error) => Err(error.location().map_or_else(
            || "is not valid YAML".to_owned(),
            |place| format!("line {}, column {}: is not valid YAML", place.line(), place.column()),
        )),
    }
}

/// One mapping of a file, from which keys are taken.
pub(crate) struct Section<'a> {
    map: Map<String, Value>,
    /// Path of this mapping, ending in a dot unless it is the root.
    prefix: String,
    /// Keys that were read; for the nearest known name.
    known: Vec<&'static str>,
    problems: &'a mut Vec<String>,
}

impl<'a> Section<'a> {
    pub(crate) fn root(map: Map<String, Value>, problems: &'a mut Vec<String>) -> Self {
        Self { map, prefix: String::new(), known: Vec::new(), problems }
    }

    /// Takes a nested mapping; a missing mapping is empty.
    pub(crate) fn section(&mut self, key: &'static str) -> Section<'_> {
        let map = match self.take(key) {
            None => Map::new(),
            Some(Value::Object(map)) => map,
            Some(_) => {
                self.wrong::<()>(key, "a mapping");
                Map::new()
            }
        };
        Section { map, prefix: format!("{}{key}.", self.prefix), known: Vec::new(), problems: self.problems }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => self.wrong(key, "a string"),
        }
    }

    pub(crate) fn count(&mut self, key: &'static str) -> Option<u64> {
        match self.take(key)? {
            Value::Number(number) if number.is_u64() => number.as_u64(),
            _ => self.wrong(key, "a whole number of 0 or more"),
        }
    }

    pub(crate) fn seconds(&mut self, key: &'static str) -> Option<Duration> {
        let value = self.take(key)?;
        let seconds = value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let seconds = seconds.filter(|length| *length <= MAX_TIME);
        seconds.or_else(|| self.wrong(key, "a number of seconds, at most a year"))
    }

    pub(crate) fn millis(&mut self, key: &'static str) -> Option<Duration> {
        self.count(key).map(Duration::from_millis)
    }

    pub(crate) fn address(&mut self, key: &'static str) -> Option<SocketAddr> {
        let text = self.text(key)?;
        text.parse().ok().or_else(|| self.wrong(key, "an address such as 127.0.0.1:8652"))
    }

    pub(crate) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let Value::Array(items) = self.take(key)? else {
            return self.wrong(key, "a list of strings");
        };
        let texts = items.into_iter().map(|item| match item {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        texts.collect::<Option<Vec<_>>>().or_else(|| self.wrong(key, "a list of strings"))
    }

    /// Takes one word of a table of known words.
    pub(crate) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        found.or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.wrong(key, &format!("one of {}", words.join(", ")))
        })
    }

    /// Reports a key with an invalid value.
    pub(crate) fn wrong<T>(&mut self, key: &str, expected: &str) -> Option<T> {
        self.problems.push(format!("{}{key}: expected {expected}", self.prefix));
        None
    }

    /// Reports every key that was not read, with the nearest known key.
    pub(crate) fn finish(self) {
        for key in self.map.keys() {
            let nearest = self.known.iter().min_by_key(|known| distance(known, key));
            let hint = match nearest {
                Some(known) if distance(known, key) <= 3 => format!("; did you mean {}{known}?", self.prefix),
                _ => String::new(),
            };
            // Only a text with the form of a key is shown: a secret may have been pasted in its place.
            let shown = if key.len() <= 40 { key.escape_debug().to_string() } else { "(a long key)".to_owned() };
            self.problems.push(format!("{}{shown}: is not a known key{hint}", self.prefix));
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.map.remove(key).filter(|value| !value.is_null())
    }
}

/// A flag, in the forms that the original's YAML reader accepts.
pub(super) fn as_flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => flag_word(text),
        Value::Number(number) => match number.as_u64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        _ => None,
    }
}

/// A flag as a word.
pub(super) fn flag_word(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_yaml_names_the_line_and_hides_the_content() {
        let error = parse("a: 1\nb: [hunter2-secret\nc: }\n").unwrap_err();
        assert!(error.contains("line "), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn unknown_key_is_reported_with_the_nearest_known_one() {
        let mut problems = Vec::new();
        let map = parse("turns:\n  max_concurent: 3\n").unwrap();
        let mut root = Section::root(map, &mut problems);
        let mut turns = root.section("turns");
        assert_eq!(turns.count("max_concurrent"), None);
        turns.finish();
        root.finish();
        assert_eq!(problems, ["turns.max_concurent: is not a known key; did you mean turns.max_concurrent?"]);
    }

    #[test]
    fn a_time_beyond_a_year_is_a_mistake() {
        let mut problems = Vec::new();
        let map = parse("a: 31622400\nb: 31622401\nc: 1.0e+19\nd: -1\n").unwrap();
        let mut root = Section::root(map, &mut problems);
        assert_eq!(root.seconds("a"), Some(MAX_TIME));
        assert_eq!((root.seconds("b"), root.seconds("c"), root.seconds("d")), (None, None, None));
        root.finish();
        assert_eq!(problems.len(), 3, "{problems:?}");
    }

    #[test]
    fn every_mistake_is_reported_at_once_and_no_value_is_shown() {
        let mut problems = Vec::new();
        let map = parse("a: hunter2\nb: [1, {}]\nc: maybe\n").unwrap();
        let mut root = Section::root(map, &mut problems);
        assert_eq!((root.count("a"), root.texts("b"), root.seconds("c")), (None, None, None));
        root.finish();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(!problems.concat().contains("hunter2"));
    }

    #[test]
    fn yes_and_on_are_true_as_in_the_original() {
        for word in ["yes", "on", "true", "Yes", "ON", "1"] {
            let map = parse(&format!("a: {word}\n")).unwrap();
            assert_eq!(as_flag(&map["a"]), Some(true), "{word}");
        }
    }

    #[test]
    fn deeply_nested_yaml_is_refused_and_not_a_crash() {
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
