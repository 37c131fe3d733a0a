//! The two descriptors for output, without the standard library: its macros panic when the other end is gone, and its locks let one
//! thread that blocks in a write block all others.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Standard output or standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Output,
    Error,
}

impl Stream {
    /// The descriptor, past the locks of the standard library: a thread that blocks in one keeps all others out.
    fn descriptor(self) -> BorrowedFd<'static> {
        match self {
            Self::Output => rustix::stdio::stdout(),
            Self::Error => rustix::stdio::stderr(),
        }
    }

    /// Writes all of `bytes`; blocks while the other end does not read. Returns how many were written, and the error.
    pub(crate) fn write(self, bytes: &[u8]) -> (usize, io::Result<()>) {
        write(self.descriptor(), bytes)
    }

    /// Whether there is still a reader, as far as the system reports it.
    pub(crate) fn has_reader(self) -> bool {
        has_reader_at(self.descriptor())
    }
}

fn write(descriptor: BorrowedFd<'_>, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::write(descriptor, &bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(Errno::INTR) => {}
            // Another process that shares the terminal or pipe has made it non-blocking.
            Err(Errno::AGAIN) => {
                if let Err(error) = poll(&mut [PollFd::new(&descriptor, PollFlags::OUT)], None)
                    && error != Errno::INTR
                {
                    return (written, Err(error.into()));
                }
            }
            Err(error) => return (written, Err(error.into())),
        }
    }
    (written, Ok(()))
}

fn has_reader_at(descriptor: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(&descriptor, PollFlags::empty())];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let result = poll(&mut polled, Some(&now));
    result.is_err() || !polled[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::thread;

    use super::*;

    #[test]
    fn a_write_to_a_full_non_blocking_descriptor_waits() {
        let (reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let (sent, read) = (vec![b'x'; 1 << 20], thread::spawn(move || io::read_to_string(reader).unwrap().len()));
        let (written, ended) = write(writer.as_fd(), &sent);
        assert!(ended.is_ok(), "{ended:?}");
        drop(writer);
        assert_eq!((written, read.join().unwrap()), (sent.len(), sent.len()));
    }

    #[test]
    fn a_closed_reader_is_detected_without_a_write() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(has_reader_at(writer.as_fd()));
        drop(reader);
        assert!(!has_reader_at(writer.as_fd()));
        let (written, ended) = write(writer.as_fd(), b"x");
        assert_eq!((written, ended.unwrap_err().kind()), (0, io::ErrorKind::BrokenPipe));
    }
}
