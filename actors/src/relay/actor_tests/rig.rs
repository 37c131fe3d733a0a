//! A connector on a separate socket, stubs for the actors around the link, and waits with a timeout that names the missing event.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::{SinkExt, StreamExt};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Ws;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::super::*;
use crate::profile::messages::NoConnectParams;
use crate::relay::claims::GatewayKey;
use crate::relay::counts::LinkCounts;
use caduceus_contract::messages::dispatch::NotRecorded;
use caduceus_contract::messages::ledger::{LedgerError, Recorded};
use caduceus_contract::wire::action::Action;
use caduceus_supervision::{Backoff, ResponseFuture, spawn};

/// Timeout of every wait, also on a busy machine.
const CEILING: Duration = Duration::from_secs(10);

/// Long enough for an unwanted effect to appear.
const MOMENT: Duration = Duration::from_millis(150);

pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(done) = tokio::time::timeout(CEILING, future).await else { panic!("{what} never came") };
    done
}

pub(super) async fn never<T: std::fmt::Debug>(what: &str, future: impl Future<Output = T>) {
    if let Ok(done) = tokio::time::timeout(MOMENT, future).await {
        panic!("{what} came: {done:?}");
    }
}

pub(super) fn run(test: impl Future<Output = ()>) {
    actix::System::new().block_on(test);
}

/// A listening connector.
pub(super) struct Connector {
    listener: TcpListener,
    pub(super) url: String,
}

impl Connector {
    fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // A peer that does not read blocks its sender after a few megabytes, not after tens of them.
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(16).unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        Self { listener, url }
    }

    /// Accepts the next upgrade.
    #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
    pub(super) async fn accept(&self) -> Peer {
        let mut authorization = None;
        let note = |request: &Request, response: Response| {
            let header = request.headers().get("authorization");
            authorization = header.map(|value| value.to_str().unwrap().to_owned());
            Ok(response)
        };
        let (stream, _) = within("a dial", self.listener.accept()).await.unwrap();
        let socket = within("the upgrade", tokio_tungstenite::accept_hdr_async(stream, note)).await.unwrap();
        Peer { socket, authorization, lines: Vec::new() }
    }

    /// Accepts the next upgrade and completes the handshake.
    pub(super) async fn serve(&self) -> Peer {
        let mut peer = self.accept().await;
        assert_eq!(peer.frame().await["type"], "hello");
        peer.describe("discord").await;
        peer
    }

    /// Answers the next upgrade with a status.
    pub(super) async fn refuse(&self, status: u16) {
        self.refuse_with(status, "").await;
    }

    /// The same with additional header lines, each with its end.
    pub(super) async fn refuse_with(&self, status: u16, head: &str) {
        let (mut stream, _) = within("a dial", self.listener.accept()).await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        let answer = format!("HTTP/1.1 {status} No\r\n{head}content-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    /// Accepts the next request, which is not a dial, answers it, and returns it.
    pub(super) async fn answer(&self, answer: &[u8]) -> String {
        let (mut stream, _) = within("a request", self.listener.accept()).await.unwrap();
        let mut request = vec![0; 4096];
        let bytes = stream.read(&mut request).await.unwrap();
        // The client may close before it has read everything.
        let _ = stream.write_all(answer).await;
        String::from_utf8_lossy(&request[..bytes]).into_owned()
    }

    pub(super) async fn no_dial(&self) {
        never("a dial", self.listener.accept()).await;
    }
}

/// One connection from the connector's side.
pub(super) struct Peer {
    pub(super) socket: WebSocketStream<TcpStream>,
    pub(super) authorization: Option<String>,
    lines: Vec<Value>,
}

impl Peer {
    /// The next frame from the gateway.
    pub(super) async fn frame(&mut self) -> Value {
        within("a frame", self.read()).await.expect("a frame, not a close")
    }

    /// The next frame, or the code of the close.
    pub(super) async fn read(&mut self) -> Result<Value, Option<u16>> {
        while self.lines.is_empty() {
            match self.socket.next().await {
                Some(Ok(Ws::Text(text))) => {
                    assert!(text.ends_with('\n'), "a line has an end");
                    self.lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
                }
                Some(Ok(Ws::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
        Ok(self.lines.remove(0))
    }

    pub(super) async fn send_json(&mut self, frame: Value) {
        self.send_text(format!("{frame}\n")).await;
    }

    pub(super) async fn send_text(&mut self, text: impl Into<String>) {
        self.socket.send(Ws::text(text.into())).await.unwrap();
    }

    pub(super) async fn send_binary(&mut self, bytes: &[u8]) {
        self.socket.send(Ws::binary(bytes.to_vec())).await.unwrap();
    }

    pub(super) async fn describe(&mut self, platform: &str) {
        self.send_json(json!({"type": "descriptor", "descriptor": descriptor(platform)})).await;
    }

    pub(super) async fn inbound(&mut self, message_id: &str, buffer_id: Option<&str>) {
        let mut frame = json!({"type": "inbound", "event": event(message_id)});
        if let Some(buffer_id) = buffer_id {
            frame["bufferId"] = buffer_id.into();
        }
        self.send_json(frame).await;
    }

    pub(super) async fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.to_owned().into() };
        self.socket.close(Some(frame)).await.unwrap();
        // Until the gateway has answered the close.
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}

pub(super) fn descriptor(platform: &str) -> Value {
    json!({"contract_version": 1, "platform": platform, "label": platform, "max_message_length": 2000,
        "supports_draft_streaming": false, "supports_edit": true, "supports_threads": true,
        "markdown_dialect": "discord", "len_unit": "chars"})
}

pub(super) fn event(message_id: &str) -> Value {
    json!({"text": "hi", "message_id": message_id,
        "source": {"platform": "discord", "chat_id": "c", "chat_type": "dm", "user_id": "u"}})
}

/// The answer of the profile, and the number of questions.
pub(super) type Answers = Rc<RefCell<(u64, Result<ConnectParams, NoConnectParams>)>>;

struct StubProfile(Answers);

impl Actor for StubProfile {
    type Context = Context<Self>;
}

impl Handler<PrepareDial> for StubProfile {
    type Result = Result<ConnectParams, NoConnectParams>;

    fn handle(&mut self, _: PrepareDial, _: &mut Self::Context) -> Self::Result {
        let (questions, answer) = &mut *self.0.borrow_mut();
        *questions += 1;
        let token = SecretString::from(format!("token-{questions}"));
        answer.clone().map(|dial| ConnectParams { token: Some(token), ..dial })
    }
}

/// An event that was offered, and the sender of its answer. Dropping that leaves it unanswered.
pub(super) type Offered = (OfferEvent, oneshot::Sender<Result<(), NotRecorded>>);

/// A dead letter to be recorded, and the sender of its answer.
pub(super) type PendingDeadLetter = (RecordInbound, oneshot::Sender<Result<Recorded, LedgerError>>);

struct StubDispatch {
    letters: mpsc::UnboundedSender<PendingDeadLetter>,
    offered: mpsc::UnboundedSender<Offered>,
    stops: mpsc::UnboundedSender<StopSession>,
    changes: mpsc::UnboundedSender<LinkChanged>,
}

impl Actor for StubDispatch {
    type Context = Context<Self>;
}

impl Handler<OfferEvent> for StubDispatch {
    type Result = ResponseFuture<Result<(), NotRecorded>>;

    fn handle(&mut self, inbound: OfferEvent, _: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        self.offered.send((inbound, answer)).unwrap();
        ResponseFuture::new(async move {
            match answered.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            }
        })
    }
}

impl Handler<RecordInbound> for StubDispatch {
    type Result = ResponseFuture<Result<Recorded, LedgerError>>;

    fn handle(&mut self, record: RecordInbound, _: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        self.letters.send((record, answer)).unwrap();
        ResponseFuture::new(async move { answered.await.unwrap_or(Err(LedgerError::Closed)) })
    }
}

impl Handler<StopSession> for StubDispatch {
    type Result = bool;

    fn handle(&mut self, stop: StopSession, _: &mut Self::Context) -> bool {
        self.stops.send(stop).is_ok()
    }
}

impl Handler<LinkChanged> for StubDispatch {
    type Result = ();

    fn handle(&mut self, change: LinkChanged, _: &mut Self::Context) {
        let _ = self.changes.send(change);
    }
}

impl Handler<StatusTouched> for StubDispatch {
    type Result = ();

    fn handle(&mut self, _: StatusTouched, _: &mut Self::Context) {}
}

/// A link with stubs around it.
pub(super) struct LinkBench {
    pub(super) connector: Connector,
    pub(super) link: Addr<RelayActor>,
    pub(super) profile: Answers,
    pub(super) offered: mpsc::UnboundedReceiver<Offered>,
    pub(super) letters: mpsc::UnboundedReceiver<PendingDeadLetter>,
    pub(super) claims: Claims,
    pub(super) stops: mpsc::UnboundedReceiver<StopSession>,
    pub(super) changes: mpsc::UnboundedReceiver<LinkChanged>,
    /// Holds the folder for media.
    pub(super) media: tempfile::TempDir,
}

/// The contract's times, except for the waits.
pub(super) fn quick() -> LinkTimings {
    let wait = Backoff::new(Duration::from_millis(5), Duration::from_millis(20)).unwrap();
    LinkTimings { redial: wait, offer: wait, settings: Duration::from_millis(20), ..LinkTimings::default() }
}

pub(super) fn identity(platform: &str, bot_id: &str) -> Identity {
    Identity { platform: platform.into(), bot_id: bot_id.into() }
}

impl LinkBench {
    pub(super) fn new() -> Self {
        Self::with(quick(), vec![identity("discord", "b1")])
    }

    pub(super) fn with(timings: LinkTimings, identities: Vec<Identity>) -> Self {
        Self::of(timings, identities, None, None)
    }

    /// The link of a profile, which dials as this gateway.
    pub(super) fn owned(owner: Option<ProfileName>, gateway: GatewayKey) -> Self {
        Self::of(quick(), vec![identity("discord", "b1")], owner, Some(gateway))
    }

    fn of(
        timings: LinkTimings,
        identities: Vec<Identity>,
        owner: Option<ProfileName>,
        gateway: Option<GatewayKey>,
    ) -> Self {
        let connector = Connector::new();
        let dial = ConnectParams {
            url: connector.url.clone(),
            token: None,
            gateway,
            credentials: 1,
            identities,
            policies: Vec::new(),
        };
        let profile: Answers = Rc::new(RefCell::new((0, Ok(dial))));
        let (offers, offered) = mpsc::unbounded_channel();
        let (letter_sender, letters) = mpsc::unbounded_channel();
        let claims = Claims::new(owner.clone());
        let (stop_sender, stops) = mpsc::unbounded_channel();
        let (change_sender, changes) = mpsc::unbounded_channel();
        let dispatch =
            StubDispatch { letters: letter_sender, offered: offers, stops: stop_sender, changes: change_sender };
        let dispatch = dispatch.start();
        let ports = RelayPorts {
            profile: StubProfile(Rc::clone(&profile)).start().into(),
            dispatch: dispatch.clone().into(),
            ledger: dispatch.clone().into(),
            stop_session: dispatch.clone().into(),
            changes: vec![dispatch.clone().into()],
            status: dispatch.into(),
        };
        let incarnation = Incarnation::new("relays/relay", 1);
        let media = tempfile::tempdir().unwrap();
        let settings = LinkSettings {
            counts: LinkCounts::default(),
            link: LinkId::process(),
            owner,
            profile: ProfileName::default_profile(),
            claims: claims.clone(),
            timings,
            client: HttpClient::default(),
            media: media.path().join("media"),
        };
        let link = RelayActor::new(ports, settings, incarnation).start();
        Self { connector, link, profile, offered, letters, claims, stops, changes, media }
    }

    /// A link that is connected, and its peer.
    pub(super) async fn connected() -> (Self, Peer) {
        let mut bench = Self::new();
        let peer = bench.connector.serve().await;
        bench.until(LinkState::Connected).await;
        (bench, peer)
    }

    /// Waits until the link reports this state.
    pub(super) async fn until(&mut self, state: LinkState) {
        let wait = async { while self.changes.recv().await.unwrap().state != state {} };
        within(&format!("{state:?}"), wait).await;
    }

    pub(super) async fn offer(&mut self) -> Offered {
        within("an event at the dispatcher", self.offered.recv()).await.unwrap()
    }

    pub(super) async fn letter(&mut self) -> PendingDeadLetter {
        within("a dead letter at the ledger", self.letters.recv()).await.unwrap()
    }

    /// Sends an action to the link; the future yields its answer and need not be polled.
    pub(super) fn send(&self, content: &str) -> impl Future<Output = ActionResult> + use<> {
        let action = Action::parse(&json!({"op": "send", "chat_id": "c", "content": content})).unwrap();
        let answer = spawn(self.link.send(SendAction { target: target("discord"), action }));
        async move { within("the answer to an action", answer).await.unwrap().unwrap() }
    }

    pub(super) async fn view(&self) -> LinkView {
        self.link.send(GetLink).await.unwrap()
    }
}

pub(super) fn target(platform: &str) -> Target {
    Target {
        link: LinkId::process(),
        platform: platform.into(),
        bot_id: None,
        chat_id: "c".into(),
        scope_id: None,
        user_id: None,
        thread_id: None,
    }
}
