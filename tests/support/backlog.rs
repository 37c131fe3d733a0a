//! A home whose ledger holds a backlog, and the cost of processing it.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caduceus_actors::ledger::{LedgerWriter, place};
use caduceus_contract::json::RawJson;
use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::messages::ledger::{
    InboundId, InboundState, MarkOutbound, OutboundState, Receipt, RecordInbound, RecordOutbound,
};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::event::{InboundEvent, Source};
use caduceus_contract::wire::session::{SessionKey, SessionRules};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Process, QueryLimit};
use crate::world::World;

/// Rows written to the ledger at once.
const GROUP: usize = 500;
/// Pause between two status queries: long enough that they do not add to the measured work.
const QUERY_PAUSE: Duration = Duration::from_millis(200);

/// Messages that a gateway has recorded and not run.
pub(crate) struct Backlog<'a> {
    pub(crate) link: &'a str,
    pub(crate) profile: &'a str,
    /// Prefix of their ids; each is in a chat of its own.
    pub(crate) prefix: &'a str,
    pub(crate) events: usize,
    pub(crate) state: InboundState,
}

/// Writes them into the ledger of a home without a running gateway.
pub(crate) async fn fill(home: &Path, waiting: &Backlog<'_>) {
    let path = place::prepare(home).expect("the home is usable");
    let ledger = LedgerWriter::open(path).expect("the ledger opens");
    let numbers: Vec<usize> = (0..waiting.events).collect();
    for group in numbers.chunks(GROUP) {
        let recorded = join_all(group.iter().map(|number| ledger.ask(waiting.row(*number)))).await;
        assert!(recorded.iter().all(Result::is_ok), "{recorded:?}");
    }
    ledger.close(Duration::from_secs(20)).expect("the ledger closes");
}

/// A reply of an earlier run.
pub(crate) struct OldReply<'a> {
    pub(crate) chat: &'a str,
    pub(crate) text: &'a str,
    /// The event that it answers; `None` for a notice of the gateway.
    pub(crate) inbound: Option<i64>,
    /// The state in which it was recorded, and those to which it was marked.
    pub(crate) states: &'a [OutboundState],
    pub(crate) error: Option<&'a str>,
}

/// Writes a reply over the link `relay` into the ledger of a home without a running gateway.
pub(crate) async fn add_reply(home: &Path, reply: &OldReply<'_>) {
    let ledger = LedgerWriter::open(place::prepare(home).expect("the home is usable")).expect("the ledger opens");
    let (first, marks) = reply.states.split_first().expect("it was recorded in a state");
    let target = Target {
        link: LinkId::process(),
        platform: "discord".to_owned(),
        bot_id: None,
        chat_id: reply.chat.to_owned(),
        scope_id: None,
        user_id: None,
        thread_id: None,
    };
    let record = RecordOutbound {
        inbound: reply.inbound.map(InboundId),
        turn: None,
        number: None,
        target: Arc::new(target),
        action: RawJson::of(&json!({"op": "send", "chat_id": reply.chat, "content": reply.text})),
        state: *first,
    };
    let id = ledger.ask(record).await.expect("the reply is recorded");
    for state in marks {
        let error = reply.error.map(str::to_owned);
        let mark = MarkOutbound { id, state: *state, message_id: None, error };
        ledger.ask(mark).await.expect("the reply is marked");
    }
    ledger.close(Duration::from_secs(20)).expect("the ledger closes");
}

impl Backlog<'_> {
    fn row(&self, number: usize) -> RecordInbound {
        let id = format!("{}{number}", self.prefix);
        row(&World::message(&id, &id, &id, Some(self.profile)), self.link, self.state)
    }
}

/// The row of a message over this link, as a gateway records it.
pub(crate) fn row(message: &Value, link: &str, state: InboundState) -> RecordInbound {
    let event = InboundEvent::parse(message).expect("the event is valid");
    let (id, source) = (event.message_id, event.source);
    let profile = source.profile.as_deref().unwrap_or("default");
    let profile = ProfileName::parse(profile).expect("the name is valid");
    RecordInbound {
        receipt: Receipt { gateway: None, arrived_at_ms: 0 },
        target: target(link, &source),
        digest: Sha256::digest(message.to_string()).into(),
        buffer_id: id.clone(),
        message_id: id,
        session: SessionKey::new(&source, &profile, SessionRules::default()),
        profile,
        event: RawJson::of(message),
        state,
        turn: None,
        note: None,
    }
}

/// The chat of a message over this link.
pub(crate) fn target(link: &str, source: &Source) -> Arc<Target> {
    Arc::new(Target {
        link: LinkId(link.into()),
        platform: source.platform.clone(),
        bot_id: None,
        chat_id: source.chat_id.clone(),
        scope_id: source.scope_id.clone(),
        user_id: source.user_id.clone(),
        thread_id: None,
    })
}

/// The cost of processing a backlog.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Worked {
    /// CPU time of the gateway to load the backlog, for each event.
    pub(crate) found: Duration,
    /// CPU time of the gateway to answer it, for each event.
    pub(crate) answered: Duration,
    /// Elapsed time until all were answered.
    pub(crate) took: Duration,
    /// Resident memory with the whole backlog waiting, in bytes.
    pub(crate) resident: u64,
}

/// Starts the gateway of `world` on this many events held by a drain, ends the drain, and waits until all are answered.
pub(crate) async fn release(world: &mut World, events: usize, ceiling: Duration) -> Worked {
    let waiting = Backlog { link: "relay", profile: "default", prefix: "held-", events, state: InboundState::Held };
    fill(world.home(), &waiting).await;
    fs::write(world.path(".drain_request.json"), "").expect("the marker is written");
    world.serve().await;
    let status = until(world, ceiling, |status| status["turns"]["held"] == events).await;
    assert_eq!(status["turns"]["done"], 0);
    let (found, begun) = (cpu(world.gateway()), Instant::now());
    fs::remove_file(world.path(".drain_request.json")).expect("the marker is removed");
    all_answered(world, events, ceiling).await;
    Worked {
        found: share(found, events),
        answered: share(cpu(world.gateway()).saturating_sub(found), events),
        took: begun.elapsed(),
        resident: status["process"]["resident_bytes"].as_u64().expect("the status has the size"),
    }
}

/// Starts the gateway of `world` on this many queued events, and waits until all are answered.
pub(crate) async fn find(world: &mut World, events: usize, ceiling: Duration) -> Worked {
    let waiting =
        Backlog { link: "relay", profile: "default", prefix: "found-", events, state: InboundState::Received };
    fill(world.home(), &waiting).await;
    let begun = Instant::now();
    world.serve().await;
    all_answered(world, events, ceiling).await;
    let answered = share(cpu(world.gateway()), events);
    Worked { found: Duration::ZERO, answered, took: begun.elapsed(), resident: 0 }
}

async fn all_answered(world: &World, events: usize, ceiling: Duration) {
    let status = until(world, ceiling, |status| status["ledger"]["inbound"]["done"] == events).await;
    assert_eq!(status["turns"]["done"], events, "each ran once: {}", status["turns"]);
    until(world, ceiling, |status| status["ledger"]["outbound"]["delivered"] == events).await;
    for child in status["actors"]["children"].as_array().expect("the tree has children") {
        assert_eq!(child["restarts_total"], 0, "{child}");
    }
    let log = world.gateway().log();
    let odd = log.lines().find(|line| line.contains("unresponsive") || line.contains(" ERROR "));
    assert_eq!(odd, None, "a thread was abandoned, or a message was lost");
}

async fn until(world: &World, ceiling: Duration, is: impl Fn(&Value) -> bool) -> Value {
    let limit = QueryLimit::new("a status of the backlog", ceiling);
    loop {
        let status = world.status().await;
        if is(&status) {
            return status;
        }
        limit.pause(QUERY_PAUSE, || format!(": {} {}", status["turns"], status["ledger"])).await;
    }
}

/// CPU time of a process, in all its threads.
pub(crate) fn cpu(process: &Process) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).expect("the process runs");
    let (_, fields) = stat.rsplit_once(')').expect("its name is in brackets");
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("a count")).sum();
    Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).expect("the tick rate fits")
}

fn share(whole: Duration, events: usize) -> Duration {
    whole / u32::try_from(events).expect("the count fits")
}
