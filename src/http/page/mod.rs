//! The status page: one document from the binary, without data of the gateway.
//!
//! Style and script are inline and named by their digests in the policy, so nothing else can run.

pub(super) mod document;

use actix_web::http::header::{CONTENT_SECURITY_POLICY, ContentType, REFERRER_POLICY, X_FRAME_OPTIONS};
use actix_web::{HttpRequest, HttpResponse};

use super::caller::HttpCaller;
use super::error::ApiError;
use super::operation_doc::{Access, AnswerDoc, OperationDoc};
use super::registry::RouteRegistry;
use super::state::SharedState;

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const PAGE: OperationDoc = OperationDoc::new("The status page; its data is sent over the WebSocket")
        .answer(AnswerDoc::Other(200, "text/html"));
    const ICON: OperationDoc = OperationDoc::new("No icon").answer(AnswerDoc::Other(204, ""));
    registry.at("/", Access::Public).get(page, PAGE).done();
    registry.at("/favicon.ico", Access::Public).get(|| async { HttpResponse::NoContent().finish() }, ICON).done();
}

async fn page(request: HttpRequest, state: SharedState) -> Result<HttpResponse, ApiError> {
    let page = &state.page;
    let breakable = page.allow_faults && HttpCaller::of(&request).loopback;
    let policy = page.policy().map_err(|error| ApiError::Unanswerable(error.into()))?;
    Ok(HttpResponse::Ok()
        .insert_header(ContentType::html())
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .body(if breakable { page.with_faults.clone() } else { page.plain.clone() }))
}
