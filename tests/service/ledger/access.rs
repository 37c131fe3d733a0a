//! Who may do what, and which dispatcher does it.

use super::*;
use crate::support::{client, send};

#[actix_web::test]
async fn without_the_token_rows_are_listed_and_nothing_is_changed_or_read() {
    let mut world = World::prepare().await;
    world.variable(TOKEN_VARIABLE, TOKEN);
    events(world.home(), "dead", 2, InboundState::Dead).await;
    world.serve().await;
    let home = world.home().to_owned();
    assert_eq!(rows(&home, &[]).len(), 2);
    ledger(&home, &["show", "in-1"]).with(0);
    ledger(&home, &["check", "--last"]).with(0);
    for refused in [
        &["show", "in-1", "--text"][..],
        &["retry", "in-1"],
        &["drop", "in-1"],
        &["check"],
        &["export"],
        &["erase", "--user", "u1"],
    ] {
        ledger(&home, refused).with(77);
    }
    let path = world.path("export.jsonl");
    ledger(&home, &["export", "--out", path.to_str().unwrap()]).with(77);
    assert!(!path.exists(), "an export that failed leaves no file");
    assert_eq!(rows(&home, &["--state", "dead"]).len(), 2);

    world.write("token", TOKEN);
    let token = world.path("token").display().to_string();
    ledger(&home, &["drop", "in-1", "--token-file", &token]).with(0).contains_text("in-1 was dead and is dropped");
    ledger(&home, &["show", "in-2", "--text", "--token-file", &token]).with(0).contains_text("dead1");
    let log = world.gateway().log();
    assert!(log.contains("row to be dropped") && !log.contains(TOKEN), "the log has who changed what");
}

/// Lines of the log with these words, once there are so many.
async fn until_logged(world: &World, words: &str, count: usize) {
    wait_for(&format!("{count} lines with {words:?}"), SOON, || async {
        let log = world.gateway().log();
        (log.lines().filter(|line| line.contains(words)).count() >= count).then_some(())
    })
    .await;
}

#[actix_web::test]
async fn an_export_and_an_erasure_are_logged_wherever_they_begin_and_once_if_they_are_continued() {
    let mut world = World::prepare().await;
    world.variable(TOKEN_VARIABLE, TOKEN);
    events(world.home(), "dead", 2, InboundState::Dead).await;
    world.serve().await;
    let token = ("Authorization", format!("Bearer {TOKEN}"));
    let call = async |path: &str, body: &Value| {
        let request = client().post(world.url(path)).insert_header(token.clone());
        let (status, answer) = send(request, body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let (exports, erasures) = ("export of the ledger begins", "erasure of a person begins");
    // To the end: several steps, of which the first is logged.
    for (path, mut body, words) in
        [("/api/ledger/export", json!({}), exports), ("/api/ledger/erase", json!({"user": "eve"}), erasures)]
    {
        let mut steps = 1;
        loop {
            let next = call(path, &body).await["next"].clone();
            if next.is_null() {
                break;
            }
            body["from"] = next;
            steps += 1;
        }
        assert!(steps > 2, "{path}");
        until_logged(&world, words, 1).await;
    }
    // A place that no answer gave, and one a second time.
    call("/api/ledger/export", &json!({"from": "events-1"})).await;
    until_logged(&world, exports, 2).await;
    for begun in 2..4 {
        call("/api/ledger/erase", &json!({"user": "eve", "from": "conversations-0.0"})).await;
        until_logged(&world, erasures, begun).await;
    }
    let log = world.gateway().log();
    let counted = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!((counted(exports), counted(erasures)), (2, 3), "{log}");
}

#[actix_web::test]
async fn the_flag_for_trials_opens_no_text_of_the_ledger() {
    let mut world = World::prepare().await;
    events(world.home(), "dead", 1, InboundState::Dead).await;
    world.serve().await;
    let home = world.home().to_owned();
    for refused in [&["show", "in-1", "--text"][..], &["export"], &["erase", "--user", "u1"]] {
        ledger(&home, refused).with(77).contains_text("set HERMES_DASHBOARD_DRAIN_SECRET for the gateway");
    }
    ledger(&home, &["drop", "in-1"]).with(0);
    // Without a gateway the file is what permits it.
    world.stop_gateway();
    ledger(&home, &["show", "in-1", "--text"]).with(0).contains_text("dead0");
}

#[actix_web::test]
async fn a_secret_in_a_message_is_not_shown_with_and_without_a_gateway() {
    let mut world = World::prepare().await;
    let env = fs::read_to_string(world.path(".env")).unwrap();
    world.write(".env", &format!("{env}OPENAI_API_KEY=Canary7h2k-own-key\n"));
    world.profile("work", "MODEL_TOKEN=Canary7h2k-work-token\n");
    events(world.home(), "Canary7h2k-own-key", 1, InboundState::Dead).await;
    events(world.home(), "Canary7h2k-work-token", 1, InboundState::Dead).await;
    let assert_redacted = |world: &World| {
        for (id, name) in [("in-1", "OPENAI_API_KEY"), ("in-2", "MODEL_TOKEN")] {
            let shown = ledger_with_token(world.home(), &["show", id, "--text"]).with(0);
            let text = shown.output.lines().find(|line| line.starts_with("text ")).unwrap();
            assert!(text.contains(&format!("[redacted:{name}]")) && !text.contains("Canary7h2k"), "{text}");
        }
    };
    assert_redacted(&world);
    world.variable(TOKEN_VARIABLE, TOKEN);
    world.serve().await;
    assert_redacted(&world);
    world.stop_gateway();
    // Without the secrets nothing can be redacted.
    fs::remove_file(world.path(".env")).unwrap();
    fs::create_dir(world.path(".env")).unwrap();
    ledger(world.home(), &["show", "in-1", "--text"]).with(1).contains_text("no text is shown");
    ledger(world.home(), &["show", "in-1"]).with(0);
}

#[actix_web::test]
async fn a_secret_in_the_error_of_a_reply_is_not_shown_without_a_gateway() {
    let mut world = World::start().await;
    world.push("one", "one", "chat", None).await;
    world.until("it is settled", |status| status["ledger"]["outbound"]["delivered"] == 1).await;
    world.stop_gateway();
    let env = fs::read_to_string(world.path(".env")).unwrap();
    world.write(".env", &format!("{env}OPENAI_API_KEY=Canary7h2k-own-key\n"));
    ended_reply(world.home(), OutboundState::Refused, Some("refused Canary7h2k-own-key")).await;
    let shown = ledger(world.home(), &["show", "out-2"]).with(0);
    assert!(shown.output.contains("refused [redacted:OPENAI_API_KEY]"), "{shown:?}");
    fs::remove_file(world.path(".env")).unwrap();
    fs::create_dir(world.path(".env")).unwrap();
    let shown = ledger(world.home(), &["show", "out-2"]).with(0);
    assert!(shown.output.contains("not shown") && !shown.output.contains("Canary7h2k"), "{shown:?}");
}

#[actix_web::test]
async fn each_row_is_changed_by_the_dispatcher_of_its_chat() {
    const EVENTS: usize = 8;
    let mut world = World::prepare().await;
    world.configure("threads: {data: 3}\n");
    events(world.home(), "dead", EVENTS, InboundState::Dead).await;
    events(world.home(), "held", EVENTS, InboundState::Held).await;
    fs::write(world.path(".drain_request.json"), "").unwrap();
    world.serve().await;
    world.until("all held", |status| status["turns"]["held"] == EVENTS).await;
    let home = world.home().to_owned();
    for number in 1..=EVENTS {
        ledger(&home, &["retry", &format!("in-{number}")]).with(0);
        ledger(&home, &["drop", &format!("in-{}", EVENTS + number)]).with(0);
        ledger(&home, &["drop", &format!("in-{}", 100 + number)]).with(1).contains_text("no such row");
    }
    world.until("as many held", |status| status["turns"]["held"] == EVENTS).await;
    fs::remove_file(world.path(".drain_request.json")).unwrap();
    world.until("all done", |status| status["ledger"]["inbound"]["done"] == EVENTS).await;
    let mut ran: Vec<_> = world.agent_account(None).into_iter().map(|(_, _, text)| text).collect();
    ran.sort();
    let expected: Vec<_> = (0..EVENTS).map(|number| format!("dead{number}")).collect();
    assert_eq!(ran, expected, "each ran once, and what was dropped did not");
}

#[actix_web::test]
async fn an_event_whose_link_is_gone_is_given_up_and_not_run_again() {
    let mut world = World::prepare().await;
    let state = InboundState::Received;
    fill(world.home(), &Backlog { link: "relay-gone", profile: "default", prefix: "gone", events: 2, state }).await;
    world.serve().await;
    world.until("two events wait", |status| status["turns"]["awaiting_link"] == json!({"relay-gone": 2})).await;
    let home = world.home().to_owned();
    ledger(&home, &["retry", "in-1"]).with(1).contains_text("relay-gone of in-1 is not configured");
    ledger(&home, &["drop", "in-1"]).with(0);
    world.until("one event waits", |status| status["turns"]["awaiting_link"] == json!({"relay-gone": 1})).await;
    assert_eq!(rows(&home, &["--state", "received"]), pairs(&[("in-2", "received")]));
    // Its notice waits for the same link, and is dropped too.
    assert_eq!(rows(&home, &["--state", "pending"]), pairs(&[("out-1", "pending")]));
    ledger(&home, &["drop", "out-1"]).with(0).contains_text("out-1 was pending and is dropped");
    assert_eq!(rows(&home, &[]), pairs(&[("in-2", "received")]));
}

#[actix_web::test]
async fn an_event_that_cannot_run_is_refused_without_a_gateway_as_with_one() {
    let mut world = World::prepare().await;
    let home = world.home().to_owned();
    let state = InboundState::Dead;
    fill(&home, &Backlog { link: "relay-gone", profile: "default", prefix: "gone", events: 1, state }).await;
    fill(&home, &Backlog { link: "relay-work", profile: "default", prefix: "own", events: 1, state }).await;
    // The text of each is its chat.
    events(&home, "/stop@bot", 1, state).await;
    let assert_refused = || {
        ledger(&home, &["retry", "in-1"]).with(1).contains_text("the link relay-gone of in-1 is not configured");
        ledger(&home, &["retry", "in-1", "--force"]).with(1).contains_text("is not configured");
        ledger(&home, &["retry", "in-3", "--force"]).with(1).contains_text("in-3 is a command to the gateway");
        assert_eq!(rows(&home, &["--state", "dead"]).len(), 3);
    };
    assert_refused();
    let own_link = world.link_env("work").await;
    world.serve().await;
    assert_refused();
    world.stop_gateway();
    ledger(&home, &["retry", "in-2"]).with(1).contains_text("relay-work of in-2 is not configured");
    // A profile with a link of its own has it.
    world.profile("work", &own_link);
    ledger(&home, &["retry", "in-2"]).with(0).contains_text("at the next start");
    // Without the settings the links are not known.
    world.write("caduceus.yaml", "agent: [");
    ledger(&home, &["retry", "in-1"]).with(1).contains_text("links of the home are not known");
    assert_eq!(rows(&home, &["--state", "dead"]).len(), 2);
}

#[actix_web::test]
async fn what_waits_of_a_person_is_given_up_and_erased_at_once_with_force() {
    let mut world = World::prepare().await;
    let home = world.home().to_owned();
    events(&home, "canary-of-the-person", 2, InboundState::Held).await;
    fs::write(world.path(".drain_request.json"), "").unwrap();
    world.variable(TOKEN_VARIABLE, TOKEN);
    world.serve().await;
    world.until("two held events", |status| status["turns"]["held"] == 2).await;
    ledger_with_token(&home, &["erase", "--user", "u1"]).with(1).contains_text("in-1 (held), in-2 (held)");
    ledger_with_token(&home, &["erase", "--user", "u1", "--platform", "telegram", "--force"])
        .with(0)
        .contains_text("dropped: 0");
    ledger_with_token(&home, &["erase", "--user", "u1", "--profile", "work", "--force"])
        .with(0)
        .contains_text("erased: 0 events");
    let erased = ledger_with_token(&home, &["erase", "--user", "u1", "--force"]).with(0);
    assert!(erased.output.contains("dropped: 2") && erased.output.contains("erased: 2 events"), "{erased:?}");
    world.until("none held", |status| status["turns"]["held"] == 0).await;
    // The ids of the chats are keys, and stay.
    assert!(!is_in_a_file(&home, "\"text\":\"canary-of-the-person"));
    ledger_with_token(&home, &["retry", "in-1"]).with(1).contains_text("was erased");
    fs::remove_file(world.path(".drain_request.json")).unwrap();
    world.push("next", "next", "chat", None).await;
    world.answer("next").await;
    let texts: Vec<_> = world.agent_account(None).into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, ["next"]);
}
