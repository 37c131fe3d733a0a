//! Traffic during injected faults, and the connector's account of it afterwards.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future;
use serde_json::Value;

use crate::support::{QueryLimit, SOON, client, get, pace, wait_for};
use crate::world::World;

/// Chats that messages come from in turn.
const CHATS: usize = 8;
/// Pause between two messages, because both ends of the wire share two cores with the rest.
const PACE: Duration = Duration::from_millis(15);
/// Messages in flight at once: all of them may wait in one session, which queues 32.
const IN_FLIGHT: usize = 24;
/// Ceiling for the last answers, including a backoff of the link.
const SETTLED: Duration = Duration::from_secs(45);

/// A supervision section whose restart intensity is not exceeded.
pub(super) const HIGH_INTENSITY: &str = "supervision:
  wedge_after_ms: 1000
  policies:
    default: {max_restarts: 1000, window_s: 60, backoff_floor_ms: 0, backoff_ceiling_ms: 0, healthy_after_s: 60}
";

/// A world with the built-in agent, in which interrupted turns run again.
pub(super) async fn start_echoing(more: &str) -> World {
    start_with("{backend: echo}", more).await
}

/// The same for a fault of the actor at `path`, which every turn uses: turns of the built-in agent do not use their profile.
pub(super) async fn start_using(path: &str, more: &str) -> World {
    let uses_profile = path.starts_with("profiles/");
    start_with(if uses_profile { "{backend: exec, command: [/bin/echo, answered]}" } else { "{backend: echo}" }, more)
        .await
}

/// The same with the default for interrupted turns: their chats get a notice, and they do not run again.
pub(super) async fn start_asking(more: &str) -> World {
    let mut world = World::prepare().await;
    world.write("caduceus.yaml", &format!("agent: {{backend: echo}}\n{more}"));
    world.serve().await;
    world
}

async fn start_with(agent: &str, more: &str) -> World {
    let mut world = World::prepare().await;
    world.write("caduceus.yaml", &format!("agent: {agent}\nturns: {{interrupted: rerun}}\n{more}"));
    world.serve().await;
    world
}

/// The observations during the traffic.
pub(super) struct TrafficRecord {
    /// Messages pushed, in order.
    pub(super) ids: Vec<String>,
    /// Requests to `/healthz` and `/api/status`, and those with another answer than 200.
    pub(super) queries: usize,
    pub(super) failures: Vec<String>,
    /// The longest time of an answer.
    pub(super) slowest: Duration,
}

/// Runs `work` while messages arrive and the siblings are queried.
pub(super) async fn under_traffic<T>(world: &World, work: impl Future<Output = T>) -> (T, TrafficRecord) {
    let done = Cell::new(false);
    let seen =
        RefCell::new(TrafficRecord { ids: Vec::new(), queries: 0, failures: Vec::new(), slowest: Duration::ZERO });
    let working = async {
        let result = work.await;
        done.set(true);
        result
    };
    let pushing = async {
        while !done.get() {
            let number = seen.borrow().ids.len();
            let id = format!("m{number}");
            world.push(&id, &format!("hello from {id}"), &chat_of(number), None).await;
            seen.borrow_mut().ids.push(id);
            pace(PACE).await;
            while number % IN_FLIGHT == IN_FLIGHT - 1 && !done.get() {
                let account = world.account().await;
                if unanswered(&account, &seen.borrow().ids).len() < IN_FLIGHT {
                    break;
                }
                pace(PACE).await;
            }
        }
    };
    let querying = async {
        while !done.get() {
            for path in ["/healthz", "/api/status"] {
                let before = Instant::now();
                let answer = get_with_retry(&world.url(path)).await;
                let mut seen = seen.borrow_mut();
                seen.queries += 1;
                seen.slowest = seen.slowest.max(before.elapsed());
                if answer.0 != 200 {
                    seen.failures.push(format!("{path}: {} {}", answer.0, answer.1));
                }
            }
            pace(PACE).await;
        }
    };
    let (result, (), ()) = future::join3(working, pushing, querying).await;
    (result, seen.into_inner())
}

/// Repeats the request over a new connection if one is cut: a restarted server loses its connections.
pub(super) async fn get_with_retry(url: &str) -> (u16, Value) {
    wait_for(&format!("an answer of {url}"), SOON, || async {
        let mut answer = client().get(url).force_close().timeout(SOON).send().await.ok()?;
        let body = answer.body().limit(64 * 1024 * 1024).await.ok()?;
        Some((answer.status().as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null)))
    })
    .await
}

/// Waits until every message was answered or its chat has a notice; returns how many got only a notice.
pub(super) async fn settled(world: &World, ids: &[String]) -> usize {
    let limit = QueryLimit::new("an answer to each message, or a notice", SETTLED);
    loop {
        let account = world.account().await;
        let left = unanswered(&account, ids);
        if left.is_empty() {
            return 0;
        }
        let notices = notices(world).await;
        let mut by_chat: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for number in &left {
            by_chat.entry(chat_of(*number)).or_default().push(&ids[*number]);
        }
        by_chat.retain(|chat, ids| notices.get(chat).copied().unwrap_or_default() < ids.len());
        if by_chat.is_empty() {
            return left.len();
        }
        let missing = || {
            let events = by_chat.values().flatten().map(|id| account["events"][*id].to_string());
            format!(": {by_chat:?}; notices {notices:?}; {}", events.collect::<Vec<_>>().join(" "))
        };
        limit.pause(Duration::from_millis(100), missing).await;
    }
}

/// Messages that were answered more than once without a mark on what may be a repeat.
pub(super) async fn doubled(world: &World) -> Vec<String> {
    let account = world.account().await;
    let events = account["events"].as_object().expect("the connector has an account");
    let twice = |event: &Value| event["answered"].as_u64() > Some(1 + event["repeats"].as_u64().unwrap_or_default());
    events.iter().filter(|(_, event)| twice(event)).map(|(id, event)| format!("{id}: {event}")).collect()
}

/// The gateway's notices of unanswered messages, by chat.
async fn notices(world: &World) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for frame in world.outbound().await {
        let action = &frame["frame"]["action"];
        let text = action["content"].as_str().unwrap_or_default();
        if ["was not answered", "interrupted the work", "try again later"].iter().any(|words| text.contains(words)) {
            *found.entry(action["chat_id"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    found
}

fn chat_of(number: usize) -> String {
    format!("c{}", number % CHATS)
}

/// Numbers of the messages without an answer at the connector.
fn unanswered(account: &Value, ids: &[String]) -> Vec<usize> {
    let waits = |id: &String| account["events"][id]["answered"].as_u64().unwrap_or_default() == 0;
    ids.iter().enumerate().filter(|(_, id)| waits(id)).map(|(number, _)| number).collect()
}

/// The node of an actor in the tree that `/api/actors` shows.
pub(super) async fn node(world: &World, path: &str) -> Option<Value> {
    let (code, tree) = get_with_retry(&world.url("/api/actors")).await;
    if code == 200 { find(&tree, path).cloned() } else { None }
}

fn find<'t>(tree: &'t Value, path: &str) -> Option<&'t Value> {
    if tree["path"] == path {
        return Some(tree);
    }
    tree["children"].as_array()?.iter().find_map(|child| find(child, path))
}

/// Waits until an actor runs in a later generation than `before`.
pub(super) async fn until_restarted(world: &World, path: &str, before: u64) -> Value {
    wait_for(&format!("{path} to run after generation {before}"), SOON, || async {
        let node = node(world, path).await?;
        (node["state"] == "running" && node["generation"].as_u64() > Some(before)).then_some(node)
    })
    .await
}

/// Prints how long something took.
pub(super) fn report(what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
    println!("{what}: p50 {:?}, p99 {:?} of {}", at(50), at(99), times.len());
}

/// Reads the gateway's status, with any code.
pub(super) async fn answers_200(world: &World) -> bool {
    get(&world.url("/healthz")).await.0 == 200 && get(&world.url("/api/status")).await.0 == 200
}
