//! Requests over raw sockets: one at a time, and as a load.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::load::Times;

/// An answer takes at most this long.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes read at once.
const READ: usize = 64 * 1024;

/// What a load of requests measured.
#[derive(Debug, Default)]
pub(crate) struct HttpOutcome {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
    pub(crate) times: Times,
}

/// One request on a connection of its own.
///
/// # Errors
/// There is no server, or its answer is none.
pub(crate) fn get(address: SocketAddr, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request(address, path).as_bytes())?;
    let (mut answer, mut bytes) = (None, Vec::new());
    while answer.is_none() {
        let mut read = vec![0; READ];
        let length = stream.read(&mut read)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&read[..length]);
        answer = head(&bytes)?.filter(|head| bytes.len() >= head.end + head.body);
    }
    let head = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((head.code, bytes[head.end..head.end + head.body].to_vec()))
}

/// Requests `path` over `connections` connections for `time`, each with one request at a time.
///
/// # Errors
/// A connection fails, or an answer is not 200.
pub(crate) fn load(address: SocketAddr, path: &str, connections: usize, time: Duration) -> io::Result<HttpOutcome> {
    let request = request(address, path);
    let mut sockets = Vec::with_capacity(connections);
    for _ in 0..connections {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        sockets.push(HttpConnection { stream, bytes: Vec::new(), sent: Instant::now() });
    }
    let began = Instant::now();
    for socket in &mut sockets {
        socket.send(&request)?;
    }
    let mut outcome = HttpOutcome::default();
    let mut buffer = vec![0; READ];
    while began.elapsed() < time {
        let mut polled: Vec<_> = sockets.iter().map(|socket| PollFd::new(&socket.stream, PollFlags::IN)).collect();
        rustix::io::retry_on_intr(|| poll(&mut polled, None))?;
        let ready: Vec<_> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
        for (socket, _) in sockets.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            if socket.receive(&mut buffer)? {
                outcome.requests += 1;
                outcome.times.add(socket.sent.elapsed());
                socket.send(&request)?;
            }
        }
    }
    outcome.elapsed = began.elapsed();
    Ok(outcome)
}

struct HttpConnection {
    stream: TcpStream,
    bytes: Vec<u8>,
    sent: Instant,
}

impl HttpConnection {
    fn send(&mut self, request: &str) -> io::Result<()> {
        self.bytes.clear();
        self.sent = Instant::now();
        self.stream.write_all(request.as_bytes())
    }

    /// Whether the answer is complete now.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let length = self.stream.read(buffer)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.bytes.extend_from_slice(&buffer[..length]);
        match head(&self.bytes)? {
            Some(head) if head.code != 200 => Err(io::Error::other(format!("the answer was {}", head.code))),
            Some(head) => Ok(self.bytes.len() >= head.end + head.body),
            None => Ok(false),
        }
    }
}

/// The head of an answer.
struct Head {
    code: u16,
    /// Where the body begins.
    end: usize,
    /// The length of the body.
    body: usize,
}

fn head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(end) = response.parse(bytes).map_err(io::Error::other)? else { return Ok(None) };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    let body = length.ok_or_else(|| io::Error::other("the answer has no length"))?;
    Ok(Some(Head { code: response.code.unwrap_or_default(), end, body }))
}

fn request(address: SocketAddr, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")
}
