//! What is wrong with the ledger's files, before SQLite opens them: it would drop frames of the log in silence, and believe a damaged
//! header. What is certain is restored: the first page from its copy, and single bits of the log.

use std::fs::{File, remove_file};
use std::io::{self, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::head_page::{self, MAGIC, PAGE, Page};
use super::high_water::{HighWaterFile, HighWaterMark};
use super::log_scan::{self, LogScan};
use super::names::{JOURNAL, log_path, with_ending};
use crate::files::{Symlinks, own, small};

/// The page of 4,096 bytes at 1 GiB, which SQLite never writes: its locks are there.
const LOCK_PAGE: u32 = (1 << 18) + 1;

/// What was found, and what is to be done.
#[derive(Debug, Default)]
pub(super) struct Examination {
    /// Each problem in a sentence.
    pub(super) found: Vec<String>,
    /// It is no file of a ledger, for this reason.
    pub(super) foreign: Option<&'static str>,
    /// Its rows have to be carried over to a new file.
    pub(super) is_damaged: bool,
    /// The end of the log is lost.
    pub(super) is_cut: bool,
    /// The log is of no use any more.
    pub(super) without_log: bool,
}

/// Examines the ledger at `path`. A copy of a file that is restored is at `aside`.
pub(super) fn examine(path: &Path, synced: &HighWaterFile, aside: &Path) -> io::Result<Examination> {
    let file = own::open_or_create(path, own::OpenMode::ReadWrite, 0o600).map_err(|error| error.why)?;
    if let (Some(page), Some(copy)) = (head_page::read(&file)?, synced.head()?)
        && !head_page::is_of_one_file(&page, &copy)
    {
        // Another file was put here.
        synced.forget()?;
    }
    let mut examination = Examination { is_damaged: synced.is_damaged()?, ..Examination::default() };
    let copy = synced.head()?;
    if copy.is_none() && has_journal(path)? {
        // A first start was cut off while it wrote the first page: SQLite undoes that, whatever the page is.
        return Ok(examination);
    }
    examination.head(&file, copy.as_ref(), aside)?;
    if examination.foreign.is_some() {
        return Ok(examination);
    }
    let mark = synced.read()?.unwrap_or_else(|| {
        examination.found.push("the high-water mark of the log is corrupt".to_owned());
        HighWaterMark::default()
    });
    let log = match small::open(&log_path(path), Symlinks::Refuse) {
        Ok((log, metadata)) => Some(log).filter(|_| metadata.len() > 0),
        Err(error) if error.is_missing() => None,
        Err(error) => return Err(error.into()),
    };
    let pages = file.metadata()?.len().div_ceil(PAGE as u64);
    match log {
        Some(log) if mark.frames > 0 => {
            let scan = log_scan::scan(&log, &mark)?;
            let has_more = log.metadata()?.len() > scan.end;
            examination.log(&scan, &mark, has_more);
            examination.repair(&scan, &log, path, aside)?;
            let is_there = |page: u32| u64::from(page) <= pages || scan.pages.contains(&page) || page == LOCK_PAGE;
            if let Some(page) = (1..=scan.database_pages).find(|page| !is_there(*page)) {
                examination.damaged(format!("the file is cut off: page {page} of {} is missing", scan.database_pages));
            }
        }
        // Its frames are above the mark, or the mark is that of the log before.
        Some(_) => {}
        None => {
            // Another program that writes the log back and removes it changes the file after the mark: then the log is not needed.
            let is_needed = mark.frames > mark.written_back && file.metadata()?.modified()? <= synced.written_at()?;
            if is_needed {
                examination.cut(format!("the write-ahead log with {} frames is missing", mark.frames));
            }
            let in_header = head_page::read(&file)?.as_ref().and_then(head_page::pages);
            if let Some(in_header) = in_header.filter(|in_header| u64::from(*in_header) != pages) {
                examination.damaged(format!("the file has {pages} pages, and {in_header} by its header"));
            }
        }
    }
    Ok(examination)
}

impl Examination {
    fn damaged(&mut self, what: String) {
        self.found.push(what);
        self.is_damaged = true;
    }

    fn cut(&mut self, what: String) {
        self.damaged(what);
        self.is_cut = true;
    }

    /// Restores the first page, if there is a copy that says how.
    fn head(&mut self, file: &File, copy: Option<&Page>, aside: &Path) -> io::Result<()> {
        let length = file.metadata()?.len();
        let mut found = head_page::read(file)?;
        if let (Some(page), Some(copy)) = (found, copy)
            && let Some(good) = head_page::restored(&page, copy)
        {
            set_copy_aside(file, aside)?;
            file.write_all_at(&good, 0)?;
            file.sync_all()?;
            self.found.push(format!(
                "the first page of the file was damaged and is restored; before, it is {}",
                aside.display()
            ));
            found = Some(good);
        }
        match (found, copy) {
            (Some(page), _) if page.starts_with(MAGIC) => {}
            (None, None) if length == 0 => {}
            (None, Some(_)) => self.damaged(format!("the file is cut off: it has {length} bytes")),
            (Some(_), _) | (None, None) => self.foreign = Some("it does not begin as a SQLite file does"),
        }
        Ok(())
    }

    /// What the scan of the log says.
    fn log(&mut self, scan: &LogScan, mark: &HighWaterMark, has_more: bool) {
        if scan.good < mark.frames {
            let what = format!("the write-ahead log is damaged after {} of {} frames", scan.good, mark.frames);
            // Later frames may be as good, and are lost with it.
            if mark.written_back == mark.frames && !has_more {
                self.damaged(format!("{what}, all of which are in the file"));
            } else {
                self.cut(what);
            }
            // Otherwise pages of the file would be replaced by older ones.
            self.without_log = mark.written_back > scan.good;
        } else if !scan.repairs.is_empty() {
            let frames: Vec<String> = scan.repairs.iter().map(|repair| repair.frame.to_string()).collect();
            self.found.push(format!(
                "a bit of the write-ahead log was flipped in frame {}, and is restored",
                frames.join(", ")
            ));
            for page in &scan.uncertain {
                self.damaged(format!("page {page} may have another flipped bit: its frame fits several places"));
            }
        }
    }

    /// Writes the good bytes into the log.
    fn repair(&self, scan: &LogScan, log: &File, path: &Path, aside: &Path) -> io::Result<()> {
        if self.without_log || scan.repairs.is_empty() {
            return Ok(());
        }
        set_copy_aside(log, &with_ending(aside, "-wal"))?;
        let log = own::open_or_create(&log_path(path), own::OpenMode::ReadWrite, 0o600).map_err(|error| error.why)?;
        for repair in &scan.repairs {
            log.write_all_at(&repair.bytes, repair.at)?;
        }
        log.sync_all()
    }
}

/// Whether there is a journal of a transaction that was not finished. Only the one that sets the mode of the log has any.
fn has_journal(path: &Path) -> io::Result<bool> {
    match small::open(&with_ending(path, JOURNAL), Symlinks::Refuse) {
        Ok((_, metadata)) => Ok(metadata.len() > 0),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Copies `file` to `aside`.
fn set_copy_aside(mut file: &File, aside: &Path) -> io::Result<()> {
    let mut copy = own::create_new(aside, own::OpenMode::ReadWrite, 0o600).map_err(|error| error.why)?;
    file.rewind()?;
    let copied = io::copy(&mut file, &mut copy).and_then(|_| copy.sync_all());
    // The next try makes one of another name.
    copied.inspect_err(|_| drop(remove_file(aside)))
}
