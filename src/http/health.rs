//! Liveness, and whether a turn would be admitted.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actix_web::web::{self, Json};
use caduceus_contract::messages::drain::GetDrain;
use caduceus_contract::messages::status::GetSnapshot;
use caduceus_contract::status::readiness::Issue;
use serde_json::{Value, json};

use super::ask::ask;
use super::code::Code;
use super::error::ApiError;
use super::operation_doc::{AnswerDoc, FieldKind, OperationDoc, Who, field, maybe};
use super::registry::RouteRegistry;
use super::state::SharedState;

const HEALTHZ: &str = "/healthz";
const READYZ: &str = "/readyz";

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const ALIVE: OperationDoc = OperationDoc::new("Whether all supervised threads respond").fails(&[Code::Unhealthy]);
    const READY: OperationDoc = OperationDoc::new("Whether a turn would be admitted; if not, the detail says why")
        .asks(&[maybe("link", FieldKind::Word(&["0", "1"]), "1: at least one link must be connected, too")])
        .answers(AnswerDoc::Fields(
            200,
            &[
                field("ready", FieldKind::Flag, "always true"),
                field(
                    "readiness",
                    FieldKind::Word(&["ready", "degraded"]),
                    "degraded: turns are admitted, but a part is down",
                ),
                field(
                    "issues",
                    FieldKind::List(&FieldKind::Text),
                    "the parts that are failed or down, by name and state",
                ),
            ],
        ))
        .fails(&[Code::BadRequest, Code::NotReady, Code::ActorUnavailable, Code::ActorTimeout]);
    registry.at(HEALTHZ, Who::Public).get(healthz, ALIVE).done();
    registry.at(READYZ, Who::Public).get(readyz, READY).done();
}

/// Whether `path` is a probe's: probes call the gateway by an address, by a name of a cluster, or by none.
pub(super) fn is_probe(path: &str) -> bool {
    path == HEALTHZ || path == READYZ
}

async fn healthz(state: SharedState) -> Result<Json<Value>, ApiError> {
    if (state.healthy.0)() { Ok(Json(json!({"ok": true}))) } else { Err(ApiError::Unhealthy) }
}

/// Asks the status actor and the gate instead of reading the copy: a probe is rare, and right after the answer to a drain or
/// a cancel it must not get the state before. Names and words only, because every client is answered.
async fn readyz(request: HttpRequest, state: SharedState) -> Result<Json<Value>, ApiError> {
    let wants_link = wants_link(request.query_string())?;
    let gate = ask(&state.ports.drain.view, GetDrain).await?;
    let snapshot = ask(&state.ports.snapshot, GetSnapshot).await?;
    let verdict = snapshot.judged_by(&gate);
    if let Some(reason) = verdict.refusal() {
        return Err(ApiError::NotReady(reason));
    }
    if wants_link && !snapshot.has_link() {
        return Err(ApiError::NotReady("no link is connected".to_owned()));
    }
    let issues: Vec<String> = verdict.issues.iter().map(Issue::outline).collect();
    Ok(Json(json!({"ready": true, "readiness": verdict.readiness, "issues": issues})))
}

/// Whether the query asks for a connected link.
fn wants_link(query: &str) -> Result<bool, ApiError> {
    let bad = ApiError::BadRequest("link must be 0 or 1");
    let Ok(fields) = web::Query::<BTreeMap<String, String>>::from_query(query) else { return Err(bad) };
    match fields.get("link").map(String::as_str) {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err(bad),
    }
}
