//! Profiles with the credentials of another profile, and many profiles.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{SOON, binary, wait_for};
use crate::text;
use crate::world::World;

fn link<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["relay"].as_array().unwrap().iter().find(|link| link["link"] == name).expect("the link is shown")
}

fn profile<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["secrets"].as_array().unwrap().iter().find(|profile| profile["name"] == name).expect("the profile is shown")
}

/// The findings of a command above `ok`: code and profile.
fn found(world: &World, command: &[&str]) -> Vec<(String, String)> {
    let home = world.home().display().to_string();
    let output = binary().args(command).args(["--home", &home, "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let field = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] != "ok");
    findings.map(|finding| (field(finding, "code"), field(finding, "profile"))).collect()
}

#[actix_web::test]
async fn a_cloned_profile_gets_no_link_and_runs_no_message_of_the_original_profile() {
    let mut world = World::prepare().await;
    let env = std::fs::read_to_string(world.path(".env")).unwrap();
    // As written by hand.
    let spelled = env.replace("GATEWAY_RELAY_ID=world", "GATEWAY_RELAY_ID = ' World '").replace("/relay\n", "/\n");
    world.profile("work", &env);
    world.profile("spelled", &spelled);
    for command in [&["doctor"][..], &["secrets", "audit"]] {
        let named = found(&world, command);
        for clone in ["work", "spelled"] {
            assert!(named.contains(&("shared_gateway".into(), clone.into())), "{command:?}: {named:?}");
        }
    }
    world.serve().await;
    for number in 0..12 {
        let id = format!("m{number}");
        world.push(&id, &id, &format!("c{number}"), None).await;
        world.answer(&id).await;
    }
    assert_eq!(world.agent_account(None).len(), 12);
    for clone in ["work", "spelled"] {
        assert_eq!(world.agent_account(Some(clone)), [], "no message runs as {clone}");
        let degraded = |status: &Value| profile(status, clone)["state"] == "degraded";
        let status = world.until("a degraded clone", degraded).await;
        let problem = profile(&status, clone)["troubles"][0].as_str().unwrap().to_owned();
        assert!(problem.contains("GATEWAY_RELAY_ID"), "{problem}");
        let refused = link(&status, &format!("relay-{clone}"));
        assert_eq!((&refused["state"], &refused["generation"]), (&json!("disabled"), &json!(0)), "{refused}");
        assert!(refused["last_error"].as_str().unwrap().contains("GATEWAY_RELAY_ID"), "{refused}");
        let log = world.gateway().log();
        let named = |line: &&str| line.contains("has no link of its own") && line.contains(&format!("profile={clone}"));
        let reasons: Vec<_> = log.lines().filter(named).filter_map(|line| line.split_once("reason=")).collect();
        // Profiles start at the same time: for a moment the other clone may be the one that has the gateway.
        let distinct: BTreeSet<_> = reasons.iter().map(|(_, reason)| reason).collect();
        assert!(!reasons.is_empty() && distinct.len() == reasons.len(), "each reason is logged once: {reasons:?}");
        assert!(reasons[reasons.len() - 1].1.contains("the link of the gateway itself"), "{reasons:?}");
    }
    let status = world.status().await;
    assert_eq!(
        (&link(&status, "relay")["generation"], &profile(&status, "default")["state"]),
        (&json!(1), &json!("ready"))
    );

    // With credentials of its own it gets a link, and loses it again with those of the other.
    world.profile("work", &world.link_env("of-work").await);
    let up = |status: &Value| {
        link(status, "relay-work")["state"] == "connected" && profile(status, "work")["state"] == "ready"
    };
    world.until("a link of its own", up).await;
    world.profile("work", &env);
    world.until("a clone again", |status| profile(status, "work")["state"] == "degraded").await;
    assert_eq!(link(&world.status().await, "relay")["generation"], json!(1), "the link of the other is unchanged");
}

#[actix_web::test]
async fn of_two_profiles_with_one_gateway_id_the_first_has_the_link() {
    let mut world = World::prepare().await;
    let env = world.link_env("shared").await;
    world.profile("b", &env);
    world.profile("a", &env);
    world.serve().await;
    let settled = |status: &Value| {
        let state = |name| link(status, name)["state"].as_str().unwrap().to_owned();
        [state("relay-a"), state("relay-b")] == ["connected", "disabled"]
    };
    let status = world.until("the link of the first", settled).await;
    assert_eq!(
        (&profile(&status, "a")["state"], &profile(&status, "b")["state"]),
        (&json!("ready"), &json!("degraded"))
    );
    assert!(profile(&status, "b")["troubles"][0].as_str().unwrap().contains("profile a"), "{}", profile(&status, "b"));
}

#[actix_web::test]
async fn an_id_from_provisioning_belongs_to_the_gateway_before_any_profile() {
    let mut world = World::prepare().await;
    let env = std::fs::read_to_string(world.path(".env")).unwrap();
    let credentials = crate::credentials(&world).await;
    world.profile("work", &env);
    // The connector delivers the secret some time after the start.
    let unpinned: String = env.split_inclusive('\n').filter(|line| !line.contains("SECRET")).collect();
    world.write(".env", &unpinned);
    world.variable("GATEWAY_RELAY_ACCESS_TOKEN", text(&credentials, "accessToken"));
    world.serve_unlinked();
    let settled = |status: &Value| {
        let state = |name| link(status, name)["state"].as_str().unwrap().to_owned();
        [state("relay"), state("relay-work")] == ["connected", "disabled"]
            && profile(status, "work")["state"] == "degraded"
    };
    world.until("the link of the gateway alone", settled).await;
    world.push("m", "hello", "c", None).await;
    world.answer("m").await;
    assert_eq!((world.agent_account(None).len(), world.agent_account(Some("work")).len()), (1, 0));
}

#[actix_web::test]
async fn more_than_a_hundred_links_are_up_at_a_time() {
    const PROFILES: usize = 105;
    let mut world = World::prepare().await;
    world.write("caduceus.yaml", "agent: {backend: echo}\n");
    for number in 0..PROFILES {
        let id = format!("g{number:03}");
        world.profile(&id, &world.link_env(&id).await);
    }
    world.serve_unlinked();
    let up = wait_for("every link", SOON * 3, || async {
        let (code, status) = crate::support::get(&world.url("/api/status")).await;
        let links = if code == 200 { status["relay"].as_array().unwrap().clone() } else { Vec::new() };
        let up = links.iter().filter(|link| link["state"] == "connected").count();
        (up > PROFILES).then_some(up)
    })
    .await;
    assert_eq!(up, PROFILES + 1);
}
