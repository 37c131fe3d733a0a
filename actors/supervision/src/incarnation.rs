//! One incarnation of a child: its identity, whether it is fenced, and why it ended.
//!
//! The supervisor creates an [`Incarnation`] for every start, and the runner makes it *current* on the thread while it polls the
//! actor. So a [`Port`](crate::Port) drops what a fenced incarnation sends, and the panic hook names the actor that panicked,
//! without code in the actor.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::actor_heartbeat::ActorHeartbeat;
use crate::child_path::ChildPath;
use crate::control::RunnerControl;
use crate::exit::ExitReason;

/// One incarnation of a child. Cheap to clone; clones are the same incarnation.
///
/// Everything that its supervisor, its runner, its actor and the heartbeat check share about it is in one allocation.
#[derive(Debug, Clone)]
pub struct Incarnation(Arc<IncarnationState>);

#[derive(Debug)]
struct IncarnationState {
    path: ChildPath,
    generation: u64,
    fenced: AtomicBool,
    ready: AtomicBool,
    became_ready: Notify,
    /// Set if its supervisor waits for its report.
    on_ready: Option<ReadyHook>,
    end: OnceLock<ExitReason>,
    control: RunnerControl,
    heartbeat: ActorHeartbeat,
}

/// Reports to the supervisor that an incarnation is ready.
pub(crate) struct ReadyHook(Box<dyn Fn() + Send + Sync>);

impl ReadyHook {
    pub(crate) fn new(report: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Box::new(report))
    }
}

impl fmt::Debug for ReadyHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadyHook")
    }
}

impl Incarnation {
    /// An incarnation that is neither ready nor fenced. The supervisor makes one for each start; a test that builds
    /// an actor by hand makes its own.
    #[must_use]
    pub fn new(path: impl Into<Arc<str>>, generation: u64) -> Self {
        Self::at(ChildPath::new(&Arc::default(), &path.into()), generation, None)
    }

    pub(crate) fn at(path: ChildPath, generation: u64, on_ready: Option<ReadyHook>) -> Self {
        Self(Arc::new(IncarnationState {
            path,
            generation,
            fenced: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            became_ready: Notify::new(),
            on_ready,
            end: OnceLock::new(),
            control: RunnerControl::default(),
            heartbeat: ActorHeartbeat::new(),
        }))
    }

    pub(crate) fn control(&self) -> &RunnerControl {
        &self.0.control
    }

    pub(crate) fn heartbeat(&self) -> &ActorHeartbeat {
        &self.0.heartbeat
    }

    pub(crate) fn id(&self) -> &str {
        self.0.path.id()
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Path of the child in the tree, such as `links/primary`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.path.as_str()
    }

    /// Counts the incarnations of this child, from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// Reports that this child is ready: the next sibling may start. Repeated calls have no effect.
    pub fn ready(&self) {
        if !self.0.ready.swap(true, Ordering::SeqCst) {
            self.0.became_ready.notify_waiters();
            if let Some(ReadyHook(report)) = &self.0.on_ready {
                report();
            }
        }
    }

    /// Whether [`Incarnation::ready`] was called.
    pub(crate) fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::SeqCst)
    }

    /// Waits until [`Incarnation::ready`] was called.
    pub async fn until_ready(&self) {
        // Created before the check, so that no call between the two is missed.
        let notified = self.0.became_ready.notified();
        if !self.0.ready.load(Ordering::SeqCst) {
            notified.await;
        }
    }

    /// Records why this incarnation is about to stop itself; the first reason counts. The caller
    /// stops its context right after.
    ///
    /// ```
    /// use caduceus_supervision::{ExitReason, Incarnation};
    ///
    /// let incarnation = Incarnation::new("worker", 1);
    /// incarnation.end_with(ExitReason::Error("the disk is full".to_owned()));
    /// incarnation.end_with(ExitReason::Normal);
    /// assert_eq!(incarnation.end().map(ExitReason::word), Some("error"));
    /// ```
    pub fn end_with(&self, reason: ExitReason) {
        let _ = self.0.end.set(reason);
    }

    /// The reason given to [`Incarnation::end_with`], if any.
    #[must_use]
    pub fn end(&self) -> Option<&ExitReason> {
        self.0.end.get()
    }

    /// Fences this incarnation: what it sends afterwards is dropped.
    pub fn fence(&self) {
        self.0.fenced.store(true, Ordering::SeqCst);
    }

    /// Whether this incarnation is fenced.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.0.fenced.load(Ordering::SeqCst)
    }

    /// The incarnation that is current on this thread, if any.
    #[must_use]
    pub fn current() -> Option<Incarnation> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Whether the incarnation that is current on this thread is fenced.
    #[must_use]
    pub fn current_is_fenced() -> bool {
        CURRENT.with_borrow(|current| current.as_ref().is_some_and(Incarnation::is_fenced))
    }

    /// Runs `work` with this incarnation as the current one of the thread; the previous one is restored, also after a panic.
    pub fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        struct Restore(Option<Incarnation>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self.clone())));
        work()
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Incarnation>> = const { RefCell::new(None) };
}
