//! Stopping a turn.

use actix_web::HttpRequest;
use actix_web::web::{Json, Path, Payload};
use caduceus_contract::api::control::StopTurnResponse;
use caduceus_contract::messages::dispatch::StopTurnById;
use caduceus_contract::turn_id::TurnId;
use tracing::info;

use super::ask::ask;
use super::auth::{self, TokenPrincipal};
use super::body::BodyFields;
use super::code::ApiErrorCode;
use super::error::ApiError;
use super::operation_doc::{Access, AnswerDoc, FieldKind, OperationDoc, field};
use super::registry::RouteRegistry;
use super::state::SharedState;

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const STOP: OperationDoc = OperationDoc::new("Stops one turn")
        .parameters(&[field("id", FieldKind::Text, "the turn")])
        .body(&[])
        .answer(AnswerDoc::Fields(
            200,
            &[
                field("ok", FieldKind::Flag, "always true"),
                field("turn_id", FieldKind::Text, "the turn that is stopped"),
            ],
        ))
        .errors(&[
            ApiErrorCode::BadRequest,
            ApiErrorCode::UnknownTurn,
            ApiErrorCode::ActorUnavailable,
            ApiErrorCode::ActorTimeout,
        ]);
    registry.at("/api/turns/{id}/stop", Access::Scope(auth::DRAIN)).post(stop, STOP).done();
}

async fn stop(
    request: HttpRequest,
    caller: TokenPrincipal,
    id: Path<String>,
    state: SharedState,
    payload: Payload,
) -> Result<Json<StopTurnResponse>, ApiError> {
    let turn: TurnId = id.parse().map_err(|_| ApiError::BadRequest("not the name of a turn"))?;
    BodyFields::read(&request, payload).await?;
    info!(principal = caller.principal, %turn, "turn stop requested");
    ask(&state.ports.stop_turn, StopTurnById { turn }).await??;
    Ok(Json(StopTurnResponse { ok: true, turn_id: turn }))
}
