//! A chat completions server for tests: real HTTP on loopback, with scripted answers.
//!
//! On plain threads and sockets, so that it can also stop half-way, send nothing, and detect that its client has gone.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

/// The answer to one request: these steps in order; then the connection is closed.
pub(crate) type Play = Vec<Act>;

/// One step of an answer.
#[derive(Debug)]
pub(crate) enum Act {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Waits for the test.
    Await(Receiver<()>),
    /// Sends nothing more until the client has gone.
    Hold,
    /// Sends this event again and again until the client has gone.
    Flood(Vec<u8>),
}

/// A received request.
#[derive(Debug, Clone)]
pub(crate) struct ModelRequest {
    /// Method and path.
    pub(crate) line: String,
    /// The header, if present.
    pub(crate) authorization: Option<String>,
    /// The body.
    pub(crate) body: Value,
    /// When it arrived.
    pub(crate) at: Instant,
}

impl ModelRequest {
    /// Role and content of each message.
    pub(crate) fn messages(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let messages = self.body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        messages.iter().map(|message| (text(&message["role"]), text(&message["content"]))).collect()
    }
}

/// The server, which runs until the test process ends. Without a script it repeats the last message.
#[derive(Clone)]
pub(crate) struct ModelServer {
    address: SocketAddr,
    state: Arc<Mutex<ModelServerState>>,
}

#[derive(Default)]
struct ModelServerState {
    plays: VecDeque<Play>,
    requests: Vec<ModelRequest>,
    /// Clients that disconnected during an answer.
    gone: usize,
    /// Bytes sent by floods.
    flooded: usize,
}

impl ModelServer {
    /// A server on a port of its own.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let server = Self { address, state: Arc::default() };
        let serving = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = serving.clone();
                thread::spawn(move || server.serve(&stream));
            }
        });
        server
    }

    /// The base address for the configuration.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Sets the answer to the next request that has no script yet.
    pub(crate) fn script(&self, play: Play) {
        self.state().plays.push_back(play);
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<ModelRequest> {
        self.state().requests.clone()
    }

    /// Clients that disconnected during an answer.
    pub(crate) fn gone(&self) -> usize {
        self.state().gone
    }

    /// Bytes sent by floods.
    pub(crate) fn flooded(&self) -> usize {
        self.state().flooded
    }

    fn state(&self) -> MutexGuard<'_, ModelServerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: &TcpStream) {
        stream.set_nodelay(true).expect("a socket takes the option");
        let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
        let Some(request) = read_request(&mut reader) else { return };
        let last = request.messages().pop().map(|(_, content)| content).unwrap_or_default();
        let play = {
            let mut state = self.state();
            state.requests.push(request);
            state.plays.pop_front().unwrap_or_else(|| streamed(&["Repeated: ", &last], "\n", usize::MAX))
        };
        for act in play {
            let continues = match act {
                Act::Send(bytes) => stream.write_all(&bytes).is_ok(),
                Act::Await(word) => word.recv().is_ok(),
                Act::Hold => {
                    // No further request arrives on this connection, so this read ends with it.
                    let _ = reader.read(&mut [0]);
                    false
                }
                Act::Flood(bytes) => {
                    while stream.write_all(&bytes).is_ok() {
                        self.state().flooded += bytes.len();
                    }
                    false
                }
            };
            if !continues {
                self.state().gone += 1;
                return;
            }
        }
    }
}

/// The head of a streamed answer.
pub(crate) fn stream_head() -> Act {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    Act::Send(head.as_bytes().to_vec())
}

/// One chunk of a streamed answer, as it is on the wire.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// The event that holds a word.
pub(crate) fn word(word: &str, line_end: &str) -> String {
    let data = json!({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": null}]});
    format!("data: {data}{line_end}{line_end}")
}

/// Sends `words` one by one.
pub(crate) fn send_words(words: &[&str]) -> Act {
    Act::Send(words.iter().flat_map(|one| chunk(word(one, "\n").as_bytes())).collect())
}

/// The regular end of a streamed answer.
pub(crate) fn done() -> Act {
    Act::Send([chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n".to_vec()].concat())
}

/// A whole streamed answer with a comment in it, sent in pieces of `cut` bytes, each a write of its own.
pub(crate) fn streamed(words: &[&str], line_end: &str, cut: usize) -> Play {
    let mut body = format!(": hello{line_end}{line_end}");
    body.extend(words.iter().map(|one| word(one, line_end)));
    let finish = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    // An event of two lines of data.
    let finish = finish.to_string().replacen(',', &format!(",{line_end}data: "), 1);
    body.extend(["data: ", &finish, line_end, line_end, "data: [DONE]", line_end, line_end]);
    let pieces = body.as_bytes().chunks(cut).map(|piece| Act::Send(chunk(piece)));
    [stream_head()].into_iter().chain(pieces).chain([Act::Send(b"0\r\n\r\n".to_vec())]).collect()
}

/// An answer that is not streamed.
pub(crate) fn answered(status: u16, headers: &str, body: &Value) -> Play {
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n"
    );
    vec![Act::Send([head, body].concat().into_bytes())]
}

/// A gate in a script: the server continues once something is sent, or the sender is dropped.
pub(crate) fn gate() -> (Sender<()>, Act) {
    let (open, opened) = channel();
    (open, Act::Await(opened))
}

fn read_request(reader: &mut impl BufRead) -> Option<ModelRequest> {
    let at = Instant::now();
    let (mut first, mut authorization, mut length) = (None, None, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().ok()?,
                "authorization" => authorization = Some(value.to_owned()),
                _ => {}
            }
        }
        first.get_or_insert_with(|| line.trim_end_matches(" HTTP/1.1").to_owned());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(ModelRequest { line: first?, authorization, body: serde_json::from_slice(&body).ok()?, at })
}
