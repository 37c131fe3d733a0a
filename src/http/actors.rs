//! The supervision tree, and commands to its actors.

use std::time::Duration;

use actix_web::http::header::ContentType;
use actix_web::web::{Json, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use caduceus_contract::api::control::ActorResponse;
use caduceus_supervision::{Fault, InjectFault, Operate, OperatorCommand};
use tracing::{info, warn};

use super::ask::ask;
use super::auth::{self, TokenPrincipal};
use super::body::BodyFields;
use super::code::ApiErrorCode;
use super::error::ApiError;
use super::operation_doc::{Access, AnswerDoc, Field, FieldKind, OperationDoc, field, optional};
use super::registry::RouteRegistry;
use super::state::SharedState;

/// Longest hang that can be requested.
const MAX_HANG: Duration = Duration::from_hours(1);
/// Default of a hang or a slow stop: above the 5 s after which a thread counts as unresponsive.
const HANG: Duration = Duration::from_secs(10);

/// `allow_faults`: whether the route for fault injection exists.
pub(super) fn routes(registry: &mut RouteRegistry<'_>, allow_faults: bool) {
    const TREE: OperationDoc = OperationDoc::new("The supervision tree")
        .answer(AnswerDoc::Node(200))
        .errors(&[ApiErrorCode::ActorUnavailable, ApiErrorCode::ActorTimeout]);
    const FAULT: OperationDoc = operation("Injects a fault into an actor").body(&[
        optional("fault", FieldKind::Text, "which fault; a panic by default"),
        optional("seconds", FieldKind::Number, "how long a hang lasts"),
    ]);
    registry.at("/api/actors", Access::Authenticated).get(tree, TREE).done();
    for (path, doc, command) in [
        ("/api/actors/{path:.+}/restart", operation("Restarts an actor"), OperatorCommand::Restart),
        (
            "/api/actors/{path:.+}/reset",
            operation("Clears the counted restarts of an actor; a failed actor starts again"),
            OperatorCommand::Reset,
        ),
    ] {
        let carry_out =
            move |request, caller, path, state, payload| operate(request, caller, path, state, payload, command);
        registry.at(path, Access::Scope(auth::DRAIN)).post(carry_out, doc).done();
    }
    if allow_faults {
        registry.at("/api/actors/{path:.+}/fault", Access::Loopback).post(fault, FAULT).done();
    }
}

/// The description of a command to one actor.
const fn operation(summary: &'static str) -> OperationDoc {
    const PATH: &[Field] = &[field("path", FieldKind::Text, "path of the actor in the tree; it may contain slashes")];
    const DONE: &[Field] =
        &[field("ok", FieldKind::Flag, "always true"), field("actor", FieldKind::Text, "the actor's path")];
    const FAILS: &[ApiErrorCode] = &[
        ApiErrorCode::NoSuchActor,
        ApiErrorCode::ActorNotRunning,
        ApiErrorCode::FaultsRefused,
        ApiErrorCode::Stopping,
        ApiErrorCode::BadRequest,
        ApiErrorCode::ActorUnavailable,
        ApiErrorCode::ActorTimeout,
    ];
    OperationDoc::new(summary).parameters(PATH).body(&[]).answer(AnswerDoc::Fields(200, DONE)).errors(FAILS)
}

async fn tree(state: SharedState) -> Result<HttpResponse, ApiError> {
    let text = state.feed.fresh(&state.ports).await?.actors()?;
    Ok(HttpResponse::Ok().insert_header(ContentType::json()).body(text))
}

async fn operate(
    request: HttpRequest,
    caller: TokenPrincipal,
    path: Path<String>,
    state: SharedState,
    payload: Payload,
    command: OperatorCommand,
) -> Result<Json<ActorResponse>, ApiError> {
    let path = path.into_inner();
    BodyFields::read(&request, payload).await?;
    info!(principal = caller.principal, actor = path, ?command, "actor command");
    ask(&state.ports.operate, Operate { path: path.clone(), command }).await??;
    Ok(Json(ActorResponse { ok: true, actor: path }))
}

async fn fault(
    request: HttpRequest,
    path: Path<String>,
    state: SharedState,
    payload: Payload,
) -> Result<Json<ActorResponse>, ApiError> {
    let path = path.into_inner();
    let fault = fault_of(&BodyFields::read(&request, payload).await?)?;
    warn!(actor = path, ?fault, "fault requested");
    ask(&state.ports.inject_fault, InjectFault { path: path.clone(), fault }).await??;
    Ok(Json(ActorResponse { ok: true, actor: path }))
}

/// Which fault; a panic at once by default.
fn fault_of(fields: &BodyFields) -> Result<Fault, ApiError> {
    let length = fields.seconds("seconds", MAX_HANG)?.unwrap_or(HANG);
    Ok(match fields.text("fault")?.unwrap_or("panic_in_timer") {
        "panic_in_handler" => Fault::PanicInHandler,
        "panic_in_timer" => Fault::PanicInTimer,
        "panic_in_response" => Fault::PanicInResponse,
        "panic_in_started" => Fault::PanicInStarted,
        "panic_in_factory" => Fault::PanicInFactory,
        "panic_in_drop" => Fault::PanicInDrop,
        "hang_thread" => Fault::HangThread(length),
        "hang_in_timer" => Fault::HangInTimer(length),
        "hang_actor" => Fault::HangActor,
        "slow_stop" => Fault::SlowStop(length),
        _ => return Err(ApiError::WrongField { field: "fault", expected: "the name of a fault" }),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_fault_has_a_name() {
        let named = |name: &str| fault_of(&BodyFields::parse(json!({"fault": name}).to_string().as_bytes()).unwrap());
        assert_eq!(fault_of(&BodyFields::default()).unwrap(), Fault::PanicInTimer);
        assert_eq!(named("hang_thread").unwrap(), Fault::HangThread(HANG));
        assert_eq!(named("hang_in_timer").unwrap(), Fault::HangInTimer(HANG));
        assert_eq!(named("slow_stop").unwrap(), Fault::SlowStop(HANG));
        for name in ["handler", "timer", "response", "started", "factory", "drop"] {
            assert!(named(&format!("panic_in_{name}")).is_ok(), "{name}");
        }
        assert!(named("hang_actor").is_ok());
        assert!(named("explode").is_err());
    }
}
