//! Named threads for actors, which are replaced when they no longer respond.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::ThreadId;
use std::time::Duration;

use actix::{Arbiter, ArbiterHandle};
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};

use crate::heartbeat::Heartbeat;
use crate::incarnation_future::spawn_outside;
use crate::locked::locked;
use crate::thread_heartbeat::ThreadHeartbeat;

/// Threads for blocking work (`spawn_blocking`) of one worker thread, at most: further work waits. A burst of it on a busy machine makes no
/// hundreds of threads, which remain for some seconds. More than the turns that start at once, each of which may wait for a disk.
const BLOCKING_THREADS: usize = 128;

/// A thread for actors, by name. Started together with its first child. Cheap to clone; clones are the same thread.
///
/// ```
/// use caduceus_supervision::WorkerThread;
///
/// let data = WorkerThread::new("data");
/// assert_eq!(data.name(), "data");
/// ```
#[derive(Debug, Clone)]
pub struct WorkerThread(Arc<ThreadState>);

#[derive(Debug)]
struct ThreadState {
    name: String,
    replaceable: bool,
    arbiter: Mutex<Option<ArbiterThread>>,
}

/// One operating system thread that runs, or ran, the actors of a [`WorkerThread`].
#[derive(Debug)]
pub(crate) struct ArbiterThread {
    /// Distinguishes the threads of one name; counted from 1.
    number: u64,
    handle: ArbiterHandle,
    /// `None` for the thread of the root, which this crate does not join.
    arbiter: Option<Arbiter>,
    heartbeat: ThreadHeartbeat,
    /// Set when it runs.
    thread_id: Arc<OnceLock<ThreadId>>,
    /// Closed when the thread's tasks have been dropped.
    alive: watch::Receiver<()>,
}

impl WorkerThread {
    /// The number of no thread: those of one name are counted from 1.
    pub(crate) const NO_THREAD: u64 = 0;

    /// A thread that is replaced when it is unresponsive.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self::with(name, true, None)
    }

    /// A thread that is never replaced, only reported: for actors that must not run twice, even if one hangs.
    #[must_use]
    pub fn not_replaceable(name: impl Into<String>) -> Self {
        Self::with(name, false, None)
    }

    /// The thread that the root supervisor runs on; the watchdog watches it.
    pub(crate) fn root() -> Self {
        let handle = Arbiter::current();
        // Its runtime is not made here, so it is asked at every check.
        let thread = ArbiterThread::of(1, handle, None, ThreadHeartbeat::default());
        let _ = thread.thread_id.set(std::thread::current().id());
        Self::with("root", false, Some(thread))
    }

    fn with(name: impl Into<String>, replaceable: bool, arbiter: Option<ArbiterThread>) -> Self {
        Self(Arc::new(ThreadState { name: name.into(), replaceable, arbiter: Mutex::new(arbiter) }))
    }

    /// The name given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn is_replaceable(&self) -> bool {
        self.0.replaceable
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Runs the future that `make` returns on the thread, which is started if there is none. Returns the thread's number. A caller on
    /// the same thread spawns it directly, without a message.
    pub(crate) fn spawn<F: Future<Output = ()> + 'static>(
        &self,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<u64> {
        let mut slot = self.slot();
        // A thread whose loop has ended takes no more work.
        if slot.as_ref().is_none_or(|thread| !thread.handle.alive() && thread.arbiter.is_some()) {
            let number = slot.as_ref().map_or(1, |thread| thread.number + 1);
            *slot = Some(ArbiterThread::start(number)?);
        }
        let Some(thread) = slot.as_ref() else { unreachable!("started above") };
        let number = thread.number;
        if thread.is_current() {
            drop(slot);
            spawn_outside(make());
            return Ok(number);
        }
        let sent = thread.handle.spawn_fn(move || spawn_outside(make()));
        if sent { Ok(number) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    /// Number and heartbeat of the current thread.
    pub(crate) fn heartbeat(&self) -> Option<(u64, Heartbeat)> {
        self.slot().as_ref().map(|thread| (thread.number, thread.heartbeat.last().clone()))
    }

    /// Requests a beat of the current thread; see [`ThreadHeartbeat::request`].
    pub(crate) fn request_beat(&self, now: Duration, at_least_every: Duration) {
        if let Some(thread) = self.slot().as_ref() {
            thread.heartbeat.request(now, at_least_every);
        }
    }

    /// Starts a new thread in place of an unresponsive one. Returns the old one, which ends if it runs again.
    pub(crate) fn replace(&self) -> io::Result<Option<ArbiterThread>> {
        let mut slot = self.slot();
        let number = slot.as_ref().map_or(1, |thread| thread.number + 1);
        let unresponsive = slot.replace(ArbiterThread::start(number)?);
        if let Some(thread) = &unresponsive {
            thread.handle.stop();
        }
        Ok(unresponsive)
    }

    /// Takes the thread out, unless it is the root's.
    pub(crate) fn take(&self) -> Option<ArbiterThread> {
        self.slot().take_if(|thread| thread.arbiter.is_some())
    }

    fn slot(&self) -> MutexGuard<'_, Option<ArbiterThread>> {
        locked(&self.0.arbiter)
    }
}

impl ArbiterThread {
    fn start(number: u64) -> io::Result<Self> {
        let heartbeat = ThreadHeartbeat::default();
        let (parks, unparks) = (heartbeat.clone(), heartbeat.clone());
        let arbiter = Arbiter::try_with_tokio_rt(move || {
            Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(BLOCKING_THREADS)
                .on_thread_park(move || parks.park())
                .on_thread_unpark(move || unparks.unpark())
                .build()
        })?;
        Ok(Self::of(number, arbiter.handle(), Some(arbiter), heartbeat))
    }

    /// Spawns a task behind `handle` that answers the requests for beats.
    fn of(number: u64, handle: ArbiterHandle, arbiter: Option<Arbiter>, heartbeat: ThreadHeartbeat) -> Self {
        let thread_id = Arc::new(OnceLock::new());
        let (guard, alive) = watch::channel(());
        let (beats, runs_on) = (heartbeat.clone(), Arc::clone(&thread_id));
        handle.spawn(async move {
            let _guard = guard;
            let _ = runs_on.set(std::thread::current().id());
            beats.answer().await;
        });
        Self { number, handle, arbiter, heartbeat, thread_id, alive }
    }

    /// Whether the caller runs on it.
    fn is_current(&self) -> bool {
        self.thread_id.get() == Some(&std::thread::current().id())
    }

    /// Whether its tasks still exist. An unresponsive thread that runs again drops them and ends.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.has_changed().is_ok()
    }

    /// Ends its loop and joins it, waiting at most `within`. Returns whether it was joined.
    ///
    /// A thread without tasks still waits for its blocking calls, without limit. So a helper thread joins it, and both are leaked
    /// if the time runs out.
    pub(crate) async fn join(mut self, within: Duration) -> bool {
        self.handle.stop();
        let joined = async move {
            // The sender never sends, it only closes.
            let _ = self.alive.changed().await;
            let Some(arbiter) = self.arbiter else { return true };
            let (done, result) = oneshot::channel();
            let helper = std::thread::Builder::new().name("joiner".to_owned());
            // Without a helper the sender is dropped, and the thread counts as leaked.
            let _ = helper.spawn(move || done.send(arbiter.join().is_ok()));
            result.await.unwrap_or(false)
        };
        tokio::time::timeout(within, joined).await.unwrap_or(false)
    }
}
