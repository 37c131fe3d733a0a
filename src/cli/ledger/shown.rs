//! How the commands print rows, and read ages.

use std::time::Duration;

use caduceus_contract::api::ledger::RowState;

use crate::terminal::one_line;

/// Seconds of each unit of an age, the largest first.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// An age in its largest whole unit.
pub(super) fn age(age_ms: u64) -> String {
    let seconds = age_ms / 1_000;
    let unit = UNITS.iter().find(|(_, length)| seconds >= *length);
    unit.map_or_else(|| "0s".to_owned(), |(unit, length)| format!("{}{unit}", seconds / length))
}

/// A foreign text that may be missing.
pub(super) fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).map_or_else(|| "-".to_owned(), one_line)
}

/// An age with its unit: `90s`, `15m`, `12h`, `7d`.
pub(super) fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || "an age is a number and its unit, such as 90s, 15m, 12h or 7d".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let (_, length) = UNITS.iter().find(|(known, _)| *known == unit).ok_or_else(wrong)?;
    let number = &text[..text.len() - unit.len_utf8()];
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = number.parse::<u64>().ok().filter(|_| digits).and_then(|number| number.checked_mul(*length));
    // A thousand years: what is above it is a mistake.
    seconds.filter(|seconds| *seconds < 32_000_000_000).map(Duration::from_secs).ok_or_else(wrong)
}

/// The states of a word: one state, or all.
#[derive(Debug, Clone)]
pub(super) struct StatesOfWord(pub(super) Vec<RowState>);

/// See [`StatesOfWord`].
pub(super) fn parse_states(word: &str) -> Result<StatesOfWord, String> {
    let all = RowState::ALL.map(|(state, _)| state);
    if word == "all" {
        return Ok(StatesOfWord(all.to_vec()));
    }
    let state = RowState::parse(word).ok_or_else(|| {
        let words: Vec<_> = RowState::ALL.iter().map(|(_, word)| *word).collect();
        format!("a state is one of all, {}", words.join(", "))
    })?;
    Ok(StatesOfWord(vec![state]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_shown_in_its_largest_unit() {
        let shown = [0, 999, 59_000, 60_000, 7_300_000, 172_800_000].map(age);
        assert_eq!(shown, ["0s", "0s", "59s", "1m", "2h", "2d"]);
    }

    #[test]
    fn an_age_has_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800), ("0s", 0)] {
            assert_eq!(parse_age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "s", "7", "-1d", "+1d", "1w", "1.5h", "99999999999999999999d", "99999999999999d", "1 d", "7日"]
        {
            assert!(parse_age(bad).is_err(), "{bad:?}");
        }
    }
}
