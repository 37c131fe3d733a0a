//! An exceeded restart intensity: of an essential actor, and of one profile.

use std::time::Duration;

use serde_json::json;

use super::inject;
use super::traffic::{answers_200, node, start_echoing, until_restarted};
use crate::support::{SOON, client, pace, post, wait_for};

#[actix_web::test]
async fn a_gate_that_exceeds_its_restart_intensity_ends_the_process_with_70() {
    let mut world = start_echoing("").await;
    let mut process = world.gateway.take().unwrap();
    let url = format!("{}/api/actors/drain/fault", process.url);
    let begun = std::time::Instant::now();
    // 5 restarts are allowed within a minute, after waits of up to 0.2, 0.4, 0.8 and 1.6 s; the sixth panic exceeds the intensity.
    let status = loop {
        let order = json!({"fault": "panic_in_timer"}).to_string();
        // Refused while the actor is down, and cut off at the end.
        let _ = client().post(&url).timeout(Duration::from_secs(1)).send_body(order).await;
        if let Some(status) = process.try_exit() {
            break status;
        }
        assert!(begun.elapsed() < SOON, "the process did not end in {SOON:?}");
        // Between two orders the actor has time to restart.
        pace(Duration::from_millis(50)).await;
    };
    println!("six panics and the end took {:?}", begun.elapsed());
    assert_eq!(status.code(), Some(70));
}

#[actix_web::test]
async fn a_profile_that_exceeds_its_restart_intensity_fails_and_a_reset_restarts_it() {
    let mut world = crate::world::World::prepare().await;
    world.profile("work", "");
    world.write(
        "caduceus.yaml",
        "agent: {backend: exec, command: [/bin/echo, answered]}
supervision:
  policies:
    profile: {max_restarts: 5, window_s: 60, backoff_floor_ms: 0, backoff_ceiling_ms: 0}
",
    );
    world.serve().await;
    for _ in 0..6 {
        let generation = until_restarted(&world, "profiles/work", 0).await["generation"].as_u64().unwrap();
        inject(&world, "profiles/work", &json!({"fault": "panic_in_timer"})).await;
        wait_for("the panic to be seen", SOON, || async {
            let node = node(&world, "profiles/work").await?;
            (node["generation"].as_u64() > Some(generation) || node["state"] == "failed").then_some(())
        })
        .await;
    }
    let failed = node(&world, "profiles/work").await.unwrap();
    assert_eq!((&failed["state"], &failed["last_exit"]["word"]), (&json!("failed"), &json!("panic")), "{failed}");

    assert!(answers_200(&world).await);
    world.push("other", "are you there?", "c1", None).await;
    world.answer("other").await;
    world.push("failed", "and you?", "c2", Some("work")).await;
    world.until_frame("could not be reached").await;

    let (code, answer) = post(&world.url("/api/actors/profiles/work/reset"), &json!({})).await;
    assert_eq!(code, 200, "{answer}");
    until_restarted(&world, "profiles/work", 0).await;
    world.push("again", "and now?", "c2", Some("work")).await;
    world.answer("again").await;
}
