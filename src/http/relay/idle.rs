//! Puts the links to sleep and wakes them.

use std::time::{Duration, Instant};

use actix_web::web::{Json, Payload};
use actix_web::{HttpRequest, HttpResponse};
use caduceus_actors::locked::locked;
use caduceus_contract::messages::relay::{GoDormant, IdleAnswer, Wake};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tracing::{debug, info};

use super::inbound::WAKE;
use crate::http::auth::{self, TokenPrincipal};
use crate::http::body::BodyFields;
use crate::http::caller::HttpCaller;
use crate::http::code::Code;
use crate::http::error::ApiError;
use crate::http::operation_doc::{AnswerDoc, FieldKind, OperationDoc, Who, field};
use crate::http::registry::RouteRegistry;
use crate::http::state::SharedState;

/// A connector has 10 s to acknowledge.
const TIMEOUT: Duration = Duration::from_secs(12);

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const IDLE: OperationDoc = OperationDoc::new("Closes the links for a machine that is about to sleep")
        .takes(&[])
        .answers(AnswerDoc::Fields(
            200,
            &[
                field("ok", FieldKind::Flag, "always true"),
                field(
                    "links",
                    FieldKind::Map(&FieldKind::Word(&[
                        "acknowledged",
                        "not_acknowledged",
                        "not_connected",
                        "unavailable",
                    ])),
                    "by link: whether its connector acknowledged, and so buffers",
                ),
            ],
        ));
    const POKE: OperationDoc =
        OperationDoc::new("Wakes the links, under any Host: one that sleeps or waits dials at once")
            .answers(AnswerDoc::Other(204, ""))
            .fails(&[Code::TooManyAttempts]);
    registry.at("/api/relay/idle", Who::Scope(auth::DRAIN)).post(idle, IDLE).done();
    registry.at(WAKE, Who::Public).get(wake, POKE).done();
}

/// For a machine that is about to sleep: every link is closed, and dialled again when poked or a second after waking.
async fn idle(
    request: HttpRequest,
    asker: TokenPrincipal,
    state: SharedState,
    payload: Payload,
) -> Result<Json<Value>, ApiError> {
    BodyFields::read(&request, payload).await?;
    info!(principal = asker.principal, "relay idle ordered");
    let links = &state.ports.relay.links;
    let answers = join_all(links.iter().map(|link| link.dormancy.go_dormant.ask(GoDormant, TIMEOUT))).await;
    let word = |answer| match answer {
        Ok(IdleAnswer::Acknowledged) => "acknowledged",
        Ok(IdleAnswer::NotAcknowledged) => "not_acknowledged",
        Ok(IdleAnswer::NotConnected) => "not_connected",
        Err(_) => "unavailable",
    };
    let states = links.iter().zip(answers).map(|(link, answer)| (link.id.0.to_string(), word(answer).into()));
    Ok(Json(json!({"ok": true, "links": states.collect::<Map<String, Value>>()})))
}

/// Open to every client, because the connector has no token for it; so the answer is empty, and too many pokes, from one address or
/// from all, are refused with a time to wait.
async fn wake(request: HttpRequest, state: SharedState) -> Result<HttpResponse, ApiError> {
    let slowed = {
        // Every critical section leaves the table whole, so a poisoned lock is still a good one.
        let mut pokes = locked(&state.relay.pokes);
        pokes.poked(HttpCaller::of(&request).address, Instant::now())
    };
    if let Some(left) = slowed {
        return Err(ApiError::SlowDown(left));
    }
    for link in &state.ports.relay.links {
        if let Err(error) = link.dormancy.wake.tell(Wake) {
            debug!(link = %link.id.0, %error, "a link was not woken");
        }
    }
    debug!("poked");
    Ok(HttpResponse::NoContent().finish())
}
