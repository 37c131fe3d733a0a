//! `caduceus ledger`, beside a gateway and without one.

mod access; // Tokens, secrets, several dispatchers, links that are gone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use caduceus_actors::ledger::{LedgerWriter, SqliteStore, place};
use caduceus_contract::messages::ledger::{InboundState, OutboundState};
use serde_json::{Value, json};

use crate::backlog::{Backlog, OldReply, add_reply, fill};
use crate::command::{CommandOutput, caduceus, on};
use crate::support::{SOON, post, wait_for};
use crate::world::World;

/// Events of the default profile and its link in one state, in chats `PREFIX0` and so on.
async fn events(home: &Path, prefix: &str, events: usize, state: InboundState) {
    fill(home, &Backlog { link: "relay", profile: "default", prefix, events, state }).await;
}

/// The ledger of a home without a gateway.
fn open(home: &Path) -> LedgerWriter<SqliteStore> {
    LedgerWriter::open(place::prepare(home).unwrap()).unwrap()
}

fn close(ledger: &LedgerWriter<SqliteStore>) {
    ledger.close(Duration::from_secs(20)).unwrap();
}

/// A reply to the first event in the chat `chat`, which was sent once and then ended in this state.
async fn ended_reply(home: &Path, state: OutboundState, error: Option<&str>) {
    let states = [OutboundState::Sending, state];
    let reply = OldReply { chat: "chat", text: "default: one", inbound: Some(1), states: &states, error };
    add_reply(home, &reply).await;
}

fn ledger(home: &Path, arguments: &[&str]) -> CommandOutput {
    on(home, &[&["ledger"], arguments].concat())
}

/// The drain token of a gateway whose texts a test reads: the flag of [`World`] does not open them.
const TOKEN: &str = "kQ7vXw2mZr9TbN4cLp8sYd1fGh6jKa3eUo5iRt0WqEx";
const TOKEN_VARIABLE: &str = "HERMES_DASHBOARD_DRAIN_SECRET";

/// As [`ledger`], with the token.
fn ledger_with_token(home: &Path, arguments: &[&str]) -> CommandOutput {
    let home = home.to_str().unwrap();
    caduceus(&[&["ledger"], arguments, &["--home", home]].concat(), &[(TOKEN_VARIABLE, TOKEN)])
}

/// The rows that a list prints, each with its state.
fn rows(home: &Path, arguments: &[&str]) -> Vec<(String, String)> {
    let listed = ledger(home, &[&["list", "--json"], arguments].concat()).with(0);
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        (row["id"].as_str().unwrap().to_owned(), row["state"].as_str().unwrap().to_owned())
    };
    listed.output.lines().map(row).collect()
}

fn pairs(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(id, state)| ((*id).to_owned(), (*state).to_owned())).collect()
}

/// The same on the file and through a gateway.
fn assert_lists(home: &Path) {
    assert_eq!(rows(home, &["--state", "dead"]), pairs(&[("in-1", "dead"), ("in-2", "dead")]));
    assert_eq!(rows(home, &["--state", "dead", "--limit", "1"]), pairs(&[("in-1", "dead")]));
    assert_eq!(rows(home, &["--profile", "work"]), []);
    assert_eq!(rows(home, &["--older-than", "1d"]), []);
    let text = ledger(home, &["list"]).with(0);
    assert!(text.output.contains("in-2 ") && text.output.contains("discord/dead1"), "{text:?}");
    assert!(!text.output.contains("Ann"), "nothing of the event itself is listed: {text:?}");

    let shown: Value = serde_json::from_str(&ledger(home, &["show", "in-1", "--json"]).with(0).output).unwrap();
    assert_eq!((&shown["chat_id"], &shown["user_id"], shown.get("text")), (&"dead0".into(), &"u1".into(), None));
    assert!(shown["recorded_by"]["term"].as_i64() > Some(0), "{shown}");
    ledger_with_token(home, &["show", "in-1", "--text"]).with(0).contains_text("\"text\":\"dead0\"");
}

#[actix_web::test]
async fn rows_are_listed_and_shown_in_the_file_and_through_the_gateway_alike() {
    let mut world = World::prepare().await;
    world.variable(TOKEN_VARIABLE, TOKEN);
    events(world.home(), "dead", 2, InboundState::Dead).await;
    assert_lists(world.home());
    world.serve().await;
    assert_lists(world.home());
    assert!(world.ready().await == 200, "the gateway serves beside the commands");
}

#[test]
fn a_home_without_a_ledger_and_rows_that_do_not_exist_are_errors() {
    let home = tempfile::tempdir().unwrap();
    ledger(home.path(), &["list"]).with(1).contains_text("no ledger");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing is made");
    ledger(&home.path().join("missing"), &["list"]).with(78);

    close(&open(home.path()));
    ledger(home.path(), &["list"]).with(0).contains_text("no rows");
    for arguments in [["show", "in-1"], ["retry", "out-9223372036854775807"], ["drop", "in-0"]] {
        ledger(home.path(), &arguments).with(1).contains_text("has no row");
    }
    for arguments in [
        &["show", "7"][..],
        &["show", "turn-1"],
        &["show", "in--1"],
        &["retry", ""],
        &["list", "--state", "Dead"],
        &["list", "--limit", "0"],
        &["list", "--limit", "-1"],
        &["list", "--older-than", "1w"],
        &["list", "--profile", "../x"],
        &["erase"],
        &["erase", "--user", ""],
        &["export", "--platform", "x"],
    ] {
        ledger(home.path(), arguments).with(2);
    }
    ledger(home.path(), &["list", "--limit", "18446744073709551615"]).with(0);
    ledger(home.path(), &["check"]).with(0).contains_text("everything is whole");
    ledger(home.path(), &["erase", "--user", "nobody"]).with(0).contains_text("erased: 0 events");
}

#[actix_web::test]
async fn the_file_is_not_opened_beside_a_process_that_has_it() {
    let home = tempfile::tempdir().unwrap();
    let held = open(home.path());
    ledger(home.path(), &["list"]).with(75).contains_text("in use by another process");
    close(&held);
    drop(held);
    ledger(home.path(), &["list"]).with(0);
}

#[actix_web::test]
async fn a_dead_event_runs_again_once_through_the_gateway_and_obeys_a_drain() {
    let mut world = World::prepare().await;
    events(world.home(), "dead", 3, InboundState::Dead).await;
    world.serve().await;
    let home = world.home().to_owned();
    ledger(&home, &["retry", "in-1"]).with(0).contains_text("in-1 was dead and runs again");
    world.until_text("dead0", "default: dead0").await;
    world.until("the event done", |status| status["ledger"]["inbound"]["done"] == 1).await;
    ledger(&home, &["retry", "in-1"]).with(1).contains_text("in-1 is done; with force");
    ledger(&home, &["retry", "in-1", "--force"]).with(0);
    world.until("the event done twice", |status| status["turns"]["done"] == 2).await;

    assert_eq!(world.drain(json!({})).await.0, 200);
    ledger(&home, &["retry", "in-2"]).with(0).contains_text("after the drain");
    ledger(&home, &["retry", "in-2"]).with(1).contains_text("waits already");
    // A new request is answered after the dispatcher has decided about the event.
    assert_eq!(world.status().await["turns"]["done"], 2, "nothing runs during a drain");
    assert_eq!(world.drain(json!({"action": "cancel"})).await.0, 200);
    world.until_text("dead1", "default: dead1").await;
    let ran = world.agent_account(None);
    assert_eq!(ran.iter().filter(|(_, _, text)| text == "dead1").count(), 1, "{ran:?}");
    // The third one was not asked for.
    assert_eq!(rows(&home, &["--state", "dead"]), pairs(&[("in-3", "dead")]));
}

#[actix_web::test]
async fn a_retried_event_runs_in_the_order_of_its_session() {
    let mut world = World::prepare().await;
    events(world.home(), "chat", 1, InboundState::Dead).await;
    world.serve().await;
    world.push("long", "sleep 600", "chat0", None).await;
    world.until("a turn", |status| status["ledger"]["inbound"]["running"] == 1).await;
    world.push("later", "later", "chat0", None).await;
    world.until("a message that waits", |status| status["turns"]["queued"] == 1).await;
    let home = world.home().to_owned();
    ledger(&home, &["retry", "in-1"]).with(0);
    ledger(&home, &["retry", "in-2"]).with(1).contains_text("runs");
    let dropped = ledger(&home, &["drop", "in-2"]).with(1).contains_text("stop it first");
    let turn = dropped.error.split(['(', ')']).nth(1).unwrap().to_owned();
    assert_eq!(post(&world.url(&format!("/api/turns/{turn}/stop")), &json!({})).await.0, 200);
    world.answer("later").await;
    let texts: Vec<_> = world.agent_account(None).into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, ["sleep 600", "chat0", "later"], "the retried message arrived first");
}

#[actix_web::test]
async fn what_waits_is_given_up_and_its_chat_is_notified() {
    let mut world = World::prepare().await;
    events(world.home(), "held", 2, InboundState::Held).await;
    fs::write(world.path(".drain_request.json"), "").unwrap();
    world.serve().await;
    world.until("two held events", |status| status["turns"]["held"] == 2).await;
    let home = world.home().to_owned();
    ledger(&home, &["drop", "in-1"]).with(0).contains_text("its chat is notified");
    world.until_text("held0", "not answered").await;
    world.until("one held event", |status| status["turns"]["held"] == 1).await;
    ledger(&home, &["drop", "in-1"]).with(1).contains_text("nothing is left to drop");
    fs::remove_file(world.path(".drain_request.json")).unwrap();
    world.until_text("held1", "default: held1").await;
    assert_eq!(world.agent_account(None).len(), 1, "what was dropped does not run");
    world.until("notice and answer delivered", |status| status["ledger"]["outbound"]["delivered"] == 2).await;
    assert_eq!(rows(&home, &[]), []);
}

#[actix_web::test]
async fn changes_of_the_file_take_effect_at_the_next_start() {
    let mut world = World::prepare().await;
    let home = world.home().to_owned();
    events(&home, "run", 1, InboundState::Interrupted).await;
    events(&home, "drop", 1, InboundState::Running).await;
    ledger(&home, &["retry", "in-1"]).with(0).contains_text("at the next start");
    ledger(&home, &["drop", "in-2"]).with(0).contains_text("notified at the next start");
    assert_eq!(rows(&home, &[]), pairs(&[("in-1", "received"), ("out-1", "pending")]));
    world.serve().await;
    world.until_text("run0", "default: run0").await;
    world.until_text("drop0", "not answered").await;
    let texts: Vec<_> = world.agent_account(None).into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, ["run0"]);
}

#[actix_web::test]
async fn a_dead_reply_is_sent_again_as_a_new_row_with_a_mark() {
    let mut world = World::start().await;
    world.push("one", "one", "chat", None).await;
    world.until_text("chat", "default: one").await;
    world.until("it is settled", |status| status["ledger"]["outbound"]["delivered"] == 1).await;
    world.stop_gateway();
    let home = world.home().to_owned();
    ended_reply(&home, OutboundState::Dead, None).await;
    world.serve().await;
    ledger(&home, &["retry", "out-2"]).with(0).contains_text("as out-3, marked as a possible repeat");
    ledger(&home, &["retry", "out-2"]).with(1).contains_text("was sent again before, as out-3");
    wait_for("the reply twice in the chat", SOON, || async {
        let texts = world.texts("chat").await;
        (texts.iter().filter(|text| text.contains("default: one")).count() == 2).then_some(())
    })
    .await;
    let texts = world.texts("chat").await;
    assert!(texts[0] == "default: one" && texts[1] != texts[0], "the second has a mark: {texts:?}");
    world.until("it is delivered", |status| status["ledger"]["outbound"]["delivered"] == 2).await;
    assert_eq!(rows(&home, &[]), []);
}

#[actix_web::test]
async fn an_export_has_every_row_and_its_file_is_private_and_new() {
    let mut world = World::prepare().await;
    world.variable(TOKEN_VARIABLE, TOKEN);
    world.serve().await;
    world.push("one", "my secret message", "chat", None).await;
    world.until("it is done", |status| status["ledger"]["inbound"]["done"] == 1).await;
    let home = world.home().to_owned();
    let export = |arguments: &[&str]| ledger_with_token(&home, &[&["export"], arguments].concat());
    let through_the_gateway = export(&[]).with(0).contains_text("exported 1 events, 1 replies");
    assert!(through_the_gateway.output.contains("my secret message"), "{through_the_gateway:?}");
    assert_eq!(export(&["--user", "nobody"]).with(0).output, "");
    world.stop_gateway();
    let lines =
        |output: &str| -> Vec<Value> { output.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let types = |rows: &[Value]| rows.iter().map(|row| row["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let path = world.path("export.jsonl");
    let path_text = path.to_str().unwrap();
    export(&["--out", path_text]).with(0);
    let in_file = lines(&fs::read_to_string(&path).unwrap());
    assert_eq!(types(&in_file), types(&lines(&through_the_gateway.output)));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    // Nothing that is there is written to.
    let before = fs::read(&path).unwrap();
    let target = world.path("target");
    std::os::unix::fs::symlink(&target, world.path("link")).unwrap();
    fs::create_dir(world.path("directory")).unwrap();
    let fifo = world.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for name in ["export.jsonl", "link", "directory", "fifo", "missing/export"] {
        export(&["--out", world.path(name).to_str().unwrap()]).with(1).contains_text("no export");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(!target.exists());
}

/// Whether any file of the ledger has these words.
fn is_in_a_file(home: &Path, words: &str) -> bool {
    let files = fs::read_dir(home.join("caduceus")).unwrap().map(|entry| entry.unwrap().path());
    let has =
        |path: std::path::PathBuf| fs::read(path).unwrap().windows(words.len()).any(|part| part == words.as_bytes());
    files.filter(|path| path.is_file()).any(has)
}

#[actix_web::test]
async fn a_person_is_erased_while_the_gateway_runs_and_a_repeated_message_does_not_run_again() {
    let mut world = World::prepare().await;
    world.variable(TOKEN_VARIABLE, TOKEN);
    world.serve().await;
    let say = async |world: &World, user: &str, id: &str, text: &str| {
        let mut event = World::message(id, text, "chat", None);
        event["source"]["user_id"] = user.into();
        assert_eq!(post(&format!("{}/dev/inbound", world.connector.url), &json!({"event": event})).await.0, 202);
    };
    say(&world, "ann", "a1", "canary of ann").await;
    say(&world, "bob", "b1", "words of bob").await;
    world.until("two are done", |status| status["ledger"]["inbound"]["done"] == 2).await;
    world.until("both delivered", |status| status["ledger"]["outbound"]["delivered"] == 2).await;
    let home = world.home().to_owned();
    assert!(is_in_a_file(&home, "canary of ann") && is_in_a_file(&home, "words of bob"));

    // What waits is not erased, unless it is dropped.
    say(&world, "ann", "a2", "sleep 600").await;
    world.until("a turn", |status| status["ledger"]["inbound"]["running"] == 1).await;
    let refused = ledger_with_token(&home, &["erase", "--user", "ann"]).with(1).contains_text("nothing is erased");
    assert!(refused.error.contains("in-3 (running)"), "{refused:?}");
    ledger_with_token(&home, &["erase", "--user", "ann", "--force"]).with(1).contains_text("stop it first");
    assert!(is_in_a_file(&home, "canary of ann"));
    say(&world, "ann", "stop", "/stop").await;
    world.until("the turn stopped", |status| status["turns"]["stopped"] == 1).await;
    world
        .until("nothing on its way", |status| {
            let outbound = &status["ledger"]["outbound"];
            ["pending", "sending", "ambiguous"].iter().all(|state| outbound[state].as_u64().unwrap_or_default() == 0)
        })
        .await;
    let erased = ledger_with_token(&home, &["erase", "--user", "ann"]).with(0);
    assert!(erased.output.contains("erased: 3 events"), "{erased:?}");
    assert!(!is_in_a_file(&home, "canary of ann") && is_in_a_file(&home, "words of bob"));
    ledger_with_token(&home, &["erase", "--user", "ann"])
        .with(0)
        .contains_text("erased: 0 events, 0 replies, 0 conversations");

    // The connector delivers the message once more.
    let before = world.status().await["turns"]["duplicates"].as_u64().unwrap();
    say(&world, "ann", "a1", "canary of ann").await;
    world.until("a duplicate", |status| status["turns"]["duplicates"].as_u64() > Some(before)).await;
    let account = world.agent_account(None);
    assert_eq!(account.iter().filter(|(_, _, text)| text == "canary of ann").count(), 1, "{account:?}");
    ledger_with_token(&home, &["check"]).with(0).contains_text("everything is whole");
    world.stop_gateway();
    ledger(&home, &["check"]).with(0).contains_text("everything is whole");
}

#[actix_web::test]
async fn a_check_names_damage_by_its_exit_code_with_and_without_a_gateway() {
    let mut world = World::prepare().await;
    events(world.home(), "dead", 3, InboundState::Dead).await;
    let home = world.home().to_owned();
    ledger(&home, &["check"]).with(0);
    let file = rusqlite::Connection::open(place::find(&home)).unwrap();
    file.execute("UPDATE inbound SET event = '{}' WHERE id = 2", ()).unwrap();
    file.close().unwrap();
    ledger(&home, &["check"]).with(1).contains_text("1 rows are corrupt");
    world.serve().await;
    let checked = ledger(&home, &["check", "--json"]).with(1);
    let checked: Value = serde_json::from_str(&checked.output).unwrap();
    assert_eq!((&checked["corrupt"], &checked["rows"]), (&1.into(), &3.into()));
    ledger(&home, &["check", "--last"]).with(1);
    assert_eq!(rows(&home, &["--state", "corrupt"]), pairs(&[("in-2", "corrupt")]));
    ledger(&home, &["retry", "in-2"]).with(1).contains_text("corrupt");
    ledger(&home, &["show", "in-2"]).with(0).contains_text("corrupt");
}

#[actix_web::test]
async fn the_ages_of_what_waits_and_is_dead_are_in_the_status_and_the_metrics() {
    let mut world = World::prepare().await;
    events(world.home(), "dead", 1, InboundState::Dead).await;
    events(world.home(), "held", 1, InboundState::Held).await;
    fs::write(world.path(".drain_request.json"), "").unwrap();
    world.serve().await;
    let status = world.status().await;
    let oldest = &status["ledger"]["inbound_oldest_ms"];
    assert!(oldest["dead"].as_u64() > Some(0) && oldest["held"].as_u64() > Some(0), "{oldest}");
    assert_eq!(oldest.get("received"), None, "{oldest}");
    let metrics = crate::support::client().get(world.url("/metrics")).send().await.unwrap().body().await.unwrap();
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    assert!(metrics.contains("caduceus_ledger_inbound_oldest_seconds{state=\"dead\"}"), "{metrics}");
    ledger(world.home(), &["drop", "in-1"]).with(0);
    world.until("no dead event", |status| status["ledger"]["inbound_oldest_ms"].get("dead").is_none()).await;
}
