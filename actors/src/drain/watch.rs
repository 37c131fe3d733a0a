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
}

impl Watch {
    /// Watches `homes` and tells `port`. `None`, with a warning, where there are no file events: the poll is left.
    pub(super) fn start(homes: &[PathBuf], port: Port<MarkerTouched>) -> Option<Self> {
        let told = Arc::new(AtomicBool::new(false));
        let on_event = move |event: notify::Result<Event>| {
            let ours = event.as_ref().map_or(true, |event| {
                event.need_rescan()
                    || event.paths.iter().any(|path| path.file_name().is_some_and(|name| name == marker::FILE_NAME))
            });
            if ours
                && let Err(error) = port.tell(MarkerTouched)
                && !told.swap(true, Ordering::Relaxed)
            {
                warn!(%error, "the gate was not told of a file event");
            }
        };
        let mut watcher = match notify::recommended_watcher(on_event) {
            Ok(watcher) => watcher,
            Err(error) => {
                warn!(%error, "there are no file events here; drain markers are polled once a second");
                return None;
            }
        };
        for home in homes {
            if let Err(error) = watcher.watch(home, RecursiveMode::NonRecursive) {
                warn!(home = %home.display(), %error, "this home gives no file events; its drain marker is polled");
            }
        }
        Some(Self { _watcher: watcher })
    }
}
