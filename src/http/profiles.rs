//! The profiles that are served.

use actix_web::web::Json;
use serde_json::{Value, json};

use super::code::Code;
use super::error::ApiError;
use super::operation_doc::{AnswerDoc, FieldKind, OperationDoc, Who, field};
use super::registry::RouteRegistry;
use super::state::SharedState;

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const PROFILES: OperationDoc = OperationDoc::new("The profiles that are served")
        .answers(AnswerDoc::Fields(
            200,
            &[field("profiles", FieldKind::List(&FieldKind::Text), "their names, the default profile first")],
        ))
        .fails(&[Code::ActorUnavailable, Code::ActorTimeout]);
    registry.at("/api/profiles", Who::Authenticated).get(profiles, PROFILES).done();
}

async fn profiles(state: SharedState) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({"profiles": state.feed.latest()?.snapshot.profiles})))
}
