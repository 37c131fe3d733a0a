//! Whether the system still has room for the file watchers of a gateway.

use std::path::PathBuf;

/// What is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventsFact {
    /// Watchers that a gateway of this home needs; 1 where one is running and has its own already.
    pub(super) needed: usize,
    /// How many could be made.
    pub(super) made: usize,
    /// The limit that prevented the next one.
    pub(super) limit: Option<WatchLimit>,
}

/// A limit on watchers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WatchLimit {
    /// Watchers of one user, or files of one process.
    Instances,
    /// Watched directories of one user.
    Watches,
    /// The error of the system.
    Other(String),
}

/// Makes as many watchers as a gateway would, one for each of `directories`, and releases them at once. Only a trial shows the
/// limit: the watchers of other processes of this user cannot be counted. `None` where the system has no such limits.
#[cfg(target_os = "linux")]
#[expect(clippy::unnecessary_wraps, reason = "the other systems have no such limits")]
pub(super) fn inspect(directories: &[PathBuf]) -> Option<EventsFact> {
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use rustix::io::Errno;

    let mut held = Vec::new();
    let mut limit = None;
    for directory in directories {
        let made = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).and_then(|watcher| {
            inotify::add_watch(&watcher, directory, WatchFlags::CREATE)?;
            Ok(watcher)
        });
        match made {
            Ok(watcher) => held.push(watcher),
            Err(error) => {
                limit = Some(match error {
                    Errno::MFILE => WatchLimit::Instances,
                    Errno::NOSPC => WatchLimit::Watches,
                    error => WatchLimit::Other(error.to_string()),
                });
                break;
            }
        }
    }
    Some(EventsFact { needed: directories.len(), made: held.len(), limit })
}

/// Only Linux limits them.
#[cfg(not(target_os = "linux"))]
pub(super) fn inspect(_: &[PathBuf]) -> Option<EventsFact> {
    None
}
