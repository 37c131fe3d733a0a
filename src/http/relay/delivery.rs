//! Signed deliveries. Nothing of a body is looked at before a profile has said that its key signed it.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;
use actix_web::web::{Bytes, Json, Payload};
use caduceus_actors::dispatch::messages::StopSession;
use caduceus_actors::profile::messages::VerifyDelivery;
use caduceus_actors::relay::delivery::{DeliveryError, MAX_SKEW_S, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use caduceus_actors::relay::event::InboundEvent;
use caduceus_actors::relay::inbound::messages::Deliver;
use caduceus_actors::relay::session::names_session_of;
use caduceus_actors::turn::messages::StopCause;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tracing::{debug, info};

use super::{Delivery, Door};
use crate::http::ask::{ask, ask_within};
use crate::http::book::{Book, Kind, Page, Who, field};
use crate::http::code::Code;
use crate::http::error::ApiError;
use crate::http::names::the_one;
use crate::http::{Shared, State};

/// Largest body, in bytes.
const LIMIT: usize = 2 * 1024 * 1024;
/// Longest wait for a body.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for a profile to verify one: it may have to look at its file first.
const VERIFY_PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for an event to be on disk, its media fetched.
const DELIVER_PATIENCE: Duration = Duration::from_mins(1);

const TIMESTAMP: HeaderName = HeaderName::from_static(TIMESTAMP_HEADER);
const SIGNATURE: HeaderName = HeaderName::from_static(SIGNATURE_HEADER);

type Answer = Result<Json<Value>, ApiError>;

pub(super) fn routes(book: &mut Book<'_>, door: &Door) {
    const EVENT: Page = Page::new("An event from a connector; it is on disk when this is answered")
        .takes(&[field("event", Kind::Object, "the event, as in an inbound frame of the relay")])
        .fails(&[
            Code::InvalidEvent,
            Code::NotTaken,
            Code::TooManyDeliveries,
            Code::ActorUnavailable,
            Code::ActorTimeout,
        ]);
    const INTERRUPT: Page = Page::new("Stops the turn of a session, at a connector's word")
        .takes(&[field("session_key", Kind::Text, "the session; one of another profile is unknown")])
        .fails(&[Code::TooManyDeliveries, Code::ActorUnavailable, Code::ActorTimeout]);
    book.at(door.path.clone(), Who::Signed).post(event, EVENT).done();
    book.at(door.interrupt_path.clone(), Who::Signed).post(interrupt, INTERRUPT).done();
}

async fn event(request: HttpRequest, state: Shared, payload: Payload) -> Answer {
    let signed = Signed::receive(&request, &state, payload).await?;
    if signed.is_repeat(&state) {
        return Ok(done());
    }
    let raw = signed.fields()?.remove("event").filter(Value::is_object);
    let raw = raw.ok_or(ApiError::WrongField { field: "event", expected: "an object" })?;
    let event = InboundEvent::parse(&raw).map_err(ApiError::InvalidEvent)?;
    let delivery = Deliver {
        owner: signed.by.owner.clone(),
        signature: signed.signature.clone(),
        digest: Sha256::digest(&signed.body).into(),
        event: Arc::new(event),
        raw_event: Arc::new(raw),
    };
    let receipt = ask_within(&signed.by.deliver, delivery, DELIVER_PATIENCE).await?;
    debug!(?receipt, "signed delivery");
    receipt.map_err(ApiError::NotTaken)?;
    signed.note(&state);
    Ok(done())
}

async fn interrupt(request: HttpRequest, state: Shared, payload: Payload) -> Answer {
    let signed = Signed::receive(&request, &state, payload).await?;
    if signed.is_repeat(&state) {
        return Ok(done());
    }
    let fields = signed.fields()?;
    let key = fields.get("session_key").and_then(Value::as_str).filter(|key| !key.trim().is_empty());
    let key = key.ok_or(ApiError::WrongField { field: "session_key", expected: "a text" })?;
    // A named profile's connector reaches that profile's sessions only; others are unknown to it.
    if signed.by.owner.as_ref().is_none_or(|owner| names_session_of(key, owner))
        && let Some(port) = &state.ports.relay.stop_session
    {
        let stop = StopSession { session_key: key.to_owned(), cause: StopCause::Interrupt };
        let stopped = ask(port, stop).await?;
        info!(stopped, "signed interrupt");
    }
    signed.note(&state);
    Ok(done())
}

fn done() -> Json<Value> {
    Json(json!({"ok": true}))
}

/// A body, and who vouches for it.
struct Signed {
    body: Bytes,
    /// In one case, so that it names the delivery.
    signature: String,
    by: Delivery,
}

impl Signed {
    /// Reads a body and has it verified.
    ///
    /// # Errors
    /// [`ApiError::Unsigned`] in every case in which it is not proven whose it is.
    async fn receive(request: &HttpRequest, state: &State, payload: Payload) -> Result<Self, ApiError> {
        let header = |name| the_one(request.headers(), &name).map(str::to_owned);
        let (timestamp, signature) = (header(TIMESTAMP), header(SIGNATURE));
        // What cannot be good is refused before its body is read.
        let signed_s = timestamp.as_deref().and_then(|text| text.trim().parse::<i64>().ok());
        let now_s = jiff::Timestamp::now().as_second();
        let fresh = signed_s.is_some_and(|signed_s| now_s.abs_diff(signed_s) <= MAX_SKEW_S);
        let Some(name) = signature.as_deref().map(|text| text.trim().to_lowercase()).filter(|_| fresh) else {
            return Err(ApiError::Unsigned);
        };
        let _room = state.relay.bodies.try_acquire().map_err(|_| ApiError::TooManyDeliveries)?;
        let reading = tokio::time::timeout(BODY_PATIENCE, payload.to_bytes_limited(LIMIT));
        let body = reading.await.map_err(|_| ApiError::TooSlow)?.map_err(|_| ApiError::TooLarge(LIMIT))?;
        let body = body.map_err(ApiError::BrokenBody)?;
        let delivery = VerifyDelivery { body: body.clone(), timestamp, signature };
        let by = verified_by((state.ports.relay.deliveries.0)(), delivery).await?;
        Ok(Self { body, signature: name, by })
    }

    fn fields(&self) -> Result<Map<String, Value>, ApiError> {
        match serde_json::from_slice(&self.body).map_err(ApiError::InvalidJson)? {
            Value::Object(fields) => Ok(fields),
            _ => Err(ApiError::NotAnObject),
        }
    }

    fn is_repeat(&self, state: &State) -> bool {
        // Every critical section leaves the list whole, so a poisoned lock is still a good one.
        let mut seen = state.relay.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.knows(&self.signature, Instant::now())
    }

    /// It is done, and a repeat is not done again.
    fn note(self, state: &State) {
        let mut seen = state.relay.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.note(self.signature, Instant::now());
    }
}

/// The first profile whose key signed it. The key stays with the profile.
async fn verified_by(doors: Vec<Delivery>, delivery: VerifyDelivery) -> Result<Delivery, ApiError> {
    let mut unasked = None;
    for door in doors {
        match ask_within(&door.verify, delivery.clone(), VERIFY_PATIENCE).await {
            Ok(Ok(())) => return Ok(door),
            // Another profile's key may have signed it.
            Ok(Err(DeliveryError::NoKey | DeliveryError::Signature)) => {}
            Ok(Err(DeliveryError::Unsigned | DeliveryError::Malformed | DeliveryError::OutsideWindow)) => {
                return Err(ApiError::Unsigned);
            }
            Err(error) => unasked = Some(error),
        }
    }
    // One that could not be asked may be the one that knows the key.
    Err(unasked.unwrap_or(ApiError::Unsigned))
}
