//! File events for any number of listeners, from one watch for the whole process.
//!
//! One, because each costs a thread and one of the few (128) that the system allows a user, and there may be a thousand profiles.
//! *Directories* are watched, because a rename replaces a file itself. Without events the listeners poll, as all of
//! them do anyway.
//!
//! Setting a watch on a file system that hangs blocks, and would delay all events. So it is tried first with a separate watcher, on
//! a thread that can be abandoned, and only a directory that answered is added to the shared watch. No listener waits for this: it
//! is notified once its directory is watched, because earlier changes are not seen.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tracing::{debug, warn};

use super::workers::{FileWorker, Owner, Purpose};
use crate::locked::locked;

/// The watch of the process. Cheap to clone; clones share the watch, which starts with the first listener.
#[derive(Clone, Default)]
pub struct FileEvents(Arc<SharedEvents>);

#[derive(Default)]
struct SharedEvents {
    /// Used only by the worker that sets the watches, and never while the listeners are locked: its calls wait for the thread that notifies.
    watcher: Mutex<Option<RecommendedWatcher>>,
    listeners: Arc<Mutex<Listeners>>,
}

#[derive(Default)]
struct Listeners {
    last: u64,
    by_directory: HashMap<PathBuf, Directory>,
}

#[derive(Default)]
struct Directory {
    listeners: Vec<(u64, Arc<FileListener>)>,
    watched: Watched,
    /// A trial is running whose watch is not set yet.
    pending: bool,
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

struct FileListener {
    matches: Box<dyn Fn(&OsStr) -> bool + Send + Sync>,
    notify: Box<dyn Fn() + Send + Sync>,
}

/// A registration that lasts until it is dropped.
pub struct Listening {
    events: FileEvents,
    directory: PathBuf,
    number: u64,
}

impl FileEvents {
    /// Calls `notify` at every event on an entry of `directory` whose name `matches`, when the directory becomes watched, and
    /// whenever events may have been lost. It is called on a thread of the watch, which it must not block. Does not wait.
    #[must_use]
    pub fn listen(
        &self,
        directory: &Path,
        matches: impl Fn(&OsStr) -> bool + Send + Sync + 'static,
        notify: impl Fn() + Send + Sync + 'static,
    ) -> Listening {
        let listener = Arc::new(FileListener { matches: Box::new(matches), notify: Box::new(notify) });
        // Before the watch is set: an event between the two must find it.
        let (number, update) = locked(&self.0.listeners).add(directory, listener);
        // Also if one is set: another directory may have replaced the one that was watched.
        if update {
            let (events, place) = (self.clone(), directory.to_owned());
            let posted = trial_worker(directory).post(move || {
                probe_watch(&place);
                events.update_watch(place);
            });
            if !posted {
                locked(&self.0.listeners).not_pending(directory);
            }
        }
        Listening { events: self.clone(), directory: directory.to_owned(), number }
    }

    /// Has the shared watch updated for `directory`, on the thread reserved for that.
    fn update_watch(&self, directory: PathBuf) {
        let events = self.clone();
        let registrar = FileWorker::of(Path::new("the watch of the process"), Purpose::Watch, Owner::Gateway);
        let place = directory.clone();
        if !registrar.post(move || events.set(&directory)) {
            locked(&self.0.listeners).not_pending(&place);
            warn!(directory = %place.display(), "file events hang, files are polled");
        }
    }

    /// Watches `directory` if it has listeners, and stops watching it otherwise.
    fn set(&self, directory: &Path) {
        let wanted = locked(&self.0.listeners).begin_setting(directory);
        let mut watcher = locked(&self.0.watcher);
        if !wanted {
            if let Some(watcher) = &mut *watcher {
                // The watch of a removed directory has ended already.
                let _ = watcher.unwatch(directory);
            }
            return;
        }
        let set = match &mut *watcher {
            Some(watcher) => Ok(watcher),
            none => self.start().map(|started| none.insert(started)),
        };
        let set = set.and_then(|watcher| watcher.watch(directory, RecursiveMode::NonRecursive));
        drop(watcher);
        let (before, notified) =
            locked(&self.0.listeners).set(directory, if set.is_ok() { Watched::Yes } else { Watched::No });
        match &set {
            Ok(()) => {}
            Err(error) if before == Watched::No || !directory.is_dir() => {
                debug!(directory = %directory.display(), %error, "no file events here");
            }
            Err(error) => warn!(directory = %directory.display(), %error, "no file events here, files are polled"),
        }
        for listener in notified {
            (listener.notify)();
        }
    }

    fn start(&self) -> notify::Result<RecommendedWatcher> {
        let listeners = Arc::clone(&self.0.listeners);
        notify::recommended_watcher(move |event: notify::Result<Event>| {
            let notified = locked(&listeners).of(&event);
            for listener in notified {
                (listener.notify)();
            }
        })
    }
}

fn trial_worker(directory: &Path) -> FileWorker {
    FileWorker::of(directory, Purpose::Watch, Owner::Profile)
}

/// Sets the same watch with a separate watcher. The result does not matter, only that it returns.
fn probe_watch(directory: &Path) {
    if std::fs::metadata(directory).is_ok()
        && let Ok(mut watcher) = notify::recommended_watcher(|_| ())
    {
        let _ = watcher.watch(directory, RecursiveMode::NonRecursive);
    }
}

impl Listeners {
    /// Returns the listener's number, and whether the watch must be updated.
    fn add(&mut self, directory: &Path, listener: Arc<FileListener>) -> (u64, bool) {
        self.last += 1;
        let place = self.by_directory.entry(directory.to_owned()).or_default();
        place.listeners.push((self.last, listener));
        (self.last, !std::mem::replace(&mut place.pending, true))
    }

    fn not_pending(&mut self, directory: &Path) {
        if let Some(place) = self.by_directory.get_mut(directory) {
            place.pending = false;
        }
    }

    /// Whether there are listeners; later ones start a new update.
    fn begin_setting(&mut self, directory: &Path) -> bool {
        self.not_pending(directory);
        self.by_directory.contains_key(directory)
    }

    /// Stores the new state, and returns the former one and the listeners to notify.
    fn set(&mut self, directory: &Path, watched: Watched) -> (Watched, Vec<Arc<FileListener>>) {
        let Some(place) = self.by_directory.get_mut(directory) else { return (Watched::No, Vec::new()) };
        let before = std::mem::replace(&mut place.watched, watched);
        let notified =
            place.listeners.iter().filter(|_| watched == Watched::Yes).map(|(_, listener)| Arc::clone(listener));
        (before, notified.collect())
    }

    /// Whether `directory` has no listeners left.
    fn remove(&mut self, directory: &Path, number: u64) -> bool {
        let Some(place) = self.by_directory.get_mut(directory) else { return true };
        place.listeners.retain(|(of, _)| *of != number);
        let empty = place.listeners.is_empty();
        if empty {
            self.by_directory.remove(directory);
        }
        empty
    }

    /// The listeners of `event`, each once.
    fn of(&self, event: &notify::Result<Event>) -> Vec<Arc<FileListener>> {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            _ => {
                return self
                    .by_directory
                    .values()
                    .flat_map(|place| &place.listeners)
                    .map(|(_, listener)| Arc::clone(listener))
                    .collect();
            }
        };
        // A read is not a change.
        if let EventKind::Access(kind) = event.kind
            && kind != AccessKind::Close(AccessMode::Write)
        {
            return Vec::new();
        }
        let mut notified: Vec<Arc<FileListener>> = Vec::new();
        for path in &event.paths {
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

impl Listening {
    /// Whether there are events.
    #[must_use]
    pub fn watched(&self) -> Watched {
        locked(&self.events.0.listeners)
            .by_directory
            .get(&self.directory)
            .map(|place| place.watched)
            .unwrap_or_default()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let last = locked(&self.events.0.listeners).remove(&self.directory, self.number);
        if last {
            self.events.update_watch(std::mem::take(&mut self.directory));
        }
    }
}

impl fmt::Debug for FileEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileEvents").field("directories", &locked(&self.0.listeners).by_directory.len()).finish()
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("directory", &self.directory).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::{self, Receiver};
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// Registers, and consumes the notification that the directory is watched.
    fn listen(events: &FileEvents, directory: &Path, name: &'static str) -> (Listening, Receiver<()>) {
        let (listening, notified) = begin(events, directory, name);
        notified.recv_timeout(SOON).unwrap();
        assert_eq!(listening.watched(), Watched::Yes);
        (listening, notified)
    }

    fn begin(events: &FileEvents, directory: &Path, name: &'static str) -> (Listening, Receiver<()>) {
        let (notify, notified) = mpsc::channel();
        let notify = move || {
            // The test may have ended.
            let _ = notify.send(());
        };
        (events.listen(directory, move |entry| entry == name, notify), notified)
    }

    #[test]
    fn each_listener_of_a_directory_is_notified_of_its_own_file_only() {
        let (events, place) = (FileEvents::default(), tempfile::tempdir().unwrap());
        let (_one, one) = listen(&events, place.path(), "one");
        let (_other, other) = listen(&events, place.path(), "other");
        // A new listener has the watch set again, and all are notified: here that is over.
        while one.try_recv().is_ok() {}
        fs::write(place.path().join("one"), "1").unwrap();
        one.recv_timeout(SOON).unwrap();
        assert!(other.try_recv().is_err());
        fs::rename(place.path().join("one"), place.path().join("other")).unwrap();
        other.recv_timeout(SOON).unwrap();
    }

    #[test]
    fn a_removed_listener_does_not_end_the_watch_of_the_others() {
        let (events, place) = (FileEvents::default(), tempfile::tempdir().unwrap());
        let (gone, _) = listen(&events, place.path(), "file");
        let (_here, notified) = listen(&events, place.path(), "file");
        drop(gone);
        fs::write(place.path().join("file"), "1").unwrap();
        notified.recv_timeout(SOON).unwrap();
    }

    #[test]
    fn a_missing_directory_gives_no_events_and_leaves_no_watch() {
        let (events, place) = (FileEvents::default(), tempfile::tempdir().unwrap());
        let (listening, _notified) = begin(&events, &place.path().join("nowhere"), "file");
        let deadline = std::time::Instant::now() + SOON;
        while listening.watched() != Watched::No {
            assert!(std::time::Instant::now() < deadline, "the missing directory was not noticed within the timeout");
            std::thread::yield_now();
        }
        drop(listening);
        assert!(locked(&events.0.listeners).by_directory.is_empty());
    }

    #[test]
    fn a_restored_directory_notifies_new_listeners() {
        let (events, place) = (FileEvents::default(), tempfile::tempdir().unwrap());
        let home = place.path().join("home");
        fs::create_dir(&home).unwrap();
        let (_before, _notified) = listen(&events, &home, "file");
        fs::rename(&home, place.path().join("elsewhere")).unwrap();
        fs::create_dir(&home).unwrap();
        let (_again, notified) = listen(&events, &home, "file");
        fs::write(home.join("file"), "1").unwrap();
        notified.recv_timeout(SOON).unwrap();
    }

    #[test]
    fn a_directory_that_hangs_does_not_block_other_watches() {
        let (events, place) = (FileEvents::default(), tempfile::tempdir().unwrap());
        let (hung, working) = (place.path().join("hung"), place.path().join("working"));
        fs::create_dir(&hung).unwrap();
        fs::create_dir(&working).unwrap();
        // The effect of a failed file system on the thread that uses it.
        let (release, released) = mpsc::channel::<()>();
        assert!(trial_worker(&hung).post(move || {
            let _ = released.recv();
        }));
        let (hanging, late_event) = begin(&events, &hung, "file");
        let (_well, notified) = listen(&events, &working, "file");
        assert_eq!(hanging.watched(), Watched::NotYet);
        fs::write(working.join("file"), "1").unwrap();
        notified.recv_timeout(SOON).unwrap();
        drop(release);
        late_event.recv_timeout(SOON).unwrap();
        assert_eq!(hanging.watched(), Watched::Yes);
    }

    #[test]
    fn reading_is_no_event() {
        let mut listeners = Listeners::default();
        listeners
            .add(Path::new("/home"), Arc::new(FileListener { matches: Box::new(|_| true), notify: Box::new(|| {}) }));
        let event = |kind| Ok(Event::new(EventKind::Access(kind)).add_path(PathBuf::from("/home/.env")));
        assert_eq!(listeners.of(&event(AccessKind::Open(AccessMode::Any))).len(), 0);
        assert_eq!(listeners.of(&event(AccessKind::Close(AccessMode::Write))).len(), 1);
        assert_eq!(listeners.of(&Err(notify::Error::generic("lost"))).len(), 1);
    }
}
