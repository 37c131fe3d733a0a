//! The forms that the value of a key may have in the file, with their bounds.

use std::net::SocketAddr;
use std::time::Duration;

use super::key_table::{Form, KeyEntry, KeyRow, local};
use super::yaml::Section;
use crate::network::Network;
use caduceus_supervision::Backoff;

/// What the documentation shows for a key without a default.
const NONE: &str = "none";

fn quoted(text: &str) -> String {
    format!("`{text}`")
}

/// An address with its port.
pub(super) struct Address;

impl Form<SocketAddr> for Address {
    fn read(&self, section: &mut Section<'_>, key: &'static str, _: &SocketAddr) -> Option<SocketAddr> {
        section.address(local(key))
    }

    fn rows(&self, entry: &KeyEntry, default: &SocketAddr) -> Vec<KeyRow> {
        vec![entry.row(quoted(&default.to_string()))]
    }
}

impl Form<Option<SocketAddr>> for Address {
    fn read(&self, section: &mut Section<'_>, key: &'static str, _: &Option<SocketAddr>) -> Option<Option<SocketAddr>> {
        section.address(local(key)).map(Some)
    }

    fn rows(&self, entry: &KeyEntry, default: &Option<SocketAddr>) -> Vec<KeyRow> {
        vec![entry.row(default.map_or_else(|| NONE.to_owned(), |address| quoted(&address.to_string())))]
    }
}

/// A text.
pub(super) struct PlainText;

impl Form<Option<String>> for PlainText {
    fn read(&self, section: &mut Section<'_>, key: &'static str, _: &Option<String>) -> Option<Option<String>> {
        section.text(local(key)).map(Some)
    }

    fn rows(&self, entry: &KeyEntry, default: &Option<String>) -> Vec<KeyRow> {
        vec![entry.row(default.as_deref().map_or_else(|| NONE.to_owned(), quoted))]
    }
}

/// A list of strings.
pub(super) struct ListOfTexts;

impl Form<Vec<String>> for ListOfTexts {
    fn read(&self, section: &mut Section<'_>, key: &'static str, _: &Vec<String>) -> Option<Vec<String>> {
        section.texts(local(key))
    }

    fn rows(&self, entry: &KeyEntry, default: &Vec<String>) -> Vec<KeyRow> {
        vec![entry.row(list(default))]
    }
}

fn list(texts: &[String]) -> String {
    if texts.is_empty() {
        return NONE.to_owned();
    }
    texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")
}

/// A list of addresses and networks. None is the default.
pub(super) struct ListOfNetworks;

impl Form<Vec<Network>> for ListOfNetworks {
    fn read(&self, section: &mut Section<'_>, key: &'static str, _: &Vec<Network>) -> Option<Vec<Network>> {
        let texts = section.texts(local(key))?;
        let networks: Result<Vec<_>, _> = texts.iter().map(|text| text.parse()).collect();
        networks.ok().or_else(|| section.wrong(local(key), "addresses or networks such as 10.0.0.0/8"))
    }

    fn rows(&self, entry: &KeyEntry, _: &Vec<Network>) -> Vec<KeyRow> {
        vec![entry.row(NONE.to_owned())]
    }
}

/// The path of a URL, without a trailing slash.
pub(super) struct UrlPath;

impl Form<String> for UrlPath {
    fn read(&self, section: &mut Section<'_>, key: &'static str, _: &String) -> Option<String> {
        let text = section.text(local(key))?;
        let path = text.trim_end_matches('/');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
        if path.starts_with('/') && !path.contains("//") && path.bytes().all(plain) {
            return Some(path.to_owned());
        }
        section.wrong(local(key), "a path such as /relay/inbound")
    }

    fn rows(&self, entry: &KeyEntry, default: &String) -> Vec<KeyRow> {
        vec![entry.row(quoted(default))]
    }
}

/// One word of a table of known words.
pub(super) struct OneOf<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Form<T> for OneOf<T> {
    fn read(&self, section: &mut Section<'_>, key: &'static str, _: &T) -> Option<T> {
        section.word(local(key), self.0)
    }

    fn rows(&self, entry: &KeyEntry, default: &T) -> Vec<KeyRow> {
        let word = self.0.iter().find(|(_, value)| value == default).map_or(NONE, |(word, _)| *word);
        vec![entry.row(quoted(word))]
    }
}

/// A whole number, at least this one. A number above the largest of its type becomes the largest.
pub(super) struct AtLeast(pub(super) u64);

impl AtLeast {
    fn take(&self, section: &mut Section<'_>, key: &'static str) -> Option<u64> {
        match section.count(local(key))? {
            count if count < self.0 => section.wrong(local(key), &format!("at least {}", self.0)),
            count => Some(count),
        }
    }
}

impl Form<usize> for AtLeast {
    fn read(&self, section: &mut Section<'_>, key: &'static str, _: &usize) -> Option<usize> {
        self.take(section, key).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn rows(&self, entry: &KeyEntry, default: &usize) -> Vec<KeyRow> {
        vec![entry.row(default.to_string())]
    }
}

impl Form<u32> for AtLeast {
    fn read(&self, section: &mut Section<'_>, key: &'static str, _: &u32) -> Option<u32> {
        self.take(section, key).map(|count| u32::try_from(count).unwrap_or(u32::MAX))
    }

    fn rows(&self, entry: &KeyEntry, default: &u32) -> Vec<KeyRow> {
        vec![entry.row(default.to_string())]
    }
}

/// A whole number from 1. Without it, the number depends on the cores of the machine.
pub(super) struct ByCores {
    pub(super) most: u64,
}

impl Form<Option<usize>> for ByCores {
    fn read(&self, section: &mut Section<'_>, key: &'static str, _: &Option<usize>) -> Option<Option<usize>> {
        let count = section.count(local(key))?;
        let in_range = usize::try_from(count).ok().filter(|_| (1..=self.most).contains(&count));
        in_range.map(Some).or_else(|| section.wrong(local(key), &format!("a number from 1 to {}", self.most)))
    }

    fn rows(&self, entry: &KeyEntry, default: &Option<usize>) -> Vec<KeyRow> {
        vec![entry.row(default.map_or_else(|| "by cores".to_owned(), |count| count.to_string()))]
    }
}

/// Seconds, with fractions, up to a year.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Seconds {
    /// 0 is valid.
    FromZero,
    /// 0 is invalid.
    AboveZero,
}

impl Form<Duration> for Seconds {
    fn read(&self, section: &mut Section<'_>, key: &'static str, _: &Duration) -> Option<Duration> {
        match section.seconds(local(key))? {
            Duration::ZERO if *self == Self::AboveZero => section.wrong(local(key), "more than 0"),
            time => Some(time),
        }
    }

    fn rows(&self, entry: &KeyEntry, default: &Duration) -> Vec<KeyRow> {
        vec![entry.row(default.as_secs_f64().to_string())]
    }
}

/// Whole milliseconds.
pub(super) struct Millis;

impl Form<Duration> for Millis {
    fn read(&self, section: &mut Section<'_>, key: &'static str, _: &Duration) -> Option<Duration> {
        section.millis(local(key))
    }

    fn rows(&self, entry: &KeyEntry, default: &Duration) -> Vec<KeyRow> {
        vec![entry.row(default.as_millis().to_string())]
    }
}

/// A backoff, of two keys in milliseconds. Its entry has the path of the floor; this has the path of the ceiling.
pub(super) struct FloorAndCeiling(pub(super) &'static str);

impl Form<Backoff> for FloorAndCeiling {
    fn read(&self, section: &mut Section<'_>, key: &'static str, otherwise: &Backoff) -> Option<Backoff> {
        let floor = section.millis(local(key)).unwrap_or(otherwise.floor());
        let ceiling = section.millis(local(self.0)).unwrap_or(otherwise.ceiling().max(floor));
        let backoff = Backoff::new(floor, ceiling).ok();
        backoff.or_else(|| section.wrong(local(key), &format!("no more than {}", local(self.0))))
    }

    fn rows(&self, entry: &KeyEntry, default: &Backoff) -> Vec<KeyRow> {
        let millis = format!("{}, {}", default.floor().as_millis(), default.ceiling().as_millis());
        vec![KeyRow { keys: vec![entry.key.to_owned(), self.0.to_owned()], ..entry.row(millis) }]
    }
}
