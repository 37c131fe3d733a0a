//! Connection faults of every kind while messages flow both ways.
//!
//! What was lost or run twice is told by the connector and by the agent; which sockets were open, by the connector and by the
//! proxy. Never by the gateway. `CADUCEUS_LONG=1` strikes 1,000 times instead of 60.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use actix_web::rt::time::sleep;
use futures_util::future::join;
use serde_json::{Value, json};

use crate::proxy::{Dials, Proxy, Strike};
use crate::support::{Process, SOON, client, long, send, wait_for};
use crate::world::{BOOKKEEPER, World};

/// Times of the link, so short that a fault takes a moment. A dead link is found after a second instead of 45.
const TIMES: &str = "relay: {ping_s: 0.3, silence_s: 1, dial_s: 1, handshake_s: 1, result_s: 2, redial_floor_ms: 20, redial_ceiling_ms: 200}\n";
/// The upper end of a wait between two dials.
const CEILING: Duration = Duration::from_millis(200);
/// Chats that messages come from in turn.
const CHATS: usize = 8;
/// Between two messages, so that two cores have time for the agents.
const PACE: Duration = Duration::from_millis(25);
/// Messages without an answer at one time; a session queues 32.
const UNDER_WAY: usize = 48;
/// Dials in vain that are looked at.
const DIALS: usize = 40;

#[derive(Debug, Clone, Copy)]
enum Fault {
    Wire(Strike),
    /// The connector closes with this code.
    Close(u16, &'static str),
    /// The connection ends, and then dials come to nothing for a while.
    Outage(Dials),
    /// `kill -9` of the connector, which comes back with its data file.
    Restart,
}

const FAULTS: [Fault; 20] = [
    Fault::Wire(Strike::Reset),
    Fault::Close(1000, ""),
    Fault::Wire(Strike::CutInbound(7)),
    Fault::Wire(Strike::End),
    Fault::Close(1001, "going away"),
    Fault::Wire(Strike::Slow(2_000)),
    Fault::Wire(Strike::CutOutbound(9)),
    Fault::Close(1011, "trouble"),
    Fault::Outage(Dials::CloseAtOnce),
    Fault::Wire(Strike::HalfOpen),
    Fault::Close(1012, "restart"),
    Fault::Wire(Strike::CutInbound(300)),
    Fault::Wire(Strike::Mute),
    Fault::Close(4000, "superseded"),
    Fault::Wire(Strike::CutOutbound(250)),
    Fault::Close(4401, "expired"),
    Fault::Wire(Strike::Deaf),
    Fault::Close(1013, "try again later"),
    Fault::Outage(Dials::Swallow),
    Fault::Restart,
];

/// What the connector has said of itself in earlier lives, for a restart loses its account.
#[derive(Default)]
struct Past {
    events: BTreeMap<String, Value>,
    most_open: u64,
}

/// A gateway that dials its connector through the proxy.
struct Scene {
    world: RefCell<World>,
    proxy: Proxy,
    data: tempfile::TempDir,
    past: RefCell<Past>,
    said: RefCell<Vec<String>>,
    /// Nothing is said for the moment.
    quiet: Cell<bool>,
}

impl Scene {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let connector = connector("127.0.0.1:0", &data);
        let proxy = Proxy::start(connector.authority().parse().unwrap());
        let mut world = World::prepare_with(connector).await;
        let env = fs::read_to_string(world.path(".env")).unwrap();
        world.write(".env", &env.replace(world.connector.authority(), &proxy.address.to_string()));
        world.write("agent.sh", BOOKKEEPER);
        world.configure(TIMES);
        world.serve().await;
        let (past, said, quiet) = (RefCell::default(), RefCell::default(), Cell::new(false));
        Self { world: RefCell::new(world), proxy, data, past, said, quiet }
    }

    /// Says one thing after the other until `done`.
    async fn talk(&self, done: &Cell<bool>) {
        while !done.get() {
            sleep(PACE).await;
            let number = self.said.borrow().len();
            if self.quiet.get() || (number.is_multiple_of(UNDER_WAY) && self.unanswered().await.len() > UNDER_WAY / 2) {
                continue;
            }
            let id = format!("m{number}");
            let body = json!({"event": World::message(&id, &id, &format!("c{}", number % CHATS), None)});
            let url = format!("{}/dev/inbound", self.world.borrow().connector.url);
            self.said.borrow_mut().push(id);
            assert_eq!(ask(client().post(&url), &body).await.0, 202);
        }
    }

    /// Messages that no life of the connector has seen answered.
    async fn unanswered(&self) -> Vec<String> {
        let account = self.account().await;
        let answered = |id: &String| {
            let here = account["events"][id]["answered"].as_u64() > Some(0);
            here || self.past.borrow().events.get(id).is_some_and(|event| event["answered"].as_u64() > Some(0))
        };
        self.said.borrow().iter().filter(|id| !answered(id)).cloned().collect()
    }

    async fn account(&self) -> Value {
        let url = format!("{}/dev/account", self.world.borrow().connector.url);
        ask(client().get(&url), &Value::Null).await.1
    }

    async fn settled(&self) {
        wait_for("an answer to every message", 3 * SOON, || async { self.unanswered().await.is_empty().then_some(()) })
            .await;
    }

    /// Waits until the gateway is through a handshake of a dial that came after `dials` of them.
    async fn up_again(&self, dials: usize) {
        wait_for("the link to be up again", SOON, || async {
            if self.proxy.seen().dials.len() <= dials {
                return None;
            }
            let status = self.account().await;
            let link = status["links"].as_array()?.iter().find(|link| link["gatewayId"] == "world")?.clone();
            (link["connected"] == true).then_some(())
        })
        .await;
    }

    async fn strike(&self, fault: Fault) {
        let dials = self.proxy.seen().dials.len();
        match fault {
            Fault::Wire(strike) => {
                self.proxy.strike(strike);
                if let Strike::Slow(_) = strike {
                    return sleep(PACE).await;
                }
            }
            Fault::Close(code, reason) => {
                let url = format!("{}/dev/faults", self.world.borrow().connector.url);
                let close = json!({"close": {"code": code, "reason": reason}});
                assert_eq!(ask(client().post(&url), &close).await.0, 200);
            }
            Fault::Outage(how) => {
                self.proxy.dials(how);
                self.proxy.strike(Strike::End);
                let tries = if how == Dials::CloseAtOnce { 4 } else { 1 };
                wait_for("dials in vain", SOON, || async {
                    (self.proxy.seen().dials.len() >= dials + tries).then_some(())
                })
                .await;
                let dials = self.proxy.seen().dials.len();
                self.proxy.dials(Dials::Pass);
                return self.up_again(dials).await;
            }
            Fault::Restart => self.restart_connector().await,
        }
        self.up_again(dials).await;
    }

    /// Its account dies with it, so nothing is under way while it is read for the last time.
    async fn restart_connector(&self) {
        self.quiet.set(true);
        self.settled().await;
        // Acknowledgements are written to its data file within 100 ms.
        sleep(Duration::from_millis(300)).await;
        let account = self.account().await;
        let mut past = self.past.borrow_mut();
        past.most_open = past.most_open.max(most_open(&account));
        for (id, event) in account["events"].as_object().unwrap() {
            let before = past.events.get(id).and_then(|event| event["answered"].as_u64()).unwrap_or(0);
            let mut event = event.clone();
            event["answered"] = json!(event["answered"].as_u64().unwrap_or(0) + before);
            past.events.insert(id.clone(), event);
        }
        let mut world = self.world.borrow_mut();
        let address = world.connector.authority().to_owned();
        world.connector.signal("KILL");
        world.connector.ended();
        world.connector = connector(&address, &self.data);
        self.quiet.set(false);
    }
}

/// Over a connection of its own: one that is kept may be to a connector that was killed.
async fn ask(request: awc::ClientRequest, body: &Value) -> (u16, Value) {
    send(request.force_close(), body.to_string()).await
}

fn connector(address: &str, data: &tempfile::TempDir) -> Process {
    let file = data.path().join("connector.json");
    Process::start(&["connector", "--bind", address, "--data", file.to_str().unwrap()])
}

fn most_open(account: &Value) -> u64 {
    account["gateways"]["world"]["mostOpen"].as_u64().unwrap_or(0)
}

/// For how long two sockets of the gateway were open at once, by the connector's account, each time.
fn doubled(account: &Value) -> Vec<i64> {
    let sockets = account["gateways"]["world"]["sockets"].as_array().cloned().unwrap_or_default();
    let at = |entry: &Value| (entry["atMs"].as_i64().unwrap(), entry["open"].as_u64().unwrap());
    sockets.windows(2).filter(|pair| at(&pair[0]).1 > 1).map(|pair| at(&pair[1]).0 - at(&pair[0]).0).collect()
}

#[actix_web::test]
async fn faults_of_the_network_lose_no_message_run_none_twice_and_double_no_link() {
    let strikes = if long() { 1_000 } else { 60 };
    let scene = Scene::start().await;
    let done = Cell::new(false);
    let striking = async {
        for number in 0..strikes {
            let fault = FAULTS[number % FAULTS.len()];
            let begun = Instant::now();
            scene.strike(fault).await;
            println!("{number}: {fault:?}, up again after {:?}", begun.elapsed());
            sleep(3 * PACE).await;
        }
        done.set(true);
    };
    join(striking, scene.talk(&done)).await;
    scene.settled().await;

    let account = scene.account().await;
    let past = scene.past.borrow();
    let said = scene.said.borrow();
    let seen = scene.proxy.seen();
    println!("{strikes} faults, {} messages, {} dials", said.len(), seen.dials.len());
    assert!(said.len() > strikes, "messages flowed all the while: {}", said.len());

    // By the agent's account: each ran once. By the connector's: each was answered, and a second time only with a mark.
    let mut ran = BTreeMap::<String, usize>::new();
    for (_, attempt, text) in scene.world.borrow().agent_account(None) {
        assert_eq!(attempt, 1, "{text}");
        *ran.entry(text).or_default() += 1;
    }
    for id in said.iter() {
        assert_eq!(ran.get(id), Some(&1), "{id} ran once");
        for event in [&account["events"][id], past.events.get(id).unwrap_or(&Value::Null)] {
            let (answered, repeats) = (event["answered"].as_u64(), event["repeats"].as_u64().unwrap_or(0));
            assert!(answered <= Some(1 + repeats), "{id}: {event}");
        }
    }

    // The gateway closes a socket before it opens the next. The connector may not have heard of it: it drops the older one as
    // soon as the newer is there.
    assert_eq!(seen.most_open, 1, "the gateway's sockets, seen from the network");
    assert!(most_open(&account).max(past.most_open) <= 2, "{}", account["gateways"]);
    let doubled = doubled(&account);
    println!("two sockets at once, by the connector's account, for so many ms: {doubled:?}");
    assert!(doubled.iter().all(|ms| *ms < 3_000), "only while the older one is being closed: {doubled:?}");
}

#[actix_web::test]
async fn redials_are_jittered_and_bounded() {
    let scene = Scene::start().await;
    let before = scene.proxy.seen().dials.len();
    scene.proxy.dials(Dials::CloseAtOnce);
    scene.proxy.strike(Strike::Reset);
    wait_for("many dials in vain", SOON, || async { (scene.proxy.seen().dials.len() >= before + DIALS).then_some(()) })
        .await;
    let dials = scene.proxy.seen().dials[before..].to_vec();
    let mut waits: Vec<Duration> = dials.windows(2).map(|pair| pair[1] - pair[0]).skip(6).collect();
    waits.sort();
    println!("waits: {waits:?}");
    // Full jitter is spread evenly below the ceiling: the middle of many is near half of it, and a fifth is below a third.
    let middle = waits[waits.len() / 2];
    assert!(middle > CEILING / 8 && middle < CEILING, "not all at once, not all at the ceiling: {middle:?}");
    assert!(waits[waits.len() / 5] < CEILING / 2, "spread: {waits:?}");
    scene.proxy.dials(Dials::Pass);
    scene.up_again(before + DIALS).await;
}
