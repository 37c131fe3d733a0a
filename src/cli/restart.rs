//! Orders to restart the process, from within it.
//!
//! [`ShutdownController`] keeps the stage of the shutdown; the actor only passes orders on to it. Both outlive the tree.

use std::sync::{Arc, Mutex, MutexGuard};

use actix::{Actor, Context, Handler};
use caduceus_actors::locked::locked;
use caduceus_supervision::Port;
use tokio::sync::Notify;

use crate::http::{AlreadyStopping, RestartProcess};

/// The stage of the shutdown of the process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct ShutdownController(Arc<ShutdownState>);

#[derive(Debug, Default)]
struct ShutdownState {
    stage: Mutex<ShutdownStage>,
    changed: Notify,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ShutdownStage {
    stopping: bool,
    /// No turn is waited for.
    forced: bool,
    /// It was begun here, and no signal has come.
    restart: bool,
}

impl ShutdownController {
    /// The port for orders. Called on the main thread, which runs the shutdown.
    pub(super) fn port(&self) -> Port<RestartProcess> {
        RestartActor(self.clone()).start().into()
    }

    /// Takes an order. A shutdown that a signal began stays a stop; it can be forced.
    fn order(&self, force: bool) -> Result<(), AlreadyStopping> {
        let mut stage = self.stage();
        if stage.stopping && (stage.forced || !force) {
            return Err(AlreadyStopping);
        }
        stage.restart |= !stage.stopping;
        stage.stopping = true;
        stage.forced |= force;
        drop(stage);
        self.0.changed.notify_waiters();
        Ok(())
    }

    /// A signal came: the process stops and is not started again, whatever was ordered before. `now`: no turn is
    /// waited for.
    pub(super) fn signalled(&self, now: bool) {
        let mut stage = self.stage();
        stage.stopping = true;
        stage.restart = false;
        stage.forced |= now;
        drop(stage);
        self.0.changed.notify_waiters();
    }

    /// Waits until a restart is ordered.
    pub(super) async fn ordered(&self) {
        self.until(|stage| stage.restart).await;
    }

    /// Waits until no turn is to be waited for.
    pub(super) async fn hurried(&self) {
        self.until(|stage| stage.forced).await;
    }

    /// Whether no turn is to be waited for.
    pub(super) fn is_forced(&self) -> bool {
        self.stage().forced
    }

    /// Whether the process is to be started again.
    pub(super) fn is_restart(&self) -> bool {
        self.stage().restart
    }

    /// Whether a drain is over with this process.
    pub(super) fn ends_drain(&self) -> bool {
        let stage = self.stage();
        stage.restart && stage.forced
    }

    async fn until(&self, is: impl Fn(ShutdownStage) -> bool) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // Subscribes before it reads the state.
            changed.as_mut().enable();
            if is(*self.stage()) {
                return;
            }
            changed.await;
        }
    }

    fn stage(&self) -> MutexGuard<'_, ShutdownStage> {
        locked(&self.0.stage)
    }
}

/// Passes orders on.
struct RestartActor(ShutdownController);

impl Actor for RestartActor {
    type Context = Context<Self>;
}

impl Handler<RestartProcess> for RestartActor {
    type Result = Result<(), AlreadyStopping>;

    fn handle(&mut self, order: RestartProcess, _: &mut Self::Context) -> Self::Result {
        self.0.order(order.force)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn a_restart_is_ordered_once_and_can_be_hurried_once() {
        let shutdown = ShutdownController::default();
        assert!(shutdown.ordered().now_or_never().is_none());
        assert_eq!(shutdown.order(false), Ok(()));
        assert!(shutdown.ordered().now_or_never().is_some() && shutdown.hurried().now_or_never().is_none());
        assert_eq!(shutdown.order(false), Err(AlreadyStopping));
        assert!(!shutdown.ends_drain());
        assert_eq!(shutdown.order(true), Ok(()));
        assert!(shutdown.hurried().now_or_never().is_some() && shutdown.ends_drain());
        assert_eq!(shutdown.order(true), Err(AlreadyStopping));
    }

    #[test]
    fn what_a_signal_began_is_hurried_and_stays_what_it_is() {
        let shutdown = ShutdownController::default();
        shutdown.signalled(false);
        assert_eq!(shutdown.order(false), Err(AlreadyStopping));
        assert_eq!(shutdown.order(true), Ok(()));
        assert!(shutdown.hurried().now_or_never().is_some());
        assert!(!shutdown.is_restart() && !shutdown.ends_drain(), "the signal stops the process, and the drain stays");
    }

    #[test]
    fn a_signal_that_waits_for_no_turn_is_an_end_in_a_hurry_and_leaves_a_drain_alone() {
        let shutdown = ShutdownController::default();
        shutdown.signalled(true);
        assert!(shutdown.hurried().now_or_never().is_some());
        assert!(!shutdown.is_restart() && !shutdown.ends_drain());
        assert_eq!(shutdown.order(true), Err(AlreadyStopping));
    }

    #[test]
    fn a_signal_makes_a_restart_an_end() {
        let shutdown = ShutdownController::default();
        assert_eq!(shutdown.order(false), Ok(()));
        shutdown.signalled(false);
        assert!(!shutdown.is_restart() && !shutdown.is_forced(), "the turns are waited for as they were");
        assert_eq!(shutdown.order(false), Err(AlreadyStopping));
        assert_eq!(shutdown.order(true), Ok(()));
        assert!(!shutdown.is_restart() && shutdown.is_forced());
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_an_order() {
        let shutdown = ShutdownController::default();
        let (waiting, ordering) = (shutdown.ordered(), async { shutdown.order(true) });
        assert_eq!(tokio::join!(waiting, ordering).1, Ok(()));
    }
}
