//! The first page of the database file, with its header and the schema: nothing in it has a checksum, and damage to it can make SQLite
//! refuse the file, read tables at wrong places, or migrate a file that is not old. So a copy is kept beside the ledger.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// The size of pages of every file that this program makes.
pub(super) const PAGE: usize = 4096;
/// First bytes of every SQLite file.
pub(super) const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// A page.
pub(super) type Page = [u8; PAGE];

/// What changes although the schema does not: counters, the number of pages, the free pages, two settings of the library, the version of
/// the library that wrote last.
const CHANGING: [Range<usize>; 3] = [24..40, 48..56, 92..100];
/// How the file is written and read, 1 or 2: another program may have changed it.
const FORMAT: Range<usize> = 18..20;
/// `application_id`: random for each file, so that no copy is taken for that of another file.
const IDENTITY: Range<usize> = 68..72;
/// A number that changes with the schema.
const COOKIE: Range<usize> = 40..44;
/// The version of the ledger.
const VERSION: Range<usize> = 60..64;
/// The number of pages, which is valid if the two counters are equal.
const PAGES: Range<usize> = 28..32;
const COUNTER: Range<usize> = 24..28;
const VALID_FOR: Range<usize> = 92..96;
/// Where the tree of the schema begins, and its first byte if it is this page alone.
const TREE: (usize, u8) = (100, 13);

/// The first page of `file`, or `None` if the file is shorter.
pub(super) fn read(file: &File) -> io::Result<Option<Page>> {
    let mut page = [0; PAGE];
    match file.read_exact_at(&mut page, 0) {
        Ok(()) => Ok(Some(page)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The page as it should be, if `found` is damaged. `copy` is an earlier one of the same file.
///
/// Another program may have changed the schema since, or a newer build the version.
pub(super) fn restored(found: &Page, copy: &Page) -> Option<Page> {
    let differs = |range: &Range<usize>| found[range.clone()] != copy[range.clone()];
    let bits = found[VERSION].iter().zip(&copy[VERSION]).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
    if !is_of_one_file(found, copy) || differs(&COOKIE) || bits > 1 {
        return None;
    }
    let mut page = *copy;
    for range in CHANGING {
        page[range.clone()].copy_from_slice(&found[range]);
    }
    if found[FORMAT].iter().all(|format| matches!(format, 1 | 2)) {
        page[FORMAT].copy_from_slice(&found[FORMAT]);
    }
    (page != *found).then_some(page)
}

/// Whether two pages are of one file. One bit of the identity may be flipped: two random ones differ in more.
pub(super) fn is_of_one_file(one: &Page, other: &Page) -> bool {
    let bits = one[IDENTITY].iter().zip(&other[IDENTITY]).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
    bits <= 1 && one[IDENTITY] != [0; 4] && other[IDENTITY] != [0; 4]
}

/// Whether `copy` equals `found`, except for what changes by itself.
pub(super) fn is_copied(found: &Page, copy: &Page) -> bool {
    is_of_one_file(found, copy) && found[COOKIE] == copy[COOKIE] && restored(found, copy).is_none()
}

/// Whether a page can be kept as a copy: it has the whole schema, of this version.
pub(super) fn is_whole(page: &Page, version: i64) -> bool {
    let (at, first) = TREE;
    page[at] == first && i64::from(number(page, VERSION)) == version
}

/// The number of pages in the header, if it is valid.
pub(super) fn pages(page: &Page) -> Option<u32> {
    (page[COUNTER] == page[VALID_FOR]).then(|| number(page, PAGES))
}

/// Sets the number of pages.
pub(super) fn set_pages(page: &mut Page, pages: u32) {
    page[PAGES].copy_from_slice(&pages.to_be_bytes());
    page.copy_within(COUNTER, VALID_FOR.start);
}

fn number(page: &Page, at: Range<usize>) -> u32 {
    page[at].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let mut page = [0; PAGE];
        for (at, byte) in page.iter_mut().enumerate() {
            *byte = u8::try_from(at % 251).unwrap();
        }
        page[VERSION].copy_from_slice(&7_u32.to_be_bytes());
        page[FORMAT].fill(2);
        page[IDENTITY].copy_from_slice(&0x1234_5678_u32.to_be_bytes());
        page
    }

    #[test]
    fn damage_is_restored_and_what_changes_by_itself_stays() {
        let copy = page();
        let mut found = copy;
        found[24..40].fill(9);
        assert_eq!(restored(&found, &copy), None);
        let good = found;
        for at in [0, 16, 18, 63, 70, 100, 108, 4000] {
            found[at] ^= 0x80;
            assert_eq!(restored(&found, &copy), Some(good), "byte {at}");
            found[at] ^= 0x80;
        }
    }

    #[test]
    fn another_schema_or_version_is_no_damage() {
        let copy = page();
        let mut found = copy;
        found[43] ^= 1;
        found[2000] ^= 1;
        assert!(restored(&found, &copy).is_none() && !is_copied(&found, &copy));
        let mut found = copy;
        found[VERSION].copy_from_slice(&99_u32.to_be_bytes());
        assert_eq!(restored(&found, &copy), None);
        assert!(is_copied(&copy, &copy));
        let mut found = copy;
        found[FORMAT].fill(1);
        assert_eq!(restored(&found, &copy), None, "a program set another mode");
    }

    #[test]
    fn a_page_is_not_restored_from_the_copy_of_another_file() {
        let copy = page();
        let mut other = copy;
        other[IDENTITY.start] ^= 3;
        other[2000] ^= 1;
        assert!(restored(&other, &copy).is_none() && !is_copied(&other, &copy));
        other[IDENTITY].fill(0);
        let none = other;
        assert!(!is_of_one_file(&other, &none), "a file without an identity");
    }
}
