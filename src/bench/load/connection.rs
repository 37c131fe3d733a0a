//! One end of a link: a WebSocket over a socket that never blocks, read and written in batches.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use actix_codec::{Decoder as _, Encoder as _};
use actix_http::ws::{self, Codec, Frame, Item, Message};
use bytes::{Buf as _, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Largest frame that is read.
const MAX_FRAME: usize = 16 * 1024 * 1024;
/// Bytes read at once.
const READ: usize = 64 * 1024;
/// Longest head of a request or of an answer.
const MAX_HEAD: usize = 16 * 1024;

/// A WebSocket that carries lines.
pub(crate) struct LoadConnection {
    stream: TcpStream,
    codec: Codec,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// The start of a line whose end has not arrived.
    line: Vec<u8>,
    open: bool,
}

impl LoadConnection {
    /// Accepts a gateway's dial.
    ///
    /// # Errors
    /// There was no dial within `timeout`, or it is not a WebSocket handshake.
    pub(crate) fn accept(listener: &TcpListener, timeout: Duration) -> io::Result<Self> {
        let until = Instant::now() + timeout;
        wait(listener, PollFlags::IN, until)?;
        let mut stream = listener.accept()?.0;
        let head = read_head(&mut stream, until)?;
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(&head).map_err(io::Error::other)?;
        let key = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("sec-websocket-key"));
        let Some(key) = key.filter(|_| parsed.is_complete()) else {
            return Err(io::Error::other("the request is no WebSocket handshake"));
        };
        let accept = ws::hash_key(key.value);
        let accept = String::from_utf8_lossy(&accept);
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        stream.write_all(answer.as_bytes())?;
        Self::over(stream, Codec::new())
    }

    /// Dials a connector.
    ///
    /// # Errors
    /// It does not listen, or refuses the handshake.
    pub(crate) fn dial(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let until = Instant::now() + timeout;
        let mut stream = TcpStream::connect_timeout(&address, timeout)?;
        let request = format!(
            "GET /relay HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let head = read_head(&mut stream, until)?;
        if !head.starts_with(b"HTTP/1.1 101 ") {
            return Err(io::Error::other("the handshake was refused"));
        }
        Self::over(stream, Codec::new().client_mode())
    }

    fn over(stream: TcpStream, codec: Codec) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let codec = codec.max_size(MAX_FRAME);
        let (incoming, outgoing) = (BytesMut::with_capacity(READ), BytesMut::with_capacity(READ));
        Ok(Self { stream, codec, incoming, outgoing, line: Vec::new(), open: true })
    }

    /// Whether neither end has closed it.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Queues a line, its end included, for the next [`LoadConnection::flush`].
    pub(crate) fn queue(&mut self, line: String) -> io::Result<()> {
        self.queue_message(Message::Text(line.into()))
    }

    fn queue_message(&mut self, message: Message) -> io::Result<()> {
        self.codec.encode(message, &mut self.outgoing).map_err(io::Error::other)
    }

    /// Writes what is queued, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(0) => {
                    self.close();
                    return Ok(());
                }
                Ok(written) => self.outgoing.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until there is something to read, or room for what is queued; at most `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> io::Result<()> {
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, !self.outgoing.is_empty());
        match wait(&self.stream, flags, Instant::now() + timeout) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(()),
            waited => waited,
        }
    }

    /// Reads what has arrived and passes each complete line, its end excluded, to `each`.
    pub(crate) fn read(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        if !self.open {
            return Ok(());
        }
        self.fill()?;
        while let Some(frame) = self.codec.decode(&mut self.incoming).map_err(io::Error::other)? {
            match frame {
                Frame::Text(bytes)
                | Frame::Binary(bytes)
                | Frame::Continuation(
                    Item::FirstText(bytes) | Item::FirstBinary(bytes) | Item::Continue(bytes) | Item::Last(bytes),
                ) => self.lines(&bytes, &mut each),
                Frame::Ping(bytes) => self.queue_message(Message::Pong(bytes))?,
                Frame::Pong(_) => {}
                Frame::Close(reason) => {
                    self.queue_message(Message::Close(reason))?;
                    self.flush()?;
                    self.close();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn fill(&mut self) -> io::Result<()> {
        loop {
            let filled = self.incoming.len();
            self.incoming.resize(filled + READ, 0);
            let read = self.stream.read(&mut self.incoming[filled..]);
            self.incoming.truncate(filled + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => {
                    self.close();
                    return Ok(());
                }
                // A short read has emptied the socket.
                Ok(read) if read < READ => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    self.close();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn lines(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if self.line.is_empty() {
                each(&rest[..end]);
            } else {
                self.line.extend_from_slice(&rest[..end]);
                each(&self.line);
                self.line.clear();
            }
            rest = &rest[end + 1..];
        }
        self.line.extend_from_slice(rest);
    }

    fn close(&mut self) {
        self.open = false;
        // The other end may have closed it already.
        drop(self.stream.shutdown(Shutdown::Both));
    }
}

/// Reads up to the end of the head of a request or an answer.
fn read_head(stream: &mut TcpStream, until: Instant) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    // Byte by byte: the frames behind the head stay in the socket. Once for each connection.
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_HEAD {
        wait(stream, PollFlags::IN, until)?;
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.push(byte[0]);
    }
    Ok(head)
}

fn wait(on: &impl std::os::fd::AsFd, flags: PollFlags, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
    let mut polled = [PollFd::new(on, flags)];
    match rustix::io::retry_on_intr(|| poll(&mut polled, Some(&left)))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}
