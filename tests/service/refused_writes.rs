//! What has happened while the ledger's disk took no writes is in the ledger as soon as it takes them again.

use std::fs;

use caduceus_contract::messages::ledger::{InboundState, OutboundState};
use serde_json::{Value, json};

use crate::backlog::{Backlog, OldReply, add_reply, fill};
use crate::hung_disk::build_library;
use crate::support::{SOON, client, get, send, wait_for};
use crate::world::{BOOKKEEPER, World};

/// Writes to the ledger's files do what the file in `DISK` says, for as long as it is there: `full`, `broken`, `read-only`, or `stalled`.
const SICK_DISK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int refused(int fd) {
    const char *file = getenv("DISK");
    char link[64], path[4096], state[16];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (!file || length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, "ledger.db")) return 0;
    for (;;) {
        int said = open(file, O_RDONLY | O_CLOEXEC);
        if (said < 0) return 0;
        ssize_t got = read(said, state, sizeof state);
        close(said);
        if (got > 0 && state[0] == 'f') return ENOSPC;
        if (got > 0 && state[0] == 'b') return EIO;
        if (got > 0 && state[0] == 'r') return EROFS;
        usleep(10000);
    }
}
#define CHECKED(fd) int error = refused(fd); if (error) { errno = error; return -1; }
ssize_t write(int fd, const void *from, size_t length) {
    CHECKED(fd)
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    return real(fd, from, length);
}
ssize_t pwrite64(int fd, const void *from, size_t length, off64_t at) {
    CHECKED(fd)
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    return real(fd, from, length, at);
}
int fdatasync(int fd) {
    CHECKED(fd)
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    return real(fd);
}
int fsync(int fd) {
    CHECKED(fd)
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    return real(fd);
}
"#;

/// Sends `shown`, which is recorded first; when the file `end` is there, ends without a further reply.
const ACTING_AGENT: &str = r#"
read -r document
printf '%s %s x\n' "$CADUCEUS_TURN_ID" "$CADUCEUS_ATTEMPT" >> "$HERMES_HOME/account"
echo '{"type":"action","id":1,"action":{"op":"send","chat_id":"c1","content":"shown"}}'
read -r result
printf '%s' "$result" > "$HERMES_HOME/result"
while [ ! -e "$HERMES_HOME/end" ]; do sleep 0.05; done
echo '{"type":"final"}'
"#;

/// A gateway whose disk does what [`World::write`] says in `disk`, if that is there.
async fn on_sick_disk(agent: &str, more: &str) -> World {
    let mut world = World::prepare().await;
    world.write("agent.sh", agent);
    world.configure(more);
    put_on_sick_disk(&mut world);
    world.serve().await;
    world
}

/// The disk of the gateway does what the file `disk` says from its start on, if it is there.
pub(crate) fn put_on_sick_disk(world: &mut World) {
    world.variable("LD_PRELOAD", &build_library(world.home(), SICK_DISK).display().to_string());
    world.variable("DISK", &world.path("disk").display().to_string());
}

fn write_error(status: &Value) -> &str {
    status["ledger"]["trouble"].as_str().unwrap_or_default()
}

#[actix_web::test]
async fn a_turn_that_ends_while_the_disk_takes_no_writes_is_done_and_does_not_run_again() {
    for disk in ["full", "broken"] {
        let mut world = on_sick_disk(ACTING_AGENT, "  reply: jsonl\nturns:\n  interrupted: rerun\n").await;
        world.push("m1", "work", "c1", None).await;
        world.until_text("c1", "shown").await;
        world.until("the reply in the ledger", |status| status["ledger"]["outbound"]["delivered"] == 1).await;

        world.write("disk", disk);
        world.write("end", "");
        let owed = |status: &Value| write_error(status).contains("changes of state wait");
        world.until("an end of a turn that waits for the disk", owed).await;
        assert_eq!(world.ready().await, 503);
        // Acknowledged only when it is on disk.
        world.push("m2", "more", "c2", None).await;
        fs::remove_file(world.path("disk")).unwrap();
        let done = |status: &Value| status["ledger"]["inbound"]["done"] == 2 && write_error(status).is_empty();
        world.until("both turns done", done).await;
        assert_eq!(get(&world.url("/readyz")).await.0, 200);

        world.kill_gateway();
        world.serve().await;
        world.push("m3", "last", "c3", None).await;
        world.until("three turns done", |status| status["ledger"]["inbound"]["done"] == 3).await;
        let attempts: Vec<_> = world.agent_account(None).into_iter().map(|(_, attempt, _)| attempt).collect();
        assert_eq!(attempts, [1, 1, 1], "each event ran once");
        assert_eq!(world.texts("c1").await.len(), 3, "no notice that a restart cut it off, and no repeat");
    }
}

#[actix_web::test]
async fn a_reply_that_a_stalled_disk_records_late_is_recorded_and_sent_once() {
    let world =
        on_sick_disk("read -r document\nwhile [ ! -e \"$HERMES_HOME/end\" ]; do sleep 0.05; done\necho shown\n", "")
            .await;
    world.push("m1", "work", "c1", None).await;
    world.until("a turn", |status| status["ledger"]["inbound"]["running"] == 1).await;
    world.write("disk", "stalled");
    world.write("end", "");
    // The turn has no answer about its reply, and requests the record again.
    wait_for("a reply that waits", SOON, || async {
        world.gateway().log().contains("reply waits for the ledger").then_some(())
    })
    .await;
    fs::remove_file(world.path("disk")).unwrap();
    world.until_text("c1", "shown").await;
    let done = |status: &Value| status["ledger"]["inbound"]["done"] == 1;
    let status = world.until("the turn done", done).await;
    assert_eq!(status["ledger"]["outbound"], json!({"delivered": 1}), "one row");
    assert_eq!(world.texts("c1").await, ["shown"]);
}

#[actix_web::test]
async fn an_event_whose_record_is_late_is_answered_once_and_its_turn_that_never_started_is_withdrawn() {
    let world = on_sick_disk(BOOKKEEPER, "turns:\n  interrupted: drop\n").await;
    world.write("disk", "stalled");
    world.push("m1", "work", "c1", None).await;
    // Its record has no answer, so it is not acknowledged; the record is carried out nevertheless, when the disk continues.
    wait_for("an event without an answer", SOON, || async {
        world.gateway().log().contains("events not written to the ledger").then_some(())
    })
    .await;
    fs::remove_file(world.path("disk")).unwrap();
    world.answer("m1").await;
    let status = world.until("the turn done", |status| status["ledger"]["inbound"]["done"] == 1).await;
    assert_eq!(status["ledger"]["inbound"], json!({"done": 1}), "one row");
    let attempts: Vec<_> = world.agent_account(None).into_iter().map(|(_, attempt, _)| attempt).collect();
    assert_eq!(attempts, [1], "it ran once, and this was the first attempt");
}

/// A home with an event that was interrupted, in the chat `drop0`, and a reply to the chat `chat` that was given up and never sent.
async fn with_rows_of_an_earlier_run(world: &World) {
    let interrupted = InboundState::Interrupted;
    fill(world.home(), &Backlog { link: "relay", profile: "default", prefix: "drop", events: 1, state: interrupted })
        .await;
    let states = [OutboundState::Dead];
    let dead = OldReply { chat: "chat", text: "the answer", inbound: Some(1), states: &states, error: None };
    add_reply(world.home(), &dead).await;
}

#[actix_web::test]
async fn what_an_operator_orders_while_the_disk_stalls_reaches_the_chats_when_it_works_again() {
    let mut world = World::prepare().await;
    with_rows_of_an_earlier_run(&world).await;
    put_on_sick_disk(&mut world);
    world.serve().await;
    world.push("m1", "work", "c1", None).await;
    world.until("a turn done", |status| status["ledger"]["inbound"]["done"] == 1).await;
    world.write("disk", "stalled");
    let order = |row: &str, order: &str| {
        let url = world.url(&format!("/api/ledger/rows/{row}/{order}"));
        actix_web::rt::spawn(async move { send(client().post(url).timeout(2 * SOON), "{}".to_owned()).await })
    };
    let drop_event = order("in-1", "drop");
    // The ledger has read the event, and waits for the disk to change it.
    world.until("a stalled disk", |status| write_error(status).contains("not answered")).await;
    let retry_reply = order("out-1", "retry");
    for order in [drop_event, retry_reply] {
        let (status, answer) = order.await.unwrap();
        assert!(matches!(status, 503 | 504), "{status}: {answer}");
    }
    assert_eq!(world.texts("chat").await, [""; 0]);
    fs::remove_file(world.path("disk")).unwrap();
    world.until_text("chat", "the answer").await;
    world.until_text("drop0", "not answered").await;
    assert_eq!(world.account().await["gateways"]["world"]["dials"], 1, "the link stayed up");
    let sent = |status: &Value| status["ledger"]["outbound"]["delivered"] == 3;
    let status = world.until("all delivered", sent).await;
    assert_eq!(status["ledger"]["inbound"], json!({"done": 1, "refused": 1}));
}
