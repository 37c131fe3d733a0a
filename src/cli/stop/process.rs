//! One process, distinguished from a later one with the same id.

use std::io;

use caduceus_contract::files::process_identity::RecordedProcess;

/// The signal to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopSignal {
    /// Shut down.
    Terminate,
    /// End.
    Kill,
}

#[cfg(target_os = "linux")]
mod handle {
    use caduceus_actors::status::identity::is_alive;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fd::OwnedFd;
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    use super::{RecordedProcess, StopSignal, io};

    /// The kernel's handle on it.
    pub(in super::super) struct ProcessHandle(OwnedFd);

    impl ProcessHandle {
        /// The process as it was recorded; `None` if it is gone.
        pub(in super::super) fn open(written: RecordedProcess) -> Option<Self> {
            let pid = i32::try_from(written.pid).ok().and_then(Pid::from_raw)?;
            let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
            // Checked with the handle open: from now on the id cannot be reused unnoticed.
            is_alive(&written).then_some(Self(handle))
        }

        /// Sends it a signal. A process that has ended is not an error.
        pub(in super::super) fn send(&self, signal: StopSignal) -> io::Result<()> {
            let signal = match signal {
                StopSignal::Terminate => Signal::TERM,
                StopSignal::Kill => Signal::KILL,
            };
            match pidfd_send_signal(&self.0, signal) {
                Err(Errno::SRCH) => Ok(()),
                sent => Ok(sent?),
            }
        }

        pub(in super::super) fn is_there(&self) -> io::Result<bool> {
            let ended = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&Timespec::default()))?;
            Ok(ended == 0)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod handle {
    use super::{RecordedProcess, StopSignal, io};

    /// Elsewhere a process cannot be distinguished from a later one with its id, so none is signalled.
    pub(in super::super) enum ProcessHandle {}

    impl ProcessHandle {
        pub(in super::super) fn open(_: RecordedProcess) -> Option<Self> {
            None
        }

        pub(in super::super) fn send(&self, _: StopSignal) -> io::Result<()> {
            match *self {}
        }

        pub(in super::super) fn is_there(&self) -> io::Result<bool> {
            match *self {}
        }
    }
}

pub(super) use handle::ProcessHandle;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command};

    use caduceus_actors::status::identity::start_time;

    use super::*;

    fn sleeper() -> (Child, RecordedProcess) {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let written = RecordedProcess { pid: child.id(), start_time: start_time(child.id()) };
        (child, written)
    }

    #[test]
    fn a_process_gets_the_signal_and_its_end_is_noticed() {
        let (mut child, written) = sleeper();
        let process = ProcessHandle::open(written).unwrap();
        assert!(process.is_there().unwrap());
        process.send(StopSignal::Terminate).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        assert!(!process.is_there().unwrap());
        process.send(StopSignal::Kill).unwrap();
    }

    #[test]
    fn another_process_with_the_id_is_never_opened() {
        let (mut child, written) = sleeper();
        let earlier = RecordedProcess { start_time: written.start_time.map(|time| time - 1), ..written };
        assert!(ProcessHandle::open(earlier).is_none());
        assert!(ProcessHandle::open(RecordedProcess { start_time: None, ..written }).is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ProcessHandle::open(written).is_none(), "it is gone");
    }
}
