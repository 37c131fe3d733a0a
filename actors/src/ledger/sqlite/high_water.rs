//! The high-water mark: how far the write-ahead log is on disk, in a small file beside the ledger. Blocks.
//!
//! The file also has a copy of the first page of the database, and whether the database was found damaged.
//!
//! SQLite drops what follows a bad frame of its log and reports nothing. A bad frame below the mark is damage, one above it is an
//! unsynced tail. The mark is written after the log was synced, and is not synced itself: the page cache keeps it when the process is
//! killed, and after a power cut the disk has this mark or an earlier one. An earlier mark names frames that were synced before it, so it
//! protects less and is never wrong. A log that began anew since has other salts, and all that it held before is in the database file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::Connection;
use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;
use twox_hash::XxHash3_64;

use super::head_page::{PAGE, Page};
use super::names::{SYNCED, log_path, with_ending};
use crate::files::{Symlinks, own, small};

/// Frames in the log from which on a commit writes them back. It delays the groups behind it: 1,000 pages take some 3 ms.
const WRITE_BACK: u32 = 1_000;
/// First bytes of a mark.
const MAGIC: [u8; 8] = *b"synced 1";
/// Length of a mark: the first bytes, the salts, two numbers, and a checksum.
const LENGTH: usize = 32;
/// Position of the salts in the header of the log.
const SALTS_AT: u64 = 16;
/// What says that the structure of the database is damaged, and its position, in another sector than the mark.
const DAMAGED: [u8; 8] = *b"damaged!";
const DAMAGED_AT: u64 = 512;
/// Position of the copy of the first page, with its checksum behind it.
const HEAD_AT: u64 = PAGE as u64;

/// How far the log is on disk. The default is that no frame of it is needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct HighWaterMark {
    /// Those of the log that is meant, random for each time that it begins anew.
    pub(super) salts: [u8; 8],
    /// Its frames on disk.
    pub(super) frames: u32,
    /// Of these, the first ones that are in the database file too.
    pub(super) written_back: u32,
}

impl HighWaterMark {
    fn to_bytes(self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.salts);
        bytes[16..20].copy_from_slice(&self.frames.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.written_back.to_le_bytes());
        let sum = XxHash3_64::oneshot(&bytes[..24]);
        bytes[24..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None` if the bytes are not those of a mark.
    fn of_bytes(bytes: &[u8; LENGTH]) -> Option<Self> {
        let [salts, numbers] = [8, 16].map(|at| bytes[at..].first_chunk::<8>().copied().unwrap_or_default());
        let [frames, written_back] =
            [&numbers[..4], &numbers[4..]].map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        let mark = Self { salts, frames, written_back };
        (mark.to_bytes() == *bytes).then_some(mark)
    }
}

/// The file of the mark. It is written in place, so that its blocks are on disk and a full disk does not prevent a write.
#[derive(Debug)]
pub(super) struct HighWaterFile(File);

impl HighWaterFile {
    /// Opens the file of the ledger at `path`, creating one if there is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = with_ending(path, SYNCED);
        let file = own::open_or_create(&path, own::OpenMode::ReadWrite, 0o600).map_err(|error| error.why)?;
        let file = Self(file);
        if file.is_new()? {
            file.forget()?;
            // With its name.
            path.parent().map_or(Ok(()), own::sync_directory)?;
        }
        Ok(file)
    }

    /// Whether nothing was written yet. A power cut can leave the length of the first mark without its bytes; later the file is longer.
    fn is_new(&self) -> io::Result<bool> {
        let length = self.0.metadata()?.len();
        let mut bytes = [0; LENGTH];
        let is_zero = length == LENGTH as u64 && read_at(&self.0, &mut bytes, 0)? && bytes == [0; LENGTH];
        Ok(length < LENGTH as u64 || is_zero)
    }

    /// Forgets all, because it is that of another file.
    pub(super) fn forget(&self) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.write_all_at(&HighWaterMark::default().to_bytes(), 0)?;
        self.0.sync_all()
    }

    /// The mark, or `None` if it is damaged.
    pub(super) fn read(&self) -> io::Result<Option<HighWaterMark>> {
        let mut bytes = [0; LENGTH];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(HighWaterMark::of_bytes(&bytes))
    }

    /// When the mark was last written.
    pub(super) fn written_at(&self) -> io::Result<SystemTime> {
        self.0.metadata()?.modified()
    }

    /// Notes that the structure of the database is damaged, for the next open.
    pub(super) fn set_damaged(&self) -> io::Result<()> {
        self.0.write_all_at(&DAMAGED, DAMAGED_AT)?;
        self.0.sync_data()
    }

    /// Whether [`HighWaterFile::set_damaged`] was called since the file was made.
    pub(super) fn is_damaged(&self) -> io::Result<bool> {
        let mut bytes = [0; DAMAGED.len()];
        Ok(read_at(&self.0, &mut bytes, DAMAGED_AT)? && bytes == DAMAGED)
    }

    /// The copy of the first page of the database, if there is a good one.
    pub(super) fn head(&self) -> io::Result<Option<Page>> {
        let (mut page, mut sum) = ([0; PAGE], [0; 8]);
        let is_there = read_at(&self.0, &mut page, HEAD_AT)? && read_at(&self.0, &mut sum, HEAD_AT + PAGE as u64)?;
        Ok((is_there && sum == XxHash3_64::oneshot(&page).to_le_bytes()).then_some(page))
    }

    /// Keeps a copy of the first page of the database.
    pub(super) fn keep_head(&self, page: &Page) -> io::Result<()> {
        self.0.write_all_at(page, HEAD_AT)?;
        self.0.write_all_at(&XxHash3_64::oneshot(page).to_le_bytes(), HEAD_AT + PAGE as u64)?;
        self.0.sync_all()
    }

    /// Writes the mark after each commit of `connection`, whose database is at `path`, and writes the log back when it is long.
    pub(super) fn follow(&self, connection: &mut Connection, path: &Path) -> Result<(), FollowError> {
        let (file, log_path) = (self.0.try_clone()?, log_path(path));
        let mut follower = Follower { file, log: None, log_path, last: HighWaterMark::default() };
        connection.wal_hook(Some(move |log: &mut Wal, frames| {
            follower.committed(log, u32::try_from(frames).unwrap_or_default());
            Ok(())
        }))?;
        Ok(())
    }

    /// Writes the log of `connection` back and notes that no frame of it is needed, before the connection is closed and removes the log.
    /// Synced, because the removal may be on disk first.
    pub(super) fn release(&self, connection: &Connection) -> Result<(), FollowError> {
        if write_back(connection)? {
            self.0.write_all_at(&HighWaterMark::default().to_bytes(), 0)?;
            self.0.sync_data()?;
        }
        Ok(())
    }
}

/// Why the log cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    #[error("the file of the high-water mark fails")]
    File(#[from] io::Error),
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
}

/// Writes the mark after each commit.
struct Follower {
    file: File,
    /// SQLite has no locks on the log, so it loses none if this is closed.
    log: Option<File>,
    log_path: PathBuf,
    last: HighWaterMark,
}

impl Follower {
    /// The log has this number of frames, and all are on disk.
    fn committed(&mut self, log: &mut Wal, frames: u32) {
        let written_back = if frames >= WRITE_BACK {
            // A failure is no failure of the commit: the next one tries again, as with SQLite's own limit.
            let written_back = log.checkpoint_v2(CheckpointMode::PASSIVE).ok();
            written_back.and_then(|(_, frames)| u32::try_from(frames).ok())
        } else {
            None
        };
        if let Some(salts) = self.salts() {
            let before = if self.last.salts == salts { self.last.written_back } else { 0 };
            let mark = HighWaterMark { salts, frames, written_back: written_back.unwrap_or(before) };
            self.last = mark;
            // The earlier mark stays, which protects less.
            let _ = self.file.write_all_at(&mark.to_bytes(), 0);
        }
    }

    /// Those of the log, which other programs may begin anew as well.
    fn salts(&mut self) -> Option<[u8; 8]> {
        if self.log.is_none() {
            self.log = small::open(&self.log_path, Symlinks::Refuse).ok().map(|(log, _)| log);
        }
        let mut salts = [0; 8];
        self.log.as_ref()?.read_exact_at(&mut salts, SALTS_AT).ok()?;
        Some(salts)
    }
}

/// Writes the log back, and returns whether the file has all of it.
pub(super) fn write_back(connection: &Connection) -> rusqlite::Result<bool> {
    let is_whole = |row: &rusqlite::Row<'_>| Ok(row.get::<_, i64>(1)? == row.get::<_, i64>(2)?);
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), is_whole)
}

/// Fills `bytes` from `at` on, or returns that the file ends before.
pub(super) fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database in write-ahead mode, followed.
    fn followed(path: &Path) -> (Connection, HighWaterFile) {
        let mut connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        let synced = HighWaterFile::open(path).unwrap();
        synced.follow(&mut connection, path).unwrap();
        (connection, synced)
    }

    fn log_frames(path: &Path) -> u32 {
        u32::try_from((std::fs::metadata(log_path(path)).unwrap().len() - 32) / (24 + 4096)).unwrap()
    }

    #[test]
    fn the_mark_has_the_frames_of_each_commit_and_none_after_the_log_was_written_back() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ledger");
        let (connection, synced) = followed(&path);
        assert_eq!(synced.read().unwrap(), Some(HighWaterMark::default()));
        connection.execute_batch("CREATE TABLE entry (id INTEGER PRIMARY KEY)").unwrap();
        for _ in 0..3 {
            connection.execute("INSERT INTO entry VALUES (NULL)", ()).unwrap();
            let mark = synced.read().unwrap().unwrap();
            assert_eq!((mark.frames, mark.written_back), (log_frames(&path), 0));
            assert_eq!(mark.salts, std::fs::read(log_path(&path)).unwrap()[16..24]);
        }
        synced.release(&connection).unwrap();
        assert_eq!(synced.read().unwrap(), Some(HighWaterMark::default()));
    }

    #[test]
    fn a_long_log_is_written_back_and_the_mark_follows_it_when_it_begins_anew() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ledger");
        let (connection, synced) = followed(&path);
        connection.execute_batch("CREATE TABLE entry (id INTEGER PRIMARY KEY, text TEXT)").unwrap();
        let before = synced.read().unwrap().unwrap();
        let long = format!("INSERT INTO entry VALUES (NULL, zeroblob({}))", WRITE_BACK * 4096);
        connection.execute(&long, ()).unwrap();
        let full = synced.read().unwrap().unwrap();
        assert!(full.frames > WRITE_BACK && full.written_back == full.frames && full.salts == before.salts, "{full:?}");
        connection.execute("INSERT INTO entry VALUES (NULL, '')", ()).unwrap();
        let anew = synced.read().unwrap().unwrap();
        assert!(anew.frames < before.frames + 3 && anew.written_back == 0 && anew.salts != full.salts, "{anew:?}");
    }

    #[test]
    fn a_first_mark_whose_bytes_a_power_cut_lost_is_a_new_one_and_zeros_in_a_longer_file_are_none() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ledger");
        for (length, mark) in [(0, true), (LENGTH - 1, true), (LENGTH, true), (LENGTH + 1, false), (3 * PAGE, false)] {
            std::fs::write(with_ending(&path, SYNCED), vec![0; length]).unwrap();
            let read = HighWaterFile::open(&path).unwrap().read().unwrap();
            assert_eq!(read, mark.then(HighWaterMark::default), "{length} bytes");
        }
    }

    #[test]
    fn a_mark_with_one_flipped_bit_is_none() {
        let mark = HighWaterMark { salts: [1, 2, 3, 4, 5, 6, 7, 8], frames: 9, written_back: 4 };
        let bytes = mark.to_bytes();
        assert_eq!(HighWaterMark::of_bytes(&bytes), Some(mark));
        for bit in 0..LENGTH * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(HighWaterMark::of_bytes(&damaged), None, "bit {bit}");
        }
    }
}
