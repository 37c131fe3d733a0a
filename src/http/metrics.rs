//! The status as numbers for Prometheus.
//!
//! No label value comes from outside: profiles, chats and other names from the wire are counted, not named.

use std::fmt::Debug;

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_TYPE;
use caduceus_actors::files::workers;
use caduceus_contract::messages::relay::LinkState;
use caduceus_contract::share::base_name;
use caduceus_contract::status::readiness::ReadinessLevel;
use caduceus_contract::status::shown::ShownLink;
use caduceus_contract::status::snapshot::Snapshot;
use caduceus_contract::wire::frame;
use caduceus_supervision::TreeNode;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::Serialize;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::admission::Admission;
use super::code::ApiErrorCode;
use super::error::ApiError;
use super::operation_doc::{Access, AnswerDoc, OperationDoc};
use super::registry::RouteRegistry;
use super::state::SharedState;

/// The format that `prometheus-client` writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The actors that are named; a profile's or a turn's is counted under its supervisor.
const ACTORS: [&str; 10] =
    ["ledger", "status", "profiles", "drain", "honcho", "dispatch", "turns", "config", "relays", "http"];

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const METRICS: OperationDoc = OperationDoc::new("The status as numbers for Prometheus")
        .answer(AnswerDoc::Other(200, OPEN_METRICS))
        .errors(&[ApiErrorCode::ActorUnavailable, ApiErrorCode::ActorTimeout]);
    registry.at("/metrics", Access::Authenticated).get(metrics, METRICS).done();
}

async fn metrics(state: SharedState) -> Result<HttpResponse, ApiError> {
    let rendered = state.feed.fresh(&state.ports).await?;
    // Before the rendering, for which other workers wait: some of these counts are behind a lock.
    let counts = ProcessCounts {
        viewers: state.viewers.watching(),
        log_dropped: (state.log_dropped)(),
        hung: workers::hung().len(),
        pools: pools(&state.admission),
    };
    let text = rendered.metrics(|snapshot| render(snapshot, &counts))?;
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, OPEN_METRICS)).body(text))
}

/// Counts of the process that are not in the status.
#[derive(Debug, Clone, Default)]
struct ProcessCounts {
    viewers: usize,
    log_dropped: u64,
    /// Directories whose file system does not answer.
    hung: usize,
    /// Name, slots taken, slots evicted.
    pools: Vec<(&'static str, u64, u64)>,
}

fn pools(admission: &Admission) -> Vec<(&'static str, u64, u64)> {
    admission.pools().into_iter().map(|pool| (pool.name(), count(pool.taken()), pool.evicted())).collect()
}

fn render(snapshot: &Snapshot, counts: &ProcessCounts) -> Result<String, std::fmt::Error> {
    let mut metrics = MetricsBuilder(Registry::with_prefix("caduceus"));
    gateway(&mut metrics, snapshot);
    metrics.gauge("file_systems_hung", "Directories whose file system does not answer", count(counts.hung));
    metrics.gauge("status_viewers", "Clients that watch the status", count(counts.viewers));
    metrics.counter(
        "log_lines_dropped",
        "Log lines dropped because standard error did not accept them",
        counts.log_dropped,
    );
    let taken = counts.pools.iter().map(|(name, taken, _)| ((*name).to_owned(), *taken));
    metrics.gauges("http_places_taken", "Slots in use for connections, bodies and sockets", "places", taken);
    let evicted = counts.pools.iter().map(|(name, _, evicted)| ((*name).to_owned(), *evicted));
    metrics.counters("http_places_evicted", "Slots evicted for another peer", "places", evicted);
    turns(&mut metrics, snapshot);
    relay(&mut metrics, &snapshot.relay, snapshot.process.uptime_ms);
    grants_and_ledger(&mut metrics, snapshot);
    actors(&mut metrics, &snapshot.actors);
    let mut text = String::new();
    encode(&mut text, &metrics.0)?;
    Ok(text)
}

fn gateway(metrics: &mut MetricsBuilder, snapshot: &Snapshot) {
    metrics.gauge("ready", "1 when a turn would be admitted", u64::from(snapshot.readiness < ReadinessLevel::NotReady));
    let issues = |level| count(snapshot.issues.iter().filter(|issue| issue.level == level).count());
    metrics.gauge(
        "parts_degraded",
        "Parts that are failed or down although turns are admitted",
        issues(ReadinessLevel::Degraded),
    );
    metrics.gauge("draining", "1 while the whole gateway is drained or stopping", u64::from(snapshot.drain.draining));
    let age = snapshot.drain.age_ms.unwrap_or_default();
    metrics.seconds("drain_age_seconds", "Time since the drain began; 0 without one", age);
    metrics.gauge("drained_profiles", "Profiles drained by themselves", count(snapshot.drain.profiles.len()));
    metrics.gauge("profiles", "Profiles served", count(snapshot.profiles.len()));
    let profiles = snapshot.secrets.states().iter().map(|(state, profiles)| (word(state), count(*profiles)));
    metrics.gauges("profiles_by_state", "Profiles by state", "state", profiles);
    metrics.gauge("secrets_missing", "Secrets that profiles lack", count(snapshot.secrets.missing()));
    metrics.counter("agents_started", "Processes of agents started", snapshot.totals.agents_started);
    metrics.gauges("build_info", "Version of this program", "version", [(snapshot.version.to_owned(), 1)]);
    let process = snapshot.process;
    metrics.seconds("process_uptime_seconds", "Time since the process started", process.uptime_ms);
    if let Some(bytes) = process.resident_bytes {
        metrics.gauge("process_resident_memory_bytes", "Resident memory", bytes);
    }
    if let Some(open) = process.open_fds {
        metrics.gauge("process_open_fds", "Open descriptors", count(open));
    }
}

fn turns(metrics: &mut MetricsBuilder, snapshot: &Snapshot) {
    let view = &snapshot.turns;
    metrics.gauge("turns_in_flight", "Turns in flight", count(snapshot.active_agents));
    let oldest = snapshot.drain.oldest_turn_ms.unwrap_or_default();
    metrics.seconds("oldest_turn_seconds", "Age of the oldest turn in flight; 0 without one", oldest);
    metrics.gauge("sessions_active", "Sessions with work queued or running", count(view.sessions));
    metrics.gauge("events_queued", "Events that wait for their turn", count(view.queued));
    metrics.gauge("events_held", "Events held until a drain ends", count(view.held));
    let awaiting = view.awaiting_link.values().map(|events| count(*events)).sum();
    metrics.gauge("events_awaiting_link", "Events that wait for their link to come up", awaiting);
    metrics.counter("events_refused", "Events refused", view.refused);
    metrics.counter("events_duplicate", "Events that were in the ledger already", view.duplicates);
    let dropped = view.dropped.iter().map(|(what, number)| ((*what).to_owned(), *number));
    metrics.counters("dropped", "What was not done because of a limit", "what", dropped);
    let mut recent: Vec<u64> = view.recent_turns.iter().map(|(_, length)| *length).collect();
    recent.sort_unstable();
    let at = |percent: usize| recent.get((recent.len() * percent / 100).min(recent.len().saturating_sub(1))).copied();
    metrics.seconds("turn_median_seconds", "Median length of the last turns", at(50).unwrap_or_default());
    metrics.seconds("turn_p95_seconds", "Length of the last turns, 95th percentile", at(95).unwrap_or_default());
    let ended = [("done", view.done), ("failed", view.failed), ("stopped", view.stopped)];
    metrics.counters("turns_ended", "Turns ended", "outcome", ended.map(|(word, n)| (word.to_owned(), n)));
}

fn relay(metrics: &mut MetricsBuilder, links: &[ShownLink], uptime_ms: u64) {
    metrics.gauges("relay_links", "Links by state", "state", links.iter().map(|link| (word(link.state), 1)));
    let frames =
        links.iter().flat_map(|link| &link.view.frames).map(|(kind, n)| (listed_or_other(kind, frame::KINDS), *n));
    metrics.counters("relay_frames", "Frames by kind", "kind", frames);
    metrics.counter(
        "relay_lines_skipped",
        "Lines that were not frames",
        links.iter().map(|link| link.view.skipped).sum(),
    );
    let dead = links.iter().map(|link| link.view.dead_letters).sum();
    metrics.counter("relay_dead_letters", "Frames that could not be used and are kept in the ledger", dead);
    let waiting = links.iter().map(|link| count(link.view.waiting)).sum();
    metrics.gauge("relay_sends_waiting", "Outbound frames that wait for a result", waiting);
    // A link without a frame so far has been silent since the start.
    let is_set_up = |link: &&ShownLink| link.reported() != Some(LinkState::Disabled);
    let silence = links.iter().filter(is_set_up).map(|link| link.view.last_inbound_age_ms.unwrap_or(uptime_ms));
    let silence = silence.max().unwrap_or_default();
    let last_ack = links.iter().filter_map(|link| link.view.last_ack_age_ms).max().unwrap_or_default();
    metrics.seconds("relay_last_ack_seconds", "Age of the last acknowledgement on the most silent link", last_ack);
    metrics.seconds("relay_silence_seconds", "Age of the last frame on the most silent link", silence);
}

fn grants_and_ledger(metrics: &mut MetricsBuilder, snapshot: &Snapshot) {
    let grants = snapshot.honcho.iter().map(|grant| (word(grant.state), 1));
    metrics.gauges("honcho_grants", "Grants by state", "state", grants);
    metrics.counter("honcho_exchanges", "Tokens exchanged", snapshot.totals.exchanges);
    if let Some(left) = snapshot.honcho.iter().filter_map(|grant| grant.view.expires_in_s).min() {
        metrics.signed("honcho_seconds_left", "Time left of the grant that expires first; negative once it has", left);
    }
    let ledger = &snapshot.ledger;
    metrics.gauge("ledger_damaged", "Rows that could not be read", ledger.corrupt);
    let inbound = ledger.inbound.iter().map(|(state, n)| (word(state), *n));
    metrics.gauges("ledger_inbound", "Inbound events by state", "state", inbound);
    let outbound = ledger.outbound.iter().map(|(state, n)| (word(state), *n));
    metrics.gauges("ledger_outbound", "Outbound messages by state", "state", outbound);
    let inbound = ledger.inbound_oldest_ms.iter().map(|(state, age)| (word(state), *age));
    metrics.seconds_by("ledger_inbound_oldest_seconds", "Age of the oldest inbound event by state", "state", inbound);
    let outbound = ledger.outbound_oldest_ms.iter().map(|(state, age)| (word(state), *age));
    metrics.seconds_by(
        "ledger_outbound_oldest_seconds",
        "Age of the oldest outbound message by state",
        "state",
        outbound,
    );
    metrics.counter("ledger_written", "Events and outbound messages written", ledger.written);
    metrics.gauge("ledger_writable", "1 while the ledger takes writes", u64::from(ledger.write_error.is_none()));
}

fn actors(metrics: &mut MetricsBuilder, root: &TreeNode) {
    let (mut states, mut tops) = (Vec::new(), Vec::new());
    for top in &root.children {
        let mut counts = TopCounts::default();
        for node in top.walk() {
            add(&mut states, node.state, 1);
            // A removed child counts at its former supervisor.
            counts.restarts += node.restarts_total + node.removed.restarts;
            counts.waiting += count(node.queue_depth);
            counts.refused += node.refused + node.removed.refused;
        }
        tops.push((listed_or_other(base_name(&top.id), &ACTORS), counts));
    }
    metrics.gauges("actors", "Actors by state", "state", states.into_iter().map(|(state, n)| (word(state), n)));
    let of = |number: fn(&TopCounts) -> u64| tops.iter().map(move |(name, counts)| (name.clone(), number(counts)));
    metrics.counters("actor_restarts", "Restarts", "actor", of(|counts| counts.restarts));
    metrics.gauges("actor_messages_waiting", "Messages that wait in mailboxes", "actor", of(|counts| counts.waiting));
    metrics.counters(
        "actor_messages_refused",
        "Messages refused by full mailboxes",
        "actor",
        of(|counts| counts.refused),
    );
}

/// Counts over one child of the root and all below it.
#[derive(Debug, Clone, Copy, Default)]
struct TopCounts {
    restarts: u64,
    waiting: u64,
    refused: u64,
}

/// Adds `n` to the count of `key`. There are only a few keys.
fn add<K: PartialEq>(counts: &mut Vec<(K, u64)>, key: K, n: u64) {
    match counts.iter_mut().find(|(known, _)| *known == key) {
        Some((_, count)) => *count += n,
        None => counts.push((key, n)),
    }
}

/// The metrics of one scrape.
struct MetricsBuilder(Registry);

type Label = [(&'static str, String); 1];

impl MetricsBuilder {
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        let gauge = Gauge::<i64>::default();
        gauge.set(signed(value));
        self.0.register(name, help, gauge);
    }

    fn signed(&mut self, name: &str, help: &str, value: i64) {
        let gauge = Gauge::<i64>::default();
        gauge.set(value);
        self.0.register(name, help, gauge);
    }

    fn seconds(&mut self, name: &str, help: &str, millis: u64) {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(Duration::from_millis(millis).as_secs_f64());
        self.0.register(name, help, gauge);
    }

    /// As [`MetricsBuilder::seconds`], one for each word.
    fn seconds_by(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) {
        let family = Family::<Label, Gauge<f64, AtomicU64>>::default();
        for (word, millis) in values {
            family.get_or_create(&[(label, word)]).set(Duration::from_millis(millis).as_secs_f64());
        }
        self.0.register(name, help, family);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        self.0.register(name, help, counter);
    }

    /// Values with the same word are added up.
    fn gauges(&mut self, name: &str, help: &str, label: &'static str, values: impl IntoIterator<Item = (String, u64)>) {
        let family = Family::<Label, Gauge>::default();
        for (word, value) in values {
            family.get_or_create(&[(label, word)]).inc_by(signed(value));
        }
        self.0.register(name, help, family);
    }

    /// See [`MetricsBuilder::gauges`].
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) {
        let family = Family::<Label, Counter>::default();
        for (word, value) in values {
            family.get_or_create(&[(label, word)]).inc_by(value);
        }
        self.0.register(name, help, family);
    }
}

fn listed_or_other(word: &str, words: &[&'static str]) -> String {
    words.iter().find(|known| **known == word).copied().unwrap_or("other").to_owned()
}

/// The word of a state, as the status has it.
fn word(state: impl Serialize + Debug) -> String {
    let text = serde_json::to_value(&state).ok().and_then(|value| value.as_str().map(str::to_owned));
    text.unwrap_or_else(|| format!("{state:?}"))
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
