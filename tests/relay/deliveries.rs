//! Signed deliveries over HTTP.

use std::fs;

use awc::http::header::HOST;
use caduceus_contract::wire::delivery::sign;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};

use crate::support::{SOON, client, get, post, send, wait_for};
use crate::world::World;

const KEY: &str = "the present key";
const OLD_KEY: &str = "the former key";

/// A gateway with the two keys.
async fn start() -> World {
    let mut world = World::prepare().await;
    set_keys(&world);
    world.serve().await;
    world
}

fn set_keys(world: &World) {
    let env = fs::read_to_string(world.path(".env")).unwrap();
    world.write(".env", &format!("{env}GATEWAY_RELAY_DELIVERY_KEY='{KEY},{OLD_KEY}'\n"));
}

fn now_s() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn body(id: &str) -> Vec<u8> {
    json!({"event": World::message(id, id, "c", None)}).to_string().into_bytes()
}

/// Delivers a body as a connector does, under a foreign host name.
async fn deliver(url: &str, body: &[u8], timestamp: &str, signature: &str) -> (u16, Value) {
    let request = client()
        .post(url)
        .insert_header((HOST, "gateway.example"))
        .insert_header(("x-relay-timestamp", timestamp))
        .insert_header(("x-relay-signature", signature));
    let mut answer = request.timeout(SOON).send_body(body.to_vec()).await.expect("the gateway answers");
    let bytes = answer.body().await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&bytes).unwrap_or_default())
}

async fn deliver_signed(url: &str, body: &[u8], key: &str) -> (u16, Value) {
    let now_s = now_s();
    deliver(url, body, &now_s.to_string(), &sign(body, now_s, &key.into())).await
}

fn ran(world: &World, profile: Option<&str>) -> Vec<String> {
    world.agent_account(profile).into_iter().map(|(_, _, text)| text).collect()
}

/// Each variant of `original` with one bit flipped.
fn flipped(original: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..original.len() * 8).map(|bit| {
        let mut changed = original.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    })
}

#[actix_web::test]
async fn a_changed_bit_of_the_signature_or_the_body_or_a_digit_of_the_time_is_refused() {
    let world = start().await;
    let url = world.url("/relay/inbound");
    let (body, time) = (body("m1"), now_s());
    let signature = sign(&body, time, &KEY.into());
    let time = time.to_string();
    let mut tried: Vec<(Vec<u8>, String, String)> = Vec::new();
    for changed in flipped(&hex::decode(&signature).unwrap()) {
        tried.push((body.clone(), time.clone(), hex::encode(changed)));
    }
    assert_eq!(tried.len(), 256);
    tried.extend(flipped(&body).map(|changed| (changed, time.clone(), signature.clone())));
    for place in 0..time.len() {
        let others = ('0'..='9').filter(|digit| time.as_bytes()[place] != *digit as u8);
        tried.extend(others.map(|digit| {
            let mut changed = time.clone();
            changed.replace_range(place..=place, &digit.to_string());
            (body.clone(), changed, signature.clone())
        }));
    }
    let answers =
        stream::iter(&tried).map(|(body, time, signature)| deliver(&url, body, time, signature)).buffer_unordered(8);
    let codes: Vec<u16> = answers.map(|(code, _)| code).collect().await;
    assert_eq!((codes.len(), codes.iter().filter(|code| **code != 401).count()), (tried.len(), 0));
    assert_eq!(deliver(&url, &body, &time, &signature.to_uppercase()).await, (200, json!({"ok": true})));
    world.answer("m1").await;
    assert_eq!(ran(&world, None), ["m1"]);
}

#[actix_web::test]
async fn the_window_is_five_minutes_either_way() {
    let world = start().await;
    let url = world.url("/relay/inbound");
    for (skew, code) in [(-299, 200), (299, 200), (-301, 401), (301, 401)] {
        let body = body(&format!("m{skew}"));
        // Once more if a second passed meanwhile.
        let answer = loop {
            let now = now_s();
            let answer = deliver(&url, &body, &(now + skew).to_string(), &sign(&body, now + skew, &KEY.into())).await;
            if now_s() == now {
                break answer;
            }
        };
        assert_eq!(answer.0, code, "{skew}: {}", answer.1);
    }
}

#[actix_web::test]
async fn ten_thousand_replays_run_once_also_across_a_restart() {
    let mut world = start().await;
    let (body, time) = (body("m1"), now_s());
    let signature = sign(&body, time, &OLD_KEY.into());
    let replay = async |world: &World, times: usize| {
        let (url, time) = (world.url("/relay/inbound"), time.to_string());
        let answers = stream::iter(0..times).map(|_| deliver(&url, &body, &time, &signature)).buffer_unordered(16);
        let codes: Vec<u16> = answers.map(|(code, _)| code).collect().await;
        assert_eq!(codes.iter().filter(|code| **code == 200).count(), times);
    };
    replay(&world, 9_900).await;
    world.answer("m1").await;
    world.kill_gateway();
    world.serve().await;
    replay(&world, 100).await;
    // One more message in the same chat: when it is answered, those before it are done.
    assert_eq!(deliver_signed(&world.url("/relay/inbound"), &self::body("m2"), KEY).await.0, 200);
    world.answer("m2").await;
    assert_eq!(ran(&world, None), ["m1", "m2"]);
}

#[actix_web::test]
async fn a_signed_body_that_is_not_a_delivery_is_refused_with_its_reason() {
    let world = start().await;
    let url = world.url("/relay/inbound");
    let huge = vec![b' '; 2 * 1024 * 1024 + 1];
    let cases: [(&[u8], u16, &str); 8] = [
        (b"{", 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"{\"event\":{\"text\":\"\xff\"}}", 400, "invalid_json"),
        (b"[]", 400, "not_an_object"),
        (b"{}", 400, "wrong_field"),
        (b"{\"event\":7}", 400, "wrong_field"),
        (b"{\"event\":{\"text\":7}}", 400, "invalid_event"),
        (&huge, 413, "body_too_large"),
    ];
    for (body, code, word) in cases {
        let (status, answer) = deliver_signed(&url, body, KEY).await;
        assert_eq!((status, answer["error"].as_str()), (code, Some(word)), "{answer}");
    }
    let unsigned = send(client().post(&url), "{}".to_owned()).await;
    assert_eq!((unsigned.0, unsigned.1["error"].as_str()), (401, Some("unsigned_delivery")));
    let twice =
        client().post(&url).append_header(("x-relay-timestamp", now_s())).append_header(("x-relay-timestamp", "1"));
    assert_eq!(send(twice, "{}".to_owned()).await.0, 401);
    assert_eq!(get(&url).await.0, 405);
}

#[actix_web::test]
async fn without_a_key_every_delivery_is_refused() {
    let world = World::start().await;
    assert_eq!(deliver_signed(&world.url("/relay/inbound"), &body("m1"), "").await.0, 401);
    assert_eq!(deliver_signed(&world.url("/relay/inbound"), &body("m1"), KEY).await.0, 401);
}

#[actix_web::test]
async fn an_interrupt_stops_the_turn_of_its_session_and_no_other() {
    let world = start().await;
    world.push("m1", "sleep 600", "c", None).await;
    world.until("a turn", |status| status["drain"]["active_agents"] == 1).await;
    let url = world.url("/relay/inbound/interrupt");
    let (status, answer) = deliver_signed(&url, b"{\"chat_id\":\"c\"}", KEY).await;
    assert_eq!((status, answer["error"].as_str()), (400, Some("wrong_field")));
    assert_eq!(deliver_signed(&url, b"{\"session_key\":\"agent:main:discord:channel:other\"}", KEY).await.0, 200);
    assert_eq!(world.status().await["drain"]["active_agents"], 1);
    let key = json!({"session_key": "agent:main:discord:channel:c:u1"}).to_string();
    assert_eq!(deliver_signed(&url, key.as_bytes(), KEY).await.0, 200);
    world.until("no turn", |status| status["drain"]["active_agents"] == 0).await;
}

#[actix_web::test]
async fn an_event_belongs_to_the_profile_whose_key_verifies_it() {
    let mut world = World::prepare().await;
    set_keys(&world);
    world.profile("work", "GATEWAY_RELAY_DELIVERY_KEY=of-work\n");
    world.serve().await;
    let url = world.url("/relay/inbound");
    for (key, id) in [("of-work", "m1"), (KEY, "m2")] {
        assert_eq!(deliver_signed(&url, &body(id), key).await.0, 200);
        world.answer(id).await;
    }
    assert_eq!((ran(&world, Some("work")), ran(&world, None)), (vec!["m1".to_owned()], vec!["m2".to_owned()]));
    // Its connector reaches only its own sessions. An answered turn still counts for a moment.
    world.until("no turn", |status| status["drain"]["active_agents"] == 0).await;
    world.push("m3", "sleep 600", "c", None).await;
    world.until("a turn", |status| status["drain"]["active_agents"] == 1).await;
    let key = json!({"session_key": "agent:main:discord:channel:c:u1"}).to_string();
    assert_eq!(deliver_signed(&world.url("/relay/inbound/interrupt"), key.as_bytes(), "of-work").await.0, 200);
    assert_eq!(world.status().await["drain"]["active_agents"], 1);
}

#[actix_web::test]
async fn deliveries_can_have_a_listener_and_a_path_of_their_own() {
    let mut world = World::prepare().await;
    set_keys(&world);
    world.configure("relay: {inbound: {bind: '127.0.0.1:0', path: /in}}\n");
    world.serve().await;
    let log = wait_for("the listener's address", SOON, || async {
        let log = world.gateway().log();
        log.lines().find(|line| line.contains("separate listener for signed deliveries")).map(str::to_owned)
    })
    .await;
    let address = log.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
    let own = format!("http://{address}");
    assert_eq!(deliver_signed(&world.url("/in"), &body("m1"), KEY).await.0, 404);
    assert_eq!(deliver_signed(&format!("{own}/relay/inbound"), &body("m1"), KEY).await.0, 404);
    assert_eq!(get(&format!("{own}/api/status")).await.0, 404);
    assert_eq!(get(&format!("{own}/")).await.0, 404);
    // Delivered by the connector itself.
    let pushed =
        json!({"event": World::message("m1", "m1", "c", None), "signed": true, "endpoint": format!("{own}/in")});
    let (status, credentials) =
        post(&format!("{}/dev/gateways", world.connector.url), &json!({"gatewayId": "world"})).await;
    assert_eq!(status, 200);
    let env = fs::read_to_string(world.path(".env")).unwrap();
    world.write(".env", &env.replace(KEY, credentials["deliveryKey"].as_str().unwrap()));
    let (status, pushed) = post(&format!("{}/dev/inbound", world.connector.url), &pushed).await;
    assert_eq!((status, &pushed["status"]), (202, &json!(200)), "{pushed}");
    world.answer("m1").await;
}
