//! Whether the process lives, and whether it would take a turn.

use actix_web::web::Json;
use caduceus_actors::drain::messages::GetDrain;
use caduceus_actors::status::messages::GetSnapshot;
use caduceus_actors::status::words::GatewayState;
use serde_json::{Value, json};

use super::Shared;
use super::ask::ask;
use super::book::{Answer, Book, Kind, Page, Who, field};
use super::code::Code;
use super::error::ApiError;

const HEALTHZ: &str = "/healthz";
const READYZ: &str = "/readyz";

pub(super) fn routes(book: &mut Book<'_>) {
    const ALIVE: Page = Page::new("Whether the threads turn").fails(&[Code::Unhealthy]);
    const READY: Page = Page::new("Whether a turn would be admitted; if not, the detail says why")
        .answers(Answer::Fields(200, &[field("ready", Kind::Flag, "always true")]))
        .fails(&[Code::NotReady, Code::ActorUnavailable, Code::ActorTimeout]);
    book.at(HEALTHZ, Who::Anyone).get(healthz, ALIVE).done();
    book.at(READYZ, Who::Anyone).get(readyz, READY).done();
}

/// Whether `path` is a probe's: probes call us by an address, by a name of a cluster, or by none.
pub(super) fn is_probe(path: &str) -> bool {
    path == HEALTHZ || path == READYZ
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
