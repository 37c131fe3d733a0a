//! Code fences in a text: what opens one, what closes it, and how it is closed before a cut and opened again after it.

use std::rc::Rc;

use caduceus_contract::wire::descriptor::LenUnit;

/// Shortest run of backticks or tildes that makes a fence.
const MIN_RUN: usize = 3;
/// A closing line may be indented this much further than the opening one; beyond that it is code.
const MAX_DEEPER: usize = 3;
/// A cut inside a fence needs room for at least one character, which can be two units long.
const MIN_ROOM: usize = 2;

/// An open code fence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fence {
    /// How many block quotes it is in; they end with the first line without their marks.
    depth: usize,
    indent: usize,
    tick: char,
    run: usize,
    /// The text that opens it again after a cut, line end included; empty if it is not opened.
    pub(super) again: String,
    /// The prefix of the rest of a line that was cut in two.
    pub(super) line_start: String,
    /// The text that closes it before a cut, line end included; empty if it is not closed.
    pub(super) close: String,
}

/// The effect of a line on fences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FenceLine {
    /// Neither of the others.
    Text,
    /// It opens a fence that is closed and opened again around a cut.
    Opens,
    /// It closes one.
    Closes,
}

/// A line that can open a fence, parsed.
#[derive(Debug, PartialEq, Eq)]
struct FenceOpening<'a> {
    depth: usize,
    indent: usize,
    tick: char,
    run: usize,
    info: &'a str,
}

/// The open fence after `line`, and the effect of the line.
pub(super) fn step(
    open: Option<&Rc<Fence>>,
    line: &str,
    limit: usize,
    unit: LenUnit,
) -> (Option<Rc<Fence>>, FenceLine) {
    if let Some(fence) = open {
        match fence.check(line) {
            FenceCheck::Inside => return (Some(Rc::clone(fence)), FenceLine::Text),
            FenceCheck::Closes => return (None, FenceLine::Closes),
            FenceCheck::Left => {}
        }
    }
    let Some(opening) = FenceOpening::read(line) else { return (None, FenceLine::Text) };
    let fence = Fence::new(&opening, line, limit, unit);
    let kind = if fence.close.is_empty() { FenceLine::Text } else { FenceLine::Opens };
    (Some(Rc::new(fence)), kind)
}

/// Whether `text`, at the start of a message, would be read as a fence.
pub(super) fn looks_like_one(text: &str) -> bool {
    let (rest, ..) = marks(text);
    let begins = rest.starts_with("```") || rest.starts_with("~~~");
    begins && FenceOpening::read(rest.split('\n').next().unwrap_or_default()).is_some()
}

/// Whether `line`, which may continue, is the beginning of a line that could open or close a fence.
pub(super) fn may_become_one(line: &str) -> bool {
    let (rest, ..) = marks(line);
    rest.chars().all(|c| c == '`') || rest.chars().all(|c| c == '~')
}

/// The effect of the line after a cut on the fence around the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextLine {
    /// Code.
    Inside,
    /// It closes the fence; the text after it begins at `end`.
    Closes {
        /// In bytes.
        end: usize,
    },
    /// It is outside the quote of the fence.
    Left,
    /// It is incomplete, and any of these is possible.
    Open,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FenceCheck {
    Inside,
    Closes,
    /// The quote of the fence has ended, and the fence with it.
    Left,
}

impl Fence {
    fn new(opening: &FenceOpening<'_>, line: &str, limit: usize, unit: LenUnit) -> Self {
        let FenceOpening { depth, indent, tick, run, info } = *opening;
        let line_start = "> ".repeat(depth);
        let ticks = format!("{line_start}{}", tick.to_string().repeat(run));
        let named = format!("{ticks}{info}");
        let close = format!("\n{ticks}");
        // A long word after the ticks would leave little room for the code itself.
        let again = if unit.len(&named) > limit / 2 { &ticks } else { &named };
        let again = format!("{again}\n");
        // Without room for code between the two, a fence is split as text.
        let around = unit.len(&again).max(unit.len(line.trim_end()) + 1) + unit.len(&line_start);
        let fits = around + MIN_ROOM + unit.len(&close) <= limit;
        let kept = |text: String| if fits { text } else { String::new() };
        Self { depth, indent, tick, run, again: kept(again), line_start: kept(line_start), close: kept(close) }
    }

    fn check(&self, line: &str) -> FenceCheck {
        let Some((inside, indent)) = self.inside_quotes(line) else { return FenceCheck::Left };
        let rest = inside.trim_start_matches(self.tick);
        let run = inside.len() - rest.len();
        let closes = run >= self.run && rest.trim().is_empty() && indent <= self.indent + MAX_DEEPER;
        if closes { FenceCheck::Closes } else { FenceCheck::Inside }
    }

    /// The content of a line within the fence's quotes, and its indentation there; `None` if it is not in them.
    fn inside_quotes<'a>(&self, line: &'a str) -> Option<(&'a str, usize)> {
        let mut rest = line;
        for _ in 0..self.depth {
            rest = rest.trim_start_matches([' ', '\t']).strip_prefix('>')?;
        }
        let inside = rest.trim_start_matches([' ', '\t']);
        Some((inside, rest.len() - inside.len()))
    }

    /// The effect of the first line of `text` on this fence. It may continue behind `text` unless `whole`.
    pub(super) fn next_line(&self, text: &str, whole: bool) -> NextLine {
        let line = text.split('\n').next().unwrap_or_default();
        let complete = whole || line.len() < text.len();
        if !complete && line.chars().all(|c| c == self.tick || c == '>' || c.is_whitespace()) {
            return NextLine::Open;
        }
        match self.check(line.trim_end_matches('\r')) {
            FenceCheck::Closes if complete => NextLine::Closes { end: (line.len() + 1).min(text.len()) },
            FenceCheck::Left => NextLine::Left,
            FenceCheck::Inside | FenceCheck::Closes => NextLine::Inside,
        }
    }
}

impl<'a> FenceOpening<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (rest, depth, indent) = marks(line);
        let tick = rest.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let info = rest.trim_start_matches(tick);
        let run = rest.len() - info.len();
        // A backtick later in the line makes it inline code.
        let opens = run >= MIN_RUN && !(tick == '`' && info.contains('`'));
        opens.then(|| Self { depth, indent, tick, run, info: info.trim_end() })
    }
}

/// The text after the marks of quotes and list items at the start of a line; the number of quotes, and the indentation in them.
fn marks(line: &str) -> (&str, usize, usize) {
    let (mut rest, mut depth, mut indent) = (line, 0, 0);
    loop {
        let inside = rest.trim_start_matches([' ', '\t']);
        indent += rest.len() - inside.len();
        rest = inside;
        if let Some(quoted) = rest.strip_prefix('>') {
            (rest, depth, indent) = (quoted, depth + 1, 0);
        } else if let Some(item) = list_item(rest) {
            indent += rest.len() - item.len();
            rest = item;
        } else {
            return (rest, depth, indent);
        }
    }
}

/// The text after the mark of a list item.
fn list_item(text: &str) -> Option<&str> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let mark = match text[digits..].chars().next()? {
        '-' | '*' | '+' if digits == 0 => 1,
        '.' | ')' if (1..=9).contains(&digits) => digits + 1,
        _ => return None,
    };
    text[mark..].starts_with([' ', '\t']).then_some(&text[mark..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 100;

    fn fence(line: &str) -> Option<Rc<Fence>> {
        step(None, line, LIMIT, LenUnit::Chars).0
    }

    fn kind(open: Option<&Rc<Fence>>, line: &str) -> FenceLine {
        step(open, line, LIMIT, LenUnit::Chars).1
    }

    #[test]
    fn three_backticks_or_tildes_open_a_fence_at_every_start_of_a_line() {
        for line in ["```", "~~~", "````rs", "  ```", "> ```", ">> ~~~py", "- ```sh", "12. ~~~", "> * ```", "~~~ a`b"] {
            assert_eq!(kind(None, line), FenceLine::Opens, "{line}");
        }
        for line in ["``", "```x``` y", "~~", "a ```", "-```", "1234567890. ```", "", ">"] {
            assert_eq!(kind(None, line), FenceLine::Text, "{line}");
        }
    }

    #[test]
    fn a_fence_is_closed_by_its_own_kind_at_least_as_long_with_nothing_after_it() {
        let open = fence("````rs");
        for line in ["````", "`````  ", "   ````"] {
            assert_eq!(kind(open.as_ref(), line), FenceLine::Closes, "{line}");
        }
        for line in ["```", "~~~~", "````rs", "    ````", "> ````", "x"] {
            assert_eq!(kind(open.as_ref(), line), FenceLine::Text, "{line}");
            assert_eq!(step(open.as_ref(), line, LIMIT, LenUnit::Chars).0, open, "{line}");
        }
        assert_eq!(kind(fence("- ```").as_ref(), "  ```"), FenceLine::Closes);
        assert_eq!(kind(fence("~~~").as_ref(), "~~~"), FenceLine::Closes);
    }

    #[test]
    fn a_fence_in_a_quote_ends_with_the_quote() {
        let open = fence("> ```rs").unwrap();
        assert_eq!((open.again.as_str(), open.close.as_str()), ("> ```rs\n", "\n> ```"));
        assert_eq!(kind(Some(&open), "> ```"), FenceLine::Closes);
        assert_eq!(kind(Some(&open), "> x"), FenceLine::Text);
        assert_eq!(step(Some(&open), "outside", LIMIT, LenUnit::Chars).0, None);
        let next = step(Some(&open), "~~~", LIMIT, LenUnit::Chars);
        assert_eq!((next.0.unwrap().tick, next.1), ('~', FenceLine::Opens));
    }

    #[test]
    fn a_fence_without_room_for_code_is_split_as_text() {
        let (open, kind) = step(None, "```", 9, LenUnit::Chars);
        let open = open.unwrap();
        assert_eq!((kind, open.close.as_str(), open.again.as_str()), (FenceLine::Text, "", ""));
        assert_eq!(step(Some(&open), "```", 9, LenUnit::Chars), (None, FenceLine::Closes));
        let named = fence(&format!("```{}", "x".repeat(60))).unwrap();
        assert_eq!(named.again, "```\n", "the word after it takes more than half");
    }
}
