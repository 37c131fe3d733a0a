//! The kinds of hostile requests, and the allowed answers.

/// One kind of request.
pub(crate) struct HostileRequest {
    pub(crate) name: &'static str,
    /// The bytes to send, given the authority of the gateway.
    pub(crate) bytes: fn(&str) -> Vec<u8>,
    /// Whether the client ends its side at once; otherwise it waits for an answer.
    pub(crate) closes: bool,
    /// Allowed codes; 0 is a connection that is closed without an answer.
    pub(crate) allowed: &'static [u16],
}

/// The handshake of a viewer.
pub(crate) fn handshake(host: &str) -> String {
    format!(
        "GET /api/status/ws HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

fn get(host: &str, target: &[u8]) -> Vec<u8> {
    [b"GET ", target, b" HTTP/1.1\r\nhost: ", host.as_bytes(), b"\r\nconnection: close\r\n\r\n"].concat()
}

/// An order with a wrong field, which is not valid.
fn post(host: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST /api/gateway/drain HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// A request hidden in the body of another, for a server that misreads where that ends.
fn smuggled(host: &str) -> String {
    format!("POST /api/gateway/drain HTTP/1.1\r\nhost: {host}\r\ncontent-length: 2\r\n\r\n{{}}")
}

/// A WebSocket client that sends these bytes after its handshake.
fn watcher(host: &str, frames: &[u8]) -> Vec<u8> {
    [handshake(host).as_bytes(), frames].concat()
}

/// A client that waits for an answer.
const fn waits(name: &'static str, bytes: fn(&str) -> Vec<u8>, allowed: &'static [u16]) -> HostileRequest {
    HostileRequest { name, bytes, closes: false, allowed }
}

/// A client that closes after its request.
const fn closes(name: &'static str, bytes: fn(&str) -> Vec<u8>, allowed: &'static [u16]) -> HostileRequest {
    HostileRequest { name, bytes, closes: true, allowed }
}

/// No answer, or 400.
const REFUSED: &[u16] = &[0, 400];
const NOT_FOUND: &[u16] = &[0, 400, 404];
/// A viewer is admitted or finds no place.
const WATCHED: &[u16] = &[0, 101, 503];

pub(crate) const HOSTILE_REQUESTS: &[HostileRequest] = &[
    // Heads.
    waits("a head of 1 MiB", |host| get(host, format!("/?{}", "x".repeat(1 << 20)).as_bytes()), &[0, 400, 414, 431]),
    waits("a header of 200 KiB", |host| post(host, &format!("x: {}\r\n", "y".repeat(200 << 10)), b""), &[0, 400, 431]),
    waits("five thousand headers", |host| post(host, &"x: y\r\n".repeat(5_000), b""), &[0, 400, 431]),
    waits("a path of 64 KiB", |host| get(host, format!("/{}", "a".repeat(64 << 10)).as_bytes()), &[0, 400, 404, 414]),
    closes("a cut head", |host| format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nx: ").into_bytes(), &[0, 400, 408]),
    waits("a folded header", |host| post(host, "x: one\r\n two\r\ncontent-length: 0\r\n", b""), REFUSED),
    waits("a header without a name", |host| post(host, ": x\r\n", b""), REFUSED),
    waits("a blank before the colon", |host| post(host, "content-length : 0\r\n", b""), REFUSED),
    waits("a NUL in a header", |host| post(host, "x: a\0b\r\n", b""), REFUSED),
    waits("a TLS greeting", |_| b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), REFUSED),
    closes(
        "the preface of HTTP/2",
        |_| b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        &[0, 400, 403, 505],
    ),
    closes("HTTP 0.9", |_| b"GET /api/status\r\n\r\n".to_vec(), REFUSED),
    waits("no host", |_| b"GET /api/status HTTP/1.1\r\n\r\n".to_vec(), &[0, 400, 403]),
    waits(
        "a tunnel",
        |host| format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes(),
        &[0, 400, 404, 405],
    ),
    waits("a trace", |host| format!("TRACE /api/status HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes(), &[405]),
    // Paths.
    waits("a path that leaves the root", |host| get(host, b"/../../../../etc/passwd"), NOT_FOUND),
    waits("an encoded path that leaves the root", |host| get(host, b"/api/%2e%2e/%2e%2e/etc/passwd"), NOT_FOUND),
    waits("a path that is not UTF-8", |host| get(host, b"/api/turns/%ff%fe/stop"), &[400, 404, 405]),
    waits("raw bytes in the path", |host| get(host, b"/\xff\xfe/x"), &[0, 400, 404]),
    waits("a NUL in the path", |host| get(host, b"/api/status%00.html"), NOT_FOUND),
    waits("a raw NUL in the path", |host| get(host, b"/api/\0status"), REFUSED),
    waits(
        "an actor id that is not UTF-8",
        |host| format!("POST /api/actors/%ff/reset HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n").into_bytes(),
        &[400, 404],
    ),
    // Bodies.
    waits("a body above every limit", |host| post(host, "content-length: 99999999\r\n", &[b'x'; 64 << 10]), &[0, 413]),
    waits(
        "an endless body in chunks",
        |host| {
            let chunk = [b"4000\r\n".as_slice(), &[b' '; 0x4000], b"\r\n"].concat();
            post(host, "transfer-encoding: chunked\r\n", &chunk.repeat(8))
        },
        &[0, 413],
    ),
    closes("a cut body", |host| post(host, "content-length: 100\r\n", b"{"), &[0, 400, 408]),
    waits(
        "a form of several parts",
        |host| post(host, "content-type: multipart/form-data; boundary=x\r\ncontent-length: 2\r\n", b"{}"),
        &[415],
    ),
    waits("a page of text", |host| post(host, "content-type: text/plain\r\ncontent-length: 2\r\n", b"{}"), &[415]),
    waits(
        "a compressed body",
        |host| post(host, "content-encoding: gzip\r\ncontent-length: 4\r\n", b"\x1f\x8b\x08\0"),
        &[400],
    ),
    waits("a body that is not UTF-8", |host| post(host, "content-length: 4\r\n", b"\"\xff\xfe\""), &[400]),
    waits(
        "a deeply nested body",
        |host| {
            let body = "[".repeat(10_000);
            post(host, &format!("content-length: {}\r\n", body.len()), body.as_bytes())
        },
        &[400],
    ),
    // Where a body ends.
    closes(
        "length and chunks",
        |host| {
            let body = format!("0\r\n\r\n{}", smuggled(host));
            post(host, &format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", body.len()), body.as_bytes())
        },
        REFUSED,
    ),
    closes("two lengths", |host| post(host, "content-length: 2\r\ncontent-length: 5\r\n", b"[]{}{"), REFUSED),
    closes("a list of lengths", |host| post(host, "content-length: 2, 5\r\n", b"[]{}{"), REFUSED),
    closes("a signed length", |host| post(host, "content-length: +2\r\n", b"[]"), REFUSED),
    closes("a negative length", |host| post(host, "content-length: -2\r\n", b"[]"), REFUSED),
    closes(
        "an unknown encoding",
        |host| post(host, "transfer-encoding: xchunked\r\n", smuggled(host).as_bytes()),
        REFUSED,
    ),
    closes(
        "chunks within chunks",
        |host| post(host, "transfer-encoding: chunked, chunked\r\n", b"2\r\n[]\r\n0\r\n\r\n"),
        REFUSED,
    ),
    closes(
        "a chunk with extensions",
        |host| {
            let extension = "x".repeat(8 << 10);
            post(host, "transfer-encoding: chunked\r\n", format!("2;{extension}\r\n[]\r\n0\r\n\r\n").as_bytes())
        },
        REFUSED,
    ),
    closes(
        "a chunk without a size",
        |host| post(host, "transfer-encoding: chunked\r\n", b"zz\r\n[]\r\n0\r\n\r\n"),
        REFUSED,
    ),
    closes(
        "a chunk larger than the body",
        |host| post(host, "transfer-encoding: chunked\r\n", b"fffffffffffffffff\r\n[]\r\n0\r\n\r\n"),
        REFUSED,
    ),
    closes(
        "fifty at once",
        |host| format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n").repeat(50).into_bytes(),
        &[200],
    ),
    // WebSocket frames.
    closes("a frame without a mask", |host| watcher(host, b"\x81\x02hi"), WATCHED),
    closes(
        "a frame above every limit",
        |host| watcher(host, b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"),
        WATCHED,
    ),
    closes(
        "a message without an end",
        |host| {
            let first = b"\x01\x81\0\0\0\0x".as_slice();
            watcher(host, &[first, &b"\0\x81\0\0\0\0x".repeat(200)].concat())
        },
        WATCHED,
    ),
    closes("a flood of pings", |host| watcher(host, &b"\x89\x80\0\0\0\0".repeat(5_000)), WATCHED),
    closes("frames of an unknown kind", |host| watcher(host, &[0xf3, 0x80, 0, 0, 0, 0]), WATCHED),
];
