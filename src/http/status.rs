//! The status: in full for authenticated clients, a public summary for all others.

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse};

use super::code::ApiErrorCode;
use super::error::ApiError;
use super::operation_doc::{Access, AnswerDoc, OperationDoc};
use super::registry::RouteRegistry;
use super::state::SharedState;
use super::views::STATUS;

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const PAGE: OperationDoc =
        OperationDoc::new("The state of the gateway, with the field names of hermes-agent's tools")
            .answer(AnswerDoc::Fields(200, STATUS))
            .errors(&[ApiErrorCode::ActorUnavailable, ApiErrorCode::ActorTimeout]);
    registry.at("/api/status", Access::PublicSummary).get(status, PAGE).done();
}

async fn status(request: HttpRequest, state: SharedState) -> Result<HttpResponse, ApiError> {
    let authenticated = state.authenticator.is_authenticated(&request).await?;
    let latest = state.feed.fresh(&state.ports).await?;
    let text = if authenticated { latest.full()? } else { latest.public()? };
    Ok(HttpResponse::Ok().insert_header(ContentType::json()).body(text))
}
