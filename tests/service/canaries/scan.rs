//! Finds secrets in bytes, in every spelling; also a piece of one, from its start or up to its end.
//!
//! Independent of the gateway's code: another matcher and other encoders.

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::values::CanaryValues;

/// Length of a piece that does not occur by chance, in bytes.
const PIECE: usize = 14;

/// What was found: owner and name.
pub(super) type FoundSecrets<'a> = BTreeSet<(&'a str, &'a str)>;

pub(super) struct Scanner<'a> {
    automaton: AhoCorasick,
    /// By the number of the pattern.
    owners: Vec<(&'a str, &'a str)>,
}

impl<'a> Scanner<'a> {
    pub(super) fn of(values: &'a CanaryValues) -> Self {
        let mut pieces = BTreeMap::new();
        for (owner, own) in &values.0 {
            for (name, value) in own {
                for form in forms(value.trim()) {
                    let form = form.into_bytes();
                    let piece = form.len().min(PIECE);
                    pieces.insert(form[..piece].to_vec(), (owner.as_str(), name.as_str()));
                    pieces.insert(form[form.len() - piece..].to_vec(), (owner.as_str(), name.as_str()));
                }
            }
        }
        let automaton = AhoCorasick::new(pieces.keys()).expect("the pieces make an automaton");
        Self { automaton, owners: pieces.into_values().collect() }
    }

    /// All planted texts and secrets in `bytes`.
    pub(super) fn find(&self, bytes: &[u8]) -> FoundSecrets<'a> {
        self.automaton.find_overlapping_iter(bytes).map(|found| self.owners[found.pattern().as_usize()]).collect()
    }

    /// Checks a place: it has to hold the planted text, and no secrets except those of `allowed`.
    pub(super) fn must_be_clean(&self, place: &str, bytes: &[u8], plant: &str, allowed: &[&str]) {
        let found = self.find(bytes);
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4_000)]);
        assert!(found.contains(&("planted", plant)), "no {plant} in {place}, so the scan proves nothing there: {text}");
        self.must_hold_none(place, bytes, allowed);
    }

    /// The same for a place where no text can be planted.
    pub(super) fn must_hold_none(&self, place: &str, bytes: &[u8], allowed: &[&str]) {
        let secrets = |owner: &str| owner != "planted" && !allowed.contains(&owner);
        for found in self.automaton.find_overlapping_iter(bytes) {
            let (owner, name) = self.owners[found.pattern().as_usize()];
            let around = &bytes[found.start().saturating_sub(200)..(found.end() + 80).min(bytes.len())];
            assert!(!secrets(owner), "{name} of {owner} in {place}: {}", String::from_utf8_lossy(around));
        }
    }
}

/// The spellings of a secret.
fn forms(value: &str) -> Vec<String> {
    let json = serde_json::to_string(value).expect("a text has a JSON form");
    let debug = format!("{value:?}");
    let mut forms = vec![
        value.to_owned(),
        json[1..json.len() - 1].to_owned(),
        debug[1..debug.len() - 1].to_owned(),
        ascii_json(value),
        hex::encode(value),
        hex::encode_upper(value),
        percent(value, "-._~", |byte| format!("%{byte:02X}")),
        percent(value, "-._~", |byte| format!("%{byte:02x}")),
        // JavaScript and Python escape less, a form turns blanks into plus signs, and some encoders escape everything.
        percent(value, "-._~!'()*", |byte| format!("%{byte:02X}")),
        percent(value, "-._~/", |byte| format!("%{byte:02X}")),
        percent(value, "-._~", |byte| if byte == b' ' { "+".to_owned() } else { format!("%{byte:02X}") }),
        value.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat(),
    ];
    for shift in 0..3 {
        forms.extend([inside(value, shift, &STANDARD_NO_PAD), inside(value, shift, &URL_SAFE_NO_PAD)]);
    }
    forms
}

fn percent(value: &str, kept: &str, escape: fn(u8) -> String) -> String {
    let encode = |byte: u8| match char::from(byte) {
        plain if plain.is_ascii_alphanumeric() || kept.contains(plain) => plain.to_string(),
        _ => escape(byte),
    };
    value.bytes().map(encode).collect()
}

/// JSON in ASCII only, as Python writes it.
fn ascii_json(value: &str) -> String {
    let json = serde_json::to_string(value).expect("a text has a JSON form");
    let unit = |unit: u16| match u8::try_from(unit) {
        Ok(byte) if byte.is_ascii() => char::from(byte).to_string(),
        _ => format!("\\u{unit:04x}"),
    };
    json[1..json.len() - 1].encode_utf16().map(unit).collect()
}

/// The characters of a base64 text that depend only on `value`, which begins `shift` bytes after a full group.
fn inside(value: &str, shift: usize, base64: &impl base64::Engine) -> String {
    let around = |filler: u8| {
        let bytes = [&vec![filler; shift][..], value.as_bytes(), &[filler; 2]].concat();
        base64.encode(bytes).into_bytes()
    };
    let (one, other) = (around(0), around(0xff));
    let first = one.iter().zip(&other).position(|(a, b)| a == b).expect("most characters are equal");
    let last = one.iter().zip(&other).rposition(|(a, b)| a == b).expect("most characters are equal");
    // At either end a character may be equal by chance; between them all are equal.
    String::from_utf8(one[first..=last].to_vec()).expect("base64 is text")
}

#[test]
fn the_scan_finds_a_secret_and_each_end_of_it_in_every_form() {
    let mut values = CanaryValues::default();
    values.add("a", "KEY", "Zx81kdnfQpw7 \"ü$%41 83hfnvkqLdm2".to_owned());
    let scanner = Scanner::of(&values);
    let value = values.get("a", "KEY");
    for form in forms(value) {
        assert_eq!(scanner.find(format!("before {form} after").as_bytes()).len(), 1, "{form}");
    }
    for before in ["", "x", "xy", "xyz"] {
        let text = format!("{before}{value}after");
        for whole in [base64::engine::general_purpose::STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
            assert_eq!(scanner.find(whole.as_bytes()).len(), 1, "{whole}");
        }
    }
    let (cut, _) = value.char_indices().nth(20).expect("the value is longer");
    assert_eq!(scanner.find(&value.as_bytes()[..cut]).len(), 1);
    assert_eq!(scanner.find(&value.as_bytes()[cut - 6..]).len(), 1);
    assert!(scanner.find(b"nothing of it, 83hf and Zx81 apart").is_empty());
}
