//! File events for whoever asks, from one watch for the whole process.
//!
//! One, because each costs a thread and one of the few (128) that the system grants a user, and there may be a thousand profiles.
//! *Directories* are watched, since a rename replaces a file itself. Where there are no events their listeners poll, as all of
//! them do anyway.
//!
//! To set a watch on a file system that hangs blocks, and would hold up all events. So it is tried first with a watcher of its own, on
//! a thread that may be given up, and only a directory that answered comes to the one watch. No listener waits for any of this: it
//! is told once its directory is watched, since what happened before is not seen.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tracing::{debug, warn};

use super::workers::{FileWorker, Owner, Purpose};

/// The watch of the process. Cheap to clone; clones are the same watch, which begins with the first listener.
#[derive(Clone, Default)]
pub struct FileEvents(Arc<SharedEvents>);

#[derive(Default)]
struct SharedEvents {
    /// Only touched by the worker that sets the watches. Never asked while the ears are locked: it answers from the thread that tells them.
    watcher: Mutex<Option<RecommendedWatcher>>,
    ears: Arc<Mutex<Ears>>,
}

#[derive(Default)]
struct Ears {
    last: u64,
    by_directory: HashMap<PathBuf, Directory>,
}

#[derive(Default)]
struct Directory {
    ears: Vec<(u64, Arc<Ear>)>,
    watched: Watched,
    /// A try is on its way, and has not come to the watch yet.
    on_its_way: bool,
}

/// Whether a directory gives events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watched {
    /// It is not known yet; for as long as its file system hangs it stays so.
    #[default]
    NotYet,
    /// It does.
    Yes,
    /// It does not: it is not there, or the system has no room.
    No,
}

struct Ear {
    hears: Box<dyn Fn(&OsStr) -> bool + Send + Sync>,
    tell: Box<dyn Fn() + Send + Sync>,
}

/// Somebody listens for as long as this lives.
pub struct Listening {
    events: FileEvents,
    directory: PathBuf,
    number: u64,
}

impl FileEvents {
    /// Calls `tell` at every event on an entry of `directory` whose name `hears` wants, when the directory comes to be watched, and
    /// whenever events may have been lost. It is called from a thread of the watch, which it must not hold up. Waits for nothing.
    #[must_use]
    pub fn listen(
        &self,
        directory: &Path,
        hears: impl Fn(&OsStr) -> bool + Send + Sync + 'static,
        tell: impl Fn() + Send + Sync + 'static,
    ) -> Listening {
        let ear = Arc::new(Ear { hears: Box::new(hears), tell: Box::new(tell) });
        // Before the watch is set: an event between the two must find it.
        let (number, ask) = locked(&self.0.ears).add(directory, ear);
        // Also where one is set: another directory may have taken the place of the one that was watched.
        if ask {
            let (events, place) = (self.clone(), directory.to_owned());
            let posted = trial_worker(directory).post(move || {
                try_out(&place);
                events.settle(place);
            });
            if !posted {
                locked(&self.0.ears).not_on_its_way(directory);
            }
        }
        Listening { events: self.clone(), directory: directory.to_owned(), number }
    }

    /// Has the one watch see to `directory`, on the thread that does nothing else.
    fn settle(&self, directory: PathBuf) {
        let events = self.clone();
        let registrar = FileWorker::of(Path::new("the watch of the process"), Purpose::Watch, Owner::Gateway);
        let place = directory.clone();
        if !registrar.post(move || events.set(&directory)) {
            locked(&self.0.ears).not_on_its_way(&place);
            warn!(directory = %place.display(), "file events hang; its files are polled");
        }
    }

    /// Watches `directory` if anybody listens there, and no longer if nobody does.
    fn set(&self, directory: &Path) {
        let wanted = locked(&self.0.ears).begin_setting(directory);
        let mut watcher = locked(&self.0.watcher);
        if !wanted {
            if let Some(watcher) = &mut *watcher {
                // A directory that is gone has taken its watch along.
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
        let (before, told) = locked(&self.0.ears).set(directory, if set.is_ok() { Watched::Yes } else { Watched::No });
        match &set {
            Ok(()) => {}
            Err(error) if before == Watched::No || !directory.is_dir() => {
                debug!(directory = %directory.display(), %error, "no file events here");
            }
            Err(error) => warn!(directory = %directory.display(), %error, "no file events here; its files are polled"),
        }
        for ear in told {
            (ear.tell)();
        }
    }

    fn start(&self) -> notify::Result<RecommendedWatcher> {
        let ears = Arc::clone(&self.0.ears);
        notify::recommended_watcher(move |event: notify::Result<Event>| {
            let told = locked(&ears).of(&event);
            for ear in told {
                (ear.tell)();
            }
        })
    }
}

fn trial_worker(directory: &Path) -> FileWorker {
    FileWorker::of(directory, Purpose::Watch, Owner::Profile)
}

/// Does what the one watch would do, with a watcher that nothing else depends on. What it finds does not matter, only that it returns.
fn try_out(directory: &Path) {
    if std::fs::metadata(directory).is_ok()
        && let Ok(mut watcher) = notify::recommended_watcher(|_| ())
    {
        let _ = watcher.watch(directory, RecursiveMode::NonRecursive);
    }
}

impl Ears {
    /// Answers the ear's number, and whether the watch must be asked.
    fn add(&mut self, directory: &Path, ear: Arc<Ear>) -> (u64, bool) {
        self.last += 1;
        let place = self.by_directory.entry(directory.to_owned()).or_default();
        place.ears.push((self.last, ear));
        (self.last, !std::mem::replace(&mut place.on_its_way, true))
    }

    fn not_on_its_way(&mut self, directory: &Path) {
        if let Some(place) = self.by_directory.get_mut(directory) {
            place.on_its_way = false;
        }
    }

    /// Whether anybody listens; who comes from now on asks anew.
    fn begin_setting(&mut self, directory: &Path) -> bool {
        self.not_on_its_way(directory);
        self.by_directory.contains_key(directory)
    }

    /// Notes how it is, and answers how it was and who is to be told.
    fn set(&mut self, directory: &Path, watched: Watched) -> (Watched, Vec<Arc<Ear>>) {
        let Some(place) = self.by_directory.get_mut(directory) else { return (Watched::No, Vec::new()) };
        let before = std::mem::replace(&mut place.watched, watched);
        let told = place.ears.iter().filter(|_| watched == Watched::Yes).map(|(_, ear)| Arc::clone(ear));
        (before, told.collect())
    }

    /// Whether nobody is left at `directory`.
    fn remove(&mut self, directory: &Path, number: u64) -> bool {
        let Some(place) = self.by_directory.get_mut(directory) else { return true };
        place.ears.retain(|(of, _)| *of != number);
        let empty = place.ears.is_empty();
        if empty {
            self.by_directory.remove(directory);
        }
        empty
    }

    /// Who is to be told of `event`, each once.
    fn of(&self, event: &notify::Result<Event>) -> Vec<Arc<Ear>> {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            _ => {
                return self
                    .by_directory
                    .values()
                    .flat_map(|place| &place.ears)
                    .map(|(_, ear)| Arc::clone(ear))
                    .collect();
            }
        };
        // That somebody reads is no news.
        if let EventKind::Access(kind) = event.kind
            && kind != AccessKind::Close(AccessMode::Write)
        {
            return Vec::new();
        }
        let mut told: Vec<Arc<Ear>> = Vec::new();
        for path in &event.paths {
            let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { continue };
            for (_, ear) in self.by_directory.get(directory).into_iter().flat_map(|place| &place.ears) {
                if (ear.hears)(name) && !told.iter().any(|other| Arc::ptr_eq(other, ear)) {
                    told.push(Arc::clone(ear));
                }
            }
        }
        told
    }
}

impl Listening {
    /// Whether there are events.
    #[must_use]
    pub fn watched(&self) -> Watched {
        locked(&self.events.0.ears).by_directory.get(&self.directory).map(|place| place.watched).unwrap_or_default()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let last = locked(&self.events.0.ears).remove(&self.directory, self.number);
        if last {
            self.events.settle(std::mem::take(&mut self.directory));
        }
    }
}

impl fmt::Debug for FileEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileEvents").field("directories", &locked(&self.0.ears).by_directory.len()).finish()
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("directory", &self.directory).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::{self, Receiver};
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// Listens, and takes in that the directory is watched.
    fn listen(events: &FileEvents, directory: &Path, name: &'static str) -> (Listening, Receiver<()>) {
        let (listening, told) = begin(events, directory, name);
        told.recv_timeout(SOON).unwrap();
        assert_eq!(listening.watched(), Watched::Yes);
        (listening, told)
    }

    fn begin(events: &FileEvents, directory: &Path, name: &'static str) -> (Listening, Receiver<()>) {
        let (tell, told) = mpsc::channel();
        let tell = move || {
            // The test may be over.
            let _ = tell.send(());
        };
        (events.listen(directory, move |heard| heard == name, tell), told)
    }

    #[test]
    fn each_listener_of_a_directory_hears_of_its_own_file_only() {
        let (events, place) = (FileEvents::default(), tempfile::tempdir().unwrap());
        let (_one, one) = listen(&events, place.path(), "one");
        let (_other, other) = listen(&events, place.path(), "other");
        // Whoever comes has the watch set again, of which all are told: here that has been.
        while one.try_recv().is_ok() {}
        fs::write(place.path().join("one"), "1").unwrap();
        one.recv_timeout(SOON).unwrap();
        assert!(other.try_recv().is_err());
        fs::rename(place.path().join("one"), place.path().join("other")).unwrap();
        other.recv_timeout(SOON).unwrap();
    }

    #[test]
    fn a_listener_that_left_does_not_take_the_others_watch_along() {
        let (events, place) = (FileEvents::default(), tempfile::tempdir().unwrap());
        let (gone, _) = listen(&events, place.path(), "file");
        let (_here, told) = listen(&events, place.path(), "file");
        drop(gone);
        fs::write(place.path().join("file"), "1").unwrap();
        told.recv_timeout(SOON).unwrap();
    }

    #[test]
    fn a_directory_that_is_not_there_gives_no_events_and_leaves_no_ear() {
        let (events, place) = (FileEvents::default(), tempfile::tempdir().unwrap());
        let (listening, _told) = begin(&events, &place.path().join("nowhere"), "file");
        let deadline = std::time::Instant::now() + SOON;
        while listening.watched() != Watched::No {
            assert!(std::time::Instant::now() < deadline, "it never came out that there is nothing");
            std::thread::yield_now();
        }
        drop(listening);
        assert!(locked(&events.0.ears).by_directory.is_empty());
    }

    #[test]
    fn a_directory_that_came_back_is_heard_again_by_those_who_listen_anew() {
        let (events, place) = (FileEvents::default(), tempfile::tempdir().unwrap());
        let home = place.path().join("home");
        fs::create_dir(&home).unwrap();
        let (_before, _told) = listen(&events, &home, "file");
        fs::rename(&home, place.path().join("elsewhere")).unwrap();
        fs::create_dir(&home).unwrap();
        let (_again, told) = listen(&events, &home, "file");
        fs::write(home.join("file"), "1").unwrap();
        told.recv_timeout(SOON).unwrap();
    }

    #[test]
    fn a_directory_that_hangs_keeps_nobody_from_listening_elsewhere() {
        let (events, place) = (FileEvents::default(), tempfile::tempdir().unwrap());
        let (dead, well) = (place.path().join("dead"), place.path().join("well"));
        fs::create_dir(&dead).unwrap();
        fs::create_dir(&well).unwrap();
        // What a dead file system does to the thread that looks at it.
        let (release, released) = mpsc::channel::<()>();
        assert!(trial_worker(&dead).post(move || {
            let _ = released.recv();
        }));
        let (hanging, hears_late) = begin(&events, &dead, "file");
        let (_well, told) = listen(&events, &well, "file");
        assert_eq!(hanging.watched(), Watched::NotYet);
        fs::write(well.join("file"), "1").unwrap();
        told.recv_timeout(SOON).unwrap();
        drop(release);
        hears_late.recv_timeout(SOON).unwrap();
        assert_eq!(hanging.watched(), Watched::Yes);
    }

    #[test]
    fn reading_is_no_event() {
        let mut ears = Ears::default();
        ears.add(Path::new("/home"), Arc::new(Ear { hears: Box::new(|_| true), tell: Box::new(|| {}) }));
        let event = |kind| Ok(Event::new(EventKind::Access(kind)).add_path(PathBuf::from("/home/.env")));
        assert_eq!(ears.of(&event(AccessKind::Open(AccessMode::Any))).len(), 0);
        assert_eq!(ears.of(&event(AccessKind::Close(AccessMode::Write))).len(), 1);
        assert_eq!(ears.of(&Err(notify::Error::generic("lost"))).len(), 1);
    }
}
