//! The last status, rendered once for each change and shared by all clients.
//!
//! Owns a subscription at the status actor. A restarted status actor has lost the subscription; so it is also polled four
//! times a second; an answer without a preceding notification shows that the subscription is lost, and it is renewed.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::{Actor, ActorContext, Context, Handler, Message};
use bytes::Bytes;
use caduceus_contract::api::status::StatusResponse;
use caduceus_contract::messages::status::{GetSnapshot, SnapshotChanged, Subscribe};
use caduceus_contract::status::snapshot::Snapshot;
use caduceus_supervision::{AskError, Port};
use serde::Serialize;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::ask::TIMEOUT;
use super::error::ApiError;
use super::ports::HttpPorts;

/// How often the status actor is polled: after its restart the old status must not be shown for long.
const POLL: Duration = Duration::from_millis(250);
/// Pause before the next attempt while the status actor does not answer; its supervisor restarts it within milliseconds or after a backoff.
const PAUSE: Duration = Duration::from_millis(100);

/// The last status. Empty until [`Feed::keep`] runs.
#[derive(Debug)]
pub(super) struct Feed(watch::Sender<FeedEvent>);

/// An update of the status.
#[derive(Debug, Clone)]
pub(super) enum FeedEvent {
    /// The status.
    Live(Arc<Rendered>),
    /// The status actor does not answer; the last status is out of date.
    Lost(AskError),
    /// The server stops.
    Closing,
}

/// A status and its text, rendered on first use.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) snapshot: Arc<Snapshot>,
    full: OnceLock<Bytes>,
    public: OnceLock<Bytes>,
}

impl Default for Feed {
    fn default() -> Self {
        Self(watch::Sender::new(FeedEvent::Lost(AskError::Closed)))
    }
}

impl Feed {
    /// The last status.
    ///
    /// # Errors
    /// [`ApiError::Ask`] while the status actor does not answer.
    pub(super) fn latest(&self) -> Result<Arc<Rendered>, ApiError> {
        match &*self.0.borrow() {
            FeedEvent::Live(rendered) => Ok(Arc::clone(rendered)),
            FeedEvent::Lost(cause) => Err((*cause).into()),
            FeedEvent::Closing => Err(AskError::Closed.into()),
        }
    }

    /// Every update from now on, the current one first.
    pub(super) fn watch(&self) -> watch::Receiver<FeedEvent> {
        let mut receiver = self.0.subscribe();
        receiver.mark_changed();
        receiver
    }

    /// Waits until there is a status, or the server stops.
    pub(super) async fn available(&self) {
        let mut events = self.0.subscribe();
        // This struct owns the sender, so it exists.
        let _ = events.wait_for(|event| !matches!(event, FeedEvent::Lost(_))).await;
    }

    /// The server stops: subscribers are notified.
    pub(super) fn close(&self) {
        self.0.send_replace(FeedEvent::Closing);
    }

    /// Keeps the status fresh until [`Feed::close`].
    pub(super) async fn keep(self: Arc<Self>, ports: HttpPorts) {
        while !self.is_closing() {
            let listener = FeedListener(Arc::clone(&self)).start();
            let subscribe = Subscribe { to: Port::from(listener.clone()) };
            let cause = match ports.subscribe.ask(subscribe, TIMEOUT).await {
                Ok(first) => {
                    self.publish(first);
                    self.until_lost(&ports.snapshot).await
                }
                Err(cause) => Some(cause),
            };
            if let Err(error) = Port::<Unsubscribe>::from(listener).tell(Unsubscribe) {
                debug!(%error, "status listener already gone");
            }
            if let Some(cause) = cause {
                self.lost(cause);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Polls until the subscription is lost; `Some` when the status actor does not answer at all.
    async fn until_lost(&self, status: &Port<GetSnapshot>) -> Option<AskError> {
        loop {
            let mut closing = self.0.subscribe();
            let closed = closing.wait_for(|event| matches!(event, FeedEvent::Closing));
            if tokio::time::timeout(POLL, closed).await.is_ok() {
                return None;
            }
            match status.ask(GetSnapshot, TIMEOUT).await {
                Ok(answer) if self.is_current(&answer) => {}
                Ok(_) => return None,
                Err(cause) => return Some(cause),
            }
        }
    }

    fn publish(&self, snapshot: Arc<Snapshot>) {
        let rendered = Rendered { snapshot, full: OnceLock::new(), public: OnceLock::new() };
        self.unless_closing(FeedEvent::Live(Arc::new(rendered)));
    }

    fn lost(&self, cause: AskError) {
        if matches!(&*self.0.borrow(), FeedEvent::Live(_)) {
            warn!(%cause, "status lost");
        }
        self.unless_closing(FeedEvent::Lost(cause));
    }

    fn unless_closing(&self, event: FeedEvent) {
        self.0.send_if_modified(|present| {
            let open = !matches!(present, FeedEvent::Closing);
            if open {
                *present = event;
            }
            open
        });
    }

    fn is_closing(&self) -> bool {
        matches!(&*self.0.borrow(), FeedEvent::Closing)
    }

    fn is_current(&self, snapshot: &Arc<Snapshot>) -> bool {
        matches!(&*self.0.borrow(), FeedEvent::Live(rendered) if Arc::ptr_eq(&rendered.snapshot, snapshot))
    }
}

impl Rendered {
    /// All of it, as JSON.
    ///
    /// # Errors
    /// [`ApiError::Unanswerable`] for a status that is not JSON, a bug.
    pub(super) fn full(&self) -> Result<Bytes, ApiError> {
        render(&self.full, &*self.snapshot)
    }

    /// Its public summary, as JSON.
    ///
    /// # Errors
    /// See [`Rendered::full`].
    pub(super) fn public(&self) -> Result<Bytes, ApiError> {
        render(&self.public, &StatusResponse::public(&self.snapshot))
    }
}

fn render(place: &OnceLock<Bytes>, value: &impl Serialize) -> Result<Bytes, ApiError> {
    if let Some(text) = place.get() {
        return Ok(text.clone());
    }
    let text = serde_json::to_vec(value).map_err(|error| ApiError::Unanswerable(error.into()))?;
    Ok(place.get_or_init(|| text.into()).clone())
}

/// One subscription.
struct FeedListener(Arc<Feed>);

/// Ends a subscription.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Unsubscribe;

impl Actor for FeedListener {
    type Context = Context<Self>;
}

impl Handler<SnapshotChanged> for FeedListener {
    type Result = ();
    fn handle(&mut self, SnapshotChanged(snapshot): SnapshotChanged, _: &mut Self::Context) {
        self.0.publish(snapshot);
    }
}

impl Handler<Unsubscribe> for FeedListener {
    type Result = ();
    fn handle(&mut self, _: Unsubscribe, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
