//! File events for any number of listeners, from one watch for the whole process.
//!
//! One, because each costs a thread and one of the few (128) that the system allows a user, and there may be a thousand profiles.
//! *Directories* are watched, because a rename replaces a file itself. What events do not report, the checks of `sweep` do, so
//! that no listener needs a timer.
//!
//! Setting a watch on a file system that hangs blocks, and would delay all events. So it is tried first on a separate descriptor, on
//! a thread that can be abandoned, and only a directory that answered is added to the shared watch. No listener waits for this: it
//! is notified once its directory is watched, because earlier changes are not seen. The listeners before it have seen all changes, unless
//! another directory is there.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tracing::{debug, warn};

pub use super::listeners::Watched;
use super::listeners::{FileListener, Listeners, ProbedDirectory};
use super::stamp::DirectoryIdentity;
use super::sweep;
use super::workers::{FileWorker, Owner, Purpose};
use crate::locked::locked;

/// Interval at which a listener reads its files although nothing notified it: for a notification that was lost by a defect.
pub const RECHECK_EVERY: Duration = Duration::from_mins(5);

/// The watch of the process. Cheap to clone; clones share the watch, which starts with the first listener.
#[derive(Clone, Default)]
pub struct FileEvents(Arc<SharedEvents>);

#[derive(Default)]
struct SharedEvents {
    /// Used only by the worker that sets the watches, and never while the listeners are locked: its calls wait for the thread that notifies.
    watcher: Mutex<Option<RecommendedWatcher>>,
    listeners: Arc<Mutex<Listeners>>,
    /// Set once the checks run.
    checks: OnceLock<()>,
}

/// A registration that lasts until it is dropped.
pub struct Listening {
    events: FileEvents,
    directory: PathBuf,
    number: u64,
}

impl FileEvents {
    /// Calls `notify` at every event on an entry of `directory` whose name `matches`, when the directory becomes watched, and
    /// whenever events may have been lost; also when a check finds that one of `files` has changed, that the directory was replaced,
    /// that its file system hangs or that it answers again. It is called on a thread that it must not block. Does not wait.
    #[must_use]
    pub fn listen(
        &self,
        directory: &Path,
        files: &[&str],
        matches: impl Fn(&OsStr) -> bool + Send + Sync + 'static,
        notify: impl Fn() + Send + Sync + 'static,
    ) -> Listening {
        let files = files.iter().map(Into::into).collect();
        let listener = Arc::new(FileListener { files, matches: Box::new(matches), notify: Box::new(notify) });
        self.start_checks();
        // Before the watch is set: an event between the two must find it.
        let (number, update) = locked(&self.0.listeners).add(directory, listener);
        // Also if one is set: another directory may have replaced the one that was watched.
        if update {
            self.try_watch(directory);
        }
        Listening { events: self.clone(), directory: directory.to_owned(), number }
    }

    /// How often [`Listening::watched`] has changed, of any directory. While it is the same, all are as before.
    #[must_use]
    pub fn changes(&self) -> u64 {
        locked(&self.0.listeners).changes()
    }

    fn start_checks(&self) {
        self.0.checks.get_or_init(|| {
            let shared = Arc::downgrade(&self.0);
            let rewatch = move |directory: &Path| {
                if let Some(events) = shared.upgrade().map(Self)
                    && locked(&events.0.listeners).set_pending(directory)
                {
                    events.try_watch(directory);
                }
            };
            sweep::start(&self.0.listeners, Box::new(rewatch));
        });
    }

    fn try_watch(&self, directory: &Path) {
        let (events, place) = (self.clone(), directory.to_owned());
        let posted = trial_worker(directory).post(move || {
            let probed = probe_watch(&place);
            events.update_watch(place, probed);
        });
        if !posted {
            locked(&self.0.listeners).not_pending(directory);
        }
    }

    /// Has the shared watch updated for `directory`, on the thread reserved for that.
    fn update_watch(&self, directory: PathBuf, probed: ProbedDirectory) {
        let events = self.clone();
        let registrar = FileWorker::of(Path::new("the watch of the process"), Purpose::Watch, Owner::Gateway);
        let place = directory.clone();
        if !registrar.post(move || events.set(&directory, probed)) {
            locked(&self.0.listeners).not_pending(&place);
            warn!(directory = %place.display(), "file events hang, files are polled");
        }
    }

    /// Watches `directory` if it has listeners, and stops watching it otherwise.
    fn set(&self, directory: &Path, mut probed: ProbedDirectory) {
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
        // If it was replaced meanwhile, which of the two is watched is not known, and all are notified.
        let now = DirectoryIdentity::read(directory);
        probed.identity = probed.identity.filter(|before| now.is_some_and(|now| before.is_certainly(now)));
        let (before, notified) =
            locked(&self.0.listeners).set(directory, if set.is_ok() { Watched::Yes } else { Watched::No }, probed);
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

/// Sets the same watch on a separate descriptor. Its result does not matter, only that it returns. Returns which directory there was
/// before, and whether the file system gives an event for every change.
///
/// All calls share the descriptor: closing one takes the kernel milliseconds, which a thousand profiles would wait for one after the
/// other.
#[cfg(target_os = "linux")]
fn probe_watch(directory: &Path) -> ProbedDirectory {
    use std::os::fd::OwnedFd;

    use rustix::fs::inotify;

    // ext, XFS, btrfs, tmpfs, overlayfs, ZFS, F2FS: none of them changes by another machine or process without an event.
    const LOCAL: [u64; 7] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1, 0xf2f5_2010];
    static PROBE: OnceLock<OwnedFd> = OnceLock::new();
    if PROBE.get().is_none()
        && let Ok(probe) = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
    {
        // Another call may have been first.
        let _ = PROBE.set(probe);
    }
    let identity = DirectoryIdentity::read(directory);
    if identity.is_some()
        && let Some(probe) = PROBE.get()
        && let Ok(watch) = inotify::add_watch(probe, directory, inotify::WatchFlags::DELETE_SELF)
    {
        let _ = inotify::remove_watch(probe, watch);
        // The end of the watch is an event, and unread events would fill the queue.
        let _ = rustix::io::read(probe, &mut [0; 4096]);
    }
    let is_local = |kind| u64::try_from(kind).is_ok_and(|kind| LOCAL.contains(&kind));
    let complete = rustix::fs::statfs(directory).is_ok_and(|found| is_local(found.f_type));
    ProbedDirectory { complete, identity }
}

/// Sets the same watch with a separate watcher. Its result does not matter, only that it returns.
#[cfg(not(target_os = "linux"))]
fn probe_watch(directory: &Path) -> ProbedDirectory {
    let identity = DirectoryIdentity::read(directory);
    if identity.is_some()
        && let Ok(mut watcher) = notify::recommended_watcher(|_| ())
    {
        let _ = watcher.watch(directory, RecursiveMode::NonRecursive);
    }
    ProbedDirectory { complete: false, identity }
}

impl Listening {
    /// Whether there are events.
    #[must_use]
    pub fn watched(&self) -> Watched {
        locked(&self.events.0.listeners).watched(&self.directory)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let last = locked(&self.events.0.listeners).remove(&self.directory, self.number);
        if last {
            self.events.update_watch(std::mem::take(&mut self.directory), ProbedDirectory::default());
        }
    }
}

impl fmt::Debug for FileEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileEvents").field("directories", &locked(&self.0.listeners).directories()).finish()
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("directory", &self.directory).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use notify::EventKind;
    use notify::event::{AccessKind, AccessMode};
    use std::fs;
    use std::sync::mpsc::{self, Receiver};

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
        (events.listen(directory, &[name], move |entry| entry == name, notify), notified)
    }

    #[test]
    fn each_listener_of_a_directory_is_notified_of_its_own_file_only() {
        let (events, place) = (FileEvents::default(), tempfile::tempdir().unwrap());
        let (_one, one) = listen(&events, place.path(), "one");
        let (_other, other) = listen(&events, place.path(), "other");
        assert!(one.try_recv().is_err(), "the new listener of a directory that is watched already concerns no other");
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
        assert_eq!(locked(&events.0.listeners).directories(), 0);
    }

    #[test]
    fn a_restored_directory_notifies_new_listeners_and_those_before_them() {
        let (events, place) = (FileEvents::default(), tempfile::tempdir().unwrap());
        let home = place.path().join("home");
        fs::create_dir(&home).unwrap();
        let (_before, before) = listen(&events, &home, "file");
        fs::rename(&home, place.path().join("elsewhere")).unwrap();
        fs::create_dir(&home).unwrap();
        let (_again, notified) = listen(&events, &home, "file");
        before.recv_timeout(SOON).unwrap();
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
        listeners.add(
            Path::new("/home"),
            Arc::new(FileListener { files: Vec::new(), matches: Box::new(|_| true), notify: Box::new(|| {}) }),
        );
        let event = |kind| Ok(Event::new(EventKind::Access(kind)).add_path(PathBuf::from("/home/.env")));
        assert_eq!(listeners.of(&event(AccessKind::Open(AccessMode::Any))).len(), 0);
        assert_eq!(listeners.of(&event(AccessKind::Close(AccessMode::Write))).len(), 1);
        assert_eq!(listeners.of(&Err(notify::Error::generic("lost"))).len(), 1);
    }
}
