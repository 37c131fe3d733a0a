//! The status, in full for those who are trusted and in outline for everyone.

use std::collections::BTreeMap;

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse};
use caduceus_actors::profile::name::ProfileName;
use caduceus_actors::status::snapshot::Snapshot;
use caduceus_actors::status::words::GatewayState;
use serde::Serialize;

use super::Shared;
use super::book::{Answer, Book, Field, Kind, Page, Who, field, maybe};
use super::code::Code;
use super::error::ApiError;

/// The first ones are what strangers may see.
const FIELDS: &[Field] = &[
    field("version", Kind::Text, "version of this program"),
    field("gateway_running", Kind::Flag, "always true in a live answer"),
    field("gateway_state", Kind::Word(&STATES), "where it is in its life"),
    field("gateway_updated_at", Kind::Text, "when the state last changed"),
    field("gateway_platforms", Kind::Object, "name of a platform to its state; errors only in full"),
    field("active_agents", Kind::Count, "turns in flight"),
    field("gateway_busy", Kind::Flag, "running with at least one turn"),
    field("gateway_drainable", Kind::Flag, "running, idle or not"),
    field("restart_drain_timeout", Kind::Count, "seconds that a shutdown waits for turns"),
    field("active_sessions", Kind::Count, "sessions with work queued or running"),
    field("profiles", Kind::List, "the profiles served"),
    maybe("gateway_exit_reason", Kind::TextOrNull, "why it ended, where it did; in full only, as all that follows"),
    maybe("not_ready", Kind::TextOrNull, "why no turn would be admitted"),
    maybe(
        "configuration",
        Kind::Object,
        "what is wrong with the files of the home, what waits for a restart, who is leaving",
    ),
    maybe("drain", Kind::Object, "the gate, and the turns in flight"),
    maybe("relay", Kind::List, "the links"),
    maybe("honcho", Kind::List, "the grants"),
    maybe("turns", Kind::Object, "counts of turns, and the last ones for the graph"),
    maybe("ledger", Kind::Object, "what lies on disk, by state"),
    maybe("secrets", Kind::List, "the profiles: names of secrets that are missing, never a value"),
    maybe("actors", Kind::Object, "the supervision tree"),
    maybe("process", Kind::Object, "memory, descriptors, uptime"),
];

const STATES: [&str; 6] = ["starting", "running", "draining", "stopping", "stopped", "startup_failed"];

pub(super) fn routes(book: &mut Book<'_>) {
    const STATUS: Page = Page::new("The state of the gateway, in the words of hermes-agent's tools")
        .answers(Answer::Fields(200, FIELDS))
        .fails(&[Code::ActorUnavailable, Code::ActorTimeout]);
    book.at("/api/status", Who::AnyoneInOutline).get(status, STATUS).done();
}

async fn status(request: HttpRequest, state: Shared) -> Result<HttpResponse, ApiError> {
    let trusted = state.seam.trusts(&request).await?;
    let latest = state.feed.latest()?;
    let text = if trusted { latest.full()? } else { latest.open()? };
    Ok(HttpResponse::Ok().insert_header(ContentType::json()).body(text))
}

/// What strangers may see: liveness, counts and names. Sentences stay inside, for they may name paths and addresses.
#[derive(Debug, Serialize)]
pub(super) struct OpenStatus<'a> {
    version: &'static str,
    gateway_running: bool,
    gateway_state: GatewayState,
    gateway_updated_at: &'a str,
    gateway_platforms: BTreeMap<&'a str, OpenPlatform<'a>>,
    active_agents: usize,
    gateway_busy: bool,
    gateway_drainable: bool,
    restart_drain_timeout: u64,
    active_sessions: usize,
    profiles: &'a [ProfileName],
}

#[derive(Debug, Serialize)]
struct OpenPlatform<'a> {
    state: &'a str,
    updated_at: &'a str,
}

impl<'a> OpenStatus<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let platforms = snapshot.gateway_platforms.iter().map(|(name, platform)| {
            (name.as_str(), OpenPlatform { state: &platform.state, updated_at: &platform.updated_at })
        });
        Self {
            version: snapshot.version,
            gateway_running: snapshot.gateway_running,
            gateway_state: snapshot.gateway_state,
            gateway_updated_at: &snapshot.gateway_updated_at,
            gateway_platforms: platforms.collect(),
            active_agents: snapshot.active_agents,
            gateway_busy: snapshot.gateway_busy,
            gateway_drainable: snapshot.gateway_drainable,
            restart_drain_timeout: snapshot.restart_drain_timeout,
            active_sessions: snapshot.active_sessions,
            profiles: &snapshot.profiles,
        }
    }
}
