//! A guard as the gateway holds it.

use std::io;
use std::process::{Child, ExitStatus};

use rustix::process::Pid;

/// A running guard. Dropping it has it waited for, off the thread that drops it; what makes it end is its lifeline.
#[derive(Debug)]
pub struct HeldGuard {
    pid: Pid,
    /// `None` once it has been waited for.
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

    /// How it ended, if it has. Asked again after that, it answers `None`.
    ///
    /// # Errors
    /// What the system says.
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
        // It has to be waited for, or it stays as a zombie; a thread that cannot be had leaves just that.
        let reaper = std::thread::Builder::new().name("reaper".to_owned());
        let _ = reaper.spawn(move || child.wait());
    }
}
