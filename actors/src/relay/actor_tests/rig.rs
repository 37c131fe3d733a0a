//! Stubs for the actors around the link.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use secrecy::SecretString;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::super::*;
use super::peer::{Connector, Peer};
use super::waits::within;
use crate::http_client::HttpClient;
use crate::profile::messages::{ConnectParams, Identity, NoConnectParams, PrepareDial};
use crate::relay::claims::Claims;
use crate::relay::counts::LinkCounts;
use crate::relay::gateway_key::GatewayKey;
use crate::relay::timings::LinkTimings;
use crate::status::changes::StatusChanges;
use caduceus_contract::json::RawJson;
use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::messages::dispatch::{NotRecorded, OfferEvents, OfferedEvent, StopSession};
use caduceus_contract::messages::ledger::{LedgerError, RecordInbound, Recorded};
use caduceus_contract::messages::relay::LinkChanged;
use caduceus_contract::messages::status::StatusTouched;
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::{Backoff, ResponseFuture, spawn};

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
pub(super) type Offered = (OfferedEvent, oneshot::Sender<Result<(), NotRecorded>>);

/// A dead letter to be recorded, and the sender of its answer.
pub(super) type PendingDeadLetter = (RecordInbound, oneshot::Sender<Result<Recorded, LedgerError>>);

struct StubDispatch {
    letters: mpsc::UnboundedSender<PendingDeadLetter>,
    offered: mpsc::UnboundedSender<Offered>,
    messages: Rc<Cell<usize>>,
    stops: mpsc::UnboundedSender<StopSession>,
    changes: mpsc::UnboundedSender<LinkChanged>,
}

impl Actor for StubDispatch {
    type Context = Context<Self>;
}

impl Handler<OfferEvents> for StubDispatch {
    type Result = ResponseFuture<Vec<Result<(), NotRecorded>>>;

    fn handle(&mut self, OfferEvents(events): OfferEvents, _: &mut Self::Context) -> Self::Result {
        self.messages.set(self.messages.get() + 1);
        let mut answers = Vec::new();
        for event in events {
            let (answer, answered) = oneshot::channel();
            self.offered.send((event, answer)).unwrap();
            answers.push(answered);
        }
        ResponseFuture::new(async move {
            match futures_util::future::try_join_all(answers).await {
                Ok(answers) => answers,
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
    /// Messages with events so far.
    pub(super) messages: Rc<Cell<usize>>,
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
        Self::of(timings, identities, 1, None, None)
    }

    /// A link with so many dispatchers.
    pub(super) fn dispatchers(number: usize) -> Self {
        Self::of(quick(), vec![identity("discord", "b1")], number, None, None)
    }

    /// The link of a profile, which dials as this gateway.
    pub(super) fn owned(owner: Option<ProfileName>, gateway: GatewayKey) -> Self {
        Self::of(quick(), vec![identity("discord", "b1")], 1, owner, Some(gateway))
    }

    fn of(
        timings: LinkTimings,
        identities: Vec<Identity>,
        dispatchers: usize,
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
        let messages = Rc::<Cell<usize>>::default();
        let (letter_sender, letters) = mpsc::unbounded_channel();
        let claims = Claims::new(owner.clone());
        let (stop_sender, stops) = mpsc::unbounded_channel();
        let (change_sender, changes) = mpsc::unbounded_channel();
        let dispatch = StubDispatch {
            letters: letter_sender,
            offered: offers,
            messages: Rc::clone(&messages),
            stops: stop_sender,
            changes: change_sender,
        };
        let dispatch = dispatch.start();
        let ports = RelayPorts {
            profile: StubProfile(Rc::clone(&profile)).start().into(),
            // One actor: what is offered to each dispatcher is a message of its own, with an answer of its own.
            dispatch: vec![dispatch.clone().into(); dispatchers],
            ledger: dispatch.clone().into(),
            stop_session: dispatch.clone().into(),
            changes: vec![dispatch.clone().into()],
            status: StatusChanges::new(dispatch.into()),
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
        Self { connector, link, profile, offered, messages, letters, claims, stops, changes, media }
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

    /// All messages that were sent, also by their handlers, are handled.
    pub(super) async fn settled() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn letter(&mut self) -> PendingDeadLetter {
        within("a dead letter at the ledger", self.letters.recv()).await.unwrap()
    }

    /// Sends an action to the link; the future yields its answer and need not be polled.
    pub(super) fn send(&self, content: &str) -> impl Future<Output = ActionResult> + use<> {
        let action = RawJson::of(&json!({"op": "send", "chat_id": "c", "content": content}));
        let answer = spawn(self.link.send(SendAction { target: target("discord"), action }));
        async move { within("the answer to an action", answer).await.unwrap().unwrap() }
    }

    pub(super) async fn view(&self) -> LinkView {
        self.link.send(GetLink).await.unwrap()
    }
}

pub(super) fn target(platform: &str) -> Arc<Target> {
    Arc::new(Target {
        link: LinkId::process(),
        platform: platform.into(),
        bot_id: None,
        chat_id: "c".into(),
        scope_id: None,
        user_id: None,
        thread_id: None,
    })
}
