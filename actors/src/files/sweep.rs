//! Checks for what file events do not report: one timer for all directories.
//!
//! Events miss changes on network file systems, the target of a symbolic link, and a directory that is replaced. Where they are complete,
//! only the directory itself is checked, and rarely. All checks run on one thread; one that hangs is left behind
//! for as long as it hangs, its listeners are notified so that they find the cause, and the other directories are checked by
//! another.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tracing::warn;

use super::FileStamp;
use super::listeners::{DirectoryStamps, DueDirectory, Listeners};
use super::workers;
use crate::locked::locked;

/// Interval of the timer.
const TICK: Duration = Duration::from_secs(1);

/// Sets the watch of a directory again.
pub(super) type Rewatch = Box<dyn Fn(&Path) + Send + Sync>;

/// Checks all directories that have listeners, for as long as there is an owner of `listeners`.
pub(super) fn start(listeners: &Arc<Mutex<Listeners>>, rewatch: Rewatch) {
    let sweep = Sweep { listeners: Arc::downgrade(listeners), rewatch: Arc::new(rewatch), current: None };
    if let Err(error) = thread::Builder::new().name("file-checks".to_owned()).spawn(move || sweep.run()) {
        warn!(%error, "no thread for the checks of files; only file events are reported");
    }
}

struct Sweep {
    listeners: Weak<Mutex<Listeners>>,
    rewatch: Arc<Rewatch>,
    current: Option<Arc<Round>>,
}

/// The check of all directories that were due.
struct Round {
    state: Mutex<RoundState>,
}

enum RoundState {
    /// Since when this directory is being checked.
    At(PathBuf, Instant),
    /// The current check hangs: no other follows it.
    Abandoned,
    Ended,
}

/// What a look at a round finds.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Running,
    /// The check of this directory does not return.
    Hangs(PathBuf),
    Ended,
}

impl Sweep {
    fn run(mut self) {
        loop {
            thread::sleep(TICK);
            let Some(listeners) = self.listeners.upgrade() else { return };
            self.tick(&listeners, Instant::now());
        }
    }

    fn tick(&mut self, listeners: &Arc<Mutex<Listeners>>, now: Instant) {
        if let Some(round) = &self.current {
            let progress = round.abandon_if_hung(now);
            if progress == Progress::Running {
                return;
            }
            if let Progress::Hangs(directory) = progress {
                let notified = locked(listeners).hangs(&directory);
                for listener in notified {
                    (listener.notify)();
                }
            }
            self.current = None;
        }
        let due = locked(listeners).due(now);
        let Some(first) = due.first() else { return };
        let round = Arc::new(Round { state: Mutex::new(RoundState::At(first.path.clone(), now)) });
        self.current = Some(Arc::clone(&round));
        let (listeners, rewatch) = (Arc::clone(listeners), Arc::clone(&self.rewatch));
        workers::on_a_thread(move || round.run(due, &listeners, &rewatch));
    }
}

impl Round {
    fn run(&self, due: Vec<DueDirectory>, listeners: &Mutex<Listeners>, rewatch: &Rewatch) {
        for directory in due {
            if !self.begin(&directory.path) {
                return;
            }
            let found = check(&directory);
            let outcome = locked(listeners).checked(&directory.path, found, Instant::now());
            if outcome.replaced {
                rewatch(&directory.path);
            }
            for listener in outcome.notified {
                (listener.notify)();
            }
        }
        *locked(&self.state) = RoundState::Ended;
    }

    /// Whether the next check may begin.
    fn begin(&self, directory: &Path) -> bool {
        let mut state = locked(&self.state);
        let goes_on = !matches!(*state, RoundState::Abandoned);
        if goes_on {
            *state = RoundState::At(directory.to_owned(), Instant::now());
        }
        goes_on
    }

    /// How far it is. A round that hangs checks no other directory.
    fn abandon_if_hung(&self, now: Instant) -> Progress {
        let mut state = locked(&self.state);
        match &*state {
            RoundState::At(directory, since) if now.saturating_duration_since(*since) >= TICK => {
                let directory = directory.clone();
                *state = RoundState::Abandoned;
                Progress::Hangs(directory)
            }
            RoundState::At(..) => Progress::Running,
            RoundState::Abandoned | RoundState::Ended => Progress::Ended,
        }
    }
}

/// Blocks.
fn check(due: &DueDirectory) -> Arc<DirectoryStamps> {
    let directory = Some(FileStamp::read(&due.path));
    // A new link among its entries changes the directory.
    if due.complete && directory == due.seen.directory {
        return Arc::clone(&due.seen);
    }
    let is_link = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    let paths = || due.files.iter().map(|file| (file, due.path.join(file)));
    let has_link = is_link(&due.path) || paths().any(|(_, path)| is_link(&path));
    let files = paths().map(|(file, path)| (file.clone(), FileStamp::read(&path))).collect();
    Arc::new(DirectoryStamps { directory, files, has_link })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::listeners::{FileListener, ProbedDirectory, Watched};
    use super::*;

    /// A directory with one listener on the file `it`, and the count of its notifications.
    struct Bench {
        place: tempfile::TempDir,
        listeners: Mutex<Listeners>,
        notified: Arc<AtomicUsize>,
        rewatched: Arc<AtomicUsize>,
        now: Instant,
    }

    impl Bench {
        fn new(watched: Watched) -> Self {
            let place = tempfile::tempdir().unwrap();
            let (listeners, notified) = (Mutex::<Listeners>::default(), Arc::<AtomicUsize>::default());
            let count = Arc::clone(&notified);
            let listener = FileListener {
                files: vec!["it".into()],
                matches: Box::new(|name| name == "it"),
                notify: Box::new(move || _ = count.fetch_add(1, Ordering::SeqCst)),
            };
            locked(&listeners).add(place.path(), Arc::new(listener));
            let probed = ProbedDirectory { complete: true, identity: None };
            locked(&listeners).set(place.path(), watched, probed);
            Self { place, listeners, notified, rewatched: Arc::default(), now: Instant::now() }
        }

        /// Checks what is due `after` the last time. Returns the directories checked, and the notifications.
        fn check(&mut self, after: Duration) -> (usize, usize) {
            self.now += after;
            let due = locked(&self.listeners).due(self.now);
            let (checked, count) = (due.len(), Arc::clone(&self.rewatched));
            let round = Round { state: Mutex::new(RoundState::At(PathBuf::new(), self.now)) };
            let rewatch: Rewatch = Box::new(move |_| _ = count.fetch_add(1, Ordering::SeqCst));
            round.run(due, &self.listeners, &rewatch);
            (checked, self.notified.swap(0, Ordering::SeqCst))
        }
    }

    #[test]
    fn a_change_without_events_is_found_at_the_next_check() {
        let mut bench = Bench::new(Watched::No);
        assert_eq!(bench.check(TICK), (1, 1), "it may have changed since its listener read it");
        assert_eq!(bench.check(2 * TICK), (1, 0));
        fs::write(bench.place.path().join("it"), "1").unwrap();
        fs::write(bench.place.path().join("other"), "1").unwrap();
        assert_eq!(bench.check(2 * TICK), (1, 1));
        assert_eq!(bench.check(2 * TICK), (1, 0));
    }

    #[test]
    fn a_directory_with_all_events_is_checked_rarely_unless_a_file_is_a_link() {
        let mut bench = Bench::new(Watched::Yes);
        bench.check(TICK);
        assert_eq!(bench.check(2 * TICK), (0, 0));
        let target = tempfile::tempdir().unwrap();
        symlink(target.path().join("it"), bench.place.path().join("it")).unwrap();
        assert_eq!(bench.check(5 * TICK).0, 1, "the new link is found");
        fs::write(target.path().join("it"), "1").unwrap();
        assert_eq!(bench.check(2 * TICK), (1, 1));
    }

    #[test]
    fn a_replaced_directory_is_watched_again_and_its_listeners_are_notified() {
        let mut bench = Bench::new(Watched::Yes);
        bench.check(TICK);
        let path = bench.place.path();
        fs::rename(path, path.with_extension("moved")).unwrap();
        fs::create_dir(path).unwrap();
        fs::remove_dir(path.with_extension("moved")).unwrap();
        assert_eq!(bench.check(5 * TICK), (1, 1));
        assert_eq!(bench.rewatched.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_directory_that_hangs_is_left_out_until_it_answers_and_notifies_at_both_times() {
        let mut bench = Bench::new(Watched::No);
        bench.check(TICK);
        let path = bench.place.path().to_owned();
        let round = Round { state: Mutex::new(RoundState::At(path.clone(), bench.now)) };
        assert_eq!(round.abandon_if_hung(bench.now), Progress::Running);
        assert_eq!(round.abandon_if_hung(bench.now + TICK), Progress::Hangs(path.clone()));
        assert!(!round.begin(&path), "the round ends when the check returns");
        assert_eq!(locked(&bench.listeners).hangs(&path).len(), 1);
        assert_eq!(bench.check(5 * TICK), (0, 0), "it takes no second thread");
        let found =
            check(&DueDirectory { path: path.clone(), files: Arc::default(), seen: Arc::default(), complete: false });
        assert_eq!(locked(&bench.listeners).checked(&path, found, bench.now).notified.len(), 1);
        assert_eq!(bench.check(5 * TICK).0, 1);
    }
}
