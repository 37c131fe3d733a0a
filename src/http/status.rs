//! The status, in full for authenticated clients, as a public summary for all others.

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse};

use super::code::Code;
use super::error::ApiError;
use super::operation_doc::{AnswerDoc, OperationDoc, Who};
use super::registry::RouteRegistry;
use super::state::SharedState;
use super::views::STATUS;

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const PAGE: OperationDoc =
        OperationDoc::new("The state of the gateway, with the field names of hermes-agent's tools")
            .answers(AnswerDoc::Fields(200, STATUS))
            .fails(&[Code::ActorUnavailable, Code::ActorTimeout]);
    registry.at("/api/status", Who::PublicSummary).get(status, PAGE).done();
}

async fn status(request: HttpRequest, state: SharedState) -> Result<HttpResponse, ApiError> {
    let trusted = state.seam.trusts(&request).await?;
    let latest = state.feed.latest()?;
    let text = if trusted { latest.full()? } else { latest.public()? };
    Ok(HttpResponse::Ok().insert_header(ContentType::json()).body(text))
}
