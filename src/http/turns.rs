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
use super::code::Code;
use super::error::ApiError;
use super::operation_doc::{AnswerDoc, FieldKind, OperationDoc, Who, field};
use super::registry::RouteRegistry;
use super::state::SharedState;

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const STOP: OperationDoc = OperationDoc::new("Stops one turn")
        .asks(&[field("id", FieldKind::Text, "the turn")])
        .takes(&[])
        .answers(AnswerDoc::Fields(
            200,
            &[
                field("ok", FieldKind::Flag, "always true"),
                field("turn_id", FieldKind::Text, "the turn that is stopped"),
            ],
        ))
        .fails(&[Code::BadRequest, Code::UnknownTurn, Code::ActorUnavailable, Code::ActorTimeout]);
    registry.at("/api/turns/{id}/stop", Who::Scope(auth::DRAIN)).post(stop, STOP).done();
}

async fn stop(
    request: HttpRequest,
    asker: TokenPrincipal,
    id: Path<String>,
    state: SharedState,
    payload: Payload,
) -> Result<Json<StopTurnResponse>, ApiError> {
    let turn: TurnId = id.parse().map_err(|_| ApiError::BadRequest("not the name of a turn"))?;
    BodyFields::read(&request, payload).await?;
    info!(principal = asker.principal, %turn, "turn stop ordered");
    ask(&state.ports.stop_turn, StopTurnById { turn }).await??;
    Ok(Json(StopTurnResponse { ok: true, turn_id: turn }))
}
