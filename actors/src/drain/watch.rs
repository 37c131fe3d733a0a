//! File events on the homes that may hold a marker.
//!
//! The *directory* is watched, since a rename replaces the file itself; an overflow of the queue of events counts as an event.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::Message;
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tracing::warn;

use super::marker;
use crate::supervision::Port;

/// News: a marker may have changed.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct MarkerTouched;

/// The watch; dropping it ends it.
pub(super) struct Watch {
    _watcher: RecommendedWatcher,
    bell: Bell,
    /// Whether every home is watched.
    whole: bool,
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
    /// Watches `homes` and tells `port`. `None`, with a warning, where there are no file events: the poll is left.
    pub(super) fn start(homes: &[PathBuf], port: Port<MarkerTouched>) -> Option<Self> {
        let bell = Bell::new(port);
        let rung = bell.clone();
        let on_event = move |event: notify::Result<Event>| {
            if concerns_a_marker(&event) {
                rung.ring();
            }
        };
        let mut watcher = match notify::recommended_watcher(on_event) {
            Ok(watcher) => watcher,
            Err(error) => {
                warn!(%error, "there are no file events here; drain markers are polled once a second");
                return None;
            }
        };
        let mut whole = true;
        for home in homes {
            if let Err(error) = watcher.watch(home, RecursiveMode::NonRecursive) {
                warn!(home = %home.display(), %error, "this home gives no file events; its drain marker is polled");
                whole = false;
            }
        }
        Some(Self { _watcher: watcher, bell, whole })
    }

    /// Whether every home is watched; one that is not is polled.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The news was taken from the mailbox: whatever happens from now on is news again. To be said before the markers are read.
    pub(super) fn heard(&self) {
        self.bell.heard();
    }
}

/// Whether a marker may have changed. After an error, and when events were lost, any may have.
fn concerns_a_marker(event: &notify::Result<Event>) -> bool {
    event.as_ref().map_or(true, |event| {
        event.need_rescan()
            || event.paths.iter().any(|path| path.file_name().is_some_and(|name| name == marker::FILE_NAME))
    })
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
    use std::path::Path;

    use actix::{Actor, Context, Handler};
    use notify::EventKind;
    use notify::event::Flag;

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

    #[test]
    fn an_event_that_was_lost_may_have_been_a_marker_and_one_of_another_file_is_none() {
        let of = |name: &str| Ok(Event::new(EventKind::Any).add_path(Path::new("/home").join(name)));
        assert!(concerns_a_marker(&of(marker::FILE_NAME)));
        assert!(!concerns_a_marker(&of("caduceus.db-wal")));
        assert!(concerns_a_marker(&Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))), "the queue ran over");
        assert!(concerns_a_marker(&Err(notify::Error::generic("broken"))));
    }

    #[actix::test]
    async fn a_watch_that_lacks_a_home_says_so() {
        let (there, missing) = (tempfile::tempdir().unwrap(), PathBuf::from("/nowhere/at/all"));
        let watch = |homes: &[PathBuf]| Watch::start(homes, Port::from(Ear::default().start())).unwrap();
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
