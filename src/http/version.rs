//! The version of this program.

use actix_web::web::Json;
use serde::Serialize;

use super::error::ApiError;
use super::operation_doc::{Access, AnswerDoc, FieldKind, OperationDoc, field};
use super::registry::RouteRegistry;
use super::state::SharedState;

#[derive(Debug, Serialize)]
struct VersionResponse {
    version: &'static str,
}

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const VERSION: OperationDoc = OperationDoc::new("The version of this program")
        .answer(AnswerDoc::Fields(200, &[field("version", FieldKind::Text, "the version")]));
    registry.at("/api/version", Access::Authenticated).get(version, VERSION).done();
}

async fn version(_: SharedState) -> Result<Json<VersionResponse>, ApiError> {
    Ok(Json(VersionResponse { version: env!("CARGO_PKG_VERSION") }))
}
