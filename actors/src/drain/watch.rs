//! File events on the homes that may have a marker.
//!
//! The *directory* is watched, because a rename replaces the file itself; an overflow of the queue of events counts as an event.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::Message;
use tracing::warn;

use super::plan::DrainScope;
use crate::files::events::Watched;
use crate::files::{FileEvents, Listening};
use caduceus_contract::files::marker;
use caduceus_supervision::Port;

/// The marker of a home may have changed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct MarkerTouched(pub(super) DrainScope);

/// The watch; dropping it ends it.
pub(super) struct MarkerWatch {
    events: FileEvents,
    listening: BTreeMap<DrainScope, (PathBuf, Listening, MarkerFlag)>,
    port: Port<MarkerTouched>,
    /// Whether every home was watched after this number of changes, [`FileEvents::changes`].
    complete: Cell<Option<(u64, bool)>>,
}

/// Reports a flood of events to the gate as one: none is sent while the last one is in the mailbox.
#[derive(Clone)]
struct MarkerFlag {
    scope: DrainScope,
    port: Port<MarkerTouched>,
    /// A notification is in the mailbox.
    pending: Arc<AtomicBool>,
    /// The mailbox refused a notification since the last look.
    missed: Arc<AtomicBool>,
    /// The failure was logged.
    warned: Arc<AtomicBool>,
}

impl MarkerWatch {
    /// A watch that notifies `port`, and watches nothing yet.
    pub(super) fn new(events: FileEvents, port: Port<MarkerTouched>) -> Self {
        Self { events, listening: BTreeMap::new(), port, complete: Cell::new(None) }
    }

    /// Whether every home is watched; one that is not is polled. Looks at the homes only after a change.
    pub(super) fn is_complete(&self) -> bool {
        // Before the homes are looked at: a change meanwhile is a later one.
        let changes = self.events.changes();
        let known = self.complete.get().filter(|(known, _)| *known == changes);
        let is_complete = known.map_or_else(
            || self.listening.values().all(|(_, listening, _)| listening.watched() == Watched::Yes),
            |(_, is_complete)| is_complete,
        );
        self.complete.set(Some((changes, is_complete)));
        is_complete
    }

    /// Watches these homes and no others. Without file events the poll remains.
    pub(super) fn set_homes(&mut self, homes: &[(DrainScope, PathBuf)]) {
        let wanted: BTreeMap<_, _> = homes.iter().map(|(scope, home)| (scope, home)).collect();
        self.complete.set(None);
        self.listening.retain(|scope, (home, ..)| wanted.get(scope) == Some(&&*home));
        for (scope, home) in homes {
            if !self.listening.contains_key(scope) {
                let flag = MarkerFlag::new(scope.clone(), self.port.clone());
                let raised = flag.clone();
                let listening = self.events.listen(
                    home,
                    &[marker::FILE_NAME],
                    |name| name == marker::FILE_NAME,
                    move || raised.raise(),
                );
                self.listening.insert(scope.clone(), (home.clone(), listening, flag));
            }
        }
    }

    /// The homes whose notification the mailbox refused since the last call.
    pub(super) fn take_missed(&self) -> Vec<DrainScope> {
        let missed = self.listening.iter().filter(|(_, (_, _, flag))| flag.missed.swap(false, Ordering::SeqCst));
        missed.map(|(scope, _)| scope.clone()).collect()
    }

    /// The gate received the notification: later events send another. Called before the marker is read.
    pub(super) fn received(&self, scope: &DrainScope) {
        if let Some((_, _, flag)) = self.listening.get(scope) {
            flag.lower();
        }
    }
}

impl MarkerFlag {
    fn new(scope: DrainScope, port: Port<MarkerTouched>) -> Self {
        Self { scope, port, pending: Arc::default(), missed: Arc::default(), warned: Arc::default() }
    }

    fn raise(&self) {
        if self.pending.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Err(error) = self.port.tell(MarkerTouched(self.scope.clone())) {
            self.pending.store(false, Ordering::SeqCst);
            self.missed.store(true, Ordering::SeqCst);
            if !self.warned.swap(true, Ordering::Relaxed) {
                warn!(%error, "file event not delivered to the gate");
            }
        }
    }

    fn lower(&self) {
        self.pending.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use actix::{Actor, Context, Handler};

    use super::*;
    use caduceus_contract::profile_name::ProfileName;

    #[derive(Default)]
    struct TouchCounter(usize);

    #[derive(Message)]
    #[rtype(result = "usize")]
    struct CountTouches;

    impl Actor for TouchCounter {
        type Context = Context<Self>;
    }

    impl Handler<MarkerTouched> for TouchCounter {
        type Result = ();
        fn handle(&mut self, _: MarkerTouched, _: &mut Self::Context) {
            self.0 += 1;
        }
    }

    impl Handler<CountTouches> for TouchCounter {
        type Result = usize;
        fn handle(&mut self, _: CountTouches, _: &mut Self::Context) -> usize {
            self.0
        }
    }

    #[actix::test]
    async fn a_watch_without_a_home_is_incomplete() {
        let (there, missing) = (tempfile::tempdir().unwrap(), PathBuf::from("/nowhere/at/all"));
        let mut watch = MarkerWatch::new(FileEvents::default(), Port::from(TouchCounter::default().start()));
        let own = (DrainScope::Gateway, there.path().to_owned());
        watch.set_homes(std::slice::from_ref(&own));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !watch.is_complete() {
            assert!(std::time::Instant::now() < deadline, "the home was not watched within the timeout");
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        watch.set_homes(&[own.clone(), (DrainScope::Profile(ProfileName::parse("work").unwrap()), missing)]);
        assert!(!watch.is_complete());
        watch.set_homes(&[own]);
        assert!(watch.is_complete());
    }

    #[actix::test]
    async fn a_flood_of_events_is_sent_once_until_it_was_received() {
        let counter = TouchCounter::default().start();
        let flag = MarkerFlag::new(DrainScope::Gateway, Port::from(counter.clone()));
        for _ in 0..1000 {
            flag.raise();
        }
        assert_eq!(counter.send(CountTouches).await.unwrap(), 1);
        flag.lower();
        flag.raise();
        assert_eq!(counter.send(CountTouches).await.unwrap(), 2);
    }
}
