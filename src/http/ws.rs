//! The status over a WebSocket: the current one, then every change. The only user of `actix-web-actors` on this side.
//!
//! One temporary actor for each client. A client that neither its address nor its `Authorization` authenticates sends its token as the
//! first message, as plain text; other messages are ignored.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::wrap_future;
use actix::{Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, StreamHandler};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use actix_web_actors::ws::{CloseCode, CloseReason, Message, ProtocolError, WebsocketContext, WsResponseBuilder};
use futures_util::stream;
use tracing::{debug, warn};

use super::admission::EvictionSignal;
use super::auth::{AuthRequest, RequestCredential};
use super::caller::HttpCaller;
use super::code::ApiErrorCode;
use super::connection::{ClientConnection, RequestWork};
use super::error::ApiError;
use super::feed::{FeedEvent, Rendered};
use super::operation_doc::{Access, AnswerDoc, OperationDoc};
use super::registry::RouteRegistry;
use super::state::SharedState;
use super::viewers::{Due, FlowControl, ViewerSlot};
use super::views::STATUS;

/// A client that is not authenticated yet has this long to send its token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval at which each client is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Largest message from a client, in bytes; a token is far shorter.
const MAX_MESSAGE: usize = 4 * 1024;
/// The close code by which the page asks for a token.
const UNAUTHENTICATED: CloseCode = CloseCode::Other(4401);

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const WATCH: OperationDoc = OperationDoc::new(
        "The status over a WebSocket; a client without other authentication sends a token as the first message, within 5 s",
    )
    .answer(AnswerDoc::WebSocket(STATUS))
    .errors(&[ApiErrorCode::NotAWebSocket, ApiErrorCode::TooManyViewers, ApiErrorCode::ActorUnavailable, ApiErrorCode::ActorTimeout]);
    registry.at("/api/status/ws", Access::PublicSummary).get(watch, WATCH).done();
}

async fn watch(request: HttpRequest, state: SharedState, payload: Payload) -> Result<HttpResponse, ApiError> {
    let authenticated = state.authenticator.is_authenticated(&request).await?;
    state.feed.latest()?;
    let (caller, eviction) = (HttpCaller::of(&request), Arc::new(EvictionSignal::default()));
    let slot = match (authenticated, caller.loopback) {
        (false, _) => Some(state.viewers.unauthenticated(caller.address, &eviction)),
        (true, false) => state.viewers.authenticated(),
        (true, true) => match state.viewers.loopback() {
            None if state.authenticator.has_valid_token(&request).await => state.viewers.authenticated(),
            slot => slot,
        },
    };
    let slot = slot.ok_or(ApiError::TooManyViewers)?;
    let connection = ClientConnection::of(&request).cloned();
    let viewer = Viewer {
        state_of_client: if authenticated { ViewerState::Authenticated } else { ViewerState::AwaitingToken },
        caller,
        eviction,
        _work: connection.as_ref().map(ClientConnection::work),
        connection,
        flow: FlowControl::new(Instant::now()),
        latest: None,
        state,
        slot,
    };
    let started = WsResponseBuilder::new(viewer, &request, payload).frame_size(MAX_MESSAGE).start();
    started.map_err(ApiError::NotAWebSocket)
}

/// One client.
struct Viewer {
    state: SharedState,
    state_of_client: ViewerState,
    caller: HttpCaller,
    flow: FlowControl,
    latest: Option<Arc<Rendered>>,
    slot: ViewerSlot,
    /// Fires when the slot of a client that has not sent its token is evicted.
    eviction: Arc<EvictionSignal>,
    connection: Option<Rc<ClientConnection>>,
    /// Keeps the connection in use while the socket is open.
    _work: Option<RequestWork>,
}

/// Whether the client receives the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ViewerState {
    /// The client has not sent its token.
    AwaitingToken,
    /// Its token is being verified.
    Verifying,
    /// The client receives the status.
    Authenticated,
}

type ViewerContext = WebsocketContext<Viewer>;

impl Actor for Viewer {
    type Context = ViewerContext;

    fn started(&mut self, ctx: &mut ViewerContext) {
        if self.state_of_client == ViewerState::Authenticated {
            self.admit(ctx);
        } else {
            let eviction = Arc::clone(&self.eviction);
            ctx.spawn(wrap_future::<_, Self>(async move { eviction.fired().await }).map(|(), viewer, ctx| {
                if viewer.state_of_client != ViewerState::Authenticated {
                    close(ctx, CloseCode::Again, "too many clients have not sent their token yet");
                }
            }));
            ctx.run_later(TOKEN_TIMEOUT, |viewer, ctx| {
                if viewer.state_of_client == ViewerState::AwaitingToken {
                    close(ctx, UNAUTHENTICATED, "no token received");
                }
            });
        }
        ctx.run_interval(CHECK_INTERVAL, |viewer, ctx| match viewer.flow.check(Instant::now()) {
            Due::Nothing => {}
            Due::Ping => ctx.ping(b""),
            Due::Disconnect => ctx.stop(),
        });
    }
}

impl Viewer {
    fn admit(&mut self, ctx: &mut ViewerContext) {
        self.state_of_client = ViewerState::Authenticated;
        let events = self.state.feed.watch();
        ctx.add_stream(stream::unfold(events, |mut events| async move {
            events.changed().await.ok()?;
            let latest = events.borrow_and_update().clone();
            Some((latest, events))
        }));
    }

    /// Its token is valid: its slot is not evicted from now on.
    fn promote(&mut self, ctx: &mut ViewerContext) {
        self.state.admission.note(self.caller.address, None);
        if let Some(connection) = &self.connection {
            connection.mark_known();
        }
        match self.state.viewers.authenticated() {
            Some(slot) => {
                self.slot = slot;
                self.admit(ctx);
            }
            None => close(ctx, CloseCode::Again, "too many clients watch the status"),
        }
    }

    fn send(&self, ctx: &mut ViewerContext) {
        let Some(latest) = &self.latest else { return };
        // The bytes are shared by all clients that watch.
        match latest.full().map(|text| text.try_into().map(Message::Text)) {
            Ok(Ok(text)) => {
                ctx.write_raw(text);
                ctx.ping(b"");
            }
            Ok(Err(error)) => warn!(%error, "status is not text"),
            Err(error) => warn!(%error, "status could not be rendered"),
        }
    }

    /// Handles the first message of a client that is not authenticated.
    fn verify_token(&mut self, token: String, ctx: &mut ViewerContext) {
        if self.state_of_client != ViewerState::AwaitingToken {
            return;
        }
        self.state_of_client = ViewerState::Verifying;
        let (state, HttpCaller { address: peer, loopback }) = (self.state.clone(), self.caller);
        let decision = async move {
            let credential = match token.trim() {
                "" => RequestCredential::None,
                token => RequestCredential::Bearer(token),
            };
            state
                .authenticator
                .decide(AuthRequest { credential, path: "/api/status/ws", peer, loopback, scope: None })
                .await
        };
        ctx.spawn(wrap_future::<_, Self>(decision).map(|decision, viewer, ctx| match decision {
            Ok(_) => viewer.promote(ctx),
            Err(error) => close(ctx, UNAUTHENTICATED, &error.to_string()),
        }));
    }
}

impl StreamHandler<FeedEvent> for Viewer {
    fn handle(&mut self, event: FeedEvent, ctx: &mut ViewerContext) {
        match event {
            FeedEvent::Live(latest) => {
                self.latest = Some(latest);
                if self.flow.changed(Instant::now()) {
                    self.send(ctx);
                }
            }
            // The status of the client is out of date; the page shows that and reconnects.
            FeedEvent::Lost(_) => close(ctx, CloseCode::Again, "the status is not available at the moment"),
            FeedEvent::Closing => close(ctx, CloseCode::Away, "the server is stopping"),
        }
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for Viewer {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut ViewerContext) {
        match message {
            Ok(Message::Ping(payload)) if self.flow.pinged() => ctx.pong(&payload),
            Ok(Message::Ping(_)) => close(ctx, CloseCode::Policy, "too many pings"),
            Ok(Message::Pong(_)) => {
                if self.flow.pong(Instant::now()) {
                    self.send(ctx);
                }
            }
            Ok(Message::Text(text)) => self.verify_token(text.to_string(), ctx),
            Ok(Message::Binary(_) | Message::Nop) => {}
            Ok(Message::Close(_)) => close(ctx, CloseCode::Normal, ""),
            Ok(Message::Continuation(_)) => close(ctx, CloseCode::Size, "fragmented messages are not supported"),
            Err(error) => {
                debug!(%error, "status client violated the protocol");
                ctx.stop();
            }
        }
    }
}

fn close(ctx: &mut ViewerContext, code: CloseCode, description: &str) {
    let description = Some(description.to_owned()).filter(|text| !text.is_empty());
    ctx.close(Some(CloseReason { code, description }));
    ctx.stop();
}
