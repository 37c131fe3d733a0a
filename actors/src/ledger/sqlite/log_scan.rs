//! The scan of the write-ahead log at open, against the high-water mark: each frame below it has to be there and match its checksum.
//!
//! The checksum of a frame continues that of the frame before it, and is linear in each word. So a single flipped bit is found from the
//! difference of the checksums, and flipped back. The higher a bit is in its word, the more places explain the same difference. If all of
//! these are in the page, one of them is flipped, so that the log continues, and the rows of that page are verified as all others are.
//! Whatever else is wrong with a frame cuts the log off before it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;

use super::high_water::{HighWaterMark, read_at};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The first four bytes; the last bit says that checksums are over big-endian words.
const MAGIC: u32 = 0x377f_0682;
/// The next four.
const VERSION: u32 = 3_007_000;

/// The two sums of a checksum.
type Sums = [u32; 2];

/// What the scan found.
#[derive(Debug, Default)]
pub(super) struct LogScan {
    /// The frames from the start on that are good, or will be. Fewer than the mark has: the log is cut off.
    pub(super) good: u32,
    /// What has to be written to make frames good that have one flipped bit.
    pub(super) repairs: Vec<LogRepair>,
    /// Of the repairs, the pages of frames in which another bit may have been the wrong one.
    pub(super) uncertain: BTreeSet<u32>,
    /// The pages that the database has after the last commit among the good frames; 0 if there is none.
    pub(super) database_pages: u32,
    /// The pages in good frames.
    pub(super) pages: BTreeSet<u32>,
    /// The position behind the frames of the mark.
    pub(super) end: u64,
}

/// The good bytes of a frame, or of the header.
#[derive(Debug)]
pub(super) struct LogRepair {
    /// Counted from 1; 0 is the header.
    pub(super) frame: u32,
    /// Their position in the log.
    pub(super) at: u64,
    pub(super) bytes: Vec<u8>,
}

/// Scans the frames of `log` below `mark`.
///
/// A log with other salts began anew after the mark: all frames of the mark are in the database file, and none of the new log is below
/// it, so every frame up to its end is good as far as is known.
pub(super) fn scan(log: &File, mark: &HighWaterMark) -> io::Result<LogScan> {
    let mut scan = LogScan::default();
    let mut header = [0; HEADER];
    if !read_at(log, &mut header, 0)? {
        return Ok(scan);
    }
    if !is_header(&header) {
        let mut found = None;
        for candidate in good_headers(header, mark.salts) {
            let mut frame = vec![0; frame_length(&candidate)];
            // Another bit may explain the same checksum, and only the right one is continued.
            let is_continued = read_at(log, &mut frame, HEADER as u64)?
                && frame_sums(is_big(&candidate), sums_at(&candidate, 24), &frame) == sums_at(&frame, 16);
            found = found.or(is_continued.then_some(candidate));
        }
        let Some(good) = found else { return Ok(scan) };
        scan.repairs.push(LogRepair { frame: 0, at: 0, bytes: good.to_vec() });
        header = good;
    }
    if header[16..24] != mark.salts {
        scan.good = mark.frames;
        return Ok(scan);
    }
    let (big, length) = (is_big(&header), frame_length(&header));
    let place = |frame: u32| HEADER as u64 + u64::from(frame - 1) * length as u64;
    scan.end = place(mark.frames + 1);
    let mut sums = sums_at(&header, 24);
    let (mut frame, mut next) = (vec![0; length], vec![0; length]);
    let mut uncommitted = BTreeSet::new();
    for index in 1..=mark.frames {
        if !read_at(log, &mut frame, place(index))? {
            break;
        }
        let has_next = index < mark.frames && read_at(log, &mut next, place(index + 1))?;
        let follows = |sums: Sums| has_next.then(|| frame_sums(big, sums, &next) == sums_at(&next, 16));
        let is_good = frame_sums(big, sums, &frame) == sums_at(&frame, 16) && frame[8..16] == mark.salts;
        if !is_good {
            let Some(is_certain) = restore(big, sums, mark.salts, &mut frame, follows) else { break };
            if !is_certain {
                scan.uncertain.insert(number(&frame, 0));
            }
            scan.repairs.push(LogRepair { frame: index, at: place(index), bytes: frame.clone() });
        }
        sums = sums_at(&frame, 16);
        scan.good = index;
        uncommitted.insert(number(&frame, 0));
        let database_pages = number(&frame, 4);
        if database_pages > 0 {
            scan.database_pages = database_pages;
            scan.pages.append(&mut uncommitted);
        }
    }
    Ok(scan)
}

fn is_header(header: &[u8; HEADER]) -> bool {
    let (magic, page) = (number(header, 0), number(header, 8));
    magic & !1 == MAGIC
        && number(header, 4) == VERSION
        && page.is_power_of_two()
        && (512..=65_536).contains(&page)
        && sums(magic & 1 == 1, [0, 0], &header[..24]) == sums_at(header, 24)
}

/// Whether checksums are over big-endian words.
fn is_big(header: &[u8; HEADER]) -> bool {
    number(header, 0) & 1 == 1
}

/// The length of a frame with its header.
fn frame_length(header: &[u8; HEADER]) -> usize {
    FRAME_HEADER + usize::try_from(number(header, 8)).unwrap_or_default()
}

/// The headers with these salts that differ from `header` in one bit.
fn good_headers(header: [u8; HEADER], salts: [u8; 8]) -> impl Iterator<Item = [u8; HEADER]> {
    (0..HEADER * 8).filter_map(move |bit| {
        let mut good = header;
        good[bit / 8] ^= 1 << (bit % 8);
        (is_header(&good) && good[16..24] == salts).then_some(good)
    })
}

/// Makes a frame good that has one flipped bit. `follows`: whether the next frame continues these sums, if there is one. Returns whether
/// it was surely that bit, or `None` if the frame cannot be made good.
fn restore(
    big: bool,
    before: Sums,
    salts: [u8; 8],
    frame: &mut [u8],
    follows: impl Fn(Sums) -> Option<bool>,
) -> Option<bool> {
    let (computed, stored) = (frame_sums(big, before, frame), sums_at(frame, 16));
    if computed == stored {
        // The checksum does not have the salts.
        frame[8..16].copy_from_slice(&salts);
        return Some(true);
    }
    let difference = [0, 1].map(|sum| stored[sum].wrapping_sub(computed[sum]));
    let flipped = flipped_bits(big, difference, frame);
    // Another page number would put the page at a wrong place, and leave an earlier one at the right place.
    let is_in_header = flipped.iter().any(|bit| *bit < 64);
    let first = flipped.first().filter(|_| flipped.len() == 1 || !is_in_header);
    let in_checksum = (stored[0] ^ computed[0]).count_ones() + (stored[1] ^ computed[1]).count_ones() == 1;
    // Where both the page and the checksum may be wrong, the next frame decides.
    let stored_is_wrong = in_checksum && (flipped.is_empty() || follows(computed)?);
    if stored_is_wrong {
        frame[16..20].copy_from_slice(&computed[0].to_be_bytes());
        frame[20..24].copy_from_slice(&computed[1].to_be_bytes());
    } else {
        let bit = first?;
        frame[bit / 8] ^= 1 << (bit % 8);
    }
    frame[8..16].copy_from_slice(&salts);
    Some(stored_is_wrong || flipped.len() == 1)
}

/// The bits of a frame whose flip changes its checksum by `difference`, the last one first.
fn flipped_bits(big: bool, difference: Sums, frame: &[u8]) -> Vec<usize> {
    let mut bits = Vec::new();
    // What a change of the sums by (1, 0) and by (0, 1) becomes at the end of the frame.
    let (mut first, mut second) = ([1_u32, 0], [0_u32, 1]);
    let pairs = (0..8).step_by(8).chain((FRAME_HEADER..frame.len()).step_by(8));
    for pair in pairs.collect::<Vec<_>>().into_iter().rev() {
        // A change of the first word changes both sums, one of the second word the second sum.
        let both = [0, 1].map(|sum: usize| first[sum].wrapping_add(second[sum]));
        for (at, effect) in [(pair, both), (pair + 4, second)] {
            let word = word(big, frame, at);
            for bit in 0..32 {
                let change = if (word >> bit) & 1 == 0 { 1_u32 << bit } else { (1_u32 << bit).wrapping_neg() };
                if [0, 1].map(|sum: usize| effect[sum].wrapping_mul(change)) == difference {
                    let byte = if big { 3 - bit / 8 } else { bit / 8 };
                    bits.push((at + byte) * 8 + bit % 8);
                }
            }
        }
        // One more pair behind the place: (d0, d1) becomes (d0 + d1, d0 + 2 d1).
        let through = |[a, b]: Sums, [c, d]: Sums| [a.wrapping_add(c), b.wrapping_add(d)];
        (first, second) = (both, through(both, second));
    }
    bits
}

/// The checksum of a frame: page number, size of the database, page.
fn frame_sums(big: bool, before: Sums, frame: &[u8]) -> Sums {
    sums(big, sums(big, before, &frame[..8]), &frame[FRAME_HEADER..])
}

fn sums(big: bool, [mut first, mut second]: Sums, bytes: &[u8]) -> Sums {
    for pair in bytes.chunks_exact(8) {
        first = first.wrapping_add(word(big, pair, 0)).wrapping_add(second);
        second = second.wrapping_add(word(big, pair, 4)).wrapping_add(first);
    }
    [first, second]
}

fn word(big: bool, bytes: &[u8], at: usize) -> u32 {
    if big { number(bytes, at) } else { number(bytes, at).swap_bytes() }
}

fn sums_at(bytes: &[u8], at: usize) -> Sums {
    [number(bytes, at), number(bytes, at + 4)]
}

/// Four bytes, big endian.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rusqlite::Connection;

    use super::*;
    use crate::ledger::sqlite::names::log_path;

    /// The bytes of a log with some commits, and its mark.
    fn log(home: &Path) -> (Vec<u8>, HighWaterMark) {
        let path = home.join("database");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA page_size = 512; PRAGMA journal_mode = WAL; CREATE TABLE entry (text TEXT)")
            .unwrap();
        for text in ["one", "two", "three"] {
            connection.execute("INSERT INTO entry VALUES (?)", [text]).unwrap();
        }
        let bytes = std::fs::read(log_path(&path)).unwrap();
        let frames = u32::try_from((bytes.len() - HEADER) / (FRAME_HEADER + 512)).unwrap();
        let salts = bytes[16..24].try_into().unwrap();
        (bytes, HighWaterMark { salts, frames, written_back: 0 })
    }

    fn scan_bytes(home: &Path, bytes: &[u8], mark: &HighWaterMark) -> LogScan {
        let path = home.join("log");
        std::fs::write(&path, bytes).unwrap();
        scan(&File::open(path).unwrap(), mark).unwrap()
    }

    #[test]
    fn a_good_log_is_good_and_one_that_ends_early_is_cut_off_at_its_last_frame() {
        let home = tempfile::tempdir().unwrap();
        let (bytes, mark) = log(home.path());
        let good = scan_bytes(home.path(), &bytes, &mark);
        assert!(good.good == mark.frames && good.repairs.is_empty() && good.database_pages == 2, "{good:?}");
        let cut = scan_bytes(home.path(), &bytes[..bytes.len() - 1], &mark);
        assert_eq!((cut.good, cut.repairs.len()), (mark.frames - 1, 0));
        assert_eq!(scan_bytes(home.path(), &[], &mark).good, 0);
        let other = HighWaterMark { salts: [7; 8], ..mark };
        assert_eq!(scan_bytes(home.path(), &bytes, &other).good, mark.frames, "it began anew");
    }

    #[test]
    fn every_single_flipped_bit_is_flipped_back_unless_it_may_be_another_one() {
        let home = tempfile::tempdir().unwrap();
        let (bytes, mark) = log(home.path());
        let mut cut = 0;
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let scan = scan_bytes(home.path(), &damaged, &mark);
            assert_eq!(scan.repairs.len(), usize::from(scan.good == mark.frames), "bit {bit}: {scan:?}");
            for repair in &scan.repairs {
                let at = usize::try_from(repair.at).unwrap();
                damaged[at..at + repair.bytes.len()].copy_from_slice(&repair.bytes);
                let is_page = |at: usize| at >= HEADER && (at - HEADER) % (FRAME_HEADER + 512) >= FRAME_HEADER;
                let wrong: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != damaged[*at]).collect();
                let is_right =
                    if scan.uncertain.is_empty() { wrong.is_empty() } else { wrong.iter().copied().all(is_page) };
                assert!(is_right, "bit {bit} was flipped back wrongly: {wrong:?}");
            }
            cut += usize::from(scan.repairs.is_empty());
        }
        // Those that may be a bit of a page number, and of the last frame those that may be one of its checksum.
        assert!(cut * 20 < bytes.len() * 8, "{cut} bits cut the log off");
    }

    #[test]
    fn two_flipped_bits_cut_the_log_off() {
        let home = tempfile::tempdir().unwrap();
        let (mut bytes, mark) = log(home.path());
        let second = HEADER + FRAME_HEADER + 512;
        bytes[second + 100] ^= 1;
        bytes[second + 300] ^= 8;
        let scan = scan_bytes(home.path(), &bytes, &mark);
        assert_eq!((scan.good, scan.repairs.len()), (1, 0));
    }
}
