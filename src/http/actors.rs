//! The supervision tree, and orders on it.

use std::time::Duration;

use actix_web::web::{Json, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use caduceus_contract::api::control::ActorResponse;
use caduceus_supervision::{Fault, InjectFault, Operate, OperatorCommand};
use tracing::{info, warn};

use super::ask::ask;
use super::auth::{self, TokenPrincipal};
use super::body::BodyFields;
use super::code::Code;
use super::error::ApiError;
use super::operation_doc::{AnswerDoc, Field, FieldKind, OperationDoc, Who, field, maybe};
use super::registry::RouteRegistry;
use super::state::SharedState;

/// Longest hang that can be ordered.
const LONGEST_HANG: Duration = Duration::from_hours(1);
/// Default of a hang or a slow stop: above the 5 s after which a thread counts as unresponsive.
const HANG: Duration = Duration::from_secs(10);

/// `allow_faults`: whether the route for fault injection exists.
pub(super) fn routes(registry: &mut RouteRegistry<'_>, allow_faults: bool) {
    const TREE: OperationDoc = OperationDoc::new("The supervision tree")
        .answers(AnswerDoc::Node(200))
        .fails(&[Code::ActorUnavailable, Code::ActorTimeout]);
    const FAULT: OperationDoc = order("Injects a fault into an actor").takes(&[
        maybe("fault", FieldKind::Text, "which fault; a panic by default"),
        maybe("seconds", FieldKind::Number, "how long a hang lasts"),
    ]);
    registry.at("/api/actors", Who::Authenticated).get(tree, TREE).done();
    for (path, page, what) in [
        ("/api/actors/{path:.+}/restart", order("Restarts an actor"), OperatorCommand::Restart),
        (
            "/api/actors/{path:.+}/reset",
            order("Clears the counted restarts of an actor; a failed actor starts again"),
            OperatorCommand::Reset,
        ),
    ] {
        let carry_out = move |request, asker, path, state, payload| operate(request, asker, path, state, payload, what);
        registry.at(path, Who::Scope(auth::DRAIN)).post(carry_out, page).done();
    }
    if allow_faults {
        registry.at("/api/actors/{path:.+}/fault", Who::Loopback).post(fault, FAULT).done();
    }
}

/// An order on one actor.
const fn order(summary: &'static str) -> OperationDoc {
    const PATH: &[Field] = &[field("path", FieldKind::Text, "the actor, as its path in the tree; it may hold slashes")];
    const DONE: &[Field] =
        &[field("ok", FieldKind::Flag, "always true"), field("actor", FieldKind::Text, "the actor's path")];
    const FAILS: &[Code] = &[
        Code::NoSuchActor,
        Code::ActorNotRunning,
        Code::FaultsRefused,
        Code::Stopping,
        Code::BadRequest,
        Code::ActorUnavailable,
        Code::ActorTimeout,
    ];
    OperationDoc::new(summary).asks(PATH).takes(&[]).answers(AnswerDoc::Fields(200, DONE)).fails(FAILS)
}

async fn tree(state: SharedState) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(&state.feed.latest()?.snapshot.actors))
}

async fn operate(
    request: HttpRequest,
    asker: TokenPrincipal,
    path: Path<String>,
    state: SharedState,
    payload: Payload,
    order: OperatorCommand,
) -> Result<Json<ActorResponse>, ApiError> {
    let path = path.into_inner();
    BodyFields::read(&request, payload).await?;
    info!(principal = asker.principal, actor = path, ?order, "actor order");
    ask(&state.ports.operate, Operate { path: path.clone(), command: order }).await??;
    Ok(Json(ActorResponse { ok: true, actor: path }))
}

async fn fault(
    request: HttpRequest,
    path: Path<String>,
    state: SharedState,
    payload: Payload,
) -> Result<Json<ActorResponse>, ApiError> {
    let path = path.into_inner();
    let fault = kind(&BodyFields::read(&request, payload).await?)?;
    warn!(actor = path, ?fault, "fault ordered");
    ask(&state.ports.inject_fault, InjectFault { path: path.clone(), fault }).await??;
    Ok(Json(ActorResponse { ok: true, actor: path }))
}

/// Which fault; a panic at once by default.
fn kind(fields: &BodyFields) -> Result<Fault, ApiError> {
    let length = fields.seconds("seconds", LONGEST_HANG)?.unwrap_or(HANG);
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
    fn every_fault_can_be_ordered_by_name() {
        let named = |name: &str| kind(&BodyFields::parse(json!({"fault": name}).to_string().as_bytes()).unwrap());
        assert_eq!(kind(&BodyFields::default()).unwrap(), Fault::PanicInTimer);
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
