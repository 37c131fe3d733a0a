//! Requests byte for byte, for what no HTTP client library sends.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use serde_json::Value;

use crate::support::SOON;

/// One answer, whole.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl RawAnswer {
    /// The media type without its parameters; empty if there is none.
    pub(crate) fn media(&self) -> &str {
        self.headers.get("content-type").map_or("", |value| value.split(';').next().unwrap().trim())
    }

    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// Sends one request on a connection of its own and reads the answer to its end.
pub(crate) fn ask(authority: &str, method: &str, target: &str, headers: &[(String, String)], body: &[u8]) -> RawAnswer {
    let mut stream = TcpStream::connect(authority).expect("the gateway listens");
    stream.set_read_timeout(Some(SOON)).unwrap();
    let length = (!body.is_empty()).then(|| format!("content-length: {}\r\n", body.len()));
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).chain(length).collect();
    let request = format!("{method} {target} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n{headers}\r\n");
    // In one write. A server that refuses may do so before it has read everything.
    let _ = stream.write_all(&[request.as_bytes(), body].concat());
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let _ = stream.shutdown(Shutdown::Both);
    let answer = parse(&bytes, method);
    answer.unwrap_or_else(|| panic!("{method} {target}: no answer ({read:?}): {:?}", String::from_utf8_lossy(&bytes)))
}

fn parse(bytes: &[u8], method: &str) -> Option<RawAnswer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    if status == 100 {
        return parse(&bytes[end + 4..], method);
    }
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let headers: BTreeMap<String, String> = lines.filter_map(header).collect();
    let body = bytes[end + 4..].to_vec();
    if headers.get("transfer-encoding").is_some_and(|how| how == "chunked") && method != "HEAD" {
        return Some(RawAnswer { status, headers, body: unchunked(&body)? });
    }
    Some(RawAnswer { status, headers, body })
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?.trim(), 16).ok()?;
        rest = &rest[line + 2..];
        if length == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(rest.get(..length)?);
        rest = rest.get(length + 2..)?;
    }
}
