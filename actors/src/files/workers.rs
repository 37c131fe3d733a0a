//! Threads for work on file systems that may never answer: a failed network share, a FUSE daemon that hangs.
//!
//! No call on such a file system can have a timeout, so the thread that makes it is abandoned for as long as it hangs. For
//! each directory and purpose there is one such thread at most: later callers get an error at once. The gateway's own
//! home has separate threads, so it never waits behind a profile's. A restart of an actor loses nothing here; the end of the
//! process does not wait for these threads.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::error;

use super::pool::ThreadPool;
use crate::locked::locked;

/// A file system that has not answered for this long counts as hung. A slow disk answers within.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// Most threads for the gateway's own home: one per purpose, and some spare.
const GATEWAY_THREADS: usize = 16;
/// Most threads for all other homes. Beyond that, work waits for one that becomes free.
const PROFILE_THREADS: usize = 512;
/// Length of the queue for one directory and purpose. The watch of the process is one of them, for the directories of all profiles.
const WAITING: usize = 4_096;

/// The purpose of work in a directory. Work of different purposes does not wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The drain marker.
    Marker,
    /// The configuration files.
    Settings,
    /// The `.env`, and other files of a profile.
    Secrets,
    /// The start of an agent.
    Start,
    /// The grant file.
    Grant,
    /// File events.
    Watch,
}

/// The owner of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The gateway's own home.
    Gateway,
    /// A profile's, or any other.
    Profile,
}

/// Does work in one directory for one purpose, one item at a time, in order. Cheap to clone; all handles for the same
/// directory and purpose are the same.
#[derive(Debug, Clone)]
pub struct FileWorker(Arc<WorkerShared>);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The file system does not answer. The work may still be done when it does.
    #[error("{} does not answer; its file system hangs", .0.display())]
    Hung(PathBuf),
    /// A bug: the work panicked.
    #[error("work in {} panicked", .0.display())]
    Panicked(PathBuf),
}

type FileJob = Box<dyn FnOnce() + Send>;
type Key = (PathBuf, Purpose, Owner);

#[derive(Debug)]
struct WorkerShared {
    key: Key,
    state: Mutex<WorkerState>,
}

#[derive(Default)]
struct WorkerState {
    /// Since when the current item is running.
    since: Option<Instant>,
    waiting: VecDeque<FileJob>,
}

impl std::fmt::Debug for WorkerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerState").field("since", &self.since).field("waiting", &self.waiting.len()).finish()
    }
}

/// Every worker in use, so that there is one per directory and purpose. A worker removes itself.
static WORKERS: LazyLock<Mutex<HashMap<Key, Weak<WorkerShared>>>> = LazyLock::new(Mutex::default);
static GATEWAY: ThreadPool = ThreadPool::new(GATEWAY_THREADS);
static PROFILES: ThreadPool = ThreadPool::new(PROFILE_THREADS);

/// Accepted work. Dropping it cancels the work unless it has begun.
pub struct Pending<T> {
    worker: FileWorker,
    answer: Option<mpsc::Receiver<T>>,
    _awaited: Awaited,
}

/// Dropped when the answer is no longer awaited.
struct Awaited(Arc<AtomicBool>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl FileWorker {
    /// The worker for `directory` and `purpose`.
    #[must_use]
    pub fn of(directory: &Path, purpose: Purpose, owner: Owner) -> Self {
        let key = (directory.to_owned(), purpose, owner);
        let mut workers = locked(&WORKERS);
        if let Some(worker) = workers.get(&key).and_then(Weak::upgrade) {
            return Self(worker);
        }
        let worker = Arc::new(WorkerShared { key: key.clone(), state: Mutex::default() });
        workers.insert(key, Arc::downgrade(&worker));
        Self(worker)
    }

    /// Does `work` and returns its answer, or an error after `limit`: then it is not begun later, but
    /// begun work continues. Fails at once if earlier work has already been hanging for that long.
    ///
    /// # Errors
    /// [`NoAnswer`]
    pub async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        if self.hangs(limit) {
            return Err(self.hung());
        }
        let (answer, answered) = oneshot::channel();
        let awaited = Awaited(Arc::new(AtomicBool::new(true)));
        let is_awaited = Arc::clone(&awaited.0);
        let job = move || {
            if is_awaited.load(Ordering::SeqCst) {
                // The caller may have dropped the receiver.
                let _ = answer.send(work());
            }
        };
        if !self.post(job) {
            return Err(self.hung());
        }
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(NoAnswer::Panicked(self.0.key.0.clone())),
            Err(_) => Err(self.hung()),
        }
    }

    /// Does `work` however long it takes: for work that must be done in any case, in order.
    ///
    /// # Errors
    /// [`NoAnswer`], if the queue is full or the work panicked.
    pub async fn run_to_end<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        if !self.post(move || drop(answer.send(work()))) {
            return Err(self.hung());
        }
        answered.await.map_err(|_| NoAnswer::Panicked(self.0.key.0.clone()))
    }

    /// Queues `work` for a thread that may wait for it. Does not block.
    #[must_use]
    pub fn begin<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Pending<T> {
        let (answer, answered) = mpsc::sync_channel(1);
        let awaited = Awaited(Arc::new(AtomicBool::new(true)));
        let is_awaited = Arc::clone(&awaited.0);
        let job = move || {
            if is_awaited.load(Ordering::SeqCst) {
                let _ = answer.send(work());
            }
        };
        let taken = !self.hangs(TIMEOUT) && self.post(job);
        Pending { worker: self.clone(), answer: taken.then_some(answered), _awaited: awaited }
    }

    /// Queues `work` without an answer. Returns whether there was room.
    pub fn post(&self, work: impl FnOnce() + Send + 'static) -> bool {
        let mut state = locked(&self.0.state);
        if state.waiting.len() >= WAITING {
            return false;
        }
        state.waiting.push_back(Box::new(work));
        if state.since.is_none() {
            state.since = Some(Instant::now());
            drop(state);
            let worker = Arc::clone(&self.0);
            self.pool().take(Box::new(move || worker.run_all()));
        }
        true
    }

    /// Whether the current item has been running for `limit` or longer.
    #[must_use]
    pub fn hangs(&self, limit: Duration) -> bool {
        locked(&self.0.state).since.is_some_and(|since| since.elapsed() >= limit)
    }

    fn hung(&self) -> NoAnswer {
        NoAnswer::Hung(self.0.key.0.clone())
    }

    fn pool(&self) -> &'static ThreadPool {
        match self.0.key.2 {
            Owner::Gateway => &GATEWAY,
            Owner::Profile => &PROFILES,
        }
    }
}

impl<T> Pending<T> {
    /// Waits for the answer until `deadline`. Blocks.
    ///
    /// # Errors
    /// [`NoAnswer`]
    pub fn wait(self, deadline: Instant) -> Result<T, NoAnswer> {
        let Some(answer) = &self.answer else { return Err(self.worker.hung()) };
        answer.recv_timeout(deadline.saturating_duration_since(Instant::now())).map_err(|error| match error {
            RecvTimeoutError::Timeout => self.worker.hung(),
            RecvTimeoutError::Disconnected => NoAnswer::Panicked(self.worker.0.key.0.clone()),
        })
    }
}

/// Runs `work`, which may hang and must not panic, on a thread of the profiles' homes.
pub(super) fn on_a_thread(work: impl FnOnce() + Send + 'static) {
    PROFILES.take(Box::new(work));
}

/// The directories whose file system has not answered for [`TIMEOUT`] or longer, each once, sorted.
#[must_use]
pub fn hung() -> Vec<PathBuf> {
    let workers: Vec<_> = locked(&WORKERS).values().filter_map(Weak::upgrade).collect();
    let hang = workers.into_iter().filter(|worker| FileWorker(Arc::clone(worker)).hangs(TIMEOUT));
    let mut found: Vec<_> = hang.map(|worker| worker.key.0.clone()).collect();
    found.sort_unstable();
    found.dedup();
    found
}

impl Drop for WorkerShared {
    fn drop(&mut self) {
        let mut workers = locked(&WORKERS);
        // Another may have been made for the same key since the last owner dropped this one.
        if workers.get(&self.key).is_some_and(|worker| worker.strong_count() == 0) {
            workers.remove(&self.key);
        }
    }
}

impl WorkerShared {
    /// Does all queued work.
    fn run_all(&self) {
        loop {
            let job = {
                let mut state = locked(&self.state);
                let job = state.waiting.pop_front();
                state.since = job.is_some().then(Instant::now);
                job
            };
            let Some(job) = job else { return };
            // The caller receives an error in place of the answer; the thread continues with other work.
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                error!(directory = %self.key.0.display(), purpose = ?self.key.1, "file work panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(20);

    fn worker(name: &str, purpose: Purpose) -> FileWorker {
        FileWorker::of(Path::new(name), purpose, Owner::Profile)
    }

    /// Hangs the worker until the answer is dropped, and waits until it does.
    fn hang(worker: &FileWorker) -> Sender<()> {
        let (release, released) = channel();
        let (begun, begins) = channel();
        assert!(worker.post(move || {
            begun.send(()).unwrap();
            let _ = released.recv();
        }));
        begins.recv_timeout(SOON).unwrap();
        release
    }

    fn answers(worker: &FileWorker) -> Result<u8, NoAnswer> {
        worker.begin(|| 7).wait(Instant::now() + SOON)
    }

    #[actix::test]
    async fn a_directory_that_hangs_is_reported_at_once_and_delays_no_other() {
        let (hung, other) = (worker("/hangs", Purpose::Secrets), worker("/other", Purpose::Secrets));
        let release = hang(&hung);
        let no_answer = Err(NoAnswer::Hung(PathBuf::from("/hangs")));
        assert_eq!(hung.run(SHORT, || 1).await, no_answer);
        let started = Instant::now();
        assert_eq!(hung.run(SHORT, || 1).await, no_answer);
        assert!(started.elapsed() < SHORT, "a hung directory is not waited for");
        assert_eq!(other.run(SOON, || 2).await, Ok(2));
        assert_eq!(answers(&worker("/hangs", Purpose::Marker)), Ok(7), "another purpose does not wait");
        drop(release);
        assert_eq!(answers(&hung), Ok(7));
    }

    #[test]
    fn one_directory_that_hangs_takes_one_thread_for_all_callers() {
        let release = hang(&worker("/one", Purpose::Grant));
        let (ran, runs) = channel();
        for _ in 0..100 {
            let ran = ran.clone();
            // The answer is no longer awaited: the work must not be done when the disk answers again.
            drop(worker("/one", Purpose::Grant).begin(move || ran.send(()).unwrap()));
        }
        drop(release);
        assert_eq!(answers(&worker("/one", Purpose::Grant)), Ok(7));
        assert!(runs.try_recv().is_err());
    }

    #[test]
    fn the_queue_of_one_directory_is_bounded() {
        let worker = worker("/full", Purpose::Marker);
        let release = hang(&worker);
        assert!((1..WAITING).all(|_| worker.post(|| ())));
        let (ran, runs) = channel();
        assert!(worker.post(move || ran.send(()).unwrap()));
        assert!(!worker.post(|| ()));
        drop(release);
        runs.recv_timeout(SOON).unwrap();
        assert_eq!(answers(&worker), Ok(7));
    }

    #[test]
    fn work_that_panics_ends_no_thread() {
        let worker = worker("/panics", Purpose::Settings);
        let panicked: Pending<u8> = worker.begin(|| panic!("requested by the test"));
        assert_eq!(panicked.wait(Instant::now() + SOON), Err(NoAnswer::Panicked(PathBuf::from("/panics"))));
        assert_eq!(answers(&worker), Ok(7));
    }

    #[test]
    fn a_hundred_hung_profiles_do_not_use_the_threads_of_the_gateways_own_home() {
        let places: Vec<_> = (0..100).map(|number| worker(&format!("/hung/{number}"), Purpose::Watch)).collect();
        let held: Vec<_> = places.iter().map(hang).collect();
        let own = FileWorker::of(Path::new("/home"), Purpose::Marker, Owner::Gateway);
        assert_eq!(answers(&own), Ok(7));
        drop(held);
        assert!(places.iter().all(|place| answers(place) == Ok(7)));
    }
}
