//! Operators have a row sent again, or drop it.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::{Json, Path, Payload};
use caduceus_contract::api::ledger_changes::{DropRowResponse, RetryRowResponse};
use caduceus_contract::messages::dispatch::{DropRow, RetryRow};
use caduceus_contract::messages::ledger_control::{DropNotice, FinishedRows};
use tracing::info;

use super::fields;
use super::rows::{ROW, parse_row};
use crate::http::ask::ask_within;
use crate::http::auth::{self, TokenPrincipal};
use crate::http::body::BodyFields;
use crate::http::code::ApiErrorCode;
use crate::http::error::ApiError;
use crate::http::operation_doc::{Access, AnswerDoc, FieldKind, OperationDoc, optional};
use crate::http::registry::RouteRegistry;
use crate::http::state::SharedState;

/// The dispatcher asks the ledger twice, which commits within milliseconds while the disk works.
const TIMEOUT: Duration = Duration::from_secs(10);

const FAILS: &[ApiErrorCode] = &[
    ApiErrorCode::BadRequest,
    ApiErrorCode::NoSuchRow,
    ApiErrorCode::RowCorrupt,
    ApiErrorCode::RowRefused,
    ApiErrorCode::NotNow,
    ApiErrorCode::LedgerUnavailable,
    ApiErrorCode::ActorUnavailable,
    ApiErrorCode::ActorTimeout,
];

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const RETRY: OperationDoc = OperationDoc::new("Runs an event again that has ended, or sends a reply again")
        .parameters(ROW)
        .body(&[optional("force", FieldKind::Flag, "also an event that is done, and a reply that was delivered")])
        .answer(AnswerDoc::Fields(200, fields::RETRIED))
        .errors(FAILS);
    const DROP: OperationDoc = OperationDoc::new("Drops an event or a reply that waits, was interrupted or is dead")
        .parameters(ROW)
        .body(&[optional("notify", FieldKind::Flag, "false: its chat gets no notice")])
        .answer(AnswerDoc::Fields(200, fields::DROPPED))
        .errors(FAILS);
    registry.at("/api/ledger/rows/{id}/retry", Access::Scope(auth::DRAIN)).post(retry, RETRY).done();
    registry.at("/api/ledger/rows/{id}/drop", Access::Scope(auth::DRAIN)).post(drop_row, DROP).done();
}

async fn retry(
    request: HttpRequest,
    caller: TokenPrincipal,
    id: Path<String>,
    state: SharedState,
    payload: Payload,
) -> Result<Json<RetryRowResponse>, ApiError> {
    let id = parse_row(&id)?;
    let force = BodyFields::read(&request, payload).await?.flag("force")?.unwrap_or(false);
    info!(principal = caller.principal, row = %id, force, "row to be sent again");
    Ok(Json(
        ask_within(&state.ports.ledger.retry, RetryRow { id, finished: FinishedRows::with_force(force) }, TIMEOUT)
            .await??,
    ))
}

async fn drop_row(
    request: HttpRequest,
    caller: TokenPrincipal,
    id: Path<String>,
    state: SharedState,
    payload: Payload,
) -> Result<Json<DropRowResponse>, ApiError> {
    let id = parse_row(&id)?;
    let notify = BodyFields::read(&request, payload).await?.flag("notify")?.unwrap_or(true);
    info!(principal = caller.principal, row = %id, notify, "row to be dropped");
    Ok(Json(
        ask_within(&state.ports.ledger.drop, DropRow { id, notice: DropNotice::with_notify(notify) }, TIMEOUT)
            .await??,
    ))
}
