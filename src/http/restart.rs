//! Restarting the process: it shuts down, and exits with the code for which the service manager starts it again.

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use caduceus_contract::messages::drain::GetDrain;
use serde_json::json;
use tracing::info;

use super::ask::ask;
use super::auth::{self, TokenPrincipal};
use super::body::BodyFields;
use super::code::Code;
use super::error::ApiError;
use super::messages::{AlreadyStopping, RestartProcess};
use super::operation_doc::{AnswerDoc, FieldKind, OperationDoc, Who, field, maybe};
use super::registry::RouteRegistry;
use super::state::SharedState;

impl From<AlreadyStopping> for ApiError {
    fn from(_: AlreadyStopping) -> Self {
        Self::Stopping
    }
}

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const RESTART: OperationDoc =
        OperationDoc::new("Shuts down as SIGTERM does, then exits with 75 to be started again")
            .takes(&[maybe("force", FieldKind::Flag, "do not wait for turns, and end a drain")])
            .answers(AnswerDoc::Fields(
                202,
                &[
                    field("ok", FieldKind::Flag, "always true"),
                    field("action", FieldKind::Word(&["restart"]), "what was ordered"),
                    field("force", FieldKind::Flag, "as requested"),
                    field("active_agents", FieldKind::Count, "turns in flight as it was ordered"),
                ],
            ))
            .fails(&[Code::Stopping, Code::ActorUnavailable, Code::ActorTimeout]);
    registry.at("/api/gateway/restart", Who::Scope(auth::DRAIN)).post(restart, RESTART).done();
}

async fn restart(
    request: HttpRequest,
    asker: TokenPrincipal,
    state: SharedState,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let force = BodyFields::read(&request, payload).await?.flag("force")?.unwrap_or(false);
    let principal = asker.principal;
    // A gate that does not answer is a reason to restart, not to refuse it.
    let active = ask(&state.ports.drain.view, GetDrain).await.map(|gate| gate.active_agents).unwrap_or_default();
    info!(principal, force, active, "restart ordered");
    ask(&state.ports.restart, RestartProcess { principal, force }).await??;
    Ok(HttpResponse::Accepted().json(json!({"ok": true, "action": "restart", "force": force, "active_agents": active})))
}
