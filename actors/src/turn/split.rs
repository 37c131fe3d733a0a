//! Cuts a reply into messages that the platform takes.
//!
//! Cuts at line ends, else at word ends, else between two characters. A code fence that a cut falls into is closed
//! before it and opened again after it, and counts.

use crate::relay::descriptor::LenUnit;

/// Shortest run of backticks that makes a fence.
const FENCE: usize = 3;

/// A code fence that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open<'a> {
    /// The line that opened it, without indentation and line end.
    line: &'a str,
    /// Its run of backticks.
    ticks: &'a str,
}

/// `text` in parts of at most `limit` in `unit`; none for a blank text.
///
/// White space around a cut is dropped. A limit too small for a fence leaves fences as they fall; one below two
/// counts as two, for a single character can be that long.
#[must_use]
pub fn split(text: &str, limit: usize, unit: LenUnit) -> Vec<String> {
    let limit = limit.max(2);
    let mut parts = Vec::new();
    let mut rest = text;
    let mut open: Option<Open<'_>> = None;
    while !rest.trim().is_empty() {
        let part = Part::cut(rest, open, limit, unit);
        if !part.text.trim().is_empty() {
            parts.push(part.text);
        }
        rest = part.rest;
        open = part.open;
    }
    parts
}

/// One part and where it leaves off.
struct Part<'a> {
    text: String,
    rest: &'a str,
    open: Option<Open<'a>>,
}

impl<'a> Part<'a> {
    fn cut(rest: &'a str, open: Option<Open<'a>>, limit: usize, unit: LenUnit) -> Self {
        // A long line after the backticks would leave little room for the code itself.
        let again = |open: Open<'a>| if unit.len(open.line) > limit / 2 { open.ticks } else { open.line };
        let prefix = open.map(|open| format!("{}\n", again(open))).unwrap_or_default();
        let budget = limit.saturating_sub(unit.len(&prefix));
        if head(rest, budget, unit) == rest.len() {
            return Self { text: prefix + rest, rest: "", open: None };
        }
        Self::fenced(rest, open, &prefix, budget, unit).unwrap_or_else(|| {
            // Too narrow for a fence: better parts without one than no parts.
            let (piece, rest) = cut_at(rest, break_of(rest, head(rest, limit, unit)), false);
            Self { text: piece.to_owned(), rest, open: None }
        })
    }

    /// The longest part whose fence can still be closed within `budget`; `None` if there is no room for it.
    fn fenced(rest: &'a str, open: Option<Open<'a>>, prefix: &str, budget: usize, unit: LenUnit) -> Option<Self> {
        let mut room = budget;
        loop {
            let fits = head(rest, room, unit);
            let at = outside_fence_line(rest, open, break_of(rest, fits), fits)?;
            let after = state_after(&rest[..at], open);
            let (piece, next) = cut_at(rest, at, after.is_some());
            let Some(fence) = after else {
                return Some(Self { text: format!("{prefix}{piece}"), rest: next, open: None });
            };
            let close = fence.ticks.len() + 1;
            if unit.len(piece) + close <= budget {
                // A fence that ends right here needs no second one after the cut.
                let ended = closing_line(next, fence.ticks);
                let text = format!("{prefix}{piece}\n{}", fence.ticks);
                return Some(match ended {
                    Some(end) => Self { text, rest: next[end..].trim_start_matches(['\r', '\n']), open: None },
                    None => Self { text, rest: next, open: Some(fence) },
                });
            }
            // Each round has less room, so this ends.
            room = (room - 1).min(budget.checked_sub(close)?);
        }
    }
}

/// How many bytes of `text` fit into `room`, at a character's border.
fn head(text: &str, room: usize, unit: LenUnit) -> usize {
    let mut left = room;
    for (at, c) in text.char_indices() {
        let Some(less) = left.checked_sub(unit.of(c)) else { return at };
        left = less;
    }
    text.len()
}

/// Where to cut within the first `fits` bytes: at the last line end, else at the last word end, but rather in the
/// latter half, so that parts are not needlessly small.
fn break_of(text: &str, fits: usize) -> usize {
    // What follows the last byte that fits may be the very white space to cut at.
    let window = &text[..fits + text[fits..].chars().next().filter(|c| c.is_whitespace()).map_or(0, char::len_utf8)];
    let line = window.rfind('\n').filter(|at| *at > 0);
    let word = window.rfind(char::is_whitespace).filter(|at| *at > 0);
    let late = |at: &usize| *at >= fits / 2;
    line.filter(late).or_else(|| word.filter(late)).or(line).or(word).unwrap_or(fits)
}

/// `at`, moved where it would cut a fence's own line in two, or leave its opening line last: before that line, else
/// into the code. `None` if neither leaves anything before the cut.
fn outside_fence_line(text: &str, open: Option<Open<'_>>, at: usize, fits: usize) -> Option<usize> {
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    let in_two = start + line.len() > at;
    let opens = || state_after(&text[..start], open).is_none();
    let moved = if ticks_of(line).is_none() || !(in_two || opens()) {
        at
    } else if !text[..start].trim().is_empty() {
        start - 1
    } else if in_two || text[at + 1..].lines().next().and_then(ticks_of).is_some() {
        0
    } else {
        fits
    };
    (moved > 0).then_some(moved)
}

/// The two sides of a cut without the white space around it. Inside code only the line end at the cut goes.
fn cut_at(text: &str, at: usize, in_code: bool) -> (&str, &str) {
    let (piece, rest) = text.split_at(at);
    if in_code {
        let rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest);
        return (piece, rest);
    }
    let rest = rest.trim_start_matches([' ', '\t']);
    (piece.trim_end(), rest.trim_start_matches(['\r', '\n']))
}

/// The run of backticks that a line begins with, if it is a fence.
fn ticks_of(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(' ');
    let ticks = &line[..line.len() - line.trim_start_matches('`').len()];
    // A backtick later in the line makes it code within a line.
    (ticks.len() >= FENCE && !line[ticks.len()..].contains('`')).then_some(ticks)
}

/// Which fence is open after `piece`.
fn state_after<'a>(piece: &'a str, before: Option<Open<'a>>) -> Option<Open<'a>> {
    piece.lines().fold(before, |open, line| match (open, ticks_of(line)) {
        (None, Some(ticks)) => Some(Open { line: line.trim(), ticks }),
        (Some(fence), Some(ticks)) if closes(line, ticks, fence.ticks) => None,
        (open, _) => open,
    })
}

fn closes(line: &str, ticks: &str, opened_by: &str) -> bool {
    ticks.len() >= opened_by.len() && line.trim() == ticks
}

/// Where the first line of `text` ends, if that line closes the fence.
fn closing_line(text: &str, opened_by: &str) -> Option<usize> {
    let line = text.lines().next()?;
    ticks_of(line).filter(|ticks| closes(line, ticks, opened_by)).map(|_| line.len())
}

#[cfg(test)]
mod tests;
