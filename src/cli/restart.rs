//! Restarts of the process that are requested over HTTP.
//!
//! [`ShutdownController`] owns the stage of the shutdown; the actor only forwards requests to it. Both outlive the tree.

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
    /// Running turns are not waited for.
    is_forced: bool,
    /// The shutdown was requested over HTTP, and no signal has arrived.
    restart: bool,
}

impl ShutdownController {
    /// The port for requests. Called on the main thread, which runs the shutdown.
    pub(super) fn port(&self) -> Port<RestartProcess> {
        RestartActor(self.clone()).start().into()
    }

    /// Handles a request. A shutdown that a signal began remains a stop; it can be forced.
    fn request(&self, force: bool) -> Result<(), AlreadyStopping> {
        let mut stage = self.stage();
        if stage.stopping && (stage.is_forced || !force) {
            return Err(AlreadyStopping);
        }
        stage.restart |= !stage.stopping;
        stage.stopping = true;
        stage.is_forced |= force;
        drop(stage);
        self.0.changed.notify_waiters();
        Ok(())
    }

    /// A signal arrived: the process stops and is not started again, even if a restart was requested before. `now`: running turns
    /// are not waited for.
    pub(super) fn signalled(&self, now: bool) {
        let mut stage = self.stage();
        stage.stopping = true;
        stage.restart = false;
        stage.is_forced |= now;
        drop(stage);
        self.0.changed.notify_waiters();
    }

    /// Waits until a restart is requested.
    pub(super) async fn restart_requested(&self) {
        self.until(|stage| stage.restart).await;
    }

    /// Waits until the shutdown is forced.
    pub(super) async fn forced(&self) {
        self.until(|stage| stage.is_forced).await;
    }

    /// Whether running turns are not waited for.
    pub(super) fn is_forced(&self) -> bool {
        self.stage().is_forced
    }

    /// Whether the process is to be started again.
    pub(super) fn is_restart(&self) -> bool {
        self.stage().restart
    }

    /// Whether a drain is over with this process.
    pub(super) fn ends_drain(&self) -> bool {
        let stage = self.stage();
        stage.restart && stage.is_forced
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

/// Forwards requests to the controller.
struct RestartActor(ShutdownController);

impl Actor for RestartActor {
    type Context = Context<Self>;
}

impl Handler<RestartProcess> for RestartActor {
    type Result = Result<(), AlreadyStopping>;

    fn handle(&mut self, request: RestartProcess, _: &mut Self::Context) -> Self::Result {
        self.0.request(request.force)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn a_restart_is_requested_once_and_can_be_forced_once() {
        let shutdown = ShutdownController::default();
        assert!(shutdown.restart_requested().now_or_never().is_none());
        assert_eq!(shutdown.request(false), Ok(()));
        assert!(shutdown.restart_requested().now_or_never().is_some() && shutdown.forced().now_or_never().is_none());
        assert_eq!(shutdown.request(false), Err(AlreadyStopping));
        assert!(!shutdown.ends_drain());
        assert_eq!(shutdown.request(true), Ok(()));
        assert!(shutdown.forced().now_or_never().is_some() && shutdown.ends_drain());
        assert_eq!(shutdown.request(true), Err(AlreadyStopping));
    }

    #[test]
    fn a_stop_by_signal_can_be_forced_and_remains_a_stop() {
        let shutdown = ShutdownController::default();
        shutdown.signalled(false);
        assert_eq!(shutdown.request(false), Err(AlreadyStopping));
        assert_eq!(shutdown.request(true), Ok(()));
        assert!(shutdown.forced().now_or_never().is_some());
        assert!(!shutdown.is_restart() && !shutdown.ends_drain(), "the signal stops the process, and the drain stays");
    }

    #[test]
    fn a_signal_that_does_not_wait_for_turns_forces_the_stop_and_keeps_the_drain() {
        let shutdown = ShutdownController::default();
        shutdown.signalled(true);
        assert!(shutdown.forced().now_or_never().is_some());
        assert!(!shutdown.is_restart() && !shutdown.ends_drain());
        assert_eq!(shutdown.request(true), Err(AlreadyStopping));
    }

    #[test]
    fn a_signal_makes_a_restart_a_stop() {
        let shutdown = ShutdownController::default();
        assert_eq!(shutdown.request(false), Ok(()));
        shutdown.signalled(false);
        assert!(!shutdown.is_restart() && !shutdown.is_forced(), "the turns are waited for as they were");
        assert_eq!(shutdown.request(false), Err(AlreadyStopping));
        assert_eq!(shutdown.request(true), Ok(()));
        assert!(!shutdown.is_restart() && shutdown.is_forced());
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_a_request() {
        let shutdown = ShutdownController::default();
        let (waiting, requesting) = (shutdown.restart_requested(), async { shutdown.request(true) });
        assert_eq!(tokio::join!(waiting, requesting).1, Ok(()));
    }
}
