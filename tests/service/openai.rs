//! Profiles whose agent is a chat completions server: from the chat to the server and back, and the places where the key occurs.

use std::fs;

use serde_json::json;

use crate::model_server::{ModelServer, answered};
use crate::support::{SOON, client, wait_for};
use crate::world::World;

/// Too long to occur in a log by chance, and of an alphabet that no encoding changes.
fn key(profile: &str) -> String {
    format!("sk-canary-{profile}-{:016x}", fastrand::u64(..))
}

fn with_server(world: &World, profile: &str, server: &ModelServer, key: &str) {
    world.profile(profile, &format!("MODEL_KEY={key}\n"));
    let agent =
        format!("agent:\n  backend: openai\n  base_url: {}\n  model: m1\n  api_key_env: MODEL_KEY\n", server.url());
    world.write(&format!("profiles/{profile}/caduceus.yaml"), &agent);
}

#[actix_web::test]
async fn a_conversation_reaches_the_server_with_its_history_and_its_profiles_key_which_occurs_nowhere_else() {
    let server = ModelServer::start();
    let keys = [key("alpha"), key("beta")];
    let mut world = World::prepare().await;
    with_server(&world, "alpha", &server, &keys[0]);
    with_server(&world, "beta", &server, &keys[1]);
    world.variable("RUST_LOG", "trace");
    world.variable("MODEL_KEY", "sk-canary-of-the-process");
    world.serve().await;

    for (id, text, profile) in [("a1", "first", "alpha"), ("a2", "second", "alpha"), ("b1", "other", "beta")] {
        world.push(id, text, &format!("chat-{profile}"), Some(profile)).await;
        world.answer(id).await;
    }
    world.until_frame("Repeated: second").await;
    world.until_frame("Repeated: other").await;

    let requests = server.requests();
    let seen: Vec<_> = requests.iter().map(|request| request.authorization.clone().unwrap_or_default()).collect();
    let bearer = |at: usize| format!("Bearer {}", keys[at]);
    assert_eq!(seen, [bearer(0), bearer(0), bearer(1)], "each profile's key, and only for that profile");
    let entry = |role: &str, content: &str| (role.to_owned(), content.to_owned());
    let second = [entry("user", "first"), entry("assistant", "Repeated: first"), entry("user", "second")];
    assert_eq!(requests[1].messages(), second);
    assert_eq!(requests[2].messages(), [entry("user", "other")], "another profile has its own conversation");

    // A server that echoes the key: the log has only its name.
    server.script(answered(401, "", &json!({"error": {"message": format!("no such key: {}", keys[0])}})));
    world.push("a3", "third", "chat-alpha", Some("alpha")).await;
    let notice = world.until_frame("refused the request with 401").await;
    assert!(!notice.contains("sk-canary"), "{notice}");
    let log = wait_for("the server's error in the log", SOON, || async {
        let log = world.gateway().log();
        log.contains("no such key: [redacted:MODEL_KEY]").then_some(log)
    })
    .await;
    assert!(log.contains("TRACE"), "the log is not at level TRACE");
    for (place, text) in [("the log", log), ("the frames", format!("{:?}", world.outbound().await))] {
        assert!(!text.contains("sk-canary"), "a key is in {place}");
    }
    for (path, plant) in [("/api/status", "alpha"), ("/api/actors", "profiles/beta"), ("/metrics", "# EOF")] {
        let mut answer = client().get(world.url(path)).send().await.unwrap();
        let text = String::from_utf8_lossy(&answer.body().limit(1 << 24).await.unwrap()).into_owned();
        assert!(text.contains(plant), "{path} was not read");
        assert!(!text.contains("sk-canary"), "a key is in {path}");
    }
    let ledger = ["caduceus/ledger.db", "caduceus/ledger.db-wal"]
        .map(|name| fs::read(world.path(name)).unwrap_or_default())
        .concat();
    let ledger = String::from_utf8_lossy(&ledger);
    assert!(ledger.contains("Repeated: second"), "the ledger was not read");
    assert!(!ledger.contains("sk-canary"), "a key is in the ledger");
    assert!(world.agent_account(None).is_empty(), "nothing ran under the default profile instead");
}

#[actix_web::test]
async fn a_profile_without_its_key_is_degraded_by_name_and_the_others_serve() {
    let server = ModelServer::start();
    let mut world = World::prepare().await;
    with_server(&world, "alpha", &server, &key("alpha"));
    with_server(&world, "beta", &server, "");
    world.write("profiles/beta/.env", "");
    world.serve().await;
    let missing = json!(["agent.api_key_env needs MODEL_KEY, which is not set"]);
    world
        .until("beta degraded for its key", |status| {
            let all = status["secrets"].as_array().into_iter().flatten();
            let states: Vec<_> = all.map(|one| (&one["name"], &one["state"], &one["troubles"])).collect();
            states.contains(&(&json!("beta"), &json!("degraded"), &missing))
                && states.contains(&(&json!("alpha"), &json!("ready"), &json!([])))
        })
        .await;
    world.push("b1", "hello", "chat-beta", Some("beta")).await;
    world.until_frame("The agent cannot be run.").await;
    world.push("a1", "hello", "chat-alpha", Some("alpha")).await;
    world.until_frame("Repeated: hello").await;
    assert_eq!(server.requests().len(), 1);
}
