//! HTTP answers as real servers send them: one body in every form, from a raw socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// The outcome of a form at the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// The whole body is received.
    Whole,
    /// The body breaks off detectably.
    Cut,
    /// There is no readable answer.
    Unreadable,
    /// The connection ends without an answer.
    Closed,
    /// No answer arrives, or it has no end.
    Never,
    /// The answer is a refusal.
    Redirect,
}

/// The name of each form, and its outcome.
pub(crate) const FORMS: [(&str, Ends); 26] = [
    ("length", Ends::Whole),
    ("chunked", Ends::Whole),
    ("chunked-trailers", Ends::Whole),
    ("close", Ends::Whole),
    ("http10", Ends::Whole),
    ("http10-keep-alive", Ends::Whole),
    ("after-100", Ends::Whole),
    ("after-103", Ends::Whole),
    ("bom", Ends::Whole),
    ("gzip", Ends::Whole),
    ("byte-by-byte", Ends::Whole),
    ("200-headers", Ends::Whole),
    ("line-feeds", Ends::Whole),
    ("no-reason", Ends::Whole),
    ("length-and-chunked", Ends::Whole),
    ("brotli", Ends::Unreadable),
    ("lower-case", Ends::Unreadable),
    ("huge-head", Ends::Unreadable),
    ("not-http", Ends::Unreadable),
    ("cut-in-head", Ends::Closed),
    ("closed", Ends::Closed),
    ("cut-in-length", Ends::Cut),
    ("cut-in-chunk", Ends::Cut),
    ("never", Ends::Never),
    ("stops-in-body", Ends::Never),
    ("redirect", Ends::Redirect),
];

/// A server that answers each request in the form that `choose` names, given the request.
pub(crate) struct FormServer {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl FormServer {
    /// `choose` returns the form, and the body and its kind.
    pub(crate) fn start(choose: impl Fn(&str) -> (String, &'static str, Vec<u8>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let (counted, choose) = (Arc::clone(&requests), Arc::new(choose));
        // The thread ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (counted, choose) = (Arc::clone(&counted), Arc::clone(&choose));
                thread::spawn(move || {
                    let mut stream = stream;
                    let Some(request) = read_request(&mut stream) else { return };
                    counted.fetch_add(1, Ordering::SeqCst);
                    let (form, kind, body) = choose(&request);
                    // The client may close the connection.
                    let _ = answer(&mut stream, &form, kind, &body);
                });
            }
        });
        Self { address, requests }
    }

    /// Number of requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Head and body, which has a length; `None` for a connection without a request.
pub(crate) fn read_request(stream: &mut TcpStream) -> Option<String> {
    stream.set_nodelay(true).ok()?;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let head = text[..end].to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                return Some(text);
            }
        }
        match stream.read(&mut piece).ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

/// Answers once, in the form of this name.
pub(crate) fn answer(stream: &mut TcpStream, form: &str, kind: &str, body: &[u8]) -> std::io::Result<()> {
    let kind = format!("Content-Type: {kind}\r\n");
    let ok = format!("HTTP/1.1 200 OK\r\n{kind}");
    let length = |body: &[u8]| format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let half = body.len() / 2;
    let mut put = |parts: &[&[u8]]| stream.write_all(&parts.concat());
    match form {
        "length" => put(&[ok.as_bytes(), length(body).as_bytes(), body])?,
        "chunked" => put(&[ok.as_bytes(), b"Transfer-Encoding: chunked\r\n\r\n", &chunks(body, "", "")])?,
        "chunked-trailers" => {
            let head = "Transfer-Encoding: chunked\r\nTrailer: X-One\r\n\r\n";
            put(&[ok.as_bytes(), head.as_bytes(), &chunks(body, ";name=\"value\"", "X-One: 1\r\nX-Two: 2\r\n")])?;
        }
        "close" => put(&[ok.as_bytes(), b"Connection: close\r\n\r\n", body])?,
        "http10" => put(&[b"HTTP/1.0 200 OK\r\n", kind.as_bytes(), b"\r\n", body])?,
        "http10-keep-alive" => {
            let head = format!("Connection: keep-alive\r\nContent-Length: {}\r\n\r\n", body.len());
            put(&[b"HTTP/1.0 200 OK\r\n", kind.as_bytes(), head.as_bytes(), body])?;
        }
        "after-100" => put(&[b"HTTP/1.1 100 Continue\r\n\r\n", ok.as_bytes(), length(body).as_bytes(), body])?,
        "after-103" => {
            let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n";
            put(&[hints, ok.as_bytes(), b"Connection: close\r\n\r\n", body])?;
        }
        "bom" => {
            let marked = ["\u{feff}".as_bytes(), body].concat();
            put(&[ok.as_bytes(), length(&marked).as_bytes(), &marked])?;
        }
        "gzip" => {
            let packed = gzip(body);
            put(&[ok.as_bytes(), b"Content-Encoding: gzip\r\n", length(&packed).as_bytes(), &packed])?;
        }
        "byte-by-byte" => {
            let all = [ok.as_bytes(), b"Transfer-Encoding: chunked\r\n\r\n", &chunks(body, "", "")].concat();
            for byte in all {
                put(&[&[byte]])?;
            }
        }
        "200-headers" => {
            let many: String =
                (0..200).map(|at| ["X-Header-", &at.to_string(), ": ", &"v".repeat(60), "\r\n"].concat()).collect();
            put(&[ok.as_bytes(), many.as_bytes(), length(body).as_bytes(), body])?;
        }
        "line-feeds" => {
            let head = format!("{ok}{}", length(body)).replace('\r', "");
            put(&[head.as_bytes(), body])?;
        }
        "no-reason" => put(&[b"HTTP/1.1 200\r\n", kind.as_bytes(), length(body).as_bytes(), body])?,
        "length-and-chunked" => {
            let head = "Transfer-Encoding: chunked\r\nContent-Length: 7\r\nConnection: close\r\n\r\n";
            put(&[ok.as_bytes(), head.as_bytes(), &chunks(body, "", "")])?;
        }
        "brotli" => put(&[ok.as_bytes(), b"Content-Encoding: br\r\n", length(body).as_bytes(), body])?,
        "lower-case" => put(&[b"http/1.1 200 ok\r\n", length(body).as_bytes(), body])?,
        "huge-head" => {
            put(&[ok.as_bytes(), b"X-Long: "])?;
            for _ in 0..64 {
                put(&[&b"x".repeat(64 * 1024)])?;
            }
        }
        "not-http" => put(&[b"SSH-2.0-OpenSSH_9.2\r\n\r\n"])?,
        "cut-in-head" => put(&[b"HTTP/1.1 200 OK\r\nContent-Ty"])?,
        "closed" => {}
        "cut-in-length" => put(&[ok.as_bytes(), length(body).as_bytes(), &body[..half]])?,
        "cut-in-chunk" => {
            let head = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len());
            put(&[ok.as_bytes(), head.as_bytes(), &body[..half]])?;
        }
        "never" => wait_for_close(stream),
        "stops-in-body" => {
            put(&[ok.as_bytes(), length(body).as_bytes(), &body[..half]])?;
            wait_for_close(stream);
        }
        "redirect" => {
            let place = "Location: https://elsewhere.example:8443/path?token=hunter2\r\nContent-Length: 0\r\n\r\n";
            put(&[b"HTTP/1.1 307 Temporary Redirect\r\n", place.as_bytes()])?;
        }
        other => panic!("unknown form {other}"),
    }
    // No reset, so that the written bytes arrive.
    stream.shutdown(Shutdown::Write)?;
    wait_for_close(stream);
    Ok(())
}

fn wait_for_close(stream: &mut TcpStream) {
    let _ = stream.set_read_timeout(Some(Duration::from_mins(1)));
    let mut piece = [0; 1024];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return,
            Err(error) if error.kind() != ErrorKind::Interrupted => return,
            _ => {}
        }
    }
}

/// In chunks of at most 7 bytes, some sizes in upper-case hexadecimal digits.
fn chunks(body: &[u8], extension: &str, trailers: &str) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in body.chunks(11) {
        all.extend_from_slice(format!("{:X}{extension}\r\n", piece.len()).as_bytes());
        all.extend_from_slice(piece);
        all.extend_from_slice(b"\r\n");
    }
    all.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    all
}

/// gzip without compression: stored blocks.
pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = body.chunks(60_000).peekable();
    if body.is_empty() {
        packed.extend_from_slice(&[1, 0, 0, 255, 255]);
    }
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap();
        packed.push(u8::from(blocks.peek().is_none()));
        packed.extend_from_slice(&length.to_le_bytes());
        packed.extend_from_slice(&(!length).to_le_bytes());
        packed.extend_from_slice(block);
    }
    let mut sum = u32::MAX;
    for byte in body {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    packed.extend_from_slice(&(!sum).to_le_bytes());
    packed.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    packed
}
