//! Makes the links dormant and wakes them.

use std::time::{Duration, Instant};

use actix_web::web::{Json, Payload};
use actix_web::{HttpRequest, HttpResponse};
use caduceus_actors::locked::locked;
use caduceus_contract::api::control::{IdleResult, RelayIdleResponse};
use caduceus_contract::messages::relay::{GoDormant, IdleAnswer, Wake};
use futures_util::future::join_all;
use tracing::{debug, info};

use super::inbound::WAKE;
use crate::http::auth::{self, TokenPrincipal};
use crate::http::body::BodyFields;
use crate::http::caller::HttpCaller;
use crate::http::code::ApiErrorCode;
use crate::http::error::ApiError;
use crate::http::operation_doc::{Access, AnswerDoc, FieldKind, OperationDoc, field};
use crate::http::registry::RouteRegistry;
use crate::http::state::SharedState;

/// A connector has 10 s to acknowledge.
const TIMEOUT: Duration = Duration::from_secs(12);

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const IDLE: OperationDoc = OperationDoc::new("Closes the links of a machine that is about to suspend")
        .body(&[])
        .answer(AnswerDoc::Fields(
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
    const WAKE_LINKS: OperationDoc =
        OperationDoc::new("Wakes the links, under any Host: a dormant or waiting link dials at once")
            .answer(AnswerDoc::Other(204, ""))
            .errors(&[ApiErrorCode::TooManyAttempts]);
    registry.at("/api/relay/idle", Access::Scope(auth::DRAIN)).post(idle, IDLE).done();
    registry.at(WAKE, Access::Public).get(wake, WAKE_LINKS).done();
}

/// For a machine that is about to suspend: every link is closed, and dialled again on a wake request or after a second of running time.
async fn idle(
    request: HttpRequest,
    caller: TokenPrincipal,
    state: SharedState,
    payload: Payload,
) -> Result<Json<RelayIdleResponse>, ApiError> {
    BodyFields::read(&request, payload).await?;
    info!(principal = caller.principal, "relay idle requested");
    let links = &state.ports.relay.links;
    let answers = join_all(links.iter().map(|link| link.dormancy.go_dormant.ask(GoDormant, TIMEOUT))).await;
    let result = |answer| match answer {
        Ok(IdleAnswer::Acknowledged) => IdleResult::Acknowledged,
        Ok(IdleAnswer::NotAcknowledged) => IdleResult::NotAcknowledged,
        Ok(IdleAnswer::NotConnected) => IdleResult::NotConnected,
        Err(_) => IdleResult::Unavailable,
    };
    let results = links.iter().zip(answers).map(|(link, answer)| (link.id.0.to_string(), result(answer)));
    Ok(Json(RelayIdleResponse { ok: true, links: results.collect() }))
}

/// Public, because the connector has no token for it; so the answer is empty, and too many requests, from one address or from all,
/// are refused with a time to wait.
async fn wake(request: HttpRequest, state: SharedState) -> Result<HttpResponse, ApiError> {
    let refused = {
        // Every critical section leaves the table valid, so a poisoned lock can be used.
        let mut limit = locked(&state.relay.wake_limit);
        limit.admit(HttpCaller::of(&request).address, Instant::now())
    };
    if let Some(left) = refused {
        return Err(ApiError::TooManyAttempts(left));
    }
    for link in &state.ports.relay.links {
        if let Err(error) = link.dormancy.wake.tell(Wake) {
            debug!(link = %link.id.0, %error, "link not woken");
        }
    }
    debug!("wake request");
    Ok(HttpResponse::NoContent().finish())
}
