//! The supervision tree, and orders on it.

use std::time::Duration;

use actix_web::web::{self, Json, Path, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use caduceus_actors::supervision::{Fault, InjectFault, Operate, Order};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::Shared;
use super::ask::ask;
use super::auth::{self, TokenPrincipal};
use super::body::{self, Fields};
use super::door;
use super::error::ApiError;

/// Longest hang that can be ordered.
const LONGEST_HANG: Duration = Duration::from_hours(1);
/// Hang or slow stop unless the order says: above the 5 s after which a thread counts as wedged.
const HANG: Duration = Duration::from_secs(10);

/// `allow_faults`: the route that breaks actors is there at all.
pub(super) fn routes(config: &mut ServiceConfig, allow_faults: bool) {
    let order = |path: &str, order| {
        let carry_out = move |asker, path, state| operate(asker, path, state, order);
        web::resource(path).route(web::post().to(carry_out)).wrap(auth::scoped(auth::DRAIN))
    };
    config
        .service(web::resource("/api/actors").route(web::get().to(tree)))
        .service(order("/api/actors/{path:.+}/restart", Order::Restart))
        .service(order("/api/actors/{path:.+}/reset", Order::Reset));
    if allow_faults {
        config.service(web::resource("/api/actors/{path:.+}/fault").route(web::post().to(fault)));
    }
}

async fn tree(request: HttpRequest, state: Shared) -> Result<HttpResponse, ApiError> {
    state.seam.must_be_trusted(&request).await?;
    Ok(HttpResponse::Ok().json(&state.feed.latest()?.snapshot.actors))
}

async fn operate(
    asker: TokenPrincipal,
    path: Path<String>,
    state: Shared,
    order: Order,
) -> Result<Json<Value>, ApiError> {
    let path = path.into_inner();
    info!(principal = asker.principal, actor = path, ?order, "actor order");
    ask(&state.ports.operate, Operate { path: path.clone(), order }).await??;
    Ok(Json(json!({"ok": true, "actor": path})))
}

async fn fault(
    request: HttpRequest,
    path: Path<String>,
    state: Shared,
    payload: Payload,
) -> Result<Json<Value>, ApiError> {
    if !door::is_loopback(&request) {
        return Err(ApiError::LoopbackOnly);
    }
    let path = path.into_inner();
    let fault = kind(&Fields::parse(&body::read(payload).await?)?)?;
    warn!(actor = path, ?fault, "fault ordered");
    ask(&state.ports.inject_fault, InjectFault { path: path.clone(), fault }).await??;
    Ok(Json(json!({"ok": true, "actor": path})))
}

/// Which fault; a panic at once unless said otherwise.
fn kind(fields: &Fields) -> Result<Fault, ApiError> {
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
    use super::*;

    #[test]
    fn every_fault_can_be_ordered_by_name() {
        let named = |name: &str| kind(&Fields::parse(json!({"fault": name}).to_string().as_bytes()).unwrap());
        assert_eq!(kind(&Fields::default()).unwrap(), Fault::PanicInTimer);
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
