//! Sending the links to sleep, and waking them.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use actix_web::web::{self, Json, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use caduceus_actors::relay::messages::{GoDormant, IdleAnswer, Wake};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tracing::{debug, info};

use super::WAKE;
use crate::http::Shared;
use crate::http::auth::{self, TokenPrincipal};
use crate::http::error::ApiError;

/// A connector has 10 s to acknowledge.
const PATIENCE: Duration = Duration::from_secs(12);

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(web::resource("/api/relay/idle").route(web::post().to(idle)).wrap(auth::scoped(auth::DRAIN)))
        .service(web::resource(WAKE).route(web::get().to(wake)));
}

/// For a machine that is about to sleep: every link is closed, and dialled again when poked or a second after waking.
async fn idle(asker: TokenPrincipal, state: Shared) -> Json<Value> {
    info!(principal = asker.principal, "relay idle ordered");
    let links = &state.ports.relay.links;
    let answers = join_all(links.iter().map(|link| link.go_dormant.ask(GoDormant, PATIENCE))).await;
    let word = |answer| match answer {
        Ok(IdleAnswer::Acknowledged) => "acknowledged",
        Ok(IdleAnswer::NotAcknowledged) => "not_acknowledged",
        Ok(IdleAnswer::NotConnected) => "not_connected",
        Err(_) => "unavailable",
    };
    let told = links.iter().zip(answers).map(|(link, answer)| (link.id.0.to_string(), word(answer).into()));
    Json(json!({"ok": true, "links": told.collect::<Map<String, Value>>()}))
}

/// Open to everyone, for the connector has no token for it; so it says nothing, and too many pokes are told to wait.
async fn wake(request: HttpRequest, state: Shared) -> Result<HttpResponse, ApiError> {
    let slowed = {
        // Every critical section leaves the table whole, so a poisoned lock is still a good one.
        let mut pokes = state.relay.pokes.lock().unwrap_or_else(PoisonError::into_inner);
        pokes.failed(auth::peer(&request), Instant::now())
    };
    if let Some(left) = slowed {
        return Err(ApiError::SlowDown(left));
    }
    for link in &state.ports.relay.links {
        if let Err(error) = link.wake.tell(Wake) {
            debug!(link = %link.id.0, %error, "a link was not woken");
        }
    }
    debug!("poked");
    Ok(HttpResponse::NoContent().finish())
}
