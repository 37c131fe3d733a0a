//! What threads share, in the tests of this crate: as in the standard library, unless a test explores the orders of their steps.
//!
//! Then `shuttle` runs the threads of the test in one, and chooses before each step which of them continues. A thread that would wait lets the
//! others continue. A time-out passes after some steps of others. Random orders are tried, from a seed that is printed.
//! `CADUCEUS_ORDERS_SEED` repeats one, except for what depends on the clock.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, Runner};

/// Looks at an empty queue after which a wait times out.
const LOOKS: u32 = 3;
/// Stack of an explored thread: rows and their texts need more than the default of 32 KiB.
const STACK: usize = 512 * 1024;

thread_local! {
    static IS_EXPLORED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `scenario` in so many orders of the steps of its threads, which it starts with `shuttle::thread`. It has to join them before it
/// asserts anything: a thread that panics leaves the locks of the others locked.
///
/// # Errors
/// The first order in which it panics.
pub(crate) fn explore(
    name: &str,
    orders: usize,
    scenario: impl Fn() + Send + Sync + 'static,
) -> Result<(), Box<dyn std::any::Any + Send>> {
    #[expect(clippy::disallowed_methods, reason = "a test has no settings")]
    let seed = std::env::var("CADUCEUS_ORDERS_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("{name}: {orders} orders from seed {seed}");
    // A failed run leaves what it had on its thread.
    let explored = thread::spawn(move || {
        IS_EXPLORED.set(true);
        let mut config = Config::new();
        config.stack_size = STACK;
        catch_unwind(AssertUnwindSafe(|| {
            Runner::new(RandomScheduler::new_from_seed(seed, orders), config).run(scenario);
        }))
    });
    explored.join().expect("panics are caught")
}

/// Another thread may continue before the next step of this one.
fn step() {
    if is_explored() {
        shuttle::thread::sleep(Duration::ZERO);
    }
}

fn is_explored() -> bool {
    IS_EXPLORED.get() && !thread::panicking()
}

/// The lock, if its orders are explored.
pub(crate) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    if !is_explored() {
        return None;
    }
    step();
    loop {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(PoisonError::into_inner(poisoned)),
            Err(TryLockError::WouldBlock) => shuttle::thread::yield_now(),
        }
    }
}

pub(crate) mod atomic {
    //! Numbers and flags.

    pub(crate) use std::sync::atomic::Ordering;

    use super::step;

    #[derive(Debug)]
    pub(crate) struct AtomicUsize(std::sync::atomic::AtomicUsize);

    impl AtomicUsize {
        pub(crate) fn new(value: usize) -> Self {
            Self(std::sync::atomic::AtomicUsize::new(value))
        }

        pub(crate) fn fetch_add(&self, value: usize, order: Ordering) -> usize {
            step();
            self.0.fetch_add(value, order)
        }

        pub(crate) fn fetch_sub(&self, value: usize, order: Ordering) -> usize {
            step();
            self.0.fetch_sub(value, order)
        }
    }

    #[derive(Debug)]
    pub(crate) struct AtomicBool(std::sync::atomic::AtomicBool);

    impl AtomicBool {
        pub(crate) fn new(value: bool) -> Self {
            Self(std::sync::atomic::AtomicBool::new(value))
        }

        pub(crate) fn load(&self, order: Ordering) -> bool {
            step();
            self.0.load(order)
        }

        pub(crate) fn store(&self, value: bool, order: Ordering) {
            step();
            self.0.store(value, order);
        }
    }
}

pub(crate) mod mpsc {
    //! Queues.

    use std::sync::mpsc;
    pub(crate) use std::sync::mpsc::{RecvTimeoutError, SendError, TryRecvError};
    use std::time::Duration;

    use super::{LOOKS, is_explored, step};

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = mpsc::channel();
        (Sender(sender), Receiver(receiver))
    }

    #[derive(Debug)]
    pub(crate) struct Sender<T>(mpsc::Sender<T>);

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Self {
            Self(self.0.clone())
        }
    }

    impl<T> Sender<T> {
        pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
            step();
            self.0.send(value)
        }
    }

    #[derive(Debug)]
    pub(crate) struct Receiver<T>(mpsc::Receiver<T>);

    impl<T> Receiver<T> {
        pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
            step();
            self.0.try_recv()
        }

        pub(crate) fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
            if !is_explored() {
                return self.0.recv_timeout(timeout);
            }
            for _ in 0..LOOKS {
                match self.try_recv() {
                    Ok(value) => return Ok(value),
                    Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                    Err(TryRecvError::Empty) => shuttle::thread::yield_now(),
                }
            }
            Err(RecvTimeoutError::Timeout)
        }
    }
}
