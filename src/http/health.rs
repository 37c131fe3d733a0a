//! Liveness, and whether a turn would be admitted.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actix_web::web::{self, Json};
use caduceus_contract::api::control::ReadyResponse;
use caduceus_contract::messages::drain::GetDrain;
use caduceus_contract::messages::status::GetSnapshot;
use caduceus_contract::wire::provisioning::OkBody;

use super::ask::ask;
use super::code::ApiErrorCode;
use super::error::ApiError;
use super::operation_doc::{Access, AnswerDoc, FieldKind, OperationDoc, field, optional};
use super::registry::RouteRegistry;
use super::state::SharedState;

const HEALTHZ: &str = "/healthz";
const READYZ: &str = "/readyz";

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const ALIVE: OperationDoc =
        OperationDoc::new("Whether all supervised threads respond").errors(&[ApiErrorCode::Unhealthy]);
    const READY: OperationDoc =
        OperationDoc::new("Whether a turn would be admitted; if not, the detail has the reason")
            .parameters(&[optional(
                "link",
                FieldKind::Word(&["0", "1"]),
                "1: at least one link must be connected, too",
            )])
            .answer(AnswerDoc::Fields(
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
            .errors(&[
                ApiErrorCode::BadRequest,
                ApiErrorCode::NotReady,
                ApiErrorCode::ActorUnavailable,
                ApiErrorCode::ActorTimeout,
            ]);
    registry.at(HEALTHZ, Access::Public).get(healthz, ALIVE).done();
    registry.at(READYZ, Access::Public).get(readyz, READY).done();
}

/// Whether `path` is that of a probe: probes use an address, a cluster name or none as the host.
pub(super) fn is_probe(path: &str) -> bool {
    path == HEALTHZ || path == READYZ
}

async fn healthz(state: SharedState) -> Result<Json<OkBody>, ApiError> {
    if (state.healthy.0)() { Ok(Json(OkBody::YES)) } else { Err(ApiError::Unhealthy) }
}

/// Queries the status actor and the gate instead of the copy: a probe is rare, and right after the answer to a drain or a cancel it
/// must not get the previous state. Names and states only, because the route is public.
async fn readyz(request: HttpRequest, state: SharedState) -> Result<Json<ReadyResponse>, ApiError> {
    let requires_link = requires_link(request.query_string())?;
    let gate = ask(&state.ports.drain.view, GetDrain).await?;
    // A state that no actor reports is found by asking all of them.
    let _ = state.feed.fresh(&state.ports).await;
    let snapshot = ask(&state.ports.snapshot, GetSnapshot).await?;
    let verdict = snapshot.verdict(&gate);
    if let Some(reason) = verdict.refusal() {
        return Err(ApiError::NotReady(reason));
    }
    if requires_link && !snapshot.has_link() {
        return Err(ApiError::NotReady("no link is connected".to_owned()));
    }
    let issues = verdict.issues.iter().map(|issue| issue.outline()).collect();
    Ok(Json(ReadyResponse { ready: true, readiness: verdict.readiness, issues }))
}

/// Whether the query asks for a connected link.
fn requires_link(query: &str) -> Result<bool, ApiError> {
    let bad = ApiError::BadRequest("link must be 0 or 1");
    let Ok(fields) = web::Query::<BTreeMap<String, String>>::from_query(query) else { return Err(bad) };
    match fields.get("link").map(String::as_str) {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err(bad),
    }
}
