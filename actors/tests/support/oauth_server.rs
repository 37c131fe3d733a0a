//! An authorization server for tests: real HTTP on loopback, rotating refresh tokens that are good once, and every fault
//! that a test can script. A replayed token revokes the grant, as it would at the real one.
//!
//! On plain threads and sockets, so that it can also say nothing, or half of it.

use std::collections::{BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// What the server does with one request; without a script it rotates and answers well.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Rotates and answers after this time.
    Delay(Duration),
    /// Answers so and rotates nothing.
    Status(u16, String),
    /// Rotates and closes the connection without a word.
    LostAnswer,
    /// Closes the connection without a word and rotates nothing.
    Closed,
    /// Rotates and stops in the middle of the body.
    CutAnswer,
    /// Rotates and answers this body instead.
    Body(String),
    /// Sends the client elsewhere and rotates nothing.
    Redirect(String),
    /// Gives an access token and keeps the refresh token.
    NoRefreshToken,
}

/// The server; it lives as long as the test process.
#[derive(Clone)]
pub struct OauthServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    current: String,
    spent: BTreeSet<String>,
    number: u32,
    life: Value,
    faults: VecDeque<Fault>,
    presented: Vec<String>,
    exchanges: usize,
    replays: usize,
    revoked: bool,
    odd_requests: Vec<String>,
}

impl OauthServer {
    /// A server that will take `refresh_token` first, and grants tokens of one hour.
    pub fn start(refresh_token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = State { current: refresh_token.to_owned(), life: json!(3600), ..State::default() };
        let server = Self { address, state: Arc::new(Mutex::new(state)) };
        let serving = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = serving.clone();
                thread::spawn(move || server.serve(&stream));
            }
        });
        server
    }

    /// Where tokens are exchanged.
    pub fn token_endpoint(&self) -> String {
        format!("http://{}/oauth/token", self.address)
    }

    /// Does this with the next request that has no script yet.
    pub fn script(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    /// What `expires_in` says from now on; null leaves it out.
    pub fn tokens_live(&self, life: Value) {
        self.state().life = life;
    }

    /// Refuses the present refresh token from now on.
    pub fn revoke(&self) {
        self.state().revoked = true;
    }

    /// Rotations.
    pub fn exchanges(&self) -> usize {
        self.state().exchanges
    }

    /// Refresh tokens that arrived, in order, good or not.
    pub fn presented(&self) -> Vec<String> {
        self.state().presented.clone()
    }

    /// Spent refresh tokens that arrived again.
    pub fn replays(&self) -> usize {
        self.state().replays
    }

    /// Requests that were not what the protocol says.
    pub fn odd_requests(&self) -> Vec<String> {
        self.state().odd_requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
        while let Some((head, body)) = read_request(&mut reader) {
            let form: Vec<(String, String)> = body.split('&').filter_map(pair).collect();
            let field = |name: &str| form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value);
            let head_ok = head.starts_with("POST /oauth/token ")
                && head.to_ascii_lowercase().contains("content-type: application/x-www-form-urlencoded");
            let form_ok =
                form.len() == 3 && field("grant_type") == "refresh_token" && field("client_id") == "hermes-agent";
            if !head_ok || !form_ok {
                self.state().odd_requests.push(head.lines().next().unwrap_or_default().to_owned());
            }
            let (fault, answer) = self.decide(field("refresh_token"));
            if !respond(stream, fault, answer) {
                return;
            }
        }
    }

    fn decide(&self, token: &str) -> (Option<Fault>, (u16, String)) {
        let mut state = self.state();
        state.presented.push(token.to_owned());
        let fault = state.faults.pop_front();
        match &fault {
            Some(Fault::Status(status, body)) => return (fault.clone(), (*status, body.clone())),
            Some(Fault::Closed | Fault::Redirect(_)) => return (fault, (0, String::new())),
            Some(Fault::NoRefreshToken) => {
                state.number += 1;
                let answer = json!({"access_token": format!("hch-at-n{}", state.number), "expires_in": state.life});
                return (fault, (200, answer.to_string()));
            }
            _ => {}
        }
        if state.spent.contains(token) {
            state.replays += 1;
            state.revoked = true;
        }
        if state.revoked || token != state.current {
            return (fault, (400, json!({"error": "invalid_grant"}).to_string()));
        }
        state.number += 1;
        state.exchanges += 1;
        state.spent.insert(token.to_owned());
        state.current = format!("hch-rt-n{}", state.number);
        let mut answer = json!({
            "access_token": format!("hch-at-n{}", state.number), "refresh_token": state.current,
            "expires_in": state.life, "scope": null, "token_type": "Bearer"});
        if state.life.is_null() {
            answer.as_object_mut().expect("it is one").remove("expires_in");
        }
        (fault, (200, answer.to_string()))
    }
}

/// Whether the connection goes on.
fn respond(mut stream: &TcpStream, fault: Option<Fault>, (status, mut body): (u16, String)) -> bool {
    let mut location = String::new();
    let (mut status, mut cut) = (status, false);
    match fault {
        Some(Fault::Delay(time)) => thread::sleep(time),
        Some(Fault::LostAnswer | Fault::Closed) => return false,
        Some(Fault::CutAnswer) => cut = true,
        Some(Fault::Body(other)) => body = other,
        Some(Fault::Redirect(to)) => (status, location) = (307, format!("location: {to}\r\n")),
        Some(Fault::Status(..) | Fault::NoRefreshToken) | None => {}
    }
    let head = format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\n{location}content-length: {}\r\n\r\n",
        body.len()
    );
    let shown = if cut { &body[..body.len() / 2] } else { &body };
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(shown.as_bytes()));
    sent.is_ok() && !cut
}

fn read_request(reader: &mut impl BufRead) -> Option<(String, String)> {
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).ok()?))
}

/// The tokens of these tests need no decoding.
fn pair(field: &str) -> Option<(String, String)> {
    field.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
}
