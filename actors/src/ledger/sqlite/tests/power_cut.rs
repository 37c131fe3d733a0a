//! What a power cut leaves of a first start. `tests/ledger` cuts at every other place, with a real gateway.

use super::*;
use crate::ledger::tests::received;

/// A page of the database.
const PAGE: usize = 4096;

/// The journal of the transaction that makes the first page of an empty file, as SQLite has synced it: no page to restore, and a file
/// that had none.
fn journal() -> Vec<u8> {
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    for number in [0_u32, 0x1234_5678, 0, 512, 4096] {
        journal.extend(number.to_be_bytes());
    }
    journal.resize(512, 0);
    journal
}

/// The first page as a closed ledger has it.
fn first_page() -> Vec<u8> {
    let home = Home::new();
    close(&home.open());
    std::fs::read(&home.path).unwrap()[..PAGE].to_vec()
}

#[test]
fn a_first_start_that_a_power_cut_ended_while_the_first_page_was_written_begins_again() {
    let page = first_page();
    let without = |sectors: std::ops::Range<usize>| {
        let mut torn = page.clone();
        torn[sectors.start * 512..sectors.end * 512].fill(0);
        torn
    };
    for (what, torn) in [
        ("whole", page.clone()),
        ("zeros", vec![0; PAGE]),
        ("without its first sector", without(0..1)),
        ("without its last sectors", without(1..8)),
        ("cut off", page[..512].to_vec()),
        ("zeros, cut off", vec![0; 512]),
    ] {
        let home = Home::new();
        std::fs::write(&home.path, torn).unwrap();
        std::fs::write(format!("{}-journal", home.path.display()), journal()).unwrap();
        let writer = LedgerWriter::open(&home.path).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((writer.view().damage, writer.view().corrupt), (Vec::new(), 0), "{what}");
        record(&writer, 1);
        close(&writer);
        let mut names: Vec<_> =
            std::fs::read_dir(home.path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["ledger.db", "ledger.db-synced", "ledger.db.lock"], "{what}: nothing is set aside");
    }
}

#[test]
fn a_file_that_is_no_database_is_set_aside_although_a_journal_lies_beside_it() {
    let home = Home::new();
    std::fs::write(&home.path, "text").unwrap();
    std::fs::write(format!("{}-journal", home.path.display()), "no journal of SQLite").unwrap();
    let error = LedgerWriter::open(&home.path).unwrap_err().to_string();
    assert!(error.contains("was set aside"), "{error}");
}

#[test]
fn a_journal_beside_a_damaged_file_is_set_aside_with_it_and_not_applied_to_the_new_one() {
    let home = Home::new();
    let writer = home.open();
    for number in 0..100 {
        record(&writer, number);
    }
    close(&writer);
    let length = std::fs::metadata(&home.path).unwrap().len();
    std::fs::File::options().write(true).open(&home.path).unwrap().set_len(length - PAGE as u64).unwrap();
    std::fs::write(format!("{}-journal", home.path.display()), journal()).unwrap();
    let writer = home.open();
    let whole = received(&writer).len();
    assert!((50..=100).contains(&whole), "SQLite would empty the new file by it: {whole}");
    let names = std::fs::read_dir(home.path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
    let journals: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with("-journal")).collect();
    assert!(matches!(&journals[..], [only] if only.to_string_lossy().contains(".damaged-")), "{journals:?}");
}
