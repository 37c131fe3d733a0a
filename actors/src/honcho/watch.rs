//! File events on the directories that may hold `honcho.json`.
//!
//! The *directory* is watched, since a rename replaces the file itself; directories that appear later are added as they
//! are found. File systems that give no events are left to the poll.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use actix::Message;
use tracing::debug;

use crate::files::events::Watched;
use crate::files::{FileEvents, Listening, Stamp};
use crate::locked::locked;
use caduceus_supervision::Port;

/// News: a file that may hold a grant may have changed.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct GrantFileTouched;

/// A file that may hold a grant, and which directory it lies in: device and number, `None` if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    file: PathBuf,
    directory: Option<(u64, u64)>,
}

impl Spot {
    /// Looks at the directory of `file`. Blocks.
    pub(super) fn of(file: &Path) -> Self {
        let directory = match file.parent().map(Stamp::look) {
            Some(Stamp::Present { device, inode, .. }) => Some((device, inode)),
            _ => None,
        };
        Self { file: file.to_owned(), directory }
    }
}

/// The watch; dropping it ends it.
pub(super) struct Watch {
    events: FileEvents,
    listening: BTreeMap<PathBuf, ((u64, u64), Listening)>,
    names: Arc<Mutex<BTreeSet<OsString>>>,
    port: Port<GrantFileTouched>,
    told: Arc<AtomicBool>,
}

impl Watch {
    /// Tells `port` of every change to a file added later, once until `told` is set back.
    pub(super) fn new(events: FileEvents, port: Port<GrantFileTouched>, told: Arc<AtomicBool>) -> Self {
        Self { events, listening: BTreeMap::new(), names: Arc::default(), port, told }
    }

    /// Adds the directory of a file, if it is there and not watched yet.
    pub(super) fn add(&mut self, spot: &Spot) {
        let (Some(directory), Some(name)) = (spot.file.parent(), spot.file.file_name()) else {
            return;
        };
        locked(&self.names).insert(name.to_owned());
        let Some(identity) = spot.directory else {
            // It may come back, as another one.
            self.listening.remove(directory);
            return;
        };
        let listens = |(at, listening): &((u64, u64), Listening)| *at == identity && listening.watched() != Watched::No;
        if self.listening.get(directory).is_some_and(listens) {
            return;
        }
        let (names, port, told) = (Arc::clone(&self.names), self.port.clone(), Arc::clone(&self.told));
        let hears = move |name: &std::ffi::OsStr| locked(&names).contains(name);
        let tell = move || {
            if !told.swap(true, Ordering::SeqCst)
                && let Err(error) = port.tell(GrantFileTouched)
            {
                told.store(false, Ordering::SeqCst);
                debug!(%error, "nobody was told of a file event; the poll will see it");
            }
        };
        let listening = self.events.listen(directory, hears, tell);
        self.listening.insert(directory.to_owned(), (identity, listening));
    }
}
