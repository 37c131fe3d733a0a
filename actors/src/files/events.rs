//! File events for whoever asks, from one watch for the whole process.
//!
//! One, because each costs a thread and one of the few (128) that the system grants a user, and there may be a thousand profiles.
//! *Directories* are watched, since a rename replaces a file itself. Where there are no events their listeners poll, as all of
//! them do anyway.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// The watch of the process. Cheap to clone; clones are the same watch, which begins with the first listener.
#[derive(Clone, Default)]
pub struct FileEvents(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Never asked while the ears are locked: it answers from the thread that tells them.
    watcher: Mutex<Option<RecommendedWatcher>>,
    ears: Arc<Mutex<Ears>>,
}

#[derive(Default)]
struct Ears {
    last: u64,
    by_directory: HashMap<PathBuf, Vec<(u64, Arc<Ear>)>>,
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
    /// Calls `tell` at every event on an entry of `directory` whose name `hears` wants, and whenever events may have been lost.
    /// It is called from a thread of the watch, which it must not hold up.
    ///
    /// # Errors
    /// The system's word: there are no events here.
    pub fn listen(
        &self,
        directory: &Path,
        hears: impl Fn(&OsStr) -> bool + Send + Sync + 'static,
        tell: impl Fn() + Send + Sync + 'static,
    ) -> notify::Result<Listening> {
        let ear = Arc::new(Ear { hears: Box::new(hears), tell: Box::new(tell) });
        let mut watcher = locked(&self.0.watcher);
        let watcher = match &mut *watcher {
            Some(watcher) => watcher,
            none => none.insert(self.start()?),
        };
        // Before the watch is set: an event between the two must find it.
        let number = locked(&self.0.ears).add(directory, ear);
        // Also where one is set: another directory may have taken the place of the one that was watched.
        if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
            locked(&self.0.ears).remove(directory, number);
            return Err(error);
        }
        Ok(Listening { events: self.clone(), directory: directory.to_owned(), number })
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

impl Ears {
    fn add(&mut self, directory: &Path, ear: Arc<Ear>) -> u64 {
        self.last += 1;
        self.by_directory.entry(directory.to_owned()).or_default().push((self.last, ear));
        self.last
    }

    /// Whether nobody is left at `directory`.
    fn remove(&mut self, directory: &Path, number: u64) -> bool {
        let Some(ears) = self.by_directory.get_mut(directory) else { return true };
        ears.retain(|(of, _)| *of != number);
        let empty = ears.is_empty();
        if empty {
            self.by_directory.remove(directory);
        }
        empty
    }

    /// Who is to be told of `event`, each once.
    fn of(&self, event: &notify::Result<Event>) -> Vec<Arc<Ear>> {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            _ => return self.by_directory.values().flatten().map(|(_, ear)| Arc::clone(ear)).collect(),
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
            for (_, ear) in self.by_directory.get(directory).into_iter().flatten() {
                if (ear.hears)(name) && !told.iter().any(|other| Arc::ptr_eq(other, ear)) {
                    told.push(Arc::clone(ear));
                }
            }
        }
        told
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut watcher = locked(&self.events.0.watcher);
        let last = locked(&self.events.0.ears).remove(&self.directory, self.number);
        if let (true, Some(watcher)) = (last, &mut *watcher) {
            // A directory that is gone has taken its watch along.
            let _ = watcher.unwatch(&self.directory);
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

    fn listen(events: &FileEvents, directory: &Path, name: &'static str) -> (Listening, Receiver<()>) {
        let (tell, told) = mpsc::channel();
        let tell = move || {
            // The test may be over.
            let _ = tell.send(());
        };
        (events.listen(directory, move |heard| heard == name, tell).unwrap(), told)
    }

    #[test]
    fn each_listener_of_a_directory_hears_of_its_own_file_only() {
        let (events, place) = (FileEvents::default(), tempfile::tempdir().unwrap());
        let (_one, one) = listen(&events, place.path(), "one");
        let (_other, other) = listen(&events, place.path(), "other");
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
        assert!(events.listen(&place.path().join("nowhere"), |_| true, || {}).is_err());
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
    fn reading_is_no_event() {
        let mut ears = Ears::default();
        ears.add(Path::new("/home"), Arc::new(Ear { hears: Box::new(|_| true), tell: Box::new(|| {}) }));
        let event = |kind| Ok(Event::new(EventKind::Access(kind)).add_path(PathBuf::from("/home/.env")));
        assert_eq!(ears.of(&event(AccessKind::Open(AccessMode::Any))).len(), 0);
        assert_eq!(ears.of(&event(AccessKind::Close(AccessMode::Write))).len(), 1);
        assert_eq!(ears.of(&Err(notify::Error::generic("lost"))).len(), 1);
    }
}
