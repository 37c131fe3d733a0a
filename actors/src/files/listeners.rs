//! Who listens where, and what is known of each directory. No I/O.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind};

use super::FileStamp;
use super::stamp::DirectoryIdentity;

/// Interval of the checks of a directory that gives no events, or not all.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Interval of the checks of a directory whose file system gives all events: it may be replaced, moved, or stop to answer.
const CHECK_WATCHED_EVERY: Duration = Duration::from_secs(4);

#[derive(Default)]
pub(super) struct Listeners {
    last: u64,
    /// How often the state of a directory changed.
    changes: u64,
    by_directory: HashMap<PathBuf, Directory>,
}

#[derive(Default)]
struct Directory {
    listeners: Vec<(u64, Arc<FileListener>)>,
    /// Listeners up to this number were notified that the present directory is watched.
    notified: u64,
    watched: Watched,
    /// Of the directory that is watched.
    identity: Option<DirectoryIdentity>,
    /// Its file system gives an event for every change of its entries.
    complete: bool,
    /// A trial is running whose watch is not set yet.
    pending: bool,
    /// The files of its listeners, each once.
    files: Arc<[OsString]>,
    /// Those as the last check found them.
    seen: Arc<DirectoryStamps>,
    checked: Option<Instant>,
    /// A check of it has not returned.
    hangs: bool,
}

/// Whether a directory gives events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watched {
    /// Unknown yet; remains so while its file system hangs.
    #[default]
    NotYet,
    /// It does.
    Yes,
    /// It does not: it does not exist, or the system has no watch left.
    No,
}

/// What a trial of a watch found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ProbedDirectory {
    /// Its file system gives an event for every change of its entries.
    pub(super) complete: bool,
    /// `None` if there is no directory.
    pub(super) identity: Option<DirectoryIdentity>,
}

pub(super) struct FileListener {
    /// The entries that are checked where the events may be incomplete.
    pub(super) files: Vec<OsString>,
    pub(super) matches: Box<dyn Fn(&OsStr) -> bool + Send + Sync>,
    pub(super) notify: Box<dyn Fn() + Send + Sync>,
}

/// A directory and some of its files, as a check found them. Empty before the first check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DirectoryStamps {
    pub(super) directory: Option<FileStamp>,
    pub(super) files: HashMap<OsString, FileStamp>,
    /// Whether one of the files is a symbolic link: its target changes without an event here.
    pub(super) has_link: bool,
}

/// A directory that is due for a check.
pub(super) struct DueDirectory {
    pub(super) path: PathBuf,
    pub(super) files: Arc<[OsString]>,
    pub(super) seen: Arc<DirectoryStamps>,
    /// Its files need no check unless its entries changed.
    pub(super) complete: bool,
}

/// What follows from a check.
#[derive(Default)]
pub(super) struct CheckOutcome {
    pub(super) notified: Vec<Arc<FileListener>>,
    /// Another directory is at the path: the watch has to be set again.
    pub(super) replaced: bool,
}

impl DirectoryStamps {
    /// Whether the directory is still the one that was seen: its own identity, not its entries.
    fn is_same_directory(&self, now: &Self) -> bool {
        match (&self.directory, &now.directory) {
            (
                Some(FileStamp::Present { device, inode, .. }),
                Some(FileStamp::Present { device: now_device, inode: now_inode, .. }),
            ) => (device, inode) == (now_device, now_inode),
            (Some(FileStamp::Present { .. }), _) | (_, Some(FileStamp::Present { .. })) => false,
            _ => true,
        }
    }
}

impl Directory {
    fn is_complete(&self) -> bool {
        self.watched == Watched::Yes && self.complete && !self.seen.has_link
    }

    fn list_files(&mut self) {
        let mut files: Vec<_> = self.listeners.iter().flat_map(|(_, listener)| listener.files.clone()).collect();
        files.sort_unstable();
        files.dedup();
        self.files = files.into();
    }

    fn all(&self) -> Vec<Arc<FileListener>> {
        self.listeners.iter().map(|(_, listener)| Arc::clone(listener)).collect()
    }
}

impl Listeners {
    /// Returns the listener's number, and whether the watch must be updated.
    pub(super) fn add(&mut self, directory: &Path, listener: Arc<FileListener>) -> (u64, bool) {
        self.last += 1;
        let place = self.by_directory.entry(directory.to_owned()).or_default();
        place.listeners.push((self.last, listener));
        place.list_files();
        (self.last, !std::mem::replace(&mut place.pending, true))
    }

    pub(super) fn not_pending(&mut self, directory: &Path) {
        if let Some(place) = self.by_directory.get_mut(directory) {
            place.pending = false;
        }
    }

    /// The watch of this directory has to be set again. Returns whether no trial is running yet.
    pub(super) fn set_pending(&mut self, directory: &Path) -> bool {
        self.by_directory.get_mut(directory).is_some_and(|place| !std::mem::replace(&mut place.pending, true))
    }

    /// Whether there are listeners; later ones start a new update.
    pub(super) fn begin_setting(&mut self, directory: &Path) -> bool {
        self.not_pending(directory);
        self.by_directory.contains_key(directory)
    }

    /// Stores the new state, and returns the former one and the listeners to notify: those that were added since the same directory was
    /// last found, or all.
    pub(super) fn set(
        &mut self,
        directory: &Path,
        watched: Watched,
        probed: ProbedDirectory,
    ) -> (Watched, Vec<Arc<FileListener>>) {
        let Some(place) = self.by_directory.get_mut(directory) else { return (Watched::No, Vec::new()) };
        let before = std::mem::replace(&mut place.watched, watched);
        self.changes += u64::from(before != watched);
        place.complete = probed.complete;
        let is_same = before == Watched::Yes
            && place.identity.zip(probed.identity).is_some_and(|(before, now)| before.is_certainly(now));
        place.identity = probed.identity;
        if watched != Watched::Yes {
            return (before, Vec::new());
        }
        let since = if is_same { place.notified } else { 0 };
        place.notified = place.listeners.last().map_or(0, |(number, _)| *number);
        let notified = place.listeners.iter().filter(|(number, _)| *number > since);
        (before, notified.map(|(_, listener)| Arc::clone(listener)).collect())
    }

    pub(super) fn watched(&self, directory: &Path) -> Watched {
        self.by_directory.get(directory).map(|place| place.watched).unwrap_or_default()
    }

    /// How often [`Listeners::watched`] changed, of any directory.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn directories(&self) -> usize {
        self.by_directory.len()
    }

    /// Whether `directory` has no listeners left.
    pub(super) fn remove(&mut self, directory: &Path, number: u64) -> bool {
        let Some(place) = self.by_directory.get_mut(directory) else { return true };
        place.listeners.retain(|(of, _)| *of != number);
        place.list_files();
        let empty = place.listeners.is_empty();
        if empty {
            self.by_directory.remove(directory);
            self.changes += 1;
        }
        empty
    }

    /// The directories to check now.
    pub(super) fn due(&self, now: Instant) -> Vec<DueDirectory> {
        let due = self.by_directory.iter().filter(|(_, place)| {
            let every = if place.is_complete() { CHECK_WATCHED_EVERY } else { CHECK_EVERY };
            !place.hangs && place.checked.is_none_or(|at| now.saturating_duration_since(at) >= every)
        });
        let due = due.map(|(path, place)| {
            let (files, seen) = (Arc::clone(&place.files), Arc::clone(&place.seen));
            DueDirectory { path: path.clone(), files, seen, complete: place.is_complete() }
        });
        due.collect()
    }

    /// A check has found `now`.
    pub(super) fn checked(&mut self, directory: &Path, now: Arc<DirectoryStamps>, at: Instant) -> CheckOutcome {
        let Some(place) = self.by_directory.get_mut(directory) else { return CheckOutcome::default() };
        let answers_again = std::mem::take(&mut place.hangs);
        place.checked = Some(at);
        let before = std::mem::replace(&mut place.seen, now);
        let first = before.directory.is_none();
        let replaced = !first && !before.is_same_directory(&place.seen);
        let complete = place.is_complete();
        let differs = |file: &OsString| match before.files.get(file) {
            Some(before) => place.seen.files.get(file).is_some_and(|found| found != before),
            // Without events a change since its listener read it has gone unnoticed.
            None => !complete,
        };
        let concerned = |listener: &FileListener| answers_again || replaced || listener.files.iter().any(differs);
        let notified = place.listeners.iter().filter(|(_, listener)| concerned(listener));
        CheckOutcome { notified: notified.map(|(_, listener)| Arc::clone(listener)).collect(), replaced }
    }

    /// A check of this directory does not return. Returns its listeners, which find out for themselves.
    pub(super) fn hangs(&mut self, directory: &Path) -> Vec<Arc<FileListener>> {
        let Some(place) = self.by_directory.get_mut(directory) else { return Vec::new() };
        place.hangs = true;
        place.all()
    }

    /// The listeners of `event`, each once.
    pub(super) fn of(&mut self, event: &notify::Result<Event>) -> Vec<Arc<FileListener>> {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            _ => return self.by_directory.values().flat_map(Directory::all).collect(),
        };
        // A read is not a change.
        if let EventKind::Access(kind) = event.kind
            && kind != AccessKind::Close(AccessMode::Write)
        {
            return Vec::new();
        }
        let mut notified: Vec<Arc<FileListener>> = Vec::new();
        for path in &event.paths {
            // Its watch ends with it, also if the same directory is there again later.
            if let Some(place) = self.by_directory.get_mut(path)
                && matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
            {
                place.identity = None;
            }
            let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { continue };
            for (_, listener) in self.by_directory.get(directory).into_iter().flat_map(|place| &place.listeners) {
                if (listener.matches)(name) && !notified.iter().any(|other| Arc::ptr_eq(other, listener)) {
                    notified.push(Arc::clone(listener));
                }
            }
        }
        notified
    }
}
