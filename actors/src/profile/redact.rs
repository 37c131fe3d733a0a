//! Takes secrets out of whatever is written to a log.
//!
//! One write-only [`Redactor`] for the process: each profile puts its values in, nobody gets one out. A text is gone
//! through once, however many values are held: every 8 bytes of it are looked up by a keyed hash, and what is found is
//! compared in full. So a profile's values come and go without touching the others', and are wiped when they go.

mod writer; // A log writer that redacts, also across two writes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use zeroize::{Zeroize, Zeroizing};

pub use writer::RedactingWriter;

/// Shorter values are words of everyday text.
const MIN_CHARS: usize = 8;
/// Bytes that are looked up at once. No form of a value is shorter.
const WINDOW: usize = 8;

/// Replaces the values that the process holds as secrets. Cheap to clone; every clone is the same redactor.
#[derive(Clone, Default)]
pub struct Redactor(Arc<RwLock<Index>>);

#[derive(Default)]
struct Index {
    key: RandomState,
    /// By the hash of their first [`WINDOW`] bytes.
    forms: HashMap<u64, Vec<Form>>,
    /// Bytes of the longest form there ever was.
    longest: usize,
}

/// One way in which a value may be written.
struct Form {
    source: Arc<str>,
    name: Arc<str>,
    bytes: Zeroizing<Vec<u8>>,
}

impl Redactor {
    /// Holds `values` (name and value) for `source` from now on, in the place of what it held before, which is wiped.
    pub fn replace<'a>(&self, source: &str, values: impl IntoIterator<Item = (&'a str, &'a SecretString)>) {
        let source: Arc<str> = Arc::from(source);
        // Encoded outside the lock, so that no log line waits for it.
        let forms: Vec<Form> = values.into_iter().flat_map(|(name, value)| forms(&source, name, value)).collect();
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        index.remove(&source);
        for form in forms {
            index.add(form);
        }
    }

    /// Forgets and wipes what `source` put in.
    pub fn remove(&self, source: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(source);
    }

    /// `text` with `[redacted:NAME]` in the place of every value held.
    #[must_use]
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.redact_bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // Forms begin and end between characters, so this never has to mend anything.
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// The same for bytes that need not be text.
    #[must_use]
    pub fn redact_bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let index = self.read();
        let spans = index.spans(bytes);
        if spans.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut clean = Vec::with_capacity(bytes.len());
        let mut at = 0;
        for (span, name) in spans {
            clean.extend_from_slice(&bytes[at..span.start]);
            clean.extend_from_slice(format!("[redacted:{name}]").as_bytes());
            at = span.end;
        }
        clean.extend_from_slice(&bytes[at..]);
        Cow::Owned(clean)
    }

    /// How many of `bytes`, which go on, may be written now without cutting a value in two.
    fn safe_cut(&self, bytes: &[u8]) -> usize {
        let index = self.read();
        let cut = bytes.len().saturating_sub(index.longest.saturating_sub(1));
        let crossing = index.spans(bytes).into_iter().find(|(span, _)| span.start < cut && cut < span.end);
        crossing.map_or(cut, |(span, _)| span.start)
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        // Every critical section leaves the index whole.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

impl Index {
    fn add(&mut self, form: Form) {
        self.longest = self.longest.max(form.bytes.len());
        let key = self.key.hash_one(&form.bytes[..WINDOW]);
        self.forms.entry(key).or_default().push(form);
    }

    fn remove(&mut self, source: &str) {
        self.forms.retain(|_, bucket| {
            bucket.retain(|form| *form.source != *source);
            !bucket.is_empty()
        });
    }

    /// Where values stand, in order. Those that overlap are one, so that no end of either is left.
    fn spans(&self, bytes: &[u8]) -> Vec<(Range<usize>, &str)> {
        let mut spans: Vec<(Range<usize>, &str)> = Vec::new();
        if self.forms.is_empty() {
            return spans;
        }
        for (start, window) in bytes.windows(WINDOW).enumerate() {
            let Some(bucket) = self.forms.get(&self.key.hash_one(window)) else { continue };
            let found = bucket.iter().filter(|form| bytes[start..].starts_with(&form.bytes));
            let Some(form) = found.max_by_key(|form| form.bytes.len()) else { continue };
            let end = start + form.bytes.len();
            match spans.last_mut() {
                Some((last, _)) if start < last.end => last.end = last.end.max(end),
                _ => spans.push((start..end, &form.name)),
            }
        }
        spans
    }
}

/// Every way in which `value` may be written: plainly, inside JSON, in hex, in base64, percent-encoded.
fn forms(source: &Arc<str>, name: &str, value: &SecretString) -> Vec<Form> {
    let value = value.expose_secret();
    if value.chars().count() < MIN_CHARS {
        return Vec::new();
    }
    let mut texts = vec![
        value.to_owned(),
        value.escape_debug().to_string(),
        serde_json::to_string(value).map(|quoted| quoted[1..quoted.len() - 1].to_owned()).unwrap_or_default(),
        hex::encode(value),
        hex::encode_upper(value),
        percent_encoded(value, false),
        percent_encoded(value, true),
        STANDARD.encode(value),
    ];
    texts.extend((0..3).flat_map(|shift| {
        [inner_base64(value, shift, &STANDARD_NO_PAD), inner_base64(value, shift, &URL_SAFE_NO_PAD)]
    }));
    texts.sort_unstable();
    texts.dedup();
    let name: Arc<str> = Arc::from(name);
    let form = |text: String| Form {
        source: Arc::clone(source),
        name: Arc::clone(&name),
        bytes: Zeroizing::new(text.into_bytes()),
    };
    texts.into_iter().map(form).filter(|form| form.bytes.len() >= WINDOW).collect()
}

/// What is always the same of the base64 of a text that holds `value` after `shift` bytes of something else.
fn inner_base64(value: &str, shift: usize, engine: &impl Engine) -> String {
    let mut padded = vec![0; shift];
    padded.extend_from_slice(value.as_bytes());
    let mut text = engine.encode(&padded);
    padded.zeroize();
    // The last character holds bits of what follows, those at the front bits of what came before.
    if !(shift + value.len()).is_multiple_of(3) {
        text.pop();
    }
    let inner = text[(shift * 8).div_ceil(6)..].to_owned();
    text.zeroize();
    inner
}

fn percent_encoded(value: &str, lower: bool) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| match byte {
        byte if plain(byte) => char::from(byte).to_string(),
        byte if lower => format!("%{byte:02x}"),
        byte => format!("%{byte:02X}"),
    };
    value.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holding(values: &[(&str, &str)]) -> Redactor {
        let redactor = Redactor::default();
        let values: Vec<_> = values.iter().map(|(name, value)| (*name, SecretString::from(*value))).collect();
        redactor.replace("work", values.iter().map(|(name, value)| (*name, value)));
        redactor
    }

    #[test]
    fn a_value_is_replaced_wherever_it_stands() {
        let redactor = holding(&[("A_KEY", "hunter2-hunter2"), ("B_KEY", "swordfish")]);
        assert_eq!(redactor.redact("a=hunter2-hunter2,swordfish!"), "a=[redacted:A_KEY],[redacted:B_KEY]!");
        assert!(matches!(redactor.redact("nothing to hide, really"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_short_value_is_left_alone() {
        assert_eq!(holding(&[("A", "1234567")]).redact("1234567890"), "1234567890");
    }

    #[test]
    fn the_tail_of_an_overlapping_value_is_not_left() {
        let redactor = holding(&[("A", "abcdefgh"), ("B", "efghijklmn")]);
        assert_eq!(redactor.redact("-abcdefghijklmn-"), "-[redacted:A]-");
    }

    #[test]
    fn encoded_forms_are_replaced_too() {
        let secret = "päss/wörd+\"quoted\" 1";
        let redactor = holding(&[("K", secret)]);
        let forms = [
            hex::encode(secret),
            hex::encode_upper(secret),
            STANDARD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
            percent_encoded(secret, false),
            percent_encoded(secret, true),
            serde_json::to_string(secret).unwrap(),
            format!("{secret:?}"),
        ];
        for form in forms {
            let clean = redactor.redact(&form).into_owned();
            assert!(clean.contains("[redacted:K]"), "{form} became {clean}");
        }
    }

    #[test]
    fn values_of_a_source_are_forgotten_when_it_is_replaced_or_removed() {
        let redactor = holding(&[("OLD", "old-old-old")]);
        let new = SecretString::from("new-new-new");
        redactor.replace("work", [("NEW", &new)]);
        assert_eq!(redactor.redact("old-old-old new-new-new"), "old-old-old [redacted:NEW]");
        redactor.remove("work");
        assert!(redactor.read().forms.is_empty());
    }

    #[test]
    fn one_source_does_not_touch_another() {
        let redactor = holding(&[("A", "abcdefgh")]);
        redactor.replace("other", [("B", &SecretString::from("abcdefgh"))]);
        redactor.remove("other");
        assert_eq!(redactor.redact("abcdefgh"), "[redacted:A]");
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", holding(&[("A", "abcdefgh")])), "Redactor");
    }

    proptest! {
        #[test]
        fn a_value_inside_any_base64_is_found(secret in "[!-~]{12,40}", before in "[a-z:]{0,9}", after in "[a-z]{0,9}") {
            let redactor = holding(&[("K", &secret)]);
            let whole = STANDARD.encode(format!("{before}{secret}{after}"));
            let clean = redactor.redact(&whole).into_owned();
            prop_assert!(clean.contains("[redacted:K]"), "{} became {}", whole, clean);
        }

        #[test]
        fn no_value_survives_in_any_text(secret in "\\PC{8,30}", before in "\\PC{0,30}", after in "\\PC{0,30}") {
            let clean = holding(&[("K", &secret)]).redact(&format!("{before}{secret}{after}")).into_owned();
            prop_assert!(!clean.contains(&secret) || "[redacted:K]".contains(&secret));
        }
    }
}
