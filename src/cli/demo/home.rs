//! The temporary home of the demo. It is removed when it is dropped, and by a signal that arrives before the gateway handles signals.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::{fs, io, process, thread};

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::super::signals::{SignalAction, Signals};
use crate::out;

/// Attempts to remove the home while other threads still write to it.
const REMOVALS: u32 = 20;

/// Handles the signals that end the process until it is dropped: removes the home, and ends the process.
pub(super) struct EarlySignals {
    home: Arc<Mutex<Option<PathBuf>>>,
    over: Option<oneshot::Sender<()>>,
}

/// Makes a temporary home. No signal leaves it behind.
pub(super) fn create() -> anyhow::Result<(TempDir, EarlySignals)> {
    let early = EarlySignals::listen().context("signals cannot be handled")?;
    // A signal in between waits for the name.
    let mut known = locked(&early.home);
    let home = tempfile::Builder::new().prefix("caduceus-demo-").tempdir().context("no temporary home")?;
    *known = Some(home.path().to_owned());
    drop(known);
    Ok((home, early))
}

impl EarlySignals {
    /// Handles signals when it returns.
    fn listen() -> io::Result<Self> {
        let home = Arc::new(Mutex::new(None));
        let (over, is_over) = oneshot::channel();
        let (listening, listens) = mpsc::channel();
        let of_thread = Arc::clone(&home);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(listening.send(Err(error))),
            };
            let is_stopped = runtime.block_on(async {
                let mut signals = match Signals::listen() {
                    Ok(signals) => signals,
                    Err(error) => {
                        let _ = listening.send(Err(error));
                        return false;
                    }
                };
                let _ = listening.send(Ok(()));
                tokio::select! {
                    biased;
                    _ = is_over => false,
                    () = stopped(&mut signals) => true,
                }
            });
            if is_stopped {
                end(&of_thread);
            }
        })?;
        listens.recv().map_err(io::Error::other)??;
        Ok(Self { home, over: Some(over) })
    }
}

impl Drop for EarlySignals {
    fn drop(&mut self) {
        drop(self.over.take());
        // Once the process is being ended, nothing goes on beside that.
        drop(locked(&self.home));
    }
}

async fn stopped(signals: &mut Signals) {
    while signals.next().await == SignalAction::Reload {}
}

/// Removes the home, and ends the process as a later signal does.
fn end(home: &Mutex<Option<PathBuf>>) {
    // Kept until the process ends.
    let home = locked(home);
    if let Some(path) = &*home {
        let is_removed = (0..REMOVALS).any(|_| fs::remove_dir_all(path).is_ok() || !path.exists());
        out::print_briefly(if is_removed {
            "The temporary home is removed.\n"
        } else {
            "The temporary home is not removed.\n"
        });
    }
    process::exit(0);
}

fn locked(home: &Mutex<Option<PathBuf>>) -> MutexGuard<'_, Option<PathBuf>> {
    home.lock().unwrap_or_else(PoisonError::into_inner)
}
