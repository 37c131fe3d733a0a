//! The views of a text: without one more layer of escapes, with lines joined (the blanks at their ends removed
//! or kept), with hex digits adjacent.
//!
//! Every view has the position of each of its bytes in the text. No view is longer than its text, and there are few, so
//! a long line costs a small multiple of a plain one.

use std::ops::Range;

use zeroize::Zeroizing;

/// Most layers of escapes that are removed.
pub(super) const MAX_ROUNDS: usize = 6;
/// Adjacent hex digits that may be a value; shorter ones are not a form.
const MIN_DIGITS: usize = 16;
/// Longest gap between two pairs of hex digits: a colon, a line's end and the indentation of the next line.
const MAX_BREAK: usize = 12;

/// Bytes, and the position of each in the text that they are a view of.
pub(super) struct TextView {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    from: Vec<Range<usize>>,
}

impl TextView {
    fn sized(bytes: usize) -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(bytes)), from: Vec::with_capacity(bytes) }
    }

    /// The range in the text of a part of the view; the part is not empty.
    pub(super) fn place(&self, part: &Range<usize>) -> Range<usize> {
        self.from[part.start].start..self.from[part.end - 1].end
    }

    fn push(&mut self, bytes: &[u8], from: &Range<usize>) {
        self.bytes.extend_from_slice(bytes);
        self.from.extend(std::iter::repeat_n(from.clone(), bytes.len()));
    }

    /// The same view, of the text that `of` is a view of.
    fn through(mut self, of: Option<&Self>) -> Self {
        if let Some(of) = of {
            self.from.iter_mut().for_each(|from| *from = of.place(from));
        }
        self
    }
}

/// Calls `visit` with every view of `text` except the text itself.
pub(super) fn each(text: &[u8], mut visit: impl FnMut(&TextView)) {
    let mut current: Option<TextView> = None;
    for round in 0..=MAX_ROUNDS {
        let bytes = current.as_ref().map_or(text, |view| &**view.bytes);
        for view in [joined(bytes), unbroken(bytes), digits(bytes)].into_iter().flatten() {
            visit(&view.through(current.as_ref()));
        }
        if round == MAX_ROUNDS {
            return;
        }
        let Some(next) = unescaped(bytes) else { return };
        let next = next.through(current.as_ref());
        visit(&next);
        current = Some(next);
    }
}

/// A text with one layer of escapes removed; `None` if it has none. Escapes of JSON and similar languages, percent encoding, HTML
/// and shells; all at once, because the language of a text is unknown.
pub(super) fn unescaped(text: &[u8]) -> Option<TextView> {
    if !may_have_escapes(text) {
        return None;
    }
    let mut view = TextView::sized(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let unit = match rest[0] {
            b'\\' => backslash(rest),
            // The next layer's, which removes the backslash first.
            b'%' | b'&' if text[..at].ends_with(b"\\\\") && view.bytes.last() == Some(&b'\\') => None,
            b'%' => number(rest.get(1..3).unwrap_or_default(), 16).map(|byte| Unit::byte(byte, 3)),
            b'&' => entity(rest),
            b'\'' | b'"' => quotes(rest),
            _ => None,
        };
        let unit = unit.unwrap_or_else(|| Unit::byte(u32::from(rest[0]), 1));
        view.push(unit.bytes(), &(at..at + unit.taken));
        at += unit.taken;
    }
    (view.bytes.len() < text.len()).then_some(view)
}

/// Whether there can be an escape at all. Most lines of a log have none, and cost only this check.
fn may_have_escapes(text: &[u8]) -> bool {
    let quote = |byte: u8| byte == b'"' || byte == b'\'';
    let mut before = false;
    text.iter().any(|byte| {
        let quotes = before && quote(*byte);
        before = quote(*byte);
        quotes || matches!(byte, b'\\' | b'%' | b'&')
    })
}

/// The meaning of an escape, and its length in bytes.
struct Unit {
    text: [u8; 4],
    length: usize,
    taken: usize,
}

impl Unit {
    /// One byte, given as a number below 256.
    fn byte(byte: u32, taken: usize) -> Self {
        Self { text: [u8::try_from(byte).unwrap_or(b'?'), 0, 0, 0], length: 1, taken }
    }

    fn character(character: char, taken: usize) -> Self {
        let mut text = [0; 4];
        let length = character.encode_utf8(&mut text).len();
        Self { text, length, taken }
    }

    fn bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

/// The number of `digits`; `None` if there are none, too many, or something else.
fn number(digits: &[u8], base: u32) -> Option<u32> {
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let digit = |number: u32, digit: &u8| number.checked_mul(base)?.checked_add(char::from(*digit).to_digit(base)?);
    digits.iter().try_fold(0, digit)
}

/// `\n`, `\/`, `\u00e4`, `\u{e4}`, `\xe4`, `\344`, `\$`.
fn backslash(rest: &[u8]) -> Option<Unit> {
    let coded = |from: usize, digits: usize| number(rest.get(from..from + digits)?, 16);
    let next = *rest.get(1)?;
    let unit = match next {
        b'n' => Some(Unit::byte(10, 2)),
        b'r' => Some(Unit::byte(13, 2)),
        b't' => Some(Unit::byte(9, 2)),
        b'b' => Some(Unit::byte(8, 2)),
        b'f' => Some(Unit::byte(12, 2)),
        b'a' => Some(Unit::byte(7, 2)),
        b'v' => Some(Unit::byte(11, 2)),
        b'e' => Some(Unit::byte(27, 2)),
        b'x' => coded(2, 2).map(|byte| Unit::byte(byte, 4)),
        b'u' if rest.get(2) == Some(&b'{') => {
            let length = rest.iter().take(12).position(|byte| *byte == b'}')?;
            number(rest.get(3..length)?, 16).and_then(char::from_u32).map(|c| Unit::character(c, length + 1))
        }
        b'u' => utf16(rest),
        b'U' => coded(2, 8).and_then(char::from_u32).map(|c| Unit::character(c, 10)),
        b'0'..=b'3' => match rest.get(1..4).and_then(|digits| number(digits, 8)) {
            Some(byte) => Some(Unit::byte(byte, 4)),
            None => (next == b'0').then(|| Unit::byte(0, 2)),
        },
        _ => None,
    };
    // For all others a shell removes the backslash and keeps the character.
    unit.or_else(|| (!next.is_ascii_alphanumeric()).then(|| Unit::byte(next.into(), 2)))
}

/// `\u00e4`, and two of them for characters beyond.
fn utf16(rest: &[u8]) -> Option<Unit> {
    let unit = |at: usize| {
        rest.get(at..at + 2).filter(|begin| begin == b"\\u")?;
        number(rest.get(at + 2..at + 6)?, 16)
    };
    let first = unit(0)?;
    if let Some(character) = char::from_u32(first) {
        return Some(Unit::character(character, 6));
    }
    let second = unit(6)?;
    let pair = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
    let character = char::decode_utf16(pair).next()?.ok()?;
    Some(Unit::character(character, 12))
}

/// `&lt;`, `&#39;`, `&#x27;`.
fn entity(rest: &[u8]) -> Option<Unit> {
    const NAMED: [(&[u8], char); 12] = [
        (b"lt", '<'),
        (b"gt", '>'),
        (b"amp", '&'),
        (b"quot", '"'),
        (b"apos", '\''),
        (b"nbsp", '\u{a0}'),
        (b"sol", '/'),
        (b"bsol", '\\'),
        (b"plus", '+'),
        (b"equals", '='),
        (b"percnt", '%'),
        (b"colon", ':'),
    ];
    let end = rest.iter().take(12).position(|byte| *byte == b';')?;
    let character = match &rest[1..end] {
        [b'#', b'x' | b'X', digits @ ..] => char::from_u32(number(digits, 16)?)?,
        [b'#', digits @ ..] => char::from_u32(number(digits, 10)?)?,
        name => NAMED.iter().find(|(named, _)| *named == name)?.1,
    };
    Some(Unit::character(character, end + 1))
}

/// A quote inside quotes: `'"'"'` and `'\''` of shells, `""` and `''` of tables.
fn quotes(rest: &[u8]) -> Option<Unit> {
    if rest.starts_with(b"'\"'\"'") {
        Some(Unit::byte(b'\''.into(), 5))
    } else if rest.starts_with(b"'\\''") {
        Some(Unit::byte(b'\''.into(), 4))
    } else {
        (rest.get(1) == rest.first()).then(|| Unit::byte(rest[0].into(), 2))
    }
}

/// A text of several lines with these joined, as base64 in lines is read; `None` if it is one line.
fn joined(text: &[u8]) -> Option<TextView> {
    let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let lines = text.trim_ascii_end();
    if !lines.iter().any(is_break) {
        return None;
    }
    let mut view = TextView::sized(text.len());
    let mut at = 0;
    while at < lines.len() {
        let blank = lines[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if blank > 0 && lines[at..at + blank].iter().any(is_break) {
            at += blank;
            continue;
        }
        let end = at + blank.max(1);
        for (byte, at) in lines[at..end].iter().zip(at..) {
            view.push(&[*byte], &(at..at + 1));
        }
        at = end;
    }
    Some(view)
}

/// The same with only the line ends removed, for a value with a blank at a line end; `None` if there is no such blank.
fn unbroken(text: &[u8]) -> Option<TextView> {
    let is_break = |byte: u8| matches!(byte, b'\n' | b'\r');
    let is_blank = |byte: u8| byte.is_ascii_whitespace() && !is_break(byte);
    let lines = text.trim_ascii_end();
    let beside = |pair: &[u8]| is_break(pair[0]) && is_blank(pair[1]) || is_blank(pair[0]) && is_break(pair[1]);
    if !lines.windows(2).any(beside) {
        return None;
    }
    let mut view = TextView::sized(text.len());
    for (at, byte) in lines.iter().enumerate().filter(|(_, byte)| !is_break(**byte)) {
        view.push(&[*byte], &(at..at + 1));
    }
    Some(view)
}

/// All long runs of hex digits, in lower case and without separators; `None` if there are none. A NUL ends each run.
fn digits(text: &[u8]) -> Option<TextView> {
    let mut view: Option<TextView> = None;
    let mut run: Vec<usize> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if text[at].is_ascii_hexdigit() {
            run.push(at);
            at += 1;
            continue;
        }
        let gap = gap_in_run(text, &run, at);
        if gap > 0 {
            at += gap;
        } else {
            add_run(text, &run, &mut view);
            run.clear();
            at += 1;
        }
    }
    add_run(text, &run, &mut view);
    view
}

/// How many bytes at `at` are only a gap in a run of pairs; 0 if the run ends here.
fn gap_in_run(text: &[u8], run: &[usize], at: usize) -> usize {
    let pair = |at: usize| text.get(at..at + 2).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit));
    if run.len() < 2 || at < 2 || !pair(at - 2) {
        return 0;
    }
    let is_break = |byte: &&u8| matches!(byte, b':' | b'-' | b' ' | b'\n' | b'\r' | b'\t');
    let gap = text[at..].iter().take(MAX_BREAK).take_while(is_break).count();
    if pair(at + gap) { gap } else { 0 }
}

/// Copies a run if it is long enough, and not the same in the text already.
fn add_run(text: &[u8], run: &[usize], view: &mut Option<TextView>) {
    let [first, .., last] = run else { return };
    let plain = last - first + 1 == run.len() && !run.iter().any(|at| text[*at].is_ascii_uppercase());
    if run.len() < MIN_DIGITS || plain {
        return;
    }
    let view = view.get_or_insert_with(|| TextView::sized(text.len() + 1));
    for at in run {
        view.push(&[text[*at].to_ascii_lowercase()], &(*at..at + 1));
    }
    view.push(&[0], &(*last..last + 1));
}
