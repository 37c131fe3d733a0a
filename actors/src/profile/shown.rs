//! Which names of a `.env` or a configuration may be shown. Instead of a name there may be a part of a secret, such as a
//! line of a key that was pasted in; its letters have mixed case or it is long.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Most names that one list shows.
const MAX_NAMES: usize = 20;

/// `name`, if it has the form of a name.
#[must_use]
pub fn shown(name: &str) -> Cow<'_, str> {
    if looks_like_a_name(name) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("(unusual name of {} characters)", name.chars().count()))
    }
}

/// Whether `name` has the form of a chosen name: 64 characters at most, of one case, beginning with a letter or `_`.
#[must_use]
pub fn looks_like_a_name(name: &str) -> bool {
    let of_case = |is_case: fn(&char) -> bool| {
        let rest = |c: char| is_case(&c) || c.is_ascii_digit() || c == '_';
        name.starts_with(|c: char| is_case(&c) || c == '_') && name.chars().all(rest)
    };
    name.len() <= 64 && (of_case(char::is_ascii_uppercase) || of_case(char::is_ascii_lowercase))
}

/// The names, for one line of a log: 20 at most, and the number of the others.
#[must_use]
pub(super) fn listed(names: &[&str]) -> String {
    let mut text = names.iter().take(MAX_NAMES).map(|name| shown(name)).collect::<Vec<_>>().join(" ");
    if names.len() > MAX_NAMES {
        let _ = write!(text, " and {} more", names.len() - MAX_NAMES);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusual_names_are_not_shown() {
        for name in ["OPENAI_API_KEY", "_X", "http_proxy", "K8S"] {
            assert_eq!(shown(name), name);
        }
        for odd in ["", "MIIEvQIBADANBg", "sk-live-1", "a b", "9A", "\"token\": \"x", &"A".repeat(65), "Ä"] {
            let shown = shown(odd);
            assert!(shown.starts_with("(unusual name of "), "{shown}");
            assert!(odd.is_empty() || !shown.contains(odd), "{shown}");
        }
    }

    #[test]
    fn a_list_of_names_is_bounded() {
        assert_eq!(listed(&["A", "sk-live-1"]), "A (unusual name of 9 characters)");
        assert!(listed(&["A"; 50]).ends_with(" A and 30 more"));
    }
}
