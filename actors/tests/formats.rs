//! File formats of a home, through the functions by which all files are read and written.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use caduceus_actors::atomic;
use caduceus_actors::files::{Links, small};
use caduceus_contract::files::operator_note::{FILE_NAME, MAX_BYTES, OperatorNote};

#[test]
fn a_note_that_is_written_reads_back_and_a_huge_one_is_not_read() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(FILE_NAME);
    let read = || OperatorNote::parse(&small::read(&path, MAX_BYTES, Links::Refuse).ok()?.bytes);
    assert_eq!(read(), None, "there is none");
    let note =
        OperatorNote { text: "disk is full".into(), by: "night shift".into(), at: "2026-01-01T00:00:00Z".into() };
    atomic::replace(&path, &note.to_json()).unwrap();
    assert_eq!(read(), Some(note.clone()));
    atomic::replace(&path, &OperatorNote { text: "x".repeat(20_000), ..note }.to_json()).unwrap();
    assert_eq!(read(), None, "it is larger than a note may be");
}
