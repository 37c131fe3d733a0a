//! The check of all rows.

use actix_web::HttpRequest;
use actix_web::web::{Json, Payload};
use caduceus_contract::api::ledger_changes::LedgerCheck;
use caduceus_contract::messages::ledger_control::CheckLedger;
use tracing::info;

use super::fields;
use crate::http::ask::ask;
use crate::http::auth::{self, TokenPrincipal};
use crate::http::body::BodyFields;
use crate::http::code::ApiErrorCode;
use crate::http::error::ApiError;
use crate::http::operation_doc::{Access, AnswerDoc, OperationDoc};
use crate::http::registry::RouteRegistry;
use crate::http::state::SharedState;

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const LAST: OperationDoc = OperationDoc::new("The last check of all rows of the ledger, or the one that runs")
        .answer(AnswerDoc::Fields(200, fields::CHECK))
        .errors(&[ApiErrorCode::ActorUnavailable, ApiErrorCode::ActorTimeout]);
    const BEGIN: OperationDoc = OperationDoc::new("Begins a check of all rows in the background, unless one runs")
        .body(&[])
        .answer(AnswerDoc::Fields(200, fields::CHECK))
        .errors(&[ApiErrorCode::ActorUnavailable, ApiErrorCode::ActorTimeout]);
    registry.at("/api/ledger/check", Access::Authenticated).get(last, LAST).done();
    registry.at("/api/ledger/check/begin", Access::Scope(auth::DRAIN)).post(begin, BEGIN).done();
}

async fn last(state: SharedState) -> Result<Json<LedgerCheck>, ApiError> {
    Ok(Json(ask(&state.ports.ledger.control.check, CheckLedger::Show).await?))
}

async fn begin(
    request: HttpRequest,
    caller: TokenPrincipal,
    state: SharedState,
    payload: Payload,
) -> Result<Json<LedgerCheck>, ApiError> {
    BodyFields::read(&request, payload).await?;
    info!(principal = caller.principal, "check of the ledger requested");
    Ok(Json(ask(&state.ports.ledger.control.check, CheckLedger::Begin).await?))
}
