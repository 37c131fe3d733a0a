//! A profile with a link of its own.

use serde_json::{Value, json};

use crate::support::post;
use crate::world::World;

#[actix_web::test]
async fn an_event_over_a_profiles_own_link_runs_under_that_profile_and_is_answered_over_it() {
    let mut world = World::prepare().await;
    let env = world.link_env("of-work").await;
    world.profile("work", &env);
    // An incomplete set of settings makes no link.
    world.profile("half", "GATEWAY_RELAY_URL=http://127.0.0.1:1\n");
    world.serve().await;
    let up = |status: &Value| {
        let links: Vec<_> =
            status["relay"].as_array().unwrap().iter().map(|link| (&link["link"], &link["state"])).collect();
        links == [(&json!("relay"), &json!("connected")), (&json!("relay-work"), &json!("connected"))]
    };
    world.until("both links to be up", up).await;
    for (gateway, id) in [("of-work", "m1"), ("world", "m2")] {
        // The event's profile is ignored on a profile's own link.
        let event = World::message(id, id, "c", Some("default"));
        let body = json!({"gatewayId": gateway, "event": event});
        let (status, pushed) = post(&format!("{}/dev/inbound", world.connector.url), &body).await;
        assert_eq!((status, &pushed["delivered"]), (202, &json!(1)), "{pushed}");
        world.answer(id).await;
    }
    let ran = |profile| world.agent_account(profile).into_iter().map(|(_, _, text)| text).collect::<Vec<_>>();
    assert_eq!((ran(Some("work")), ran(None)), (vec!["m1".to_owned()], vec!["m2".to_owned()]));
    let frames = world.outbound().await;
    let answered = |id: &str| {
        let mut by = frames.iter().filter(|frame| frame["frame"]["action"]["reply_to"] == id);
        by.next().map(|frame| frame["gatewayId"].clone())
    };
    assert_eq!((answered("m1"), answered("m2")), (Some(json!("of-work")), Some(json!("world"))), "{frames:?}");
}
