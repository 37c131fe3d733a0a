//! An authorization server for tests: real HTTP on loopback, rotating refresh tokens that are valid once, and every fault
//! that a test can script. A replayed token revokes the grant, as it would at the real one.
//!
//! On plain threads and sockets, so that it can also send nothing, send a part, or not listen.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;

/// The reaction to one request; without a script the server rotates and answers correctly.
#[derive(Debug, Clone)]
pub enum OauthFault {
    /// Rotates and answers after this time.
    Delay(Duration),
    /// Gives this answer and rotates nothing.
    Status(u16, String),
    /// Rotates and closes the connection without an answer.
    LostAnswer,
    /// Closes the connection without an answer and rotates nothing.
    Closed,
    /// Rotates and stops in the middle of the body.
    CutAnswer,
    /// Rotates and answers this body instead.
    Body(String),
    /// Redirects the client and rotates nothing.
    Redirect(String),
    /// Rotates and still answers with this status.
    RotatedThen(u16),
    /// Gives this answer, with these header lines, and rotates nothing.
    StatusWith(u16, String),
    /// Writes this and closes the connection; rotates first if the flag is set.
    Raw(String, bool),
    /// Gives an access token and keeps the refresh token.
    NoRefreshToken,
}

/// The server, which runs until the test process ends.
#[derive(Clone)]
pub struct OauthServer {
    address: SocketAddr,
    state: Arc<Mutex<OauthServerState>>,
    /// The thread that accepts connections.
    accepting: Arc<Mutex<Option<thread::JoinHandle<()>>>>,
}

#[derive(Default)]
struct OauthServerState {
    current: String,
    spent: BTreeSet<String>,
    number: u32,
    expires_in: Value,
    faults: VecDeque<OauthFault>,
    presented: Vec<String>,
    presented_at: Vec<Instant>,
    exchanges: usize,
    replays: usize,
    revoked: bool,
    odd_requests: Vec<String>,
    /// Settings that a login delivers.
    config: Value,
    /// Logins with consent whose tokens have not been fetched yet, by code.
    codes: BTreeMap<String, FormFields>,
    logins: usize,
    /// The server does not listen.
    down: bool,
}

/// Fields of a form or a query.
type FormFields = BTreeMap<String, String>;

impl OauthServer {
    /// A server that accepts `refresh_token` first, and grants tokens of one hour.
    pub fn start(refresh_token: &str) -> Self {
        let listener = Self::listener_to_return_to();
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = OauthServerState {
            current: refresh_token.to_owned(),
            expires_in: json!(3600),
            ..OauthServerState::default()
        };
        let server = Self { address, state: Arc::new(Mutex::new(state)), accepting: Arc::default() };
        server.listen(listener);
        server
    }

    /// At a port below those that the system gives to others, because [`OauthServer::listen_again`] needs it again.
    fn listener_to_return_to() -> TcpListener {
        let bound = |port| TcpListener::bind(("127.0.0.1", port)).ok();
        let mut ports = std::iter::repeat_with(|| fastrand::u16(10_000..32_768));
        ports.find_map(bound).expect("one of many ports is free")
    }

    fn listen(&self, listener: TcpListener) {
        let serving = self.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.state().down {
                    return;
                }
                let server = serving.clone();
                thread::spawn(move || server.serve(&stream));
            }
        });
        *self.accepting.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    }

    /// Refuses connections until [`OauthServer::listen_again`].
    pub fn stop_listening(&self) {
        self.state().down = true;
        // A connection ends the wait for one; the thread then closes the listening socket.
        let _ = TcpStream::connect(self.address);
        let thread = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take();
        thread.expect("the server listens").join().expect("the thread does not panic");
    }

    /// Listens again, at the same address.
    pub fn listen_again(&self) {
        let listener = TcpListener::bind(self.address).expect("the address is still free");
        self.state().down = false;
        self.listen(listener);
    }

    /// The URL where a user consents to a login.
    pub fn authorize_url(&self) -> String {
        format!("http://{}/authorize", self.address)
    }

    /// Sets what a login delivers beside the tokens.
    pub fn set_config(&self, config: Value) {
        self.state().config = config;
    }

    /// Completed logins.
    pub fn logins(&self) -> usize {
        self.state().logins
    }

    /// The URL where tokens are exchanged.
    pub fn token_endpoint(&self) -> String {
        format!("http://{}/oauth/token", self.address)
    }

    /// Sets the reaction to the next request that has no script yet.
    pub fn script(&self, fault: OauthFault) {
        self.state().faults.push_back(fault);
    }

    /// Sets `expires_in` from now on; null leaves it out.
    pub fn tokens_live(&self, expires_in: Value) {
        self.state().expires_in = expires_in;
    }

    /// Refuses the current refresh token from now on.
    pub fn revoke(&self) {
        self.state().revoked = true;
    }

    /// Rotations.
    pub fn exchanges(&self) -> usize {
        self.state().exchanges
    }

    /// Refresh tokens that arrived, in order, valid or not.
    pub fn presented(&self) -> Vec<String> {
        self.state().presented.clone()
    }

    /// Times between one refresh token that arrived and the next.
    pub fn gaps(&self) -> Vec<Duration> {
        self.state().presented_at.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// Spent refresh tokens that were presented again.
    pub fn replays(&self) -> usize {
        self.state().replays
    }

    /// Requests that break the protocol.
    pub fn odd_requests(&self) -> Vec<String> {
        self.state().odd_requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, OauthServerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
        while let Some((head, body)) = read_request(&mut reader) {
            if head.starts_with("GET ") {
                self.serve_browser(stream, &head);
                return;
            }
            let form: FormFields = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
            let field = |name: &str| form.get(name).map_or("", String::as_str);
            if field("grant_type") == "authorization_code" {
                let answer = self.redeem(&form);
                if !respond(stream, None, answer) {
                    return;
                }
                continue;
            }
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

    /// The consent page, and the redirects of its buttons.
    fn serve_browser(&self, mut stream: &TcpStream, head: &str) {
        let target = head.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query_fields: FormFields = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let field = |name: &str| query_fields.get(name).map_or("", String::as_str);
        let mut back = form_urlencoded::Serializer::new(String::new());
        let answer = match path {
            "/agree" => {
                let mut state = self.state();
                state.number += 1;
                let code = format!("code+of/{}", state.number);
                back.append_pair("code", &code).append_pair("state", field("state"));
                state.codes.insert(code, query_fields.clone());
                None
            }
            "/deny" => {
                back.append_pair("error", "access_denied").append_pair("state", field("state"));
                None
            }
            "/forge" => {
                back.append_pair("code", "stolen").append_pair("state", "of-another-login");
                None
            }
            "/authorize" => {
                let button =
                    |name: &str| format!("<p><a id={name} href='/{name}?{}'>{name}</a>", query.replace('&', "&amp;"));
                let buttons = ["agree", "deny", "forge"].map(button).concat();
                Some(format!("<!doctype html><link rel=icon href='data:,'><title>Consent</title>{buttons}"))
            }
            _ => Some(String::new()),
        };
        let response = match answer {
            Some(page) => format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{page}",
                page.len()
            ),
            None => format!(
                "HTTP/1.1 302 Found\r\nlocation: {}?{}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                field("redirect_uri"),
                back.finish()
            ),
        };
        let _ = stream.write_all(response.as_bytes());
    }

    /// Tokens for the code of a login, once, and only to the client that began it.
    fn redeem(&self, form: &FormFields) -> (u16, String) {
        let mut state = self.state();
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        let refused = (400, json!({"error": "invalid_grant"}).to_string());
        let Some(consent) = state.codes.remove(field("code")) else {
            return refused;
        };
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier")));
        let proved = consent["code_challenge"] == challenge && consent["code_challenge_method"] == "S256";
        let same = ["redirect_uri", "client_id"].iter().all(|name| consent[*name] == field(name));
        if !proved || !same || consent["response_type"] != "code" {
            return refused;
        }
        state.number += 1;
        state.logins += 1;
        state.revoked = false;
        state.current = format!("hch-rt-n{}", state.number);
        let answer = json!({
            "access_token": format!("hch-at-n{}", state.number), "refresh_token": state.current,
            "expires_in": state.expires_in, "scope": consent["scope"], "token_type": "Bearer", "config": state.config});
        (200, answer.to_string())
    }

    fn decide(&self, token: &str) -> (Option<OauthFault>, (u16, String)) {
        let mut state = self.state();
        state.presented.push(token.to_owned());
        state.presented_at.push(Instant::now());
        let fault = state.faults.pop_front();
        match &fault {
            Some(OauthFault::Status(status, body)) => return (fault.clone(), (*status, body.clone())),
            Some(OauthFault::StatusWith(status, _)) => return (fault.clone(), (*status, String::new())),
            Some(OauthFault::Closed | OauthFault::Redirect(_) | OauthFault::Raw(_, false)) => {
                return (fault, (0, String::new()));
            }
            Some(OauthFault::NoRefreshToken) => {
                state.number += 1;
                let answer =
                    json!({"access_token": format!("hch-at-n{}", state.number), "expires_in": state.expires_in});
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
            "expires_in": state.expires_in, "scope": null, "token_type": "Bearer"});
        if state.expires_in.is_null() {
            answer.as_object_mut().expect("the answer is an object").remove("expires_in");
        }
        (fault, (200, answer.to_string()))
    }
}

/// Answers; returns whether the connection stays open.
fn respond(mut stream: &TcpStream, fault: Option<OauthFault>, (status, mut body): (u16, String)) -> bool {
    let mut location = String::new();
    let (mut status, mut cut) = (status, false);
    match fault {
        Some(OauthFault::Delay(time)) => thread::sleep(time),
        Some(OauthFault::LostAnswer | OauthFault::Closed) => return false,
        Some(OauthFault::CutAnswer) => cut = true,
        Some(OauthFault::Body(other)) => body = other,
        Some(OauthFault::RotatedThen(other)) => (status, body) = (other, String::new()),
        Some(OauthFault::StatusWith(_, lines)) => location = lines,
        Some(OauthFault::Raw(text, _)) => {
            let _ = stream.write_all(text.as_bytes());
            return false;
        }
        Some(OauthFault::Redirect(to)) => (status, location) = (307, format!("location: {to}\r\n")),
        Some(OauthFault::Status(..) | OauthFault::NoRefreshToken) | None => {}
    }
    let head = format!(
        "HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\n{location}content-length: {}\r\n\r\n",
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
