//! The gateway's handle of a guard.

use std::io;
use std::process::{Child, ExitStatus};

use rustix::process::Pid;

/// A running guard. Dropping it reaps it on another thread; closing its lifeline ends it.
#[derive(Debug)]
pub struct HeldGuard {
    pid: Pid,
    /// `None` once it has been reaped.
    child: Option<Child>,
}

impl HeldGuard {
    pub(crate) fn new(child: Child) -> Self {
        Self { pid: Pid::from_child(&child), child: Some(child) }
    }

    /// Its process id, which is its group's.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its exit, if it has ended. Later calls return `None`.
    ///
    /// # Errors
    /// The system's error.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let status = child.try_wait()?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }
}

impl Drop for HeldGuard {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // It has to be reaped, or it stays as a zombie; without a thread it does.
        let reaper = std::thread::Builder::new().name("reaper".to_owned());
        let _ = reaper.spawn(move || child.wait());
    }
}
