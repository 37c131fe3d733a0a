//! Stopping a turn.

use actix_web::web::{self, Json, Path, ServiceConfig};
use caduceus_actors::dispatch::messages::StopTurnById;
use caduceus_actors::turn::id::TurnId;
use serde_json::{Value, json};
use tracing::info;

use super::Shared;
use super::ask::ask;
use super::auth::{self, TokenPrincipal};
use super::error::ApiError;

pub(super) fn routes(config: &mut ServiceConfig) {
    let stop = web::resource("/api/turns/{id}/stop").route(web::post().to(stop));
    config.service(stop.wrap(auth::scoped(auth::DRAIN)));
}

async fn stop(asker: TokenPrincipal, id: Path<String>, state: Shared) -> Result<Json<Value>, ApiError> {
    let turn: TurnId = id.parse().map_err(|_| ApiError::BadRequest("this is not the name of a turn"))?;
    info!(principal = asker.principal, %turn, "turn stop ordered");
    ask(&state.ports.stop_turn, StopTurnById { turn }).await??;
    Ok(Json(json!({"ok": true, "turn_id": turn})))
}
