//! Signed deliveries. No part of a body is parsed before a profile has verified its signature.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;
use actix_web::web::{Bytes, Json, Payload};
use caduceus_actors::locked::locked;
use caduceus_actors::time::now_ms;
use caduceus_contract::messages::dispatch::StopSession;
use caduceus_contract::messages::profile::VerifyDelivery;
use caduceus_contract::messages::relay::Deliver;
use caduceus_contract::messages::turn::StopCause;
use caduceus_contract::wire::delivery::{
    self, EventDelivery, InterruptDelivery, MAX_SKEW_S, SIGNATURE_HEADER, TIMESTAMP_HEADER,
};
use caduceus_contract::wire::provisioning::OkBody;
use caduceus_contract::wire::received_event::ReceivedEvent;
use caduceus_contract::wire::session::names_session_of;
use futures_util::future::{Either, select};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tracing::{debug, info};

use super::inbound::RelayInbound;
use super::ports::DeliveryRoute;
use crate::http::admission::{EvictionSignal, KeyOwner, Rank};
use crate::http::ask::{ask, ask_within};
use crate::http::body::receive;
use crate::http::caller::HttpCaller;
use crate::http::code::ApiErrorCode;
use crate::http::connection::ClientConnection;
use crate::http::error::ApiError;
use crate::http::names::single_header;
use crate::http::operation_doc::{Access, FieldKind, OperationDoc, field};
use crate::http::registry::RouteRegistry;
use crate::http::state::{ServerState, SharedState};

/// Largest body, in bytes.
const LIMIT: usize = 2 * 1024 * 1024;
/// Longest wait for an event to be on disk, its media fetched.
const DELIVER_TIMEOUT: Duration = Duration::from_mins(1);

const TIMESTAMP: HeaderName = HeaderName::from_static(TIMESTAMP_HEADER);
const SIGNATURE: HeaderName = HeaderName::from_static(SIGNATURE_HEADER);

type DeliveryAnswer = Result<Json<OkBody>, ApiError>;

pub(super) fn routes(registry: &mut RouteRegistry<'_>, inbound: &RelayInbound) {
    const EVENT: OperationDoc = OperationDoc::new("An event from a connector; it is on disk before the answer")
        .body(&[field("event", FieldKind::Object, "the event, as in an inbound frame of the relay")])
        .errors(&[
            ApiErrorCode::InvalidEvent,
            ApiErrorCode::NotTaken,
            ApiErrorCode::TooManyDeliveries,
            ApiErrorCode::ActorUnavailable,
            ApiErrorCode::ActorTimeout,
        ]);
    const INTERRUPT: OperationDoc = OperationDoc::new("Stops the turn of a session, on the request of a connector")
        .body(&[field("session_key", FieldKind::Text, "the session; one of another profile is unknown")])
        .errors(&[ApiErrorCode::TooManyDeliveries, ApiErrorCode::ActorUnavailable, ApiErrorCode::ActorTimeout]);
    registry.at(inbound.path.clone(), Access::Signed).post(event, EVENT).done();
    registry.at(inbound.interrupt_path.clone(), Access::Signed).post(interrupt, INTERRUPT).done();
}

async fn event(request: HttpRequest, state: SharedState, payload: Payload) -> DeliveryAnswer {
    let read_at_ms = now_ms();
    let signed = VerifiedDelivery::receive(&request, &state, payload).await?;
    if signed.is_repeat(&state) {
        return Ok(done());
    }
    let EventDelivery { event: raw } = EventDelivery::read(signed.fields()?)
        .map_err(|_| ApiError::WrongField { field: "event", expected: "an object" })?;
    let ReceivedEvent { event, raw } = ReceivedEvent::of(&raw).map_err(ApiError::InvalidEvent)?;
    let delivery = Deliver {
        owner: signed.route.owner.clone(),
        signature: signed.signature.clone(),
        digest: Sha256::digest(&signed.body).into(),
        read_at_ms,
        event,
        raw_event: raw,
    };
    let receipt = ask_within(&signed.route.deliver, delivery, DELIVER_TIMEOUT).await?;
    debug!(?receipt, "signed delivery");
    receipt.map_err(ApiError::NotTaken)?;
    signed.note(&state);
    Ok(done())
}

async fn interrupt(request: HttpRequest, state: SharedState, payload: Payload) -> DeliveryAnswer {
    let signed = VerifiedDelivery::receive(&request, &state, payload).await?;
    if signed.is_repeat(&state) {
        return Ok(done());
    }
    let InterruptDelivery { session_key, .. } = InterruptDelivery::read(&signed.fields()?)
        .map_err(|_| ApiError::WrongField { field: "session_key", expected: "a string" })?;
    // A named profile's connector reaches that profile's sessions only; others are unknown to it.
    if signed.route.owner.as_ref().is_none_or(|owner| names_session_of(&session_key, owner))
        && let Some(port) = &state.ports.relay.stop_session
    {
        let stop = StopSession { session_key, cause: StopCause::Interrupt };
        let stopped = ask(port, stop).await?;
        info!(stopped, "signed interrupt");
    }
    signed.note(&state);
    Ok(done())
}

fn done() -> Json<OkBody> {
    Json(OkBody::YES)
}

/// A verified body, and the profile whose key signed it.
struct VerifiedDelivery {
    body: Bytes,
    /// In lower case, so that it identifies the delivery.
    signature: String,
    route: DeliveryRoute,
}

impl VerifiedDelivery {
    /// Reads a body and verifies it. A request with invalid headers is refused before the body is read.
    ///
    /// # Errors
    /// [`ApiError::Unsigned`] in every case in which no signature is verified.
    async fn receive(request: &HttpRequest, state: &ServerState, payload: Payload) -> Result<Self, ApiError> {
        let header = |name| single_header(request.headers(), &name).map(str::to_owned);
        let (timestamp, signature) = (header(TIMESTAMP), header(SIGNATURE));
        let now_s = jiff::Timestamp::now().as_second();
        delivery::check_headers(timestamp.as_deref(), signature.as_deref(), MAX_SKEW_S, now_s)
            .map_err(|_| ApiError::Unsigned)?;
        let deliveries = (state.ports.relay.deliveries.0)();
        if deliveries.is_empty() {
            return Err(ApiError::Unsigned);
        }
        let peer = HttpCaller::of(request).address;
        let eviction = Arc::new(EvictionSignal::default());
        let slot = state.admission.bodies.of(state.admission.is_known(peer)).enter(peer, Rank::Waiting, &eviction);
        let receiving = async {
            let body = receive(request, payload, LIMIT).await?;
            slot.set_rank(Rank::Working);
            let name = signature.as_deref().map(|text| text.trim().to_lowercase()).unwrap_or_default();
            let delivery = VerifyDelivery { body: body.clone(), timestamp, signature };
            let route =
                state.relay.verification.verified_by(deliveries, delivery, state.admission.signs_for(peer)).await?;
            Ok::<_, ApiError>(Self { body, signature: name, route })
        };
        let signed = match select(Box::pin(receiving), Box::pin(eviction.fired())).await {
            Either::Left((signed, _)) => signed?,
            Either::Right(_) => return Err(ApiError::TooManyDeliveries),
        };
        state.admission.note(peer, Some(KeyOwner(signed.route.owner.clone())));
        if let Some(connection) = ClientConnection::of(request) {
            connection.mark_known();
        }
        Ok(signed)
    }

    fn fields(&self) -> Result<Map<String, Value>, ApiError> {
        match serde_json::from_slice(&self.body).map_err(ApiError::InvalidJson)? {
            Value::Object(fields) => Ok(fields),
            _ => Err(ApiError::NotAnObject),
        }
    }

    fn is_repeat(&self, state: &ServerState) -> bool {
        // Every critical section leaves the list valid, so a poisoned lock can be used.
        let mut seen = locked(&state.relay.seen);
        seen.contains(&self.signature, Instant::now())
    }

    /// Records the delivery, so that a repeat is not handled again.
    fn note(self, state: &ServerState) {
        let mut seen = locked(&state.relay.seen);
        seen.note(self.signature, Instant::now());
    }
}
