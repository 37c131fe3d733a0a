//! Splits a reply into messages that the platform accepts.
//!
//! Splits at line ends, else at word ends, else between two grapheme clusters, and inside one only if it is longer than a
//! message. A code fence around a cut is closed before it and opened again after it, and counts.
//!
//! A [`ReplySplitter`] follows a text that grows. Text that is in a part is not examined again, so all the work on a text is
//! proportional to its length.

mod fence;

use std::rc::Rc;

use unicode_segmentation::GraphemeCursor;

use caduceus_contract::wire::descriptor::LenUnit;
use fence::{Fence, FenceLine, NextLine};

/// How often a cut is moved to a position where no fence would begin after it and no cluster is cut in two.
const MAX_MOVES: usize = 32;
/// Characters behind a message that are searched for a fence that would begin after the cut.
const LOOK_AHEAD: usize = 32;

/// `text` in parts of at most `limit` in `unit`; none for a blank text.
///
/// White space around a cut is dropped, and so are blank lines at the start. With a limit too small for a fence, fences are
/// split as text; a limit below two counts as two, because a single character can be that long.
#[must_use]
pub fn split(text: &str, limit: usize, unit: LenUnit) -> Vec<String> {
    let mut splitter = ReplySplitter::new(limit, unit);
    let mut parts: Vec<String> = std::iter::from_fn(|| splitter.full(text, true)).collect();
    parts.extend(splitter.rest(text).map(|rest| rest.content));
    parts
}

/// The position in a growing text where the next part begins.
///
/// Every call is given the whole text, which may only grow, or be truncated behind the parts.
#[derive(Debug, Clone)]
pub struct ReplySplitter {
    limit: usize,
    unit: LenUnit,
    /// Bytes that are in parts.
    at: usize,
    /// The open fence at that position.
    open: Option<Rc<Fence>>,
    /// The last cut is inside a line.
    mid_line: bool,
    /// Bytes that have been counted, and the length of those that are not in parts.
    counted: usize,
    length: usize,
}

/// The rest of a text that has ended.
#[derive(Debug)]
pub struct RestOfText {
    /// As one message.
    pub content: String,
    /// The text that closes the open fence at its end, line end included.
    pub close: String,
}

/// A possible cut.
struct CutPoint {
    /// Bytes of the part.
    at: usize,
    /// The open fence there.
    open: Option<Rc<Fence>>,
}

/// A line that may have to be split.
struct LongLine {
    start: usize,
    /// The length of the text before it.
    used: usize,
    open: Option<Rc<Fence>>,
}

impl ReplySplitter {
    /// Parts of at most `limit` in `unit`.
    #[must_use]
    pub fn new(limit: usize, unit: LenUnit) -> Self {
        Self { limit: limit.max(2), unit, at: 0, open: None, mid_line: false, counted: 0, length: 0 }
    }

    /// Whether `message` is short enough.
    #[must_use]
    pub fn fits(&self, message: &str) -> bool {
        self.unit.len(message) <= self.limit
    }

    /// The next part to which nothing can be added. `None` if the rest fits into one message, which may grow
    /// unless the text is `whole`.
    pub fn full(&mut self, text: &str, whole: bool) -> Option<String> {
        loop {
            self.skip_leading(text, whole);
            if !self.overflows(text) {
                return None;
            }
            let part = self.cut(&text[self.at..], whole);
            if let Some(part) = part {
                return Some(part);
            }
        }
    }

    /// The current rest, as one message, which may grow; `None` if there is nothing to show. Only after
    /// [`ReplySplitter::full`] returned `None`.
    #[must_use]
    pub fn tail(&self, text: &str) -> Option<String> {
        let rest = &text[self.at..];
        let fence = self.open.as_ref().filter(|_| !self.mid_line);
        let shows = fence.is_none_or(|fence| fence.next_line(rest, false) != NextLine::Open);
        (shows && !rest.trim().is_empty()).then(|| self.prefix() + rest)
    }

    /// Takes the rest of a text that has ended; `None` if that is blank. Only after [`ReplySplitter::full`] returned
    /// `None`.
    pub fn rest(&mut self, text: &str) -> Option<RestOfText> {
        let rest = &text[self.at..];
        let content = (!rest.trim().is_empty()).then(|| self.prefix() + rest);
        self.open = self.open_at_end(text);
        self.advance(rest.len());
        content.map(|content| RestOfText { content, close: self.close(text) })
    }

    /// The text that closes the open fence at the end, line end included.
    #[must_use]
    pub fn close(&self, text: &str) -> String {
        self.open_at_end(text).map(|fence| fence.close.clone()).unwrap_or_default()
    }

    /// Removes the white space at the end of the text, except in parts.
    pub fn trim(&mut self, text: &mut String) {
        text.truncate(text.trim_end().len().max(self.at));
        self.advance(0);
    }

    /// Removes the text that is not in parts; later text is unrelated to it.
    pub fn drop_rest(&mut self, text: &mut String) {
        text.truncate(self.at);
        (self.open, self.mid_line) = (None, false);
        self.advance(0);
    }

    fn open_at_end(&self, text: &str) -> Option<Rc<Fence>> {
        let lines = text[self.at..].lines().skip(usize::from(self.mid_line));
        lines.fold(self.open.clone(), |open, line| fence::step(open.as_ref(), line, self.limit, self.unit).0)
    }

    /// The prefix of the next part.
    fn prefix(&self) -> String {
        let Some(fence) = &self.open else { return String::new() };
        let line_start = if self.mid_line { fence.line_start.as_str() } else { "" };
        format!("{}{line_start}", fence.again)
    }

    fn advance(&mut self, bytes: usize) {
        self.at += bytes;
        (self.counted, self.length) = (self.at, 0);
    }

    /// Skips text that does not belong at the start of a part: white space, and the end of a fence that was closed there.
    fn skip_leading(&mut self, text: &str, whole: bool) {
        if let Some(fence) = self.open.clone().filter(|_| !self.mid_line) {
            let rest = &text[self.at..];
            // The longest line that could still matter; a longer one is code.
            let seen = head(rest, self.limit, self.unit);
            match fence.next_line(&rest[..seen], whole && seen == rest.len()) {
                NextLine::Closes { end } => {
                    self.open = None;
                    self.advance(end);
                }
                NextLine::Left => self.open = None,
                NextLine::Inside | NextLine::Open => {}
            }
        }
        if self.open.is_none() {
            let rest = &text[self.at..];
            let mut blank = rest.len() - rest.trim_start().len();
            match rest[..blank].rfind('\n') {
                // The indentation of the first line stays.
                Some(end) => (blank, self.mid_line) = (end + 1, false),
                None if self.mid_line => blank = border_at_or_before(rest, blank),
                None => blank = 0,
            }
            if blank > 0 {
                self.advance(blank);
            }
        }
    }

    /// Whether the rest is longer than one message. Examines only text that is not counted yet.
    fn overflows(&mut self, text: &str) -> bool {
        let room = self.limit.saturating_sub(self.unit.len(&self.prefix()));
        for c in text[self.counted..].chars() {
            let length = self.length + self.unit.of(c);
            if length > room {
                return true;
            }
            self.length = length;
            self.counted += c.len_utf8();
        }
        false
    }

    /// Splits one part off `rest`, which is longer than a message; `None` if it would be blank.
    fn cut(&mut self, rest: &str, whole: bool) -> Option<String> {
        let prefix = self.prefix();
        let room = self.limit.saturating_sub(self.unit.len(&prefix));
        let fits = head(rest, room, self.unit);
        if rest[..fits].trim().is_empty() {
            self.mid_line = !rest[..fits].ends_with('\n');
            self.advance(fits);
            return None;
        }
        let Some(cut) = self.best_cut(rest, fits, room, whole) else {
            // Too narrow for a fence: parts without one are better than no parts.
            let end = head(rest, self.limit, self.unit);
            let ahead = &rest[..end + head(&rest[end..], LOOK_AHEAD, LenUnit::Chars)];
            let at = border(ahead, end, 0);
            let part = rest[..at].to_owned();
            (self.open, self.mid_line) = (None, true);
            self.advance(at);
            return Some(part);
        };
        let after = &rest[cut.at..];
        let line_end =
            after.len() - after.strip_prefix("\r\n").or_else(|| after.strip_prefix('\n')).unwrap_or(after).len();
        let piece = if cut.open.is_some() { &rest[..cut.at] } else { trim_end(&rest[..cut.at]) };
        let close = cut.open.as_ref().map_or("", |fence| &fence.close);
        let part = format!("{prefix}{piece}{close}");
        self.open = cut.open;
        self.mid_line = line_end == 0;
        self.advance(cut.at + line_end);
        Some(part)
    }

    /// The cut within the first `fits` bytes of `rest`, which are at most `room` long: at the last line end, else at the
    /// last word end, preferably in the second half, so that parts are not needlessly small. `rest` may continue unless it is
    /// the `whole`.
    fn best_cut(&self, rest: &str, fits: usize, room: usize, whole: bool) -> Option<CutPoint> {
        // The text after the last character that fits may be the white space to cut at, and decides whether the line that
        // does not fit is a fence.
        let ahead = &rest[..fits + head(&rest[fits..], self.limit, self.unit)];
        let close = |fence: &Option<Rc<Fence>>| fence.as_ref().map_or(0, |fence| self.unit.len(&fence.close));
        let (mut start, mut used, mut open) = (0, 0, self.open.clone());
        let (mut line_end, mut last_line, mut opening_end) = (None, None, None);
        while start <= fits && start < ahead.len() {
            let end = ahead[start..].find('\n').map_or(ahead.len(), |at| start + at);
            let line = ahead[start..end].strip_suffix('\r').unwrap_or(&ahead[start..end]);
            let (after, kind) = if start == 0 && self.mid_line {
                (open.clone(), FenceLine::Text)
            } else {
                fence::step(open.as_ref(), line, self.limit, self.unit)
            };
            let at = start + line.len();
            let length = used + self.unit.len(line);
            // A cut after a blank line is equivalent to one before it.
            let ends_here = kind != FenceLine::Opens && !line.trim().is_empty();
            let may_yet_open = !whole && end == rest.len() && fence::may_become_one(line);
            let fits_closed = at <= fits && length + close(&after) <= room;
            if ends_here && fits_closed {
                line_end = Some(CutPoint { at, open: after.clone() });
            } else if kind == FenceLine::Opens && fits_closed {
                opening_end = Some(CutPoint { at, open: after.clone() });
            } else if ends_here && kind == FenceLine::Text && !may_yet_open && used + close(&after) < room {
                last_line = Some(LongLine { start, used, open: after.clone() });
            }
            (used, start, open) = (length + self.unit.len(&ahead[at..(end + 1).min(ahead.len())]), end + 1, after);
        }
        let late = |cut: &CutPoint| cut.at >= fits / 2;
        if let Some(cut) = line_end.take_if(|cut| late(cut)) {
            return Some(cut);
        }
        // Between two fences, one left with its quote and one begun, only an early line end or an empty fence remains.
        let Some(last_line) = last_line else { return line_end.or(opening_end) };
        let end = last_line.start
            + head(&rest[last_line.start..fits], room - last_line.used - close(&last_line.open), self.unit);
        let ahead = &rest[..fits + head(&rest[fits..], LOOK_AHEAD, LenUnit::Chars)];
        let word_end = word_end(ahead, last_line.start, end).map(|at| CutPoint { at, open: last_line.open.clone() });
        let anywhere = || {
            let at = border(ahead, end, last_line.start);
            (at > 0).then(|| CutPoint { at, open: last_line.open.clone() })
        };
        match (word_end, line_end) {
            (Some(word_end), Some(line_end)) => Some(if late(&word_end) { word_end } else { line_end }),
            (word_end, line_end) => word_end.or(line_end).or_else(anywhere),
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

/// The last word end in the line that begins at `start`, not behind `end`.
fn word_end(text: &str, start: usize, end: usize) -> Option<usize> {
    let line = &text[start..];
    let first = start + line.len() - line.trim_start().len();
    // The text after the last character that fits may be the white space to cut at.
    let seen = &text[..end + text[end..].chars().next().map_or(0, char::len_utf8)];
    let blanks = seen[start..].char_indices().rev().map(|(at, c)| (start + at, c));
    let mut blanks = blanks.take_while(|(at, _)| *at > first).filter(|(_, c)| c.is_whitespace());
    let ends_word = |at: usize, c: char| {
        let after = at + c.len_utf8();
        is_border(text, at) && is_border(text, after) && !fence::looks_like_one(&text[after..])
    };
    blanks.by_ref().take(MAX_MOVES).find(|(at, c)| ends_word(*at, *c)).map(|(at, _)| at)
}

/// The last boundary between two clusters that is not behind `end` and behind `start`, preferably one after which no fence
/// begins; inside a cluster that is longer than that, `end`.
fn border(text: &str, end: usize, start: usize) -> usize {
    let last = Some(border_at_or_before(text, end)).filter(|at| *at > start);
    let mut at = last;
    for _ in 0..MAX_MOVES {
        match at {
            Some(here) if would_begin_fence(text, here) => at = previous(text, here).filter(|at| *at > start),
            _ => break,
        }
    }
    at.filter(|at| !would_begin_fence(text, *at)).or(last).unwrap_or(end)
}

/// Whether a fence would begin here, or a run of backticks or tildes that could be one is cut in two.
fn would_begin_fence(text: &str, at: usize) -> bool {
    if fence::looks_like_one(text[at..].trim_start()) {
        return true;
    }
    let Some(tick) = text[at..].chars().next().filter(|c| matches!(c, '`' | '~')) else { return false };
    let before = text[..at].bytes().rev().take_while(|byte| char::from(*byte) == tick).take(2).count();
    let after = text[at..].bytes().take_while(|byte| char::from(*byte) == tick).take(3).count();
    before + after >= 3
}

fn border_at_or_before(text: &str, at: usize) -> usize {
    if is_border(text, at) { at } else { previous(text, at).unwrap_or(0) }
}

fn is_border(text: &str, at: usize) -> bool {
    GraphemeCursor::new(at, text.len(), true).is_boundary(text, 0).unwrap_or(true)
}

fn previous(text: &str, at: usize) -> Option<usize> {
    GraphemeCursor::new(at, text.len(), true).prev_boundary(text, 0).ok().flatten()
}

/// `text` without the white space at its end, except white space in one cluster with the preceding character.
fn trim_end(text: &str) -> &str {
    let end = text.trim_end().len();
    let next = text[end..].chars().next().map_or(0, char::len_utf8);
    if is_border(text, end) { &text[..end] } else { &text[..end + next] }
}

#[cfg(test)]
mod tests;
