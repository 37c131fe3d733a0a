//! The last status, rendered once for each change and shared by all clients.
//!
//! Owns a subscription at the status actor. A restarted status actor has lost the subscription: the end of its incarnation ends the
//! subscriber, and the subscription is renewed. An incarnation that hangs does not end, so the status actor is also asked once a second;
//! an answer without a preceding notification shows that the subscription is lost. A status that no client watches is made when it is
//! requested.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Context, Handler, Message};
use bytes::Bytes;
use caduceus_actors::status::changes::StatusChanges;
use caduceus_contract::api::status::StatusResponse;
use caduceus_contract::messages::status::{GetSnapshot, RefreshSnapshot, SnapshotChanged, Subscribe};
use caduceus_contract::status::snapshot::Snapshot;
use caduceus_supervision::{AskError, Port};
use tokio::sync::{oneshot, watch};
use tracing::warn;

use super::ask::TIMEOUT;
use super::error::ApiError;
use super::ports::HttpPorts;

/// How often the status actor is asked; clients that watch receive a new status as often.
const POLL: Duration = Duration::from_secs(1);
/// A status of this age is not served without asking for a new one.
const MAX_AGE: Duration = Duration::from_secs(1);
/// Longest wait of a request for a new status; then it gets the last one. The new one is late while an actor does not answer. A wait
/// because of the limit of ten a second comes before.
const REFRESH_TIMEOUT: Duration = Duration::from_millis(200);
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

/// A status and its texts. Each is rendered on first use, and once: a request that finds it being rendered waits for it.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) snapshot: Arc<Snapshot>,
    received: Instant,
    full: RenderedText,
    public: RenderedText,
    metrics: RenderedText,
    actors: RenderedText,
}

/// A text, or why there is none, which is a bug.
#[derive(Debug, Default)]
struct RenderedText(OnceLock<Result<Bytes, String>>);

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

    /// The status of now: a new one, if the last is too old or something has changed since.
    ///
    /// # Errors
    /// As [`Feed::latest`].
    pub(super) async fn fresh(&self, ports: &HttpPorts) -> Result<Arc<Rendered>, ApiError> {
        let latest = self.latest()?;
        let is_current =
            latest.snapshot.changes == ports.changes.reported() && latest.snapshot.made.elapsed() < MAX_AGE;
        if !is_current && let Some(snapshot) = refreshed(&ports.refresh, &ports.changes).await {
            // Its notification may arrive later.
            self.publish(snapshot);
        }
        self.latest()
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
            let (ended, unsubscribed) = oneshot::channel();
            let listener = FeedListener { feed: Arc::clone(&self), _ended: ended }.start();
            // Only the status actor keeps the listener alive.
            let own = listener.downgrade();
            let subscribe = Subscribe { to: Port::from(listener) };
            let cause = match ports.subscribe.ask(subscribe, TIMEOUT).await {
                Ok(first) => {
                    self.publish(first);
                    self.until_lost(&ports, unsubscribed).await
                }
                Err(cause) => Some(cause),
            };
            if let Some(listener) = own.upgrade() {
                // It may have ended meanwhile.
                let _ = Port::<Unsubscribe>::from(listener).tell(Unsubscribe);
            }
            if let Some(cause) = cause {
                self.lost(cause);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Waits until the subscription is lost; `Some` when the status actor does not answer at all.
    async fn until_lost(&self, ports: &HttpPorts, mut unsubscribed: oneshot::Receiver<()>) -> Option<AskError> {
        loop {
            let is_watched = self.0.receiver_count() > 0;
            let mut closing = self.0.subscribe();
            let closed = closing.wait_for(|event| matches!(event, FeedEvent::Closing));
            tokio::select! {
                _ = closed => return None,
                // Its end; nothing is sent.
                _ = &mut unsubscribed => return None,
                () = tokio::time::sleep(POLL) => {}
            }
            let asked = Instant::now();
            let answer = if is_watched {
                ports.refresh.ask(RefreshSnapshot, TIMEOUT).await
            } else {
                ports.snapshot.ask(GetSnapshot, TIMEOUT).await
            };
            match answer {
                Ok(answer) => {
                    if !self.is_current(&answer) {
                        // Its notification may be in the mailbox of the listener.
                        tokio::time::sleep(PAUSE).await;
                        if self.is_older_than(&answer, asked) {
                            return None;
                        }
                    }
                }
                Err(cause) => return Some(cause),
            }
        }
    }

    fn publish(&self, snapshot: Arc<Snapshot>) {
        if self.is_current(&snapshot) || self.has_later_than(&snapshot) {
            return;
        }
        let received = Instant::now();
        self.unless_closing(FeedEvent::Live(Arc::new(Rendered::new(snapshot, received))));
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

    /// Whether the status is neither `snapshot` nor one received since `moment`.
    fn is_older_than(&self, snapshot: &Arc<Snapshot>, moment: Instant) -> bool {
        match &*self.0.borrow() {
            FeedEvent::Live(rendered) => !Arc::ptr_eq(&rendered.snapshot, snapshot) && rendered.received < moment,
            FeedEvent::Lost(_) | FeedEvent::Closing => true,
        }
    }

    /// Whether the status includes more changes than `snapshot`, whose answer was overtaken by a notification.
    fn has_later_than(&self, snapshot: &Snapshot) -> bool {
        matches!(&*self.0.borrow(), FeedEvent::Live(rendered) if rendered.snapshot.changes > snapshot.changes)
    }

    fn is_current(&self, snapshot: &Arc<Snapshot>) -> bool {
        matches!(&*self.0.borrow(), FeedEvent::Live(rendered) if Arc::ptr_eq(&rendered.snapshot, snapshot))
    }
}

/// A new status; `None` if it is late for another reason than the limit of ten a second.
async fn refreshed(status: &Port<RefreshSnapshot>, changes: &StatusChanges) -> Option<Arc<Snapshot>> {
    let mut answer = pin!(status.ask(RefreshSnapshot, TIMEOUT));
    if let Ok(answer) = tokio::time::timeout(REFRESH_TIMEOUT, &mut answer).await {
        return answer.ok();
    }
    let until = changes.delayed_until()? + REFRESH_TIMEOUT;
    let left = until.saturating_duration_since(Instant::now());
    tokio::time::timeout(left, answer).await.ok()?.ok()
}

impl Rendered {
    fn new(snapshot: Arc<Snapshot>, received: Instant) -> Self {
        let (full, public, metrics, actors) = Default::default();
        Self { snapshot, received, full, public, metrics, actors }
    }

    /// All of it, as JSON.
    ///
    /// # Errors
    /// [`ApiError::Unanswerable`] for a status that is not JSON, a bug.
    pub(super) fn full(&self) -> Result<Bytes, ApiError> {
        self.full.get(|| self.snapshot.to_json())
    }

    /// Its supervision tree, as JSON.
    ///
    /// # Errors
    /// See [`Rendered::full`].
    pub(super) fn actors(&self) -> Result<Bytes, ApiError> {
        self.actors.get(|| {
            let mut json = Vec::new();
            self.snapshot.actors.write_json(&mut json).map(|()| json)
        })
    }

    /// Its metrics, rendered by `render` at the first request.
    ///
    /// # Errors
    /// [`ApiError::Unanswerable`] for that of `render`.
    pub(super) fn metrics(
        &self,
        render: impl FnOnce(&Snapshot) -> Result<String, fmt::Error>,
    ) -> Result<Bytes, ApiError> {
        self.metrics.get(|| render(&self.snapshot))
    }

    /// Its public summary, as JSON.
    ///
    /// # Errors
    /// See [`Rendered::full`].
    pub(super) fn public(&self) -> Result<Bytes, ApiError> {
        self.public.get(|| serde_json::to_vec(&StatusResponse::public(&self.snapshot)))
    }
}

impl RenderedText {
    fn get<T: Into<Bytes>, E: fmt::Display>(&self, render: impl FnOnce() -> Result<T, E>) -> Result<Bytes, ApiError> {
        let text = self.0.get_or_init(|| render().map(Into::into).map_err(|error| error.to_string()));
        text.clone().map_err(|error| ApiError::Unanswerable(error.into()))
    }
}

/// One subscription.
struct FeedListener {
    feed: Arc<Feed>,
    /// Dropped with the listener, which ends when the status actor has dropped its port.
    _ended: oneshot::Sender<()>,
}

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
        self.feed.publish(snapshot);
    }
}

impl Handler<Unsubscribe> for FeedListener {
    type Result = ();
    fn handle(&mut self, _: Unsubscribe, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use caduceus_contract::messages::status::StatusTouched;
    use caduceus_supervision::ResponseFuture;

    use super::*;
    use crate::http::tests::sample::snapshot;

    /// Answers when the sender is used.
    struct LateStatus(Option<oneshot::Receiver<Arc<Snapshot>>>);

    impl Actor for LateStatus {
        type Context = Context<Self>;
    }

    impl Handler<RefreshSnapshot> for LateStatus {
        type Result = ResponseFuture<Arc<Snapshot>>;
        fn handle(&mut self, _: RefreshSnapshot, _: &mut Self::Context) -> Self::Result {
            let answer = self.0.take().unwrap();
            ResponseFuture::new(async move { answer.await.unwrap() })
        }
    }

    impl Handler<StatusTouched> for LateStatus {
        type Result = ();
        fn handle(&mut self, _: StatusTouched, _: &mut Self::Context) {}
    }

    #[actix_web::test]
    async fn a_request_waits_for_a_status_that_the_limit_delays_and_not_for_an_actor_that_does_not_answer() {
        for is_limited in [false, true] {
            let (made, answer) = oneshot::channel();
            let status = LateStatus(Some(answer)).start();
            let changes = StatusChanges::new(status.clone().into());
            if is_limited {
                changes.delay_until(Instant::now() + Duration::from_mins(1));
            }
            let port = status.into();
            let mut request = pin!(refreshed(&port, &changes));
            let first = tokio::time::timeout(2 * REFRESH_TIMEOUT, &mut request).await;
            if is_limited {
                assert!(first.is_err(), "it waits");
                made.send(Arc::new(snapshot())).unwrap();
                assert!(request.await.is_some());
            } else {
                assert!(matches!(first, Ok(None)), "the last status is shown");
            }
        }
    }

    #[test]
    fn the_metrics_of_a_status_are_rendered_once_however_many_requests_come_at_once() {
        let rendered = Rendered::new(Arc::new(snapshot()), Instant::now());
        let (renderings, together) = (AtomicUsize::new(0), Barrier::new(4));
        let request = || {
            together.wait();
            let text = rendered.metrics(|_| {
                renderings.fetch_add(1, Ordering::SeqCst);
                // The others find it unfinished.
                thread::yield_now();
                Ok("text".to_owned())
            });
            text.unwrap_or_default()
        };
        thread::scope(|scope| {
            let requests: Vec<_> = (0..4).map(|_| scope.spawn(request)).collect();
            for answer in requests {
                assert_eq!(answer.join().unwrap(), "text");
            }
        });
        assert_eq!(renderings.load(Ordering::SeqCst), 1);
    }
}
