//! Where a file is damaged.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::ledger::sqlite::names::with_ending;

const PAGE: usize = 4096;
/// First bytes of a page of a tree: of an index and of a table, each an inner page and a leaf.
const KINDS: [u8; 4] = [2, 5, 10, 13];

/// The kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Truncated,
    Header,
    LiveRow,
    Index,
    Log,
}

impl Class {
    /// Equal shares.
    pub(super) fn of(seed: u64) -> Self {
        [Self::Truncated, Self::Header, Self::LiveRow, Self::Index, Self::Log][usize::try_from(seed % 5).unwrap()]
    }

    /// Whether a file without a log can be damaged in this way.
    pub(super) fn may_be_closed(self) -> bool {
        self != Self::Log
    }
}

/// Damages the ledger at `path`, and returns how.
pub(super) fn damage(class: Class, seed: u64, path: &Path) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let log = with_ending(path, "-wal");
    let has_log = log.exists();
    match class {
        Class::Truncated => {
            let path = if has_log && random.bool() { &log } else { path };
            let file = OpenOptions::new().write(true).open(path).unwrap();
            let length = random.u64(0..file.metadata().unwrap().len());
            unchanged_time(&file, || file.set_len(length).unwrap());
            format!("{} cut at {length}", path.extension().unwrap().display())
        }
        Class::Header => match random.u8(0..10) {
            0..5 => flip(path, random.usize(0..100 * 8)),
            5..8 => {
                let (page, _) = page_of(path, &KINDS, &mut random);
                flip(path, page * PAGE * 8 + random.usize(0..12 * 8))
            }
            _ if has_log => flip(&log, random.usize(0..32 * 8)),
            _ => flip(path, random.usize(0..100 * 8)),
        },
        Class::LiveRow => {
            let (page, bytes) = page_of(path, &[13], &mut random);
            let content = usize::from(u16::from_be_bytes([bytes[5], bytes[6]]));
            flip(path, (page * PAGE + content) * 8 + random.usize(0..(PAGE - content) * 8))
        }
        Class::Index => {
            let (page, _) = page_of(path, &[2, 10], &mut random);
            flip(path, page * PAGE * 8 + random.usize(0..PAGE * 8))
        }
        Class::Log => {
            let bits = usize::try_from(log.metadata().unwrap().len()).unwrap() * 8;
            flip(&log, random.usize(32 * 8..bits))
        }
    }
}

/// A page of one of these kinds, but not the first one.
fn page_of(path: &Path, kinds: &[u8], random: &mut fastrand::Rng) -> (usize, Vec<u8>) {
    let bytes = std::fs::read(path).unwrap();
    // Pages with cells.
    let is_used =
        |page: &usize| kinds.contains(&bytes[page * PAGE]) && bytes[page * PAGE + 3..page * PAGE + 5] != [0, 0];
    let pages: Vec<usize> = (1..bytes.len() / PAGE).filter(is_used).collect();
    let page = pages[random.usize(0..pages.len())];
    (page, bytes[page * PAGE..(page + 1) * PAGE].to_vec())
}

fn flip(path: &Path, bit: usize) -> String {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (at, mut byte) = ((bit / 8) as u64, [0]);
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << (bit % 8);
    unchanged_time(&file, || file.write_all_at(&byte, at).unwrap());
    format!("{} bit {} of byte {at}", path.extension().unwrap().display(), bit % 8)
}

/// Damage does not change the time of a file.
fn unchanged_time(file: &File, change: impl FnOnce()) {
    let modified = file.metadata().unwrap().modified().unwrap();
    change();
    file.set_modified(modified).unwrap();
}
