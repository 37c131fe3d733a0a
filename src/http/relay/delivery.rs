//! Signed deliveries. No part of a body is parsed before a profile has verified its signature.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;
use actix_web::web::{Bytes, Json, Payload};
use caduceus_actors::locked::locked;
use caduceus_contract::messages::dispatch::StopSession;
use caduceus_contract::messages::profile::VerifyDelivery;
use caduceus_contract::messages::relay::Deliver;
use caduceus_contract::messages::turn::StopCause;
use caduceus_contract::wire::delivery::{
    self, EventDelivery, InterruptDelivery, MAX_SKEW_S, SIGNATURE_HEADER, TIMESTAMP_HEADER,
};
use caduceus_contract::wire::event::InboundEvent;
use caduceus_contract::wire::provisioning::OkBody;
use caduceus_contract::wire::session::names_session_of;
use futures_util::future::{Either, select};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tracing::{debug, info};

use super::inbound::RelayInbound;
use super::ports::DeliveryRoute;
use crate::http::admission::{CutSignal, KeyOwner, Rank};
use crate::http::ask::{ask, ask_within};
use crate::http::body::receive;
use crate::http::caller::HttpCaller;
use crate::http::code::Code;
use crate::http::connection::ClientConnection;
use crate::http::error::ApiError;
use crate::http::names::the_one;
use crate::http::operation_doc::{FieldKind, OperationDoc, Who, field};
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
        .takes(&[field("event", FieldKind::Object, "the event, as in an inbound frame of the relay")])
        .fails(&[
            Code::InvalidEvent,
            Code::NotTaken,
            Code::TooManyDeliveries,
            Code::ActorUnavailable,
            Code::ActorTimeout,
        ]);
    const INTERRUPT: OperationDoc = OperationDoc::new("Stops the turn of a session, on the request of a connector")
        .takes(&[field("session_key", FieldKind::Text, "the session; one of another profile is unknown")])
        .fails(&[Code::TooManyDeliveries, Code::ActorUnavailable, Code::ActorTimeout]);
    registry.at(inbound.path.clone(), Who::Signed).post(event, EVENT).done();
    registry.at(inbound.interrupt_path.clone(), Who::Signed).post(interrupt, INTERRUPT).done();
}

async fn event(request: HttpRequest, state: SharedState, payload: Payload) -> DeliveryAnswer {
    let signed = Signed::receive(&request, &state, payload).await?;
    if signed.is_repeat(&state) {
        return Ok(done());
    }
    let EventDelivery { event: raw } = EventDelivery::read(signed.fields()?)
        .map_err(|_| ApiError::WrongField { field: "event", expected: "an object" })?;
    let event = InboundEvent::parse(&raw).map_err(ApiError::InvalidEvent)?;
    let delivery = Deliver {
        owner: signed.by.owner.clone(),
        signature: signed.signature.clone(),
        digest: Sha256::digest(&signed.body).into(),
        event: Arc::new(event),
        raw_event: Arc::new(raw),
    };
    let receipt = ask_within(&signed.by.deliver, delivery, DELIVER_TIMEOUT).await?;
    debug!(?receipt, "signed delivery");
    receipt.map_err(ApiError::NotTaken)?;
    signed.note(&state);
    Ok(done())
}

async fn interrupt(request: HttpRequest, state: SharedState, payload: Payload) -> DeliveryAnswer {
    let signed = Signed::receive(&request, &state, payload).await?;
    if signed.is_repeat(&state) {
        return Ok(done());
    }
    let InterruptDelivery { session_key, .. } = InterruptDelivery::read(&signed.fields()?)
        .map_err(|_| ApiError::WrongField { field: "session_key", expected: "a text" })?;
    // A named profile's connector reaches that profile's sessions only; others are unknown to it.
    if signed.by.owner.as_ref().is_none_or(|owner| names_session_of(&session_key, owner))
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

/// A body, and the profile whose key signed it.
struct Signed {
    body: Bytes,
    /// In one case, so that it names the delivery.
    signature: String,
    by: DeliveryRoute,
}

impl Signed {
    /// Reads a body and verifies it. A request that the headers rule out is refused before the body is read.
    ///
    /// # Errors
    /// [`ApiError::Unsigned`] in every case in which no signature is verified.
    async fn receive(request: &HttpRequest, state: &ServerState, payload: Payload) -> Result<Self, ApiError> {
        let header = |name| the_one(request.headers(), &name).map(str::to_owned);
        let (timestamp, signature) = (header(TIMESTAMP), header(SIGNATURE));
        let now_s = jiff::Timestamp::now().as_second();
        delivery::check_headers(timestamp.as_deref(), signature.as_deref(), MAX_SKEW_S, now_s)
            .map_err(|_| ApiError::Unsigned)?;
        let deliveries = (state.ports.relay.deliveries.0)();
        if deliveries.is_empty() {
            return Err(ApiError::Unsigned);
        }
        let peer = HttpCaller::of(request).address;
        let cut = Arc::new(CutSignal::default());
        let slot = state.admission.bodies.of(state.admission.is_known(peer)).enter(peer, Rank::Waiting, &cut);
        let receiving = async {
            let body = receive(request, payload, LIMIT).await?;
            slot.set_rank(Rank::Working);
            let name = signature.as_deref().map(|text| text.trim().to_lowercase()).unwrap_or_default();
            let delivery = VerifyDelivery { body: body.clone(), timestamp, signature };
            let by =
                state.relay.verification.verified_by(deliveries, delivery, state.admission.signs_for(peer)).await?;
            Ok::<_, ApiError>(Self { body, signature: name, by })
        };
        let signed = match select(Box::pin(receiving), Box::pin(cut.fired())).await {
            Either::Left((signed, _)) => signed?,
            Either::Right(_) => return Err(ApiError::TooManyDeliveries),
        };
        state.admission.note(peer, Some(KeyOwner(signed.by.owner.clone())));
        if let Some(connection) = ClientConnection::of(request) {
            connection.prove();
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
        // Every critical section leaves the list whole, so a poisoned lock is still a good one.
        let mut seen = locked(&state.relay.seen);
        seen.contains(&self.signature, Instant::now())
    }

    /// It is done, and a repeat is not done again.
    fn note(self, state: &ServerState) {
        let mut seen = locked(&state.relay.seen);
        seen.note(self.signature, Instant::now());
    }
}
