//! Restarting the process: it shuts down, and exits with the code for which the service manager starts it again.

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use caduceus_contract::api::control::{GatewayAction, RestartResponse};
use caduceus_contract::messages::drain::GetDrain;
use tracing::info;

use super::ask::ask;
use super::auth::{self, TokenPrincipal};
use super::body::BodyFields;
use super::code::ApiErrorCode;
use super::error::ApiError;
use super::messages::{AlreadyStopping, RestartProcess};
use super::operation_doc::{Access, AnswerDoc, FieldKind, OperationDoc, field, optional};
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
            .body(&[optional("force", FieldKind::Flag, "do not wait for turns, and end a drain")])
            .answer(AnswerDoc::Fields(
                202,
                &[
                    field("ok", FieldKind::Flag, "always true"),
                    field("action", FieldKind::Word(&["restart"]), "the action that was carried out"),
                    field("force", FieldKind::Flag, "as requested"),
                    field("active_agents", FieldKind::Count, "turns in flight at the time of the request"),
                ],
            ))
            .errors(&[ApiErrorCode::Stopping, ApiErrorCode::ActorUnavailable, ApiErrorCode::ActorTimeout]);
    registry.at("/api/gateway/restart", Access::Scope(auth::DRAIN)).post(restart, RESTART).done();
}

async fn restart(
    request: HttpRequest,
    caller: TokenPrincipal,
    state: SharedState,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let force = BodyFields::read(&request, payload).await?.flag("force")?.unwrap_or(false);
    let principal = caller.principal;
    // A gate that does not answer does not prevent a restart.
    let active_agents = ask(&state.ports.drain.view, GetDrain).await.map(|gate| gate.active_agents).unwrap_or_default();
    info!(principal, force, active = active_agents, "restart requested");
    ask(&state.ports.restart, RestartProcess { principal, force }).await??;
    let answer = RestartResponse { ok: true, action: GatewayAction::Restart, force, active_agents };
    Ok(HttpResponse::Accepted().json(answer))
}
