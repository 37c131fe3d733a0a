//! Self-provisioning: a gateway that requests its own credentials.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use caduceus_contract::wire::token;
use serde_json::{Value, json};

use crate::stub::StubServer;
use crate::support::{SOON, get, post, wait_for};
use crate::world::World;
use crate::{credentials, text};

/// A `.env` without a pair, for two platforms.
fn env(world: &World, more: &str) -> String {
    format!("GATEWAY_RELAY_URL={}\nGATEWAY_RELAY_PLATFORMS=discord,telegram\n{more}", world.connector.url)
}

/// Waits for `count` lines of the log that have `words`.
async fn until_logged(world: &World, words: &str, count: usize) {
    wait_for(&format!("{count} lines with {words:?}"), SOON, || async {
        let log = world.gateway().log();
        (log.lines().filter(|line| line.contains(words)).count() >= count).then_some(())
    })
    .await;
}

/// Every file below a folder that holds `needle`.
fn files_with(folder: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else {
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                // The gateway writes beside and renames.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => panic!("{}: {error}", path.display()),
            };
            if bytes.windows(needle.len()).any(|window| window == needle.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

async fn registered(world: &World, gateway: &str) -> Value {
    world.account().await["registered"][gateway].clone()
}

#[actix_web::test]
async fn a_gateway_without_credentials_gets_them_in_memory_and_not_on_disk() {
    let mut world = World::prepare().await;
    let credentials = credentials(&world).await;
    let access = text(&credentials, "accessToken");
    let more = "GATEWAY_RELAY_ID=world\nGATEWAY_RELAY_ENDPOINT=https://me.example/in/\nGATEWAY_RELAY_ROUTE_KEYS=g1, g2\n\
                GATEWAY_RELAY_INSTANCE_ID=i-1\nGATEWAY_RELAY_WAKE_URL=https://me.example/wake\n";
    world.write(".env", &env(&world, more));
    world.variable("GATEWAY_RELAY_ACCESS_TOKEN", access);
    world.serve().await;
    until_logged(&world, "relay self-provisioned", 1).await;
    let line = world.gateway().log().lines().find(|line| line.contains("self-provisioned")).unwrap().to_owned();
    for word in ["world", "tenant-", "discord,telegram", "routes=2", "inbound=\"yes\"", "i-1", "wake=\"yes\""] {
        assert!(line.contains(word), "{word}: {line}");
    }
    let declared = registered(&world, "world").await;
    assert_eq!(declared["identities"], json!(["discord:", "telegram:"]), "{declared}");
    assert_eq!(
        (&declared["endpoint"], &declared["routeKeys"]),
        (&json!("https://me.example/in"), &json!(["g1", "g2"]))
    );
    assert_eq!((&declared["instanceId"], &declared["wakeUrl"]), (&json!("i-1"), &json!("https://me.example/wake")));
    for secret in ["secret", "deliveryKey", "accessToken"] {
        let secret = text(&credentials, secret);
        assert_eq!(files_with(world.home(), secret), [] as [&str; 0]);
        assert!(!world.gateway().log().contains(secret));
    }
    world.push("m1", "hello", "c", None).await;
    assert_eq!(world.answer("m1").await["answered"], 1);

    let (status, answer) = post(&world.url("/api/actors/profiles/default/restart"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    until_logged(&world, "relay self-provisioned", 2).await;
    world.push("m2", "again", "c", None).await;
    assert_eq!(world.answer("m2").await["answered"], 1);
}

/// The gateway passes no secret of a connector to an agent. This agent has them from a file outside of every home, and writes them.
#[actix_web::test]
async fn provisioned_secrets_are_redacted_in_the_log_in_every_spelling_that_an_agent_writes() {
    let mut world = World::prepare().await;
    let credentials = credentials(&world).await;
    let names = ["GATEWAY_RELAY_SECRET", "GATEWAY_RELAY_DELIVERY_KEY", "GATEWAY_RELAY_ACCESS_TOKEN"];
    let secrets = ["secret", "deliveryKey", "accessToken"].map(|name| text(&credentials, name));
    let spellings = |secret: &str| {
        [secret.to_owned(), STANDARD.encode(secret), hex::encode(secret), json!({"key": secret}).to_string()]
    };
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("lines");
    let lines = secrets.iter().flat_map(|secret| spellings(secret)).map(|spelling| format!("spelling {spelling}\n"));
    fs::write(&file, lines.collect::<String>()).unwrap();
    let agent = format!("#!/bin/sh\nread -r document\ncat {:?} >&2\necho done\n", file.display().to_string());
    world.write(".env", &env(&world, "GATEWAY_RELAY_ID=world\n"));
    world.write("agent.sh", &agent);
    world.script("work", &agent, "");
    world.variable("GATEWAY_RELAY_ACCESS_TOKEN", secrets[2]);
    world.variable("RUST_LOG", "trace");
    world.serve().await;
    until_logged(&world, "relay self-provisioned", 1).await;
    let mut turns = 0;
    for round in 0..2 {
        for profile in [None, Some("work")] {
            turns += 1;
            let id = format!("m{turns}");
            world.push(&id, "hello", &id, profile).await;
            assert_eq!(world.answer(&id).await["answered"], 1);
        }
        for name in names {
            until_logged(&world, &format!("spelling [redacted:{name}]"), turns).await;
        }
        if round == 0 {
            // It is provisioned again, with the credentials that the connector has stored.
            let (status, answer) = post(&world.url("/api/actors/profiles/default/restart"), &json!({})).await;
            assert_eq!(status, 200, "{answer}");
            until_logged(&world, "relay self-provisioned", 2).await;
        }
    }
    let (_, status) = get(&world.url("/api/status")).await;
    let (status, log) = (status.to_string(), world.gateway().log());
    for (name, secret) in names.into_iter().zip(secrets) {
        for spelling in spellings(secret) {
            let found: Vec<_> = log.lines().filter(|line| line.contains(&spelling)).collect();
            assert!(found.is_empty(), "{name} in the log: {found:?}");
            assert!(!status.contains(&spelling), "{name} in the status");
            assert_eq!(files_with(world.home(), &spelling), [] as [&str; 0], "{name}");
        }
    }
}

#[actix_web::test]
async fn a_login_after_the_start_is_found_and_the_link_connects() {
    let mut world = World::prepare().await;
    let credentials = credentials(&world).await;
    world.write(".env", &env(&world, "GATEWAY_RELAY_ID=world\n"));
    world.serve_unlinked();
    until_logged(&world, "skipped: no identity", 1).await;
    let login = json!({"version": 1, "providers": {"nous": {
        "access_token": credentials["accessToken"], "refresh_token": "r", "expires_at": "2099-01-01T00:00:00+00:00",
    }}});
    world.write("auth.json", &login.to_string());
    world.until("the link to be up", |status| status["relay"][0]["state"] == "connected").await;
    assert_eq!(fs::read_to_string(world.path("auth.json")).unwrap(), login.to_string(), "the login is only read");
}

#[actix_web::test]
async fn configured_credentials_prevent_self_provisioning() {
    let mut world = World::prepare().await;
    world.variable("GATEWAY_RELAY_ACCESS_TOKEN", "unknown-token");
    world.serve().await;
    until_logged(&world, "relay self-provision skipped: id and secret are set", 1).await;
    assert_eq!(registered(&world, "world").await["identities"], json!([]));
}

#[actix_web::test]
async fn client_credentials_take_precedence_over_a_configured_access_token() {
    let mut world = World::prepare().await;
    let credentials = credentials(&world).await;
    let token = json!({"access_token": credentials["accessToken"], "token_type": "Bearer"}).to_string();
    let provider = StubServer::new(move |_, _| (200, token.clone()));
    world.write(".env", &env(&world, "GATEWAY_RELAY_ID=world\nGATEWAY_RELAY_ACCESS_TOKEN=wrong\n"));
    world.write(
        "config.yaml",
        &format!(
            "gateway:\n  idp:\n    token_url: {}/token\n    client_id: me\n    client_secret: s&p\n    scope: a b\n",
            provider.url
        ),
    );
    world.serve().await;
    let form = "grant_type=client_credentials&client_id=me&client_secret=s%26p&scope=a%20b";
    assert_eq!(provider.requests("/token"), [("/token".to_owned(), None, form.to_owned())]);
}

#[actix_web::test]
async fn a_failing_platform_is_skipped_and_the_first_success_delivers_the_credentials() {
    let connector = StubServer::new(|path, body| {
        let platform = serde_json::from_str::<Value>(body).map(|body| body["platform"].clone()).unwrap_or_default();
        match (path, platform.as_str()) {
            ("/relay/provision", Some("discord")) => (500, json!({"error": "not this one"}).to_string()),
            ("/relay/provision", Some(name)) => {
                (200, json!({"secret": format!("secret of {name}"), "gatewayId": "given"}).to_string())
            }
            _ => (404, String::new()),
        }
    });
    let mut world = World::prepare().await;
    let env = env(&world, "").replace(&world.connector.url, &connector.url).replace("telegram", "telegram,slack");
    world.write(".env", &format!("{env}GATEWAY_RELAY_ACCESS_TOKEN=a\n"));
    world.serve_unlinked();
    let token = wait_for("a dial with a token", SOON, || async {
        connector.requests("/relay").into_iter().find_map(|(_, bearer, _)| bearer)
    })
    .await;
    let now_s = jiff::Timestamp::now().as_second().unsigned_abs();
    let verified = token::verify(token.strip_prefix("Bearer ").unwrap(), &["secret of telegram".into()], now_s);
    assert_eq!(verified.as_deref(), Ok("given"));
    let log = world.gateway().log();
    assert!(log.contains("not this one") && log.contains("telegram,slack"), "{log}");
}

#[actix_web::test]
async fn relevance_is_declared_for_each_platform_with_a_policy() {
    let mut world = World::prepare().await;
    world.write("config.yaml", "discord: {require_mention: true, free_response_channels: [c1, c2]}\n");
    world.serve().await;
    let policies = wait_for("a policy", SOON, || async {
        let policies = registered(&world, "world").await["policies"].clone();
        policies.as_object().is_some_and(|policies| !policies.is_empty()).then_some(policies)
    })
    .await;
    let discord = json!({"platform": "discord", "requireAddress": true, "freeResponseScopes": ["c1", "c2"], "allowOtherBots": false});
    assert_eq!(policies, json!({"discord": discord}));
}
