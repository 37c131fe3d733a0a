//! The keys by which a repeated event is found, in memory: a hash of each with the number of its row.
//!
//! Two different keys may have the same hash, so a row found here is a duplicate only if its own columns say so.

use std::collections::BTreeSet;

use rusqlite::types::ValueRef;
use siphasher::sip::SipHasher13;

use super::row::encoded;

/// Bits of a row's number in an entry; the rest is hash.
const ROW_BITS: u32 = 48;

/// The key of a hash function (`SipHash`), random for each file, so that a sender cannot make events whose hashes are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HashKey(pub(super) [u8; 16]);

/// The hashes of an event's keys, as stored in its row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KeyHashes {
    /// Of the frame: link, id of the frame, digest.
    pub(super) frame: Option<i64>,
    /// Of the message: link, platform, chat, id of the message.
    pub(super) message: Option<i64>,
}

impl KeyHashes {
    /// Those that the event has.
    pub(super) fn all(self) -> impl Iterator<Item = i64> {
        self.frame.into_iter().chain(self.message)
    }
}

impl HashKey {
    /// The hash of a frame.
    pub(super) fn frame(&self, link: ValueRef<'_>, buffer: ValueRef<'_>, digest: ValueRef<'_>) -> i64 {
        self.hash(&encoded("frame", 0, &[link, buffer, digest]))
    }

    /// The hash of a message.
    pub(super) fn message(&self, [link, platform, chat, message]: [ValueRef<'_>; 4]) -> i64 {
        self.hash(&encoded("message", 0, &[link, platform, chat, message]))
    }

    fn hash(&self, bytes: &[u8]) -> i64 {
        SipHasher13::new_with_key(&self.0).hash(bytes).cast_signed()
    }
}

/// The hashes of all rows, each with its row. An entry takes 13 to 20 bytes, those of the tree included, so a row with both keys
/// some 40 bytes at most.
#[derive(Debug, Default)]
pub(super) struct DuplicateKeys(BTreeSet<[u32; 3]>);

impl DuplicateKeys {
    pub(super) fn insert(&mut self, hash: i64, row: i64) {
        self.0.insert(entry(hash, row));
    }

    pub(super) fn remove(&mut self, hash: i64, row: i64) {
        self.0.remove(&entry(hash, row));
    }

    /// The rows that have this hash, the oldest first.
    pub(super) fn rows(&self, hash: i64) -> impl Iterator<Item = i64> {
        self.0.range(entry(hash, 0)..=entry(hash, (1 << ROW_BITS) - 1)).map(row_of)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<(i64, i64)> for DuplicateKeys {
    fn from_iter<I: IntoIterator<Item = (i64, i64)>>(keys: I) -> Self {
        Self(keys.into_iter().map(|(hash, row)| entry(hash, row)).collect())
    }
}

/// The first 48 bits of a hash and the number of a row.
fn entry(hash: i64, row: i64) -> [u32; 3] {
    let mut bytes = [0; 12];
    bytes[..6].copy_from_slice(&hash.to_be_bytes()[..6]);
    bytes[6..].copy_from_slice(&row.to_be_bytes()[2..]);
    let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    [word(0), word(4), word(8)]
}

fn row_of(entry: &[u32; 3]) -> i64 {
    let [_, middle, low] = entry.map(u32::to_be_bytes);
    i64::from_be_bytes([0, 0, middle[2], middle[3], low[0], low[1], low[2], low[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_hash_are_found_in_order_and_no_others() {
        let mut keys: DuplicateKeys =
            [(i64::MIN, 3), (-1, 1), (7 << 16, (1 << ROW_BITS) - 1), (7 << 16, 2), (8 << 16, 5)].into_iter().collect();
        let rows = |keys: &DuplicateKeys, hash| keys.rows(hash).collect::<Vec<_>>();
        assert_eq!(rows(&keys, 7 << 16), [2, (1 << ROW_BITS) - 1]);
        assert_eq!((rows(&keys, -1), rows(&keys, i64::MIN), rows(&keys, 0)), (vec![1], vec![3], vec![]));
        keys.insert(7 << 16, 4);
        keys.remove(7 << 16, 2);
        assert_eq!(rows(&keys, 7 << 16), [4, (1 << ROW_BITS) - 1]);
    }

    #[test]
    fn the_hash_depends_on_the_key_and_on_the_border_of_the_columns() {
        let text = crate::ledger::sqlite::row::text;
        let key = HashKey([1; 16]);
        let hash = |key: &HashKey, [a, b, c, d]: [&str; 4]| key.message([text(a), text(b), text(c), text(d)]);
        let base = hash(&key, ["a", "b", "c", "d"]);
        assert_eq!(base, hash(&key, ["a", "b", "c", "d"]));
        assert_ne!(base, hash(&key, ["ab", "", "c", "d"]));
        assert_ne!(base, hash(&HashKey([2; 16]), ["a", "b", "c", "d"]));
    }
}
