//! File events on the homes that may hold a marker.
//!
//! The *directory* is watched, since a rename replaces the file itself; an overflow of the queue of events counts as an event.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::Message;
use tracing::warn;

use super::marker;
use crate::files::{FileEvents, Listening};
use crate::supervision::Port;

/// News: a marker may have changed.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct MarkerTouched;

/// The watch; dropping it ends it.
pub(super) struct Watch {
    events: FileEvents,
    listening: BTreeMap<PathBuf, Option<Listening>>,
    bell: Bell,
}

/// Tells the gate of a flood of events as of one: none is told while the last one told waits in the mailbox.
#[derive(Clone)]
struct Bell {
    port: Port<MarkerTouched>,
    /// News lies in the mailbox, unseen.
    pending: Arc<AtomicBool>,
    /// So that it is mentioned once.
    warned: Arc<AtomicBool>,
}

impl Watch {
    /// A watch that tells `port`, and watches nothing yet.
    pub(super) fn new(events: FileEvents, port: Port<MarkerTouched>) -> Self {
        Self { events, listening: BTreeMap::new(), bell: Bell::new(port) }
    }

    /// Whether every home is watched; one that is not is polled.
    pub(super) fn is_whole(&self) -> bool {
        self.listening.values().all(Option::is_some)
    }

    /// Watches these homes and no others. With a warning where there are no file events: the poll is left.
    pub(super) fn keep_to(&mut self, homes: &[PathBuf]) {
        self.listening.retain(|home, _| homes.contains(home));
        for home in homes {
            if !self.listening.contains_key(home) {
                let listening = self.listen(home);
                self.listening.insert(home.clone(), listening);
            }
        }
    }

    fn listen(&self, home: &Path) -> Option<Listening> {
        let bell = self.bell.clone();
        let listening = self.events.listen(home, |name| name == marker::FILE_NAME, move || bell.ring());
        listening
            .inspect_err(
                |error| warn!(home = %home.display(), %error, "no file events here; the drain marker is polled"),
            )
            .ok()
    }

    /// The news was taken from the mailbox: whatever happens from now on is news again. To be said before the markers are read.
    pub(super) fn heard(&self) {
        self.bell.heard();
    }
}

impl Bell {
    fn new(port: Port<MarkerTouched>) -> Self {
        Self { port, pending: Arc::default(), warned: Arc::default() }
    }

    fn ring(&self) {
        if self.pending.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Err(error) = self.port.tell(MarkerTouched) {
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
        let watch = |homes: &[PathBuf]| {
            let mut watch = Watch::new(FileEvents::default(), Port::from(Ear::default().start()));
            watch.keep_to(homes);
            watch
        };
        assert!(watch(&[there.path().to_owned()]).is_whole());
        assert!(!watch(&[there.path().to_owned(), missing]).is_whole());
    }

    #[actix::test]
    async fn a_flood_of_events_is_told_once_until_it_was_heard() {
        let ear = Ear::default().start();
        let bell = Bell::new(Port::from(ear.clone()));
        for _ in 0..1000 {
            bell.ring();
        }
        assert_eq!(ear.send(Heard).await.unwrap(), 1);
        bell.heard();
        bell.ring();
        assert_eq!(ear.send(Heard).await.unwrap(), 2);
    }
}
