//! File events on the homes that may hold a marker.
//!
//! The *directory* is watched, since a rename replaces the file itself; an overflow of the queue of events counts as an event.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::Message;
use tracing::warn;

use super::marker;
use super::plan::Scope;
use crate::files::events::Watched;
use crate::files::{FileEvents, Listening};
use caduceus_supervision::Port;

/// News: the marker of a home may have changed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct MarkerTouched(pub(super) Scope);

/// The watch; dropping it ends it.
pub(super) struct Watch {
    events: FileEvents,
    listening: BTreeMap<Scope, (PathBuf, Listening, Bell)>,
    port: Port<MarkerTouched>,
}

/// Tells the gate of a flood of events as of one: none is told while the last one told waits in the mailbox.
#[derive(Clone)]
struct Bell {
    scope: Scope,
    port: Port<MarkerTouched>,
    /// News lies in the mailbox, unseen.
    pending: Arc<AtomicBool>,
    /// So that it is mentioned once.
    warned: Arc<AtomicBool>,
}

impl Watch {
    /// A watch that tells `port`, and watches nothing yet.
    pub(super) fn new(events: FileEvents, port: Port<MarkerTouched>) -> Self {
        Self { events, listening: BTreeMap::new(), port }
    }

    /// Whether every home is watched; one that is not is polled.
    pub(super) fn is_whole(&self) -> bool {
        self.listening.values().all(|(_, listening, _)| listening.watched() == Watched::Yes)
    }

    /// Watches these homes and no others. Where there are no file events the poll is left.
    pub(super) fn keep_to(&mut self, homes: &[(Scope, PathBuf)]) {
        let wanted: BTreeMap<_, _> = homes.iter().map(|(scope, home)| (scope, home)).collect();
        self.listening.retain(|scope, (home, ..)| wanted.get(scope) == Some(&&*home));
        for (scope, home) in homes {
            if !self.listening.contains_key(scope) {
                let bell = Bell::new(scope.clone(), self.port.clone());
                let rung = bell.clone();
                let listening = self.events.listen(home, |name| name == marker::FILE_NAME, move || rung.ring());
                self.listening.insert(scope.clone(), (home.clone(), listening, bell));
            }
        }
    }

    /// The news was taken from the mailbox: whatever happens from now on is news again. To be said before the marker is read.
    pub(super) fn heard(&self, scope: &Scope) {
        if let Some((_, _, bell)) = self.listening.get(scope) {
            bell.heard();
        }
    }
}

impl Bell {
    fn new(scope: Scope, port: Port<MarkerTouched>) -> Self {
        Self { scope, port, pending: Arc::default(), warned: Arc::default() }
    }

    fn ring(&self) {
        if self.pending.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Err(error) = self.port.tell(MarkerTouched(self.scope.clone())) {
            self.pending.store(false, Ordering::SeqCst);
            if !self.warned.swap(true, Ordering::Relaxed) {
                warn!(%error, "the gate was not told of a file event");
            }
        }
    }

    fn heard(&self) {
        self.pending.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use actix::{Actor, Context, Handler};

    use super::*;

    #[derive(Default)]
    struct Ear(usize);

    #[derive(Message)]
    #[rtype(result = "usize")]
    struct Heard;

    impl Actor for Ear {
        type Context = Context<Self>;
    }

    impl Handler<MarkerTouched> for Ear {
        type Result = ();
        fn handle(&mut self, _: MarkerTouched, _: &mut Self::Context) {
            self.0 += 1;
        }
    }

    impl Handler<Heard> for Ear {
        type Result = usize;
        fn handle(&mut self, _: Heard, _: &mut Self::Context) -> usize {
            self.0
        }
    }

    #[actix::test]
    async fn a_watch_that_lacks_a_home_says_so() {
        let (there, missing) = (tempfile::tempdir().unwrap(), PathBuf::from("/nowhere/at/all"));
        let mut watch = Watch::new(FileEvents::default(), Port::from(Ear::default().start()));
        let own = (Scope::Gateway, there.path().to_owned());
        watch.keep_to(std::slice::from_ref(&own));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !watch.is_whole() {
            assert!(std::time::Instant::now() < deadline, "the home was never watched");
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        watch.keep_to(&[own, (Scope::Profile(crate::profile::name::ProfileName::parse("work").unwrap()), missing)]);
        assert!(!watch.is_whole());
    }

    #[actix::test]
    async fn a_flood_of_events_is_told_once_until_it_was_heard() {
        let ear = Ear::default().start();
        let bell = Bell::new(Scope::Gateway, Port::from(ear.clone()));
        for _ in 0..1000 {
            bell.ring();
        }
        assert_eq!(ear.send(Heard).await.unwrap(), 1);
        bell.heard();
        bell.ring();
        assert_eq!(ear.send(Heard).await.unwrap(), 2);
    }
}
