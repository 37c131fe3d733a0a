//! Finds any of many texts in one pass.
//!
//! Every [`WINDOW`] bytes of a text are looked up by a keyed hash. On a match, one lookup for each *length* of a form with this
//! prefix follows, however many forms share a length: keys of one vendor begin alike and have one length.
//!
//! A value has some ten forms, and a thousand profiles have thousands of values: nearly every beginning has one length, and nearly every
//! form is of one set, which needs no allocation beside the text itself.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::views;

/// Bytes of one lookup. No form is shorter.
pub(super) const WINDOW: usize = 8;
/// Factor by which escapes lengthen a form. The longest form is the hex one, twice the value, so that it is as long as `\u0041` for
/// each byte.
const ESCAPED: usize = 3;

/// The forms of all values.
#[derive(Default)]
pub(super) struct Index {
    key: RandomState,
    /// The lengths of the forms that begin alike, longest first, by the hash of their first [`WINDOW`] bytes.
    lengths: HashMap<u64, OneOrMore<usize>>,
    /// By the hash of the whole.
    forms: HashMap<u64, OneOrMore<SecretForm>>,
    prefixes: PrefixFilter,
    /// Bytes of the longest form so far.
    longest: usize,
}

/// One spelling of a value.
pub(super) struct SecretForm {
    pub(super) set: u64,
    pub(super) name: Arc<str>,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// Values of one key. There is nearly always one.
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> OneOrMore<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::More(values) => values,
        }
    }

    fn push(&mut self, value: T) {
        match std::mem::replace(self, Self::More(Vec::new())) {
            Self::One(first) => *self = Self::More(vec![first, value]),
            Self::More(mut values) => {
                values.push(value);
                *self = Self::More(values);
            }
        }
    }

    /// Keeps some of the values; returns whether any is left.
    fn retain(&mut self, keep: impl Fn(&T) -> bool) -> bool {
        match self {
            Self::One(value) => keep(value),
            Self::More(values) => {
                values.retain(keep);
                !values.is_empty()
            }
        }
    }
}

/// The range of a value in a text, and its name.
pub(super) type Span<'a> = (Range<usize>, &'a str);

impl Index {
    pub(super) fn add(&mut self, form: SecretForm) {
        self.longest = self.longest.max(form.bytes.len() * ESCAPED);
        self.add_beginning(&form.bytes);
        match self.forms.entry(self.key.hash_one(&**form.bytes)) {
            Entry::Vacant(vacant) => _ = vacant.insert(OneOrMore::One(form)),
            Entry::Occupied(mut same) => same.get_mut().push(form),
        }
    }

    fn add_beginning(&mut self, form: &[u8]) {
        self.prefixes.add(form);
        match self.lengths.entry(self.key.hash_one(&form[..WINDOW])) {
            Entry::Vacant(vacant) => _ = vacant.insert(OneOrMore::One(form.len())),
            Entry::Occupied(mut lengths) => {
                let lengths = lengths.get_mut();
                if lengths.as_slice().contains(&form.len()) {
                    return;
                }
                lengths.push(form.len());
                if let OneOrMore::More(lengths) = lengths {
                    lengths.sort_unstable_by(|one, other| other.cmp(one));
                }
            }
        }
    }

    /// Wipes the forms of a set.
    pub(super) fn remove(&mut self, set: u64) {
        self.forms.retain(|_, same| same.retain(|form| form.set != set));
        (self.prefixes, self.lengths) = (PrefixFilter::default(), HashMap::new());
        let forms = std::mem::take(&mut self.forms);
        forms.values().flat_map(OneOrMore::as_slice).for_each(|form| self.add_beginning(&form.bytes));
        self.forms = forms;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// The most bytes that a value can take up in a text.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The ranges of values, in order. Overlapping ones are merged, so that no end of either is left.
    pub(super) fn spans(&self, bytes: &[u8]) -> Vec<Span<'_>> {
        self.find(bytes, &mut 0)
    }

    /// The same; counts the lookups of forms in `lookups`.
    fn find(&self, bytes: &[u8], lookups: &mut usize) -> Vec<Span<'_>> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut found = self.matches(bytes, lookups);
        views::each(bytes, |view| {
            let spelled = self.matches(&view.bytes, lookups);
            found.extend(spelled.into_iter().map(|(span, name)| (view.place(&span), name)));
        });
        found.sort_by_key(|(span, _)| span.start);
        let mut spans: Vec<Span<'_>> = Vec::new();
        for (span, name) in found {
            match spans.last_mut() {
                Some((last, _)) if span.start < last.end => last.end = last.end.max(span.end),
                _ => spans.push((span, name)),
            }
        }
        spans
    }

    fn matches(&self, bytes: &[u8], lookups: &mut usize) -> Vec<Span<'_>> {
        let mut found = Vec::new();
        for (start, window) in bytes.windows(WINDOW).enumerate() {
            if !self.prefixes.may_be(window) {
                continue;
            }
            let Some(lengths) = self.lengths.get(&self.key.hash_one(window)) else { continue };
            let form = lengths.as_slice().iter().find_map(|length| {
                *lookups += 1;
                let text = bytes.get(start..start + length)?;
                self.forms.get(&self.key.hash_one(text))?.as_slice().iter().find(|form| **form.bytes == *text)
            });
            found.extend(form.map(|form| (start..start + form.bytes.len(), &*form.name)));
        }
        found
    }
}

/// The prefixes of forms, so that most of a text is passed over without a hash. It reveals no form: many prefixes are
/// merged, in an order that differs in each process.
struct PrefixFilter {
    multiplier: u32,
    bits: Box<[u64; Self::BITS / 64]>,
}

impl PrefixFilter {
    const BITS: usize = 1 << 16;

    fn add(&mut self, form: &[u8]) {
        if let Some(bit) = self.bit(form) {
            self.bits[bit / 64] |= 1 << (bit % 64);
        }
    }

    fn may_be(&self, window: &[u8]) -> bool {
        self.bit(window).is_some_and(|bit| self.bits[bit / 64] >> (bit % 64) & 1 == 1)
    }

    fn bit(&self, text: &[u8]) -> Option<usize> {
        let begin = u32::from_le_bytes(*text.first_chunk()?);
        usize::try_from(begin.wrapping_mul(self.multiplier) >> 16).ok()
    }
}

impl Default for PrefixFilter {
    fn default() -> Self {
        let random = RandomState::new().hash_one(());
        let [a, b, c, d, ..] = random.to_le_bytes();
        Self { multiplier: u32::from_le_bytes([a | 1, b, c, d]), bits: Box::new([0; Self::BITS / 64]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(texts: impl IntoIterator<Item = String>) -> Index {
        let mut index = Index::default();
        for (set, text) in texts.into_iter().enumerate() {
            let form = SecretForm { set: set as u64, name: Arc::from("K"), bytes: Zeroizing::new(text.into_bytes()) };
            index.add(form);
        }
        index
    }

    fn count_lookups(index: &Index, text: &str) -> usize {
        let mut lookups = 0;
        index.find(text.as_bytes(), &mut lookups);
        lookups
    }

    #[test]
    fn lookups_do_not_grow_with_the_number_of_values_also_with_equal_beginnings() {
        let keys = |count: usize| holding((0..count).map(|number| format!("sk-proj-{number:032}")));
        let text = format!("no key, sk-proj-but-none, and sk-proj-{:032}; {}", 7, "filler ".repeat(500));
        let few = count_lookups(&keys(10), &text);
        assert_eq!(few, 2, "one for each place with the beginning of a value");
        assert_eq!(count_lookups(&keys(5_000), &text), few);
    }

    #[test]
    fn lookups_grow_at_most_linearly_with_the_text() {
        let index = holding(["sk-proj-1".to_owned(), "sk-proj-12".to_owned()]);
        let one = count_lookups(&index, "a sk-proj-1 b ");
        assert_eq!(count_lookups(&index, &"a sk-proj-1 b ".repeat(100)), 100 * one);
    }

    #[test]
    fn of_values_with_equal_beginnings_the_longest_is_found() {
        let index = holding(["abcdefgh".to_owned(), "abcdefghij".to_owned(), "abcdefghijk".to_owned()]);
        assert_eq!(index.spans(b"-abcdefghij-"), [(1..11, "K")]);
    }

    #[test]
    fn removed_values_leave_nothing_in_the_index() {
        let mut index = holding(["abcdefgh".to_owned(), "abcdefghij".to_owned()]);
        index.remove(0);
        assert_eq!(index.spans(b"abcdefgh"), []);
        assert_eq!(index.spans(b"abcdefghij"), [(0..10, "K")]);
        index.remove(1);
        assert!(index.is_empty());
    }

    #[test]
    fn a_partly_percent_encoded_value_is_found_at_its_position() {
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
