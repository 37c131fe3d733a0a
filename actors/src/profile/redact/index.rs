//! Finds any of many texts in one pass.
//!
//! Every [`WINDOW`] bytes of a text are looked up by a keyed hash. Where something begins like that, one look for each *length* of such
//! a thing follows, however many there are of a length: keys of one make begin alike and are of one length.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroizing;

/// Bytes that are looked up at once. No form is shorter.
pub(super) const WINDOW: usize = 8;
/// So much longer a form may be with percent signs.
const PERCENT: usize = 3;

/// The forms of all values held.
#[derive(Default)]
pub(super) struct Index {
    key: RandomState,
    /// By the hash of their first [`WINDOW`] bytes, then by length, longest last, then by the hash of the whole.
    buckets: HashMap<u64, BTreeMap<usize, HashMap<u64, Vec<Form>>>>,
    /// Bytes of the longest form there ever was.
    longest: usize,
}

/// One way in which a value may be written.
pub(super) struct Form {
    pub(super) set: u64,
    pub(super) name: Arc<str>,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// Where a value stands, and its name.
pub(super) type Span<'a> = (Range<usize>, &'a str);

impl Index {
    pub(super) fn add(&mut self, form: Form) {
        self.longest = self.longest.max(form.bytes.len() * PERCENT);
        let (window, whole) = (self.key.hash_one(&form.bytes[..WINDOW]), self.key.hash_one(&**form.bytes));
        let lengths = self.buckets.entry(window).or_default();
        lengths.entry(form.bytes.len()).or_default().entry(whole).or_default().push(form);
    }

    /// Wipes the forms of a set.
    pub(super) fn remove(&mut self, set: u64) {
        self.buckets.retain(|_, lengths| {
            lengths.retain(|_, forms| {
                forms.retain(|_, same| {
                    same.retain(|form| form.set != set);
                    !same.is_empty()
                });
                !forms.is_empty()
            });
            !lengths.is_empty()
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The most bytes that a value can take up in a text.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Where values stand, in order. Those that overlap are one, so that no end of either is left.
    pub(super) fn spans(&self, bytes: &[u8]) -> Vec<Span<'_>> {
        self.look(bytes, &mut 0)
    }

    /// The same; counts the looks at forms in `looks`.
    fn look(&self, bytes: &[u8], looks: &mut usize) -> Vec<Span<'_>> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut found = self.matches(bytes, looks);
        if let Some(decoded) = Decoded::of(bytes) {
            let spelled = self.matches(&decoded.bytes, looks);
            found.extend(spelled.into_iter().map(|(span, name)| (decoded.at[span.start]..decoded.at[span.end], name)));
            found.sort_by_key(|(span, _)| span.start);
        }
        let mut spans: Vec<Span<'_>> = Vec::new();
        for (span, name) in found {
            match spans.last_mut() {
                Some((last, _)) if span.start < last.end => last.end = last.end.max(span.end),
                _ => spans.push((span, name)),
            }
        }
        spans
    }

    fn matches(&self, bytes: &[u8], looks: &mut usize) -> Vec<Span<'_>> {
        let mut found = Vec::new();
        for (start, window) in bytes.windows(WINDOW).enumerate() {
            let Some(lengths) = self.buckets.get(&self.key.hash_one(window)) else { continue };
            let form = lengths.iter().rev().find_map(|(length, forms)| {
                *looks += 1;
                let text = bytes.get(start..start + length)?;
                forms.get(&self.key.hash_one(text))?.iter().find(|form| **form.bytes == *text)
            });
            found.extend(form.map(|form| (start..start + form.bytes.len(), &*form.name)));
        }
        found
    }
}

/// A text without percent-encoding, and where each byte of it, and its end, stands in the text.
struct Decoded {
    bytes: Zeroizing<Vec<u8>>,
    at: Vec<usize>,
}

impl Decoded {
    /// `None` where nothing is encoded.
    fn of(text: &[u8]) -> Option<Self> {
        if !text.contains(&b'%') {
            return None;
        }
        let mut decoded =
            Self { bytes: Zeroizing::new(Vec::with_capacity(text.len())), at: Vec::with_capacity(text.len() + 1) };
        let mut at = 0;
        while at < text.len() {
            let digit = |offset: usize| text.get(at + offset).and_then(|digit| char::from(*digit).to_digit(16));
            let escaped = if text[at] == b'%' { digit(1).zip(digit(2)) } else { None };
            decoded.at.push(at);
            let byte = escaped.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
            decoded.bytes.push(byte.unwrap_or(text[at]));
            at += if byte.is_some() { PERCENT } else { 1 };
        }
        decoded.at.push(text.len());
        (decoded.bytes.len() < text.len()).then_some(decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(texts: impl IntoIterator<Item = String>) -> Index {
        let mut index = Index::default();
        for (set, text) in texts.into_iter().enumerate() {
            let form = Form { set: set as u64, name: Arc::from("K"), bytes: Zeroizing::new(text.into_bytes()) };
            index.add(form);
        }
        index
    }

    fn looks(index: &Index, text: &str) -> usize {
        let mut looks = 0;
        index.look(text.as_bytes(), &mut looks);
        looks
    }

    #[test]
    fn the_looks_do_not_grow_with_the_number_of_values_also_where_they_begin_alike() {
        let keys = |count: usize| holding((0..count).map(|number| format!("sk-proj-{number:032}")));
        let text = format!("no key, sk-proj-but-none, and sk-proj-{:032}; {}", 7, "filler ".repeat(500));
        let few = looks(&keys(10), &text);
        assert_eq!(few, 2, "one for each place where something begins like a value");
        assert_eq!(looks(&keys(5_000), &text), few);
    }

    #[test]
    fn the_looks_grow_with_the_text_at_most_as_the_text_does() {
        let index = holding(["sk-proj-1".to_owned(), "sk-proj-12".to_owned()]);
        let one = looks(&index, "a sk-proj-1 b ");
        assert_eq!(looks(&index, &"a sk-proj-1 b ".repeat(100)), 100 * one);
    }

    #[test]
    fn the_longest_of_those_that_begin_alike_is_found() {
        let index = holding(["abcdefgh".to_owned(), "abcdefghij".to_owned(), "abcdefghijk".to_owned()]);
        assert_eq!(index.spans(b"-abcdefghij-"), [(1..11, "K")]);
    }

    #[test]
    fn what_is_removed_leaves_nothing_behind() {
        let mut index = holding(["abcdefgh".to_owned(), "abcdefghij".to_owned()]);
        index.remove(0);
        assert_eq!(index.spans(b"abcdefgh"), []);
        assert_eq!(index.spans(b"abcdefghij"), [(0..10, "K")]);
        index.remove(1);
        assert!(index.is_empty());
    }

    #[test]
    fn a_text_that_is_percent_encoded_in_part_is_found_where_it_stands() {
        let index = holding(["pass/word 100%".to_owned()]);
        for (text, span) in [
            ("?key=pass%2Fword%20100%25&", 5..25),
            ("?key=pass/word%20100%25&", 5..23),
            ("?%70%61%73%73%2f%77%6f%72%64%20%31%30%30%25", 1..43),
            ("?key=pass/word 100%&", 5..19),
        ] {
            assert_eq!(index.spans(text.as_bytes()), [(span, "K")], "{text}");
        }
        for text in ["100%", "%", "%2", "%zz pass%2Fword%20100"] {
            assert_eq!(index.spans(text.as_bytes()), [], "{text}");
        }
    }
}
