//! Named threads for actors, which are replaced when they no longer turn.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::{Arbiter, ArbiterHandle};
use tokio::sync::{oneshot, watch};
use tokio::time::MissedTickBehavior;

use super::pulse::Pulse;

/// A thread for actors, by name. Started when its first child is. Cheap to clone; clones are the same thread.
#[derive(Debug, Clone)]
pub struct Lane(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    replaceable: bool,
    thread: Mutex<Option<Thread>>,
}

/// One thread that has stood, or stands, behind a lane.
#[derive(Debug)]
pub(super) struct Thread {
    /// Tells the threads of one lane apart; counted from 1.
    number: u64,
    handle: ArbiterHandle,
    /// `None` for the thread of the root, which nobody here may join.
    arbiter: Option<Arbiter>,
    pulse: Pulse,
    /// Closed when the thread's tasks have been dropped.
    alive: watch::Receiver<()>,
}

impl Lane {
    /// A lane that gets a new thread when its thread is wedged.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self::with(name, true, None)
    }

    /// A lane whose thread is never replaced, only reported: its actors must not run twice even if one hangs.
    #[must_use]
    pub fn never_replaced(name: impl Into<String>) -> Self {
        Self::with(name, false, None)
    }

    /// The thread that the root supervisor runs on; the watchdog looks after it.
    pub(super) fn root(beat_every: Duration) -> Self {
        let handle = Arbiter::current();
        let (pulse, alive) = beat(&handle, beat_every);
        Self::with("root", false, Some(Thread { number: 1, handle, arbiter: None, pulse, alive }))
    }

    fn with(name: impl Into<String>, replaceable: bool, thread: Option<Thread>) -> Self {
        Self(Arc::new(Inner { name: name.into(), replaceable, thread: Mutex::new(thread) }))
    }

    /// The name given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn is_replaceable(&self) -> bool {
        self.0.replaceable
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Runs `work` on the lane's thread, which is started if there is none. Returns the thread's number.
    pub(super) fn run(&self, beat_every: Duration, work: impl FnOnce() + Send + 'static) -> io::Result<u64> {
        let mut slot = self.slot();
        // A thread whose loop has ended takes no more work.
        if slot.as_ref().is_none_or(|thread| !thread.handle.alive() && thread.arbiter.is_some()) {
            let number = slot.as_ref().map_or(1, |thread| thread.number + 1);
            *slot = Some(Thread::start(number, beat_every)?);
        }
        let Some(thread) = slot.as_ref() else { unreachable!("started above") };
        if thread.handle.spawn_fn(work) { Ok(thread.number) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    /// Number and pulse of the present thread.
    pub(super) fn sign_of_life(&self) -> Option<(u64, Pulse)> {
        self.slot().as_ref().map(|thread| (thread.number, thread.pulse.clone()))
    }

    /// Puts a new thread in the place of a wedged one, which is told to end should it ever wake, and returned.
    pub(super) fn replace(&self, beat_every: Duration) -> io::Result<Option<Thread>> {
        let mut slot = self.slot();
        let number = slot.as_ref().map_or(1, |thread| thread.number + 1);
        let wedged = slot.replace(Thread::start(number, beat_every)?);
        if let Some(thread) = &wedged {
            thread.handle.stop();
        }
        Ok(wedged)
    }

    /// Takes the thread away, if it is ours to end.
    pub(super) fn take(&self) -> Option<Thread> {
        self.slot().take_if(|thread| thread.arbiter.is_some())
    }

    fn slot(&self) -> MutexGuard<'_, Option<Thread>> {
        self.0.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Thread {
    fn start(number: u64, beat_every: Duration) -> io::Result<Self> {
        let arbiter = Arbiter::try_new()?;
        let handle = arbiter.handle();
        let (pulse, alive) = beat(&handle, beat_every);
        Ok(Self { number, handle, arbiter: Some(arbiter), pulse, alive })
    }

    /// Whether its tasks still exist. A wedged thread that wakes drops them and ends.
    pub(super) fn is_alive(&self) -> bool {
        self.alive.has_changed().is_ok()
    }

    /// Ends its loop and joins it, waiting at most `within`. Returns whether it was joined.
    ///
    /// A thread whose tasks are gone still waits for the blocking calls it has begun, without limit. So the join is left
    /// to a helper thread, which stays behind with it should the time run out.
    pub(super) async fn join(mut self, within: Duration) -> bool {
        self.handle.stop();
        let joined = async move {
            // The sender never sends, it only closes.
            let _ = self.alive.changed().await;
            let Some(arbiter) = self.arbiter else { return true };
            let (tell, told) = oneshot::channel();
            let joiner = std::thread::Builder::new().name("joiner".to_owned());
            // Without a helper the sender is dropped, and the thread counts as left behind.
            let _ = joiner.spawn(move || tell.send(arbiter.join().is_ok()));
            told.await.unwrap_or(false)
        };
        tokio::time::timeout(within, joined).await.unwrap_or(false)
    }
}

/// Has the thread behind `handle` beat a pulse for as long as it turns.
fn beat(handle: &ArbiterHandle, every: Duration) -> (Pulse, watch::Receiver<()>) {
    let pulse = Pulse::new();
    let (guard, alive) = watch::channel(());
    let beaten = pulse.clone();
    handle.spawn(async move {
        let _guard = guard;
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            beaten.beat();
        }
    });
    (pulse, alive)
}
