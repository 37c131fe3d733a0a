//! Whether the process lives, and whether it would take a turn.

use actix_web::web::{self, Json, ServiceConfig};
use caduceus_actors::drain::messages::GetDrain;
use caduceus_actors::status::messages::GetSnapshot;
use caduceus_actors::status::words::GatewayState;
use serde_json::{Value, json};

use super::Shared;
use super::ask::ask;
use super::error::ApiError;

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(web::resource("/healthz").route(web::get().to(healthz)).route(web::head().to(healthz)))
        .service(web::resource("/readyz").route(web::get().to(readyz)).route(web::head().to(readyz)));
}

async fn healthz(state: Shared) -> Result<Json<Value>, ApiError> {
    if (state.healthy.0)() { Ok(Json(json!({"ok": true}))) } else { Err(ApiError::Unhealthy) }
}

/// Asks instead of looking at the copy, and the gate itself: a probe is rare, and right after a drain was answered, or
/// cancelled, it must not hear how things were before.
async fn readyz(state: Shared) -> Result<Json<Value>, ApiError> {
    let gate = ask(&state.ports.drain, GetDrain).await?;
    if gate.draining {
        let reason = if gate.stopping { "stopping" } else { "draining" };
        return Err(ApiError::NotReady(reason.to_owned()));
    }
    match &ask(&state.ports.snapshot, GetSnapshot).await?.not_ready {
        None => Ok(Json(json!({"ready": true}))),
        // The gate itself has just said that it is open; the status has not heard it yet.
        Some(reason) if reason == GatewayState::Draining.as_str() => Ok(Json(json!({"ready": true}))),
        Some(reason) => Err(ApiError::NotReady(reason.clone())),
    }
}
