//! A snapshot, built from the last views and the states of the actors.

use std::sync::Arc;
use std::time::Instant;

use super::answer::LastAnswer;
use super::platforms;
use super::process;
use super::queries::StatusPorts;
use super::settings::StatusSettings;
use super::views::{ShownSince, Views};
use caduceus_contract::messages::dispatch::DispatchView;
use caduceus_contract::messages::relay::LinkView;
use caduceus_contract::status::lifecycle;
use caduceus_contract::status::lifecycle::ProcessPhase;
use caduceus_contract::status::readiness::ReadinessLevel;
use caduceus_contract::status::snapshot::{Snapshot, Totals};
use caduceus_supervision::Tree;

/// A snapshot of `views` beside the states of `actors`, which includes this number of `changes`.
pub(super) fn build(
    settings: &StatusSettings,
    ports: &StatusPorts,
    views: &mut Views,
    actors: &Tree,
    changes: u64,
) -> Snapshot {
    let (phase, exit_reason) = settings.phase.get();
    let (moment, started) = (Instant::now(), settings.started);
    let node = |path: &str| actors.find(path);
    views.profiles.read(actors);
    let secrets = views.profiles.show(actors, moment, started);
    let state = lifecycle::state(phase, views.drain.value());
    let now = jiff::Timestamp::now().to_string();
    let before = std::mem::take(&mut views.shown_since);
    let updated_at = before.gateway.filter(|(before, _)| *before == state).map_or_else(|| now.clone(), |(_, at)| at);
    let active = views.drain.value().active_agents;
    let never = LastAnswer::default();
    let links = ports.links.iter().map(|(id, _)| {
        let known = views.links.get(id).unwrap_or(&never);
        let view = known.value().clone().unwrap_or_else(|| LinkView::not_reported(id.clone()));
        known.shown(view, node(&format!("relays/{}", id.0)), moment, started)
    });
    let links: Vec<_> = links.collect();
    let grants_actor = node("honcho");
    let grants =
        views.grants.value().iter().map(|grant| views.grants.shown(grant.clone(), grants_actor, moment, started));
    let stale_parts = views.stale(ports.dispatch.iter().map(|(path, _)| path), actors, moment, started);
    let turns = DispatchView::of_all(views.dispatch.values().map(LastAnswer::value));
    let platforms = platforms::of(&links, actors, &now, &before.platforms);
    views.shown_since = ShownSince { gateway: Some((state, updated_at.clone())), platforms: platforms.clone() };
    let mut snapshot = Snapshot {
        changes,
        made: moment,
        version: env!("CARGO_PKG_VERSION"),
        gateway_running: phase != ProcessPhase::Stopped,
        gateway_state: state,
        gateway_updated_at: updated_at,
        gateway_exit_reason: exit_reason,
        gateway_platforms: platforms,
        active_agents: active,
        gateway_busy: lifecycle::busy(Some(state), true, active as u64),
        gateway_drainable: lifecycle::drainable(Some(state), true),
        restart_drain_timeout: settings.in_force.settings.values.drain.timeout.as_secs(),
        active_sessions: turns.sessions,
        profiles: Arc::clone(views.profiles.names()),
        readiness: ReadinessLevel::NotReady,
        not_ready: None,
        issues: Vec::new(),
        stale: stale_parts,
        configuration: views.config.value().clone(),
        drain: views.drain.value().clone(),
        relay: links,
        honcho: grants.collect(),
        turns,
        ledger: views.ledger.value().clone(),
        secrets,
        actors: actors.clone(),
        process: views.process.unwrap_or_else(|| process::bare(settings.started)),
        phase,
        totals: Totals { agents_started: ports.agents_started.total(), exchanges: ports.exchanges.total() },
    };
    let verdict = snapshot.verdict(&snapshot.drain);
    snapshot.not_ready = verdict.refusal();
    (snapshot.readiness, snapshot.issues) = (verdict.readiness, verdict.issues);
    snapshot
}
