//! File events on the directories that may hold `honcho.json`.
//!
//! The *directory* is watched, because a rename replaces the file itself; directories that appear later are added as they
//! are found: those that do not exist are looked for at each poll.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use actix::Message;
use tracing::debug;

use crate::files::events::Watched;
use crate::files::{FileEvents, FileStamp, Listening};
use crate::locked::locked;
use caduceus_supervision::Port;

/// A file that may have a grant may have changed.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct GrantFileTouched;

/// A file that may have a grant, and its directory: device and number, `None` if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WatchedFile {
    file: PathBuf,
    directory: Option<(u64, u64)>,
}

impl WatchedFile {
    /// Examines the directory of `file`. Blocks.
    pub(super) fn of(file: &Path) -> Self {
        let directory = match file.parent().map(FileStamp::read) {
            Some(FileStamp::Present { device, inode, .. }) => Some((device, inode)),
            _ => None,
        };
        Self { file: file.to_owned(), directory }
    }
}

/// The watch; dropping it ends it.
pub(super) struct GrantWatch {
    events: FileEvents,
    listening: BTreeMap<PathBuf, ((u64, u64), Listening)>,
    /// Directories that do not exist, so that nothing reports a file in them.
    missing: BTreeSet<PathBuf>,
    /// The mailbox refused a notification since the last look.
    missed: Arc<AtomicBool>,
    names: Arc<Mutex<BTreeSet<OsString>>>,
    port: Port<GrantFileTouched>,
    touched: Arc<AtomicBool>,
}

impl GrantWatch {
    /// Notifies `port` of changes to a file added later, once until `touched` is reset.
    pub(super) fn new(events: FileEvents, port: Port<GrantFileTouched>, touched: Arc<AtomicBool>) -> Self {
        Self {
            events,
            listening: BTreeMap::new(),
            missing: BTreeSet::new(),
            missed: Arc::default(),
            names: Arc::default(),
            port,
            touched,
        }
    }

    /// Whether the mailbox refused a notification since the last call.
    pub(super) fn take_missed(&self) -> bool {
        self.missed.swap(false, Ordering::SeqCst)
    }

    /// The directories that do not exist.
    pub(super) fn missing(&self) -> &BTreeSet<PathBuf> {
        &self.missing
    }

    /// Adds the directory of a file, if it exists and is not watched yet.
    pub(super) fn add(&mut self, place: &WatchedFile) {
        let (Some(directory), Some(name)) = (place.file.parent(), place.file.file_name()) else {
            return;
        };
        locked(&self.names).insert(name.to_owned());
        let Some(identity) = place.directory else {
            // It may be created again as a new directory.
            self.listening.remove(directory);
            self.missing.insert(directory.to_owned());
            return;
        };
        self.missing.remove(directory);
        let listens = |(at, listening): &((u64, u64), Listening)| *at == identity && listening.watched() != Watched::No;
        if self.listening.get(directory).is_some_and(listens) {
            return;
        }
        let (names, port, touched, missed) =
            (Arc::clone(&self.names), self.port.clone(), Arc::clone(&self.touched), Arc::clone(&self.missed));
        let matches = move |name: &std::ffi::OsStr| locked(&names).contains(name);
        let tell = move || {
            if !touched.swap(true, Ordering::SeqCst)
                && let Err(error) = port.tell(GrantFileTouched)
            {
                touched.store(false, Ordering::SeqCst);
                missed.store(true, Ordering::SeqCst);
                debug!(%error, "file event not delivered; the next tick covers it");
            }
        };
        let files: Vec<_> = name.to_str().into_iter().collect();
        let listening = self.events.listen(directory, &files, matches, tell);
        self.listening.insert(directory.to_owned(), (identity, listening));
    }
}
