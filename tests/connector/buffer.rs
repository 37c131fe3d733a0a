//! Events that wait for a gateway that is disconnected, idle, or has not acknowledged.

use awc::Client;
use serde_json::json;

use crate::gateway::{WireGateway, now_s, token};
use crate::support::{Process, SOON, post, wait_for};
use crate::{account, connector, event, push, register};

#[actix_web::test]
async fn a_connected_gateway_gets_an_event_at_once_and_again_until_it_acknowledges() {
    let connector = connector();
    let credentials = register(&connector, "gw-1").await;
    let mut gateway = WireGateway::connect(&connector.url, &credentials).await;
    let pushed = push(&connector, json!({"event": event("m1", "hi")})).await;
    assert_eq!(pushed["delivered"], 1);
    let inbound = gateway.frame().await;
    assert_eq!((&inbound["event"], &inbound["bufferId"]), (&event("m1", "hi"), &pushed["bufferId"]));
    drop(gateway);

    let mut gateway = WireGateway::connect(&connector.url, &credentials).await;
    assert_eq!(gateway.frame().await, inbound, "not acknowledged, so it is sent again");
    gateway.acknowledge(&inbound).await;
    gateway.acknowledge(&inbound).await;
    // An acknowledgement that arrives after the next hello is too late.
    let acked = || async { (account(&connector).await["events"]["m1"]["acked"] == 1).then_some(()) };
    wait_for("the acknowledgement", SOON, acked).await;
    drop(gateway);

    let mut gateway = WireGateway::connect(&connector.url, &credentials).await;
    push(&connector, json!({"event": event("m2", "ho")})).await;
    assert_eq!(gateway.frame().await["event"]["message_id"], "m2", "acknowledged, so it is not sent again");
}

#[actix_web::test]
async fn events_pushed_during_a_disconnection_arrive_in_order_after_the_handshake() {
    let connector = connector();
    let credentials = register(&connector, "gw-1").await;
    for number in 0..1_000 {
        let pushed = push(&connector, json!({"event": event(&format!("m{number}"), "hi")})).await;
        assert_eq!(pushed["delivered"], 0);
    }
    let mut gateway = WireGateway::connect(&connector.url, &credentials).await;
    for number in 0..1_000 {
        let inbound = gateway.frame().await;
        assert_eq!(inbound["event"]["message_id"], format!("m{number}"));
        gateway.acknowledge(&inbound).await;
    }
    wait_for("an empty buffer", SOON, || async {
        (account(&connector).await["links"][0]["buffered"] == 0).then_some(())
    })
    .await;
}

#[actix_web::test]
async fn nothing_is_pushed_before_a_hello_or_after_going_idle() {
    let connector = connector();
    let credentials = register(&connector, "gw-1").await;
    let token = token("gw-1", credentials["secret"].as_str().unwrap(), now_s() + 300);
    let mut gateway = WireGateway::dial(&connector.url, Some(&token)).await;
    assert_eq!(push(&connector, json!({"event": event("m1", "early")})).await["delivered"], 0);
    gateway.send_frame(&json!({"type": "hello", "platform": "discord", "botId": "b"})).await;
    assert_eq!(gateway.frame().await["type"], "descriptor", "the descriptor comes before the waiting events");
    let inbound = gateway.frame().await;
    assert_eq!(inbound["event"]["message_id"], "m1");
    gateway.acknowledge(&inbound).await;

    gateway.send_frame(&json!({"type": "going_idle"})).await;
    assert_eq!(gateway.frame().await, json!({"type": "going_idle_ack"}));
    assert_eq!(push(&connector, json!({"event": event("m2", "idle")})).await["delivered"], 0);
    assert_eq!(
        gateway.act(json!({"op": "typing", "chat_id": "c1"})).await["success"],
        true,
        "no event was sent in between"
    );
    gateway.send_frame(&json!({"type": "hello", "platform": "discord", "botId": "b"})).await;
    assert_eq!(gateway.frame().await["type"], "descriptor");
    assert_eq!(gateway.frame().await["event"]["message_id"], "m2");
}

#[actix_web::test]
async fn a_live_event_is_lost_without_a_connected_gateway() {
    let connector = connector();
    let credentials = register(&connector, "gw-1").await;
    assert_eq!(push(&connector, json!({"event": event("m1", "hi"), "live": true})).await, json!({"delivered": 0}));
    let mut gateway = WireGateway::connect(&connector.url, &credentials).await;
    assert_eq!(push(&connector, json!({"event": event("m2", "hi"), "live": true})).await, json!({"delivered": 1}));
    let inbound = gateway.frame().await;
    assert_eq!(inbound["event"]["message_id"], "m2");
    assert!(inbound.get("bufferId").is_none());
}

#[actix_web::test]
async fn credentials_and_waiting_events_survive_a_restart_of_the_connector() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("connector.json");
    let arguments = ["connector", "--bind", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let mut connector = Process::start(&arguments);
    let credentials = register(&connector, "gw-1").await;
    push(&connector, json!({"event": event("m1", "hi")})).await;
    connector.signal("TERM");
    assert!(connector.wait_for_exit().success());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&data).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "the data file holds secrets");

    let connector = Process::start(&arguments);
    let mut gateway = WireGateway::connect(&connector.url, &credentials).await;
    assert_eq!(gateway.frame().await["event"]["message_id"], "m1");
}

#[actix_web::test]
async fn the_first_waiting_event_wakes_the_gateway_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let wake_url = format!("http://{}/wake", listener.local_addr().unwrap());
    let connector = connector();
    let credentials = register(&connector, "gw-1").await;
    let body = json!({"gatewayId": "gw-1", "platform": "discord", "botId": "b", "gatewayEndpoint": "", "routeKeys": [],
                      "wakeUrl": wake_url});
    let access = format!("Bearer {}", credentials["accessToken"].as_str().unwrap());
    let request = Client::default().post(format!("{}/relay/provision", connector.url));
    let (status, _) = crate::support::send(request.insert_header(("Authorization", access)), body.to_string()).await;
    assert_eq!(status, 200);
    let (wakes, woken) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(&stream), &mut line).unwrap();
            std::io::Write::write_all(&mut &stream, b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
            if wakes.send(line).is_err() {
                return;
            }
        }
    });
    for number in 0..3 {
        push(&connector, json!({"event": event(&format!("m{number}"), "hi")})).await;
    }
    let first = actix_web::web::block(move || (woken.recv_timeout(SOON), woken)).await.unwrap();
    assert_eq!(first.0.unwrap().trim(), "GET /wake HTTP/1.1");
    // The hub answers in order: any further wake request was sent before this answer.
    post(&format!("{}/dev/gateways", connector.url), &json!({})).await;
    assert!(first.1.try_recv().is_err(), "one wake request a minute");
}
