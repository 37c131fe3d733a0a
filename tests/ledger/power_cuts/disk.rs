//! What a disk may hold after a power cut.
//!
//! All that a sync has covered is there. Of what came later, each sector has the content of any moment since the last sync of its file,
//! independently of the others, and so has the length of a file. Names that were made, changed or removed since the last sync of the
//! directory are there or not, each independently. So writes are dropped, torn, and on disk in any order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fastrand::Rng;

use super::journal::{Journal, Names, Record};

/// Endings of files that have nothing that is needed.
const LEFT_OUT: [&str; 2] = ["-shm", ".lock"];

/// A change of a file that no sync has covered.
enum Change {
    Written { at: usize, offset: usize, bytes: Range<usize> },
    Truncated { at: usize, size: usize },
}

#[derive(Default)]
struct DiskFile {
    /// Its content at the last sync.
    synced: Vec<u8>,
    /// The record of the last change before that.
    synced_at: usize,
    changes: Vec<Change>,
}

#[derive(Clone)]
enum NameChange {
    Set { name: String, file: usize },
    Renamed { from: String, to: String },
    Removed { name: String },
}

/// The directory of the ledger at a moment of a journal.
#[derive(Default)]
pub(super) struct Disk {
    files: Vec<DiskFile>,
    /// The files of the running gateway: an inode may be another file for the next one.
    inodes: HashMap<u64, usize>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    /// A disk that reports a sync of a file as done, and does nothing.
    pub(super) ignores_syncs: bool,
}

/// Which moment since the last sync a sector, a length or a name has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// The last sync.
    Nothing,
    /// The last one.
    All,
    /// Any, each another.
    Any,
    /// All of them the same one.
    UpTo(usize),
}

impl Disk {
    /// The directory before a journal: all in it is on disk.
    pub(super) fn of(directory: &Path) -> Self {
        let mut disk = Self::default();
        let names = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        for name in names.map(|name| name.into_string().unwrap()) {
            if !LEFT_OUT.iter().any(|ending| name.ends_with(ending)) {
                let file = DiskFile { synced: fs::read(directory.join(&name)).unwrap(), ..DiskFile::default() };
                disk.synced_names.insert(name, disk.files.len());
                disk.files.push(file);
            }
        }
        disk.names.clone_from(&disk.synced_names);
        disk
    }

    /// The record at `at` happened.
    pub(super) fn apply(&mut self, journal: &Journal, at: usize) {
        match &journal.records[at] {
            Record::Begun(found) => {
                self.inodes.clear();
                // What the gateway before has left.
                for (name, inode) in found {
                    if let Some(file) = self.names.get(name) {
                        self.inodes.insert(*inode, *file);
                    }
                }
                self.find(found);
            }
            Record::Named { inode, name } => {
                let file = self.file(*inode);
                self.set_name(name.clone(), file);
            }
            Record::Written { inode, offset, bytes } => {
                let change = Change::Written { at, offset: *offset, bytes: bytes.clone() };
                let file = self.file(*inode);
                self.files[file].changes.push(change);
            }
            Record::Truncated { inode, size } => {
                let file = self.file(*inode);
                self.files[file].changes.push(Change::Truncated { at, size: *size });
            }
            Record::Synced { .. } if self.ignores_syncs => {}
            Record::Synced { inode } => {
                let file = self.file(*inode);
                self.files[file].sync(journal);
            }
            Record::DirectorySynced(found) => {
                self.find(found);
                self.synced_names.clone_from(&self.names);
                self.name_changes.clear();
            }
            Record::Renamed { from, to } => {
                self.change_name(NameChange::Renamed { from: from.clone(), to: to.clone() });
            }
            Record::Linked { from, to } => {
                if let Some(file) = self.names.get(from) {
                    self.set_name(to.clone(), *file);
                }
            }
            Record::Unlinked { name } => self.change_name(NameChange::Removed { name: name.clone() }),
            Record::Sent { .. } | Record::SentInPart { .. } => {}
        }
    }

    /// Writes what the disk may hold now into `directory`; returns how it was chosen.
    pub(super) fn cut(&self, journal: &Journal, directory: &Path, now: usize, rng: &mut Rng) -> String {
        fs::create_dir_all(directory).unwrap();
        let sector = [512, 4096][rng.usize(0..2)];
        let kept = |rng: &mut Rng| match rng.u8(0..8) {
            0 => Kept::Nothing,
            1 => Kept::All,
            2 => Kept::UpTo(now.saturating_sub(rng.usize(0..200))),
            _ => Kept::Any,
        };
        let names = self.names_after_cut(kept(rng), rng);
        let mut how = format!("sectors of {sector}");
        for (name, file) in names {
            let kept = kept(rng);
            let (bytes, changed_at) = self.files[file].after_cut(journal, kept, sector, rng);
            let _ = write!(how, ", {name} {kept:?} {} bytes", bytes.len());
            let path = directory.join(name);
            fs::write(&path, bytes).unwrap();
            let time =
                SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + Duration::from_millis(changed_at as u64);
            fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }
        // It is never synced, and of use only while the process lives.
        if rng.bool() {
            let garbage: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(32_768).collect();
            fs::write(directory.join("ledger.db-shm"), garbage).unwrap();
        }
        how
    }

    /// The file with this inode, of which nothing was known before.
    fn file(&mut self, inode: u64) -> usize {
        *self.inodes.entry(inode).or_insert_with(|| {
            self.files.push(DiskFile::default());
            self.files.len() - 1
        })
    }

    /// These are all names, now.
    fn find(&mut self, found: &Names) {
        let mut names = BTreeMap::new();
        for (name, inode) in found {
            let file = self.file(*inode);
            if self.names.get(name) != Some(&file) {
                // It was made by a call that is not journalled.
                self.set_name(name.clone(), file);
            }
            names.insert(name.clone(), file);
        }
        self.names = names;
    }

    fn set_name(&mut self, name: String, file: usize) {
        self.change_name(NameChange::Set { name, file });
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn names_after_cut(&self, kept: Kept, rng: &mut Rng) -> BTreeMap<String, usize> {
        let mut names = self.synced_names.clone();
        let first = match kept {
            Kept::UpTo(_) => rng.usize(0..=self.name_changes.len()),
            _ => self.name_changes.len(),
        };
        for change in &self.name_changes[..first] {
            if kept != Kept::Nothing && (kept != Kept::Any || rng.bool()) {
                change.apply(&mut names);
            }
        }
        names
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Set { name, file } => drop(names.insert(name.clone(), *file)),
            // The name may never have been on disk.
            Self::Renamed { from, to } => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Removed { name } => drop(names.remove(name)),
        }
    }
}

impl Change {
    fn at(&self) -> usize {
        match self {
            Self::Written { at, .. } | Self::Truncated { at, .. } => *at,
        }
    }

    /// The length of a file of `length` after this.
    fn length(&self, length: usize) -> usize {
        match self {
            Self::Written { offset, bytes, .. } => length.max(offset + bytes.len()),
            Self::Truncated { size, .. } => *size,
        }
    }

    /// Carries it out on the part of the file that begins at `start`.
    fn apply(&self, journal: &Journal, part: &mut [u8], start: usize) {
        match self {
            Self::Written { offset, bytes, .. } => {
                let (from, to) = ((*offset).max(start), (offset + bytes.len()).min(start + part.len()));
                if from < to {
                    part[from - start..to - start].copy_from_slice(&journal.bytes(bytes)[from - offset..to - offset]);
                }
            }
            Self::Truncated { size, .. } => {
                let from = (*size).clamp(start, start + part.len());
                part[from - start..].fill(0);
            }
        }
    }
}

impl DiskFile {
    fn sync(&mut self, journal: &Journal) {
        for change in std::mem::take(&mut self.changes) {
            self.synced.resize(change.length(self.synced.len()), 0);
            change.apply(journal, &mut self.synced, 0);
            self.synced_at = change.at();
        }
    }

    /// Its content, and the record of the change after which its time of modification was written.
    fn after_cut(&self, journal: &Journal, kept: Kept, sector: usize, rng: &mut Rng) -> (Vec<u8>, usize) {
        let all = self.changes.len();
        let mut moment = |from: usize, to: usize| match kept {
            Kept::Nothing => from,
            Kept::All => to,
            Kept::Any => rng.usize(from..=to),
            Kept::UpTo(until) => self.changes.partition_point(|change| change.at() <= until).clamp(from, to),
        };
        let mut lengths = vec![self.synced.len()];
        self.changes.iter().for_each(|change| lengths.push(change.length(*lengths.last().unwrap())));
        let of_length = moment(0, all);
        let length = lengths[of_length];
        // What a truncation cut off is gone with the length before it, and comes back with it.
        let is_cut = |change: usize| lengths[change + 1] < lengths[change];
        let from = (0..of_length).rev().find(|change| is_cut(*change)).map_or(0, |last| last + 1);
        let to = (of_length..all).find(|change| is_cut(*change)).unwrap_or(all);
        let changed_at = moment(0, all).checked_sub(1).map_or(self.synced_at, |last| self.changes[last].at());
        let mut bytes = self.synced.clone();
        bytes.resize(length.next_multiple_of(sector), 0);
        for index in self.touched(sector) {
            let until = moment(from, to);
            let start = index * sector;
            let Some(part) = bytes.get_mut(start..start + sector) else { continue };
            for change in &self.changes[..until] {
                change.apply(journal, part, start);
            }
        }
        bytes.truncate(length);
        (bytes, changed_at)
    }

    /// The sectors that were changed since the last sync.
    fn touched(&self, sector: usize) -> BTreeSet<usize> {
        let mut touched = BTreeSet::new();
        for change in &self.changes {
            match change {
                Change::Written { offset, bytes, .. } if !bytes.is_empty() => {
                    touched.extend(offset / sector..=(offset + bytes.len() - 1) / sector);
                }
                Change::Written { .. } => {}
                // What is beyond is zero if the file grows again.
                Change::Truncated { size, .. } => touched.extend(size / sector..self.synced.len().div_ceil(sector)),
            }
        }
        touched
    }
}
