//! Connection faults of every kind while messages flow both ways.
//!
//! Lost and repeated messages are counted by the connector and the agent, open sockets by the connector and the
//! proxy; no count is the gateway's own. `CADUCEUS_LONG=1` injects 1,000 faults instead of 60.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::join;
use serde_json::{Value, json};

use crate::proxy::{ConnectionFault, Dials, FaultProxy};
use crate::support::{Process, SOON, client, long, pace, reserved_port, send, wait_for};
use crate::world::{BOOKKEEPER, World};

/// Short timeouts of the link, so that a fault is over quickly. A dead link is detected after a second instead of 45.
const TIMES: &str = "relay: {ping_s: 0.3, silence_s: 1, dial_s: 1, handshake_s: 1, result_s: 2, redial_floor_ms: 20, redial_ceiling_ms: 200}\n";
/// The upper end of a wait between two dials.
const CEILING: Duration = Duration::from_millis(200);
/// Chats that messages come from in turn.
const CHATS: usize = 8;
/// Pause between two messages, so that two cores have time for the agents.
const PACE: Duration = Duration::from_millis(25);
/// Messages without an answer at one time; a session queues 32.
const IN_FLIGHT: usize = 48;
/// Failed dials that are examined.
const DIALS: usize = 40;

#[derive(Debug, Clone, Copy)]
enum LinkFault {
    Wire(ConnectionFault),
    /// The connector closes with this code.
    Close(u16, &'static str),
    /// The connection ends, and dials fail for a while.
    Outage(Dials),
    /// `kill -9` of the connector, and its restart on the same data file.
    Restart,
}

const FAULTS: [LinkFault; 20] = [
    LinkFault::Wire(ConnectionFault::Reset),
    LinkFault::Close(1000, ""),
    LinkFault::Wire(ConnectionFault::CutInbound(7)),
    LinkFault::Wire(ConnectionFault::End),
    LinkFault::Close(1001, "going away"),
    LinkFault::Wire(ConnectionFault::Slow(2_000)),
    LinkFault::Wire(ConnectionFault::CutOutbound(9)),
    LinkFault::Close(1011, "internal error"),
    LinkFault::Outage(Dials::CloseAtOnce),
    LinkFault::Wire(ConnectionFault::HalfOpen),
    LinkFault::Close(1012, "restart"),
    LinkFault::Wire(ConnectionFault::CutInbound(300)),
    LinkFault::Wire(ConnectionFault::DropInbound),
    LinkFault::Close(4000, "superseded"),
    LinkFault::Wire(ConnectionFault::CutOutbound(250)),
    LinkFault::Close(4401, "expired"),
    LinkFault::Wire(ConnectionFault::DropOutbound),
    LinkFault::Close(1013, "try again later"),
    LinkFault::Outage(Dials::Swallow),
    LinkFault::Restart,
];

/// The accounts of earlier processes of the connector: a restart loses its account.
#[derive(Default)]
struct EarlierAccounts {
    events: BTreeMap<String, Value>,
    most_open: u64,
}

/// A gateway that dials its connector through the proxy.
struct ProxiedWorld {
    world: RefCell<World>,
    proxy: FaultProxy,
    data: tempfile::TempDir,
    earlier: RefCell<EarlierAccounts>,
    pushed: RefCell<Vec<String>>,
    /// No messages are sent for the moment.
    paused: Cell<bool>,
}

impl ProxiedWorld {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let connector = connector(&format!("127.0.0.1:{}", reserved_port()), &data);
        let proxy = FaultProxy::start(connector.authority().parse().unwrap());
        let mut world = World::prepare_with(connector).await;
        let env = fs::read_to_string(world.path(".env")).unwrap();
        world.write(".env", &env.replace(world.connector.authority(), &proxy.address.to_string()));
        world.write("agent.sh", BOOKKEEPER);
        world.configure(TIMES);
        world.serve().await;
        let (earlier, pushed, paused) = (RefCell::default(), RefCell::default(), Cell::new(false));
        Self { world: RefCell::new(world), proxy, data, earlier, pushed, paused }
    }

    /// Sends one message after the other until `done`.
    async fn push_messages(&self, done: &Cell<bool>) {
        while !done.get() {
            pace(PACE).await;
            let number = self.pushed.borrow().len();
            if self.paused.get() || (number.is_multiple_of(IN_FLIGHT) && self.unanswered().await.len() > IN_FLIGHT / 2)
            {
                continue;
            }
            let id = format!("m{number}");
            let body = json!({"event": World::message(&id, &id, &format!("c{}", number % CHATS), None)});
            let url = format!("{}/dev/inbound", self.world.borrow().connector.url);
            self.pushed.borrow_mut().push(id);
            assert_eq!(request_json(client().post(&url), &body).await.0, 202);
        }
    }

    /// Messages whose answer no process of the connector has received.
    async fn unanswered(&self) -> Vec<String> {
        let account = self.account().await;
        let answered = |id: &String| {
            let here = account["events"][id]["answered"].as_u64() > Some(0);
            here || self.earlier.borrow().events.get(id).is_some_and(|event| event["answered"].as_u64() > Some(0))
        };
        self.pushed.borrow().iter().filter(|id| !answered(id)).cloned().collect()
    }

    async fn account(&self) -> Value {
        let url = format!("{}/dev/account", self.world.borrow().connector.url);
        request_json(client().get(&url), &Value::Null).await.1
    }

    async fn settled(&self) {
        wait_for("an answer to every message", 3 * SOON, || async { self.unanswered().await.is_empty().then_some(()) })
            .await;
    }

    /// Waits until the gateway has completed the handshake of a dial after the first `dials`.
    async fn up_again(&self, dials: usize) {
        wait_for("the link to be up again", SOON, || async {
            if self.proxy.record().dials.len() <= dials {
                return None;
            }
            let status = self.account().await;
            let link = status["links"].as_array()?.iter().find(|link| link["gatewayId"] == "world")?.clone();
            (link["connected"] == true).then_some(())
        })
        .await;
    }

    async fn inject(&self, fault: LinkFault) {
        let dials = self.proxy.record().dials.len();
        match fault {
            LinkFault::Wire(inject) => {
                self.proxy.inject(inject);
                if let ConnectionFault::Slow(_) = inject {
                    return pace(PACE).await;
                }
            }
            LinkFault::Close(code, reason) => {
                let url = format!("{}/dev/faults", self.world.borrow().connector.url);
                let close = json!({"close": {"code": code, "reason": reason}});
                assert_eq!(request_json(client().post(&url), &close).await.0, 200);
            }
            LinkFault::Outage(how) => {
                self.proxy.dials(how);
                self.proxy.inject(ConnectionFault::End);
                let tries = if how == Dials::CloseAtOnce { 4 } else { 1 };
                wait_for("failed dials", SOON, || async {
                    (self.proxy.record().dials.len() >= dials + tries).then_some(())
                })
                .await;
                let dials = self.proxy.record().dials.len();
                self.proxy.dials(Dials::Pass);
                return self.up_again(dials).await;
            }
            LinkFault::Restart => self.restart_connector().await,
        }
        self.up_again(dials).await;
    }

    /// Whether the data file of the connector holds no frame that waits for its acknowledgement.
    fn data_file_is_empty(&self) -> bool {
        let text = fs::read(data_file(&self.data)).unwrap_or_default();
        let saved: Value = serde_json::from_slice(&text).unwrap_or_default();
        let buffers = saved["buffers"].as_object();
        buffers.is_some_and(|buffers| buffers.values().all(|frames| frames.as_array().is_some_and(Vec::is_empty)))
    }

    /// The account is lost with the process, so no message is in flight while it is read for the last time.
    async fn restart_connector(&self) {
        self.paused.set(true);
        self.settled().await;
        // A frame whose acknowledgement is not in the data file yet would be sent again by the next process.
        wait_for("an empty buffer in the data file", SOON, || async { self.data_file_is_empty().then_some(()) }).await;
        let account = self.account().await;
        let mut earlier = self.earlier.borrow_mut();
        earlier.most_open = earlier.most_open.max(most_open(&account));
        for (id, event) in account["events"].as_object().unwrap() {
            let before = earlier.events.get(id).and_then(|event| event["answered"].as_u64()).unwrap_or(0);
            let mut event = event.clone();
            event["answered"] = json!(event["answered"].as_u64().unwrap_or(0) + before);
            earlier.events.insert(id.clone(), event);
        }
        let mut world = self.world.borrow_mut();
        let address = world.connector.authority().to_owned();
        world.connector.signal("KILL");
        world.connector.wait_for_exit();
        world.connector = connector(&address, &self.data);
        self.paused.set(false);
    }
}

/// Over a new connection: a kept one may lead to a killed connector.
async fn request_json(request: awc::ClientRequest, body: &Value) -> (u16, Value) {
    send(request.force_close(), body.to_string()).await
}

fn data_file(data: &tempfile::TempDir) -> PathBuf {
    data.path().join("connector.json")
}

fn connector(address: &str, data: &tempfile::TempDir) -> Process {
    let file = data_file(data);
    Process::start(&["connector", "--bind", address, "--data", file.to_str().unwrap()])
}

fn most_open(account: &Value) -> u64 {
    account["gateways"]["world"]["mostOpen"].as_u64().unwrap_or(0)
}

/// How long two sockets of the gateway were open at once, by the connector's account, for each occurrence.
fn doubled(account: &Value) -> Vec<i64> {
    let sockets = account["gateways"]["world"]["sockets"].as_array().cloned().unwrap_or_default();
    let at = |entry: &Value| (entry["atMs"].as_i64().unwrap(), entry["open"].as_u64().unwrap());
    sockets.windows(2).filter(|pair| at(&pair[0]).1 > 1).map(|pair| at(&pair[1]).0 - at(&pair[0]).0).collect()
}

#[actix_web::test]
async fn network_faults_lose_no_message_run_none_twice_and_double_no_link() {
    let faults = if long() { 1_000 } else { 60 };
    let proxied = ProxiedWorld::start().await;
    let done = Cell::new(false);
    let injecting = async {
        for number in 0..faults {
            let fault = FAULTS[number % FAULTS.len()];
            let begun = Instant::now();
            proxied.inject(fault).await;
            println!("{number}: {fault:?}, up again after {:?}", begun.elapsed());
            pace(3 * PACE).await;
        }
        done.set(true);
    };
    join(injecting, proxied.push_messages(&done)).await;
    proxied.settled().await;

    let account = proxied.account().await;
    let earlier = proxied.earlier.borrow();
    let pushed = proxied.pushed.borrow();
    let record = proxied.proxy.record();
    println!("{faults} faults, {} messages, {} dials", pushed.len(), record.dials.len());
    assert!(pushed.len() > faults, "messages were sent throughout: {}", pushed.len());

    // By the agent's account each message ran once. By the connector's account each was answered, and a second time only with a mark.
    let mut ran = BTreeMap::<String, usize>::new();
    for (_, attempt, text) in proxied.world.borrow().agent_account(None) {
        assert_eq!(attempt, 1, "{text}");
        *ran.entry(text).or_default() += 1;
    }
    for id in pushed.iter() {
        assert_eq!(ran.get(id), Some(&1), "{id} ran once");
        for event in [&account["events"][id], earlier.events.get(id).unwrap_or(&Value::Null)] {
            let (answered, repeats) = (event["answered"].as_u64(), event["repeats"].as_u64().unwrap_or(0));
            assert!(answered <= Some(1 + repeats), "{id}: {event}");
        }
    }

    // The gateway closes a socket before it opens the next. The connector may not have received the close: it drops the older socket as
    // soon as the newer one is connected.
    assert_eq!(record.most_open, 1, "the gateway's sockets, seen from the network");
    assert!(most_open(&account).max(earlier.most_open) <= 2, "{}", account["gateways"]);
    let doubled = doubled(&account);
    println!("two sockets at once, by the connector's account, in ms: {doubled:?}");
    assert!(doubled.iter().all(|ms| *ms < 3_000), "only while the older socket is being closed: {doubled:?}");
}

#[actix_web::test]
async fn redials_are_jittered_and_bounded() {
    let proxied = ProxiedWorld::start().await;
    let before = proxied.proxy.record().dials.len();
    proxied.proxy.dials(Dials::CloseAtOnce);
    proxied.proxy.inject(ConnectionFault::Reset);
    wait_for("many failed dials", SOON, || async {
        (proxied.proxy.record().dials.len() >= before + DIALS).then_some(())
    })
    .await;
    let dials = proxied.proxy.record().dials[before..].to_vec();
    let mut waits: Vec<Duration> = dials.windows(2).map(|pair| pair[1] - pair[0]).skip(6).collect();
    waits.sort();
    println!("waits: {waits:?}");
    // Full jitter is spread evenly below the ceiling. A dial itself takes as long as the shortest wait, at least, on a busy machine.
    let at = |fifths: usize| waits[waits.len() * fifths / 5].saturating_sub(waits[0]);
    assert!(at(4) > at(1) + CEILING / 5, "not all at once, not all at the ceiling: {waits:?}");
    assert!(at(2) < CEILING, "bounded: {waits:?}");
    proxied.proxy.dials(Dials::Pass);
    proxied.up_again(before + DIALS).await;
}
