//! Access rules of the HTTP routes, and their answers to bad input.

use awc::Client;
use serde_json::{Value, json};

use crate::gateway::{WireGateway, token};
use crate::support::{get, post, send};
use crate::{account, connector, event, register};

async fn post_as(url: &str, bearer: &str, body: &Value) -> (u16, Value) {
    let request = Client::default().post(url).insert_header(("Authorization", format!("Bearer {bearer}")));
    send(request, body.to_string()).await
}

#[actix_web::test]
async fn other_websites_and_other_machines_are_refused() {
    let connector = connector();
    register(&connector, "gw-1").await;
    let url = |path: &str| format!("{}{path}", connector.url);
    let own = &*connector.url;
    for (path, name, value, expected) in [
        ("/", "Host", "evil.example", 403),
        ("/dev/account", "Host", "evil.example:80", 403),
        ("/dev/account", "Origin", "http://evil.example", 403),
        ("/chat/events", "Origin", "null", 403),
        ("/relay", "Origin", "http://evil.example", 403),
        ("/dev/account", "X-Forwarded-For", "203.0.113.7", 403),
        ("/dev/account", "Forwarded", "for=203.0.113.7", 403),
        ("/dev/account", "Origin", own, 200),
    ] {
        let (status, body) = send(Client::default().get(url(path)).insert_header((name, value)), String::new()).await;
        assert_eq!(status, expected, "{path} {name}: {value}");
        assert_eq!(body["error"] == "forbidden", expected == 403, "{path} {name}: {value}");
    }
}

#[actix_web::test]
async fn dev_and_manage_routes_refuse_a_peer_that_is_not_loopback() {
    // The machine's own other address represents another machine: the peer is then that address, not loopback.
    let Some(address) = other_address() else {
        panic!("this test needs an interface beside loopback, with an IPv4 address");
    };
    let connector = crate::support::Process::start(&["connector", "--bind", &format!("{address}:0")]);
    for path in ["/dev/gateways", "/dev/inbound", "/dev/faults", "/manage/deprovision", "/manage/rotate"] {
        assert_eq!(post(&format!("{}{path}", connector.url), &json!({})).await.0, 403, "{path}");
    }
    for path in ["/dev/account", "/dev/outbound"] {
        assert_eq!(get(&format!("{}{path}", connector.url)).await.0, 403, "{path}");
    }
}

/// The source address of this machine towards others; nothing is sent.
fn other_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[actix_web::test]
async fn bad_input_is_refused_with_its_reason() {
    let connector = connector();
    register(&connector, "gw-1").await;
    let url = |path: &str| format!("{}{path}", connector.url);
    for path in [
        "/dev/gateways",
        "/dev/inbound",
        "/dev/faults",
        "/relay/enroll",
        "/relay/provision",
        "/relay/policy",
        "/manage/deprovision",
        "/manage/rotate",
        "/chat/messages",
    ] {
        let (status, body) = send(Client::default().post(url(path)), "{not json".to_owned()).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_request")), "{path}");
        let (status, body) = send(Client::default().post(url(path)), "[".repeat(100_000)).await;
        assert!(matches!(status, 400 | 413), "{path}: {status} {body}");
        let (status, body) = send(Client::default().post(url(path)), " ".repeat(9 * 1024 * 1024)).await;
        assert_eq!((status, &body["error"]), (413, &json!("too_large")), "{path}");
        let (status, body) = send(Client::default().put(url(path)), String::new()).await;
        assert_eq!((status, &body["error"]), (405, &json!("method_not_allowed")), "{path}");
    }
    for path in ["/", "/relay", "/dev/account", "/dev/outbound", "/chat/events"] {
        assert_eq!(post(&url(path), &json!({})).await.0, 405, "{path}");
    }
    assert_eq!(get(&url("/nowhere")).await, (404, json!({"error": "not_found", "detail": "there is no such route"})));
    assert_eq!(get(&url("/relay")).await.1["error"], "websocket_required");
    assert_eq!(get(&url("/dev/outbound?after=x")).await.0, 400);

    let inbound = url("/dev/inbound");
    let cases = [
        (json!({"gatewayId": "unknown", "event": event("m", "x")}), 404),
        (json!({"event": "text"}), 400),
        (json!({"event": {"source": 7}}), 400),
        (json!({}), 400),
        (json!({"event": event("m", "x"), "raw": "y"}), 400),
        (json!({"event": event("m", "x"), "signed": true}), 400),
    ];
    for (body, expected) in cases {
        assert_eq!(post(&inbound, &body).await.0, expected, "{body}");
    }
    register(&connector, "gw-2").await;
    assert_eq!(post(&inbound, &json!({"event": event("m", "x")})).await.1["error"], "gateway_required");
    assert_eq!(post(&url("/dev/gateways"), &json!({"gatewayId": "a\nb"})).await.1["error"], "invalid_gateway_id");
}

#[actix_web::test]
async fn a_gateway_enrolls_once_with_its_tenants_token() {
    let connector = connector();
    let credentials = register(&connector, "gw-1").await;
    let url = format!("{}/relay/enroll", connector.url);
    let body = json!({"enrollmentToken": credentials["enrollmentToken"], "gatewayId": "gw-host"});
    assert_eq!(post(&url, &body).await.0, 401);
    let access = credentials["accessToken"].as_str().unwrap();
    let (status, grant) = post_as(&url, access, &body).await;
    assert_eq!(
        (status, &grant["gatewayId"], &grant["deliveryKey"]),
        (200, &json!("gw-host"), &credentials["deliveryKey"])
    );
    WireGateway::connect(&connector.url, &grant).await;
    assert_eq!(post_as(&url, access, &body).await.0, 403, "the token is used up");
}

#[actix_web::test]
async fn a_gateway_provisions_itself_and_declares_its_policy() {
    let connector = connector();
    let credentials = register(&connector, "gw-1").await;
    let url = format!("{}/relay/provision", connector.url);
    let access = credentials["accessToken"].as_str().unwrap();
    let mut secrets = vec![credentials["secret"].clone()];
    for platform in ["discord", "telegram"] {
        let body =
            json!({"gatewayId": "gw-1", "platform": platform, "botId": "b", "gatewayEndpoint": "", "routeKeys": ["k"]});
        assert_eq!(post_as(&url, "unknown-token", &body).await.0, 401);
        let (status, grant) = post_as(&url, access, &body).await;
        assert_eq!((status, &grant["routeKeys"]), (200, &json!(["k"])));
        secrets.push(grant["secret"].clone());
    }
    for secret in &secrets {
        WireGateway::connect(&connector.url, &json!({"gatewayId": "gw-1", "secret": secret})).await;
    }
    let policy =
        json!({"platform": "discord", "requireAddress": true, "freeResponseScopes": ["c"], "allowOtherBots": false});
    let url = format!("{}/relay/policy", connector.url);
    assert_eq!(post_as(&url, access, &policy).await.0, 401, "an access token is not an upgrade token");
    let upgrade = token("gw-1", secrets[2].as_str().unwrap(), 0);
    assert_eq!(post_as(&url, &upgrade, &policy).await.0, 200);
    assert_eq!(account(&connector).await["registered"]["gw-1"]["policies"]["discord"], policy);
}

#[actix_web::test]
async fn a_deprovisioned_gateway_is_closed_and_cannot_reconnect() {
    let connector = connector();
    let credentials = register(&connector, "gw-1").await;
    let mut gateway = WireGateway::connect(&connector.url, &credentials).await;
    let url = format!("{}/manage/deprovision", connector.url);
    assert_eq!(post(&url, &json!({"gatewayId": "unknown"})).await.0, 404);
    assert_eq!(post(&url, &json!({"gatewayId": "gw-1"})).await.0, 200);
    assert_eq!(gateway.close().await, (4_401, "unauthorized".to_owned()));
    let secret = credentials["secret"].as_str().unwrap();
    let mut gateway = WireGateway::dial(&connector.url, Some(&token("gw-1", secret, 0))).await;
    assert_eq!(gateway.close().await.0, 4_401);
    WireGateway::connect(&connector.url, &register(&connector, "gw-1").await).await;
}

#[actix_web::test]
async fn a_rotated_secret_is_valid_only_within_its_window() {
    let connector = connector();
    let old = register(&connector, "gw-1").await;
    let url = format!("{}/manage/rotate", connector.url);
    let (status, new) = post(&url, &json!({"gatewayId": "gw-1"})).await;
    assert_eq!(status, 200);
    WireGateway::connect(&connector.url, &old).await;
    WireGateway::connect(&connector.url, &new).await;
    let (_, newest) = post(&url, &json!({"gatewayId": "gw-1", "windowS": 0})).await;
    WireGateway::connect(&connector.url, &newest).await;
    for secret in [&old["secret"], &new["secret"]] {
        let mut gateway = WireGateway::dial(&connector.url, Some(&token("gw-1", secret.as_str().unwrap(), 0))).await;
        assert_eq!(gateway.close().await.0, 4_401);
    }
}

#[actix_web::test]
async fn a_delivery_reaches_the_endpoint_with_a_valid_signature() {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let (sender, received) = std::sync::mpsc::channel();
    let endpoint = actix_web::HttpServer::new(move || {
        let sender = sender.clone();
        actix_web::App::new().default_service(actix_web::web::to(
            move |request: actix_web::HttpRequest, body: String| {
                let header = |name: &str| request.headers().get(name).unwrap().to_str().unwrap().to_owned();
                let delivery =
                    (request.path().to_owned(), header("x-relay-timestamp"), header("x-relay-signature"), body);
                sender.send(delivery).unwrap();
                std::future::ready(actix_web::HttpResponse::Ok().finish())
            },
        ))
    })
    .workers(1)
    .bind("127.0.0.1:0")
    .unwrap();
    let address = endpoint.addrs()[0];
    let server = endpoint.run();
    let handle = server.handle();
    caduceus_supervision::spawn(server);
    let connector = connector();
    let credentials = register(&connector, "gw-1").await;
    let body = json!({"event": event("m1", "hi"), "signed": true, "endpoint": format!("http://{address}/in/")});
    let (status, answer) = post(&format!("{}/dev/inbound", connector.url), &body).await;
    assert_eq!((status, answer), (202, json!({"delivered": 1, "status": 200})));
    let (path, timestamp, signature, body) = received.recv().unwrap();
    assert_eq!(path, "/in");
    let mut mac =
        Hmac::<sha2::Sha256>::new_from_slice(credentials["deliveryKey"].as_str().unwrap().as_bytes()).unwrap();
    mac.update(format!("{timestamp}.{body}").as_bytes());
    assert!(mac.verify_slice(&hex::decode(signature).unwrap()).is_ok());
    handle.stop(false).await;
}
