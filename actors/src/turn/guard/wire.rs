//! The socket between gateway and guard. To the guard: the agent's three pipes with one byte, then one byte for *stop*, then
//! its end. Back: once, four bytes, the error number of the agent's start, or 0.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// The agent's ends of its standard input, output and error.
pub(super) type Pipes = [OwnedFd; 3];

/// Sends the agent's ends of the pipes to the guard: standard input, output, error.
///
/// # Errors
/// The system's error; mainly that the guard has ended already.
pub fn give_pipes(control: &UnixStream, pipes: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    if !message.push(SendAncillaryMessage::ScmRights(&pipes)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    sendmsg(control, &[IoSlice::new(b"p")], &mut message, SendFlags::NOSIGNAL)?;
    Ok(())
}

pub(super) fn take_pipes(control: &UnixStream) -> io::Result<Pipes> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::empty();
    recvmsg(control.as_fd(), &mut [IoSliceMut::new(&mut byte)], &mut message, flags)?;
    let mut pipes = Vec::new();
    for part in message.drain() {
        if let RecvAncillaryMessage::ScmRights(files) = part {
            pipes.extend(files);
        }
    }
    pipes.try_into().map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))
}

pub(super) fn send_started(mut control: &UnixStream, error: Option<&io::Error>) -> io::Result<()> {
    let unknown = rustix::io::Errno::IO.raw_os_error();
    let number = error.map_or(0, |error| error.raw_os_error().unwrap_or(unknown));
    control.write_all(&number.to_le_bytes())
}

/// Waits for the guard's answer whether the agent has started, at most `timeout`: `Ok(Err(_))` if it was not.
///
/// # Errors
/// The guard did not answer: it ended, or is slower than that.
pub fn wait_started(mut control: &UnixStream, timeout: Duration) -> io::Result<io::Result<()>> {
    control.set_read_timeout(Some(timeout))?;
    let mut number = [0; 4];
    control.read_exact(&mut number)?;
    Ok(match i32::from_le_bytes(number) {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    })
}

/// Sends the guard the order to stop the agent: SIGTERM to all of it, SIGKILL after 5 s.
///
/// # Errors
/// The guard has ended.
pub fn send_stop(mut control: &UnixStream) -> io::Result<()> {
    control.write_all(b"s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_arrive_in_their_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        give_pipes(&ours, [null.as_fd(), writer.as_fd(), null.as_fd()]).unwrap();
        drop(writer);
        let [_, stdout, _] = take_pipes(&theirs).unwrap();
        io::PipeWriter::from(stdout).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_socket_without_pipes_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        assert!(take_pipes(&theirs).is_err());
    }

    #[test]
    fn the_reason_why_nothing_started_arrives() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let error = io::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error());
        send_started(&theirs, Some(&error)).unwrap();
        let started = wait_started(&ours, Duration::from_secs(5)).unwrap();
        assert_eq!(started.unwrap_err().kind(), io::ErrorKind::NotFound);
        send_started(&theirs, None).unwrap();
        assert!(wait_started(&ours, Duration::from_secs(5)).unwrap().is_ok());
        drop(theirs);
        assert!(wait_started(&ours, Duration::from_secs(5)).is_err());
    }
}
