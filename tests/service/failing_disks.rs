//! A disk that fills up, stalls, becomes read-only or loses the ledger under traffic, and comes back: nothing is acknowledged meanwhile, every
//! event is answered once, and the gateway continues without a restart.

use std::cell::{Cell, RefCell};
use std::fs;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use actix_web::rt::task::JoinHandle;
use awc::http::header::RETRY_AFTER;
use caduceus_contract::wire::delivery::sign;
use serde_json::{Value, json};

use crate::refused_writes::put_on_sick_disk;
use crate::support::{Process, SOON, binary, client, get, long, pace, post, wait_for};
use crate::world::World;

/// The time of a stall after which the ledger reports it is 5 s; a link and a delivery have no answer for longer.
const CEILING: Duration = Duration::from_mins(2);
/// Pause between two events.
const PAUSE: Duration = Duration::from_millis(20);
/// Events that a link reads without an answer for them, and those of one read beyond.
const READ_AHEAD: u64 = 256 + 64;
const KEY: &str = "the delivery key";

/// How long the disk stays as it is once the gateway has reported it.
fn outage() -> Duration {
    if long() { Duration::from_secs(30) } else { Duration::from_secs(2) }
}

/// Events that arrive all the time.
struct Traffic {
    pushed: Rc<RefCell<Vec<String>>>,
    goes_on: Rc<Cell<bool>>,
    task: JoinHandle<()>,
}

impl Traffic {
    fn start(world: &World) -> Self {
        let (pushed, goes_on) = (Rc::<RefCell<Vec<String>>>::default(), Rc::new(Cell::new(true)));
        let url = format!("{}/dev/inbound", world.connector.url);
        let (all, runs) = (Rc::clone(&pushed), Rc::clone(&goes_on));
        let task = actix_web::rt::spawn(async move {
            for number in 0.. {
                if !runs.get() {
                    return;
                }
                // In many chats: a session queues a few dozen events at most.
                let (id, chat) = (format!("m{number}"), format!("c{}", number % 400));
                let (status, answer) = post(&url, &json!({"event": World::message(&id, &id, &chat, None)})).await;
                assert_eq!(status, 202, "{answer}");
                all.borrow_mut().push(id);
                pace(PAUSE).await;
            }
        });
        Self { pushed, goes_on, task }
    }

    /// The events that were pushed.
    async fn stop(self) -> Vec<String> {
        self.goes_on.set(false);
        self.task.await.expect("every event was accepted by the connector");
        self.pushed.take()
    }
}

/// Frames of this kind, as the connector counts them.
async fn received_by_connector(world: &World, kind: &str) -> u64 {
    world.account().await["gateways"]["world"]["frames"][kind].as_u64().unwrap_or_default()
}

/// Events that the link has read.
async fn read_by_link(world: &World) -> u64 {
    world.status().await["relay"][0]["frames"]["inbound"].as_u64().unwrap_or_default()
}

/// Waits until this many events at least are answered.
async fn until_answered(world: &World, events: usize) {
    wait_for(&format!("{events} answers"), CEILING, || async {
        let account = world.account().await;
        let events_answered = account["events"].as_object()?.values().filter(|event| event["answered"] != 0).count();
        (events_answered >= events).then_some(())
    })
    .await;
}

/// A world with the agent `echo` that accepts signed deliveries.
pub(crate) async fn prepare() -> World {
    let world = World::prepare().await;
    let env = fs::read_to_string(world.path(".env")).unwrap();
    world.write(".env", &format!("{env}GATEWAY_RELAY_DELIVERY_KEY={KEY:?}\n"));
    world.write("caduceus.yaml", "agent:\n  backend: echo\n");
    world
}

/// Delivers an event over HTTP. Returns the status, the body, and whether the sender learns when to try again.
pub(crate) async fn deliver(world: &World, id: &str, chat: &str) -> (u16, Value, bool) {
    let body = json!({"event": World::message(id, id, chat, None)}).to_string().into_bytes();
    let now_s = jiff::Timestamp::now().as_second();
    let request = client()
        .post(world.url("/relay/inbound"))
        .insert_header(("x-relay-timestamp", now_s.to_string()))
        .insert_header(("x-relay-signature", sign(&body, now_s, &KEY.into())));
    let mut answer = request.timeout(CEILING).send_body(body).await.expect("the gateway answers");
    let bytes = answer.body().await.unwrap();
    let has_time = answer.headers().contains_key(RETRY_AFTER);
    (answer.status().as_u16(), serde_json::from_slice(&bytes).unwrap_or_default(), has_time)
}

/// The disk fails with `fail` and works again with `mend`, while events arrive. `stalls`: writes do not fail, but have no answer.
async fn fails_under_traffic(world: &World, name: &str, stalls: bool, fail: impl Fn(), mend: impl Fn()) -> Vec<String> {
    let traffic = Traffic::start(world);
    until_answered(world, 20).await;
    fail();
    let not_ready = || async { (world.ready().await == 503).then_some(()) };
    wait_for(&format!("{name}: readiness to end"), CEILING, not_ready).await;

    // What was on disk before is acknowledged and answered; nothing else.
    let acknowledged = received_by_connector(world, "inbound_ack").await;
    let before = read_by_link(world).await;
    let delivery = format!("delivered-{name}");
    let (code, body, has_time) = deliver(world, &delivery, "delivered").await;
    assert_eq!((code, &body["error"], has_time), (503, &json!("not_taken"), true), "{name}");
    pace(outage()).await;
    assert_eq!(world.ready().await, 503, "{name}");
    assert_eq!(received_by_connector(world, "inbound_ack").await, acknowledged, "{name}: acknowledged meanwhile");
    let read = read_by_link(world).await;
    assert!(read <= acknowledged + READ_AHEAD, "{name}: {read} events read and {acknowledged} acknowledged");
    if !stalls {
        assert!(read - before <= READ_AHEAD, "{name}: the link reads on");
    }
    let arrived = traffic.pushed.borrow().len();

    mend();
    wait_for(&format!("{name}: readiness to return"), CEILING, || async { (world.ready().await == 200).then_some(()) })
        .await;
    // Events that arrive afterwards are answered as well.
    until_answered(world, arrived + 20).await;
    let mut pushed = traffic.stop().await;
    let (code, ..) = deliver(world, &delivery, "delivered").await;
    assert_eq!(code, 200, "{name}");
    until_answered(world, pushed.len() + 1).await;
    pushed.push(delivery);
    pushed
}

/// Every event has one row that is done, and one answer.
async fn assert_each_once(world: &World, pushed: &[String]) {
    let done = |status: &Value| status["ledger"]["inbound"] == json!({"done": pushed.len()});
    let status = world.until("every event done", done).await;
    assert_eq!(status["ledger"]["outbound"], json!({"delivered": pushed.len()}));
    let account = world.account().await;
    for id in pushed {
        let event = &account["events"][id];
        assert_eq!((&event["answered"], &event["repeats"]), (&json!(1), &json!(0)), "{id}: {event}");
    }
    assert_eq!(account["gateways"]["world"]["dials"], 1, "the link stayed up");
}

#[actix_web::test]
async fn a_disk_that_is_full_read_only_or_stalled_for_a_while_costs_no_event_and_doubles_none() {
    for disk in ["full", "read-only", "stalled"] {
        let mut world = prepare().await;
        put_on_sick_disk(&mut world);
        world.serve().await;
        let mend = || fs::remove_file(world.path("disk")).unwrap();
        let pushed = fails_under_traffic(&world, disk, disk == "stalled", || world.write("disk", disk), mend).await;
        println!("{disk}: {} events", pushed.len());
        assert_each_once(&world, &pushed).await;
        world.kill_gateway();
        world.serve().await;
        world.push("last", "last", "last", None).await;
        world.answer("last").await;
        let status = world.until("the last one done", |status| status["ledger"]["inbound"]["done"] != 0).await;
        assert_eq!(status["ledger"]["inbound"], json!({"done": pushed.len() + 1}), "none came back");
        let account = world.account().await;
        assert!(pushed.iter().all(|id| account["events"][id]["answered"] == 1), "no answer came again");
    }
}

/// Mounts a small disk for the ledger and runs the gateway on it. While the file at `$2` says `full`, another file fills the disk.
const SMALL_DISK: &str = r#"
set -e
mkdir -p "$1"
mount -t tmpfs -o size=6m none "$1"
{
    while kill -0 $$ 2>/dev/null; do
        if [ -e "$2" ]; then
            [ -e "$1/filler" ] || head -c 64m /dev/zero > "$1/filler" 2>/dev/null || true
        else
            rm -f "$1/filler"
        fi
        sleep 0.05
    done
} > /dev/null 2>&1 &
shift 2
exec "$@"
"#;

#[actix_web::test]
async fn a_real_disk_that_fills_up_and_is_emptied_costs_no_event_and_doubles_none() {
    let mut world = prepare().await;
    let (ledger, order) = (world.path("caduceus").display().to_string(), world.path("disk").display().to_string());
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", SMALL_DISK, "sh", &ledger, &order]);
    command.arg(binary().get_program()).args(["serve", "--home"]).arg(world.home()).args(["--bind", "127.0.0.1:0"]);
    world.gateway = Some(Process::spawn(&mut command));
    world.until("the link to be up", |status| status["relay"][0]["state"] == "connected").await;
    let mend = || fs::remove_file(world.path("disk")).unwrap();
    let pushed = fails_under_traffic(&world, "filled", false, || world.write("disk", "full"), mend).await;
    println!("{} events", pushed.len());
    assert_each_once(&world, &pushed).await;
    let log = world.gateway().log();
    assert!(log.contains("disk is full"), "the real error is reported");
}

#[actix_web::test]
async fn a_ledger_that_is_unlinked_replaced_or_moved_with_its_directory_takes_nothing_until_it_is_back() {
    let mut world = prepare().await;
    world.serve().await;
    let (directory, file) = (world.path("caduceus"), world.path("caduceus/ledger.db"));
    let away = world.path("away");
    let mut pushed = 0;
    for name in ["unlinked", "replaced", "moved"] {
        let what = if name == "moved" { &directory } else { &file };
        world.push(&format!("before-{name}"), "hello", "c1", None).await;
        world.answer(&format!("before-{name}")).await;
        fs::rename(what, &away).unwrap();
        if name == "replaced" {
            fs::write(what, "another file").unwrap();
        }
        let words = if name == "replaced" { "replaced" } else { "removed" };
        let reported = |status: &Value| status["ledger"]["trouble"].as_str().is_some_and(|text| text.contains(words));
        world.until(name, reported).await;
        assert_eq!(world.ready().await, 503, "{name}");
        let acknowledged = received_by_connector(&world, "inbound_ack").await;
        world.push(&format!("during-{name}"), "hello", "c1", None).await;
        let (code, body, has_time) = deliver(&world, &format!("delivered-{name}"), "delivered").await;
        assert_eq!((code, &body["error"], has_time), (503, &json!("not_taken"), true), "{name}");
        assert_eq!(received_by_connector(&world, "inbound_ack").await, acknowledged, "{name}");

        if name == "replaced" {
            fs::remove_file(what).unwrap();
        }
        fs::rename(&away, what).unwrap();
        world.answer(&format!("during-{name}")).await;
        let ready = || async { (get(&world.url("/readyz")).await.0 == 200).then_some(()) };
        wait_for(&format!("{name}: readiness to return"), SOON, ready).await;
        pushed += 2;
        world.until("all done", |status| status["ledger"]["inbound"] == json!({"done": pushed})).await;
    }
    world.kill_gateway();
    world.serve().await;
    let status = world.status().await;
    assert_eq!(status["ledger"]["inbound"], json!({"done": pushed}), "all of it is in the file");
}
