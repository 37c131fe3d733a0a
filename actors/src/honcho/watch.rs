//! File events on the directories that may hold `honcho.json`.
//!
//! The *directory* is watched, since a rename replaces the file itself; directories that appear later are added as they
//! are found. File systems that give no events are left to the poll.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actix::Message;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tracing::{debug, warn};

use crate::supervision::Port;

/// News: a file that may hold a grant may have changed.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct GrantFileTouched;

/// The watch; dropping it ends it.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    directories: BTreeSet<PathBuf>,
    names: Arc<Mutex<BTreeSet<OsString>>>,
}

impl Watch {
    /// Tells `port` of every change to a file added later, once until `told` is set back.
    pub(super) fn new(port: Port<GrantFileTouched>, told: Arc<AtomicBool>) -> Self {
        let names = Arc::new(Mutex::new(BTreeSet::new()));
        let known = Arc::clone(&names);
        let on_event = move |event: notify::Result<Event>| {
            if event.as_ref().map_or(true, |event| concerns(event, &known))
                && !told.swap(true, Ordering::SeqCst)
                && let Err(error) = port.tell(GrantFileTouched)
            {
                told.store(false, Ordering::SeqCst);
                debug!(%error, "nobody was told of a file event; the poll will see it");
            }
        };
        let watcher = notify::recommended_watcher(on_event);
        let watcher = watcher.inspect_err(|error| warn!(%error, "there are no file events here; grants are polled"));
        Self { watcher: watcher.ok(), directories: BTreeSet::new(), names }
    }

    /// Adds the directory of `file`, if it is there and not watched yet.
    pub(super) fn add(&mut self, file: &Path) {
        let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else {
            return;
        };
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        if !directory.is_dir() {
            // It may come back, as another one.
            self.directories.remove(directory);
        } else if !self.directories.contains(directory) {
            match watcher.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.directories.insert(directory.to_owned())),
                Err(error) => debug!(directory = %directory.display(), %error, "no file events here; it is polled"),
            }
        }
    }
}

fn concerns(event: &Event, names: &Mutex<BTreeSet<OsString>>) -> bool {
    // Our own reading is no news.
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    let names = names.lock().unwrap_or_else(PoisonError::into_inner);
    event.need_rescan() || event.paths.iter().any(|path| path.file_name().is_some_and(|name| names.contains(name)))
}
