//! HTTP answers in every form of real servers and proxies, with the real binary: every command that calls a server.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::answer_forms::{Ends, FORMS, FormServer, read_request};
use crate::support::{SOON, binary, wait_for};
use crate::world::{World, run_command};

/// The forms that end without a timeout: commands wait 15 s for the others.
fn forms() -> impl Iterator<Item = (&'static str, Ends)> {
    FORMS.into_iter().filter(|(_, ends)| *ends != Ends::Never)
}

/// A command without the environment of the test.
fn caduceus(home: &Path, arguments: &[&str]) -> Command {
    let mut command = binary();
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home);
    command
}

/// The first part of a path selects the form of the answer; `body` makes the body for a request.
fn server(body: &'static str) -> FormServer {
    FormServer::start(move |request| {
        let form = request.split(['/', ' ']).nth(2).unwrap().to_owned();
        (form, "application/json", body.into())
    })
}

#[test]
fn a_rotated_token_is_kept_from_every_form_of_answer() {
    let tokens = r#"{"access_token":"hch-at-new","refresh_token":"hch-rt-new","expires_in":3600,"scope":"write"}"#;
    let server = server(tokens);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("honcho.json");
    for (form, ends) in forms() {
        let grant = json!({"hosts": {"hermes": {"apiKey": "hch-at-old", "oauth": {
            "refreshToken": format!("hch-rt-old-{form}"), "expiresAt": 1_000, "clientId": "hermes-agent",
            "tokenEndpoint": format!("{}/{form}/token", server.url()), "scope": "write", "tokenType": "Bearer",
        }}}});
        fs::write(&file, grant.to_string()).unwrap();
        let before = server.requests();
        let home_argument = home.path().display().to_string();
        let (code, printed) = run_command(&mut caduceus(home.path(), &["honcho", "refresh", "--home", &home_argument]));
        let kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let (token, whole) = (kept["hosts"]["hermes"]["apiKey"].as_str().unwrap(), ends == Ends::Whole);
        assert_eq!((code, token == "hch-at-new"), (Some(if whole { 0 } else { 75 }), whole), "{form}: {printed}");
        assert_eq!(server.requests() - before, 1, "{form}: it was presented once");
        let ambiguous = matches!(ends, Ends::Cut | Ends::Closed | Ends::Unreadable);
        assert_eq!(printed.contains("may be spent"), ambiguous, "{form}: {printed}");
        assert!(!printed.contains("hch-rt"), "{printed}");
    }
}

#[test]
fn enrollment_and_identity_answers_are_read_in_every_form() {
    // The form is in the path for one server and in the gateway id for the other.
    let server = FormServer::start(|request| {
        if request.contains("client_credentials") {
            let form = request.split(['/', ' ']).nth(2).unwrap().to_owned();
            return (form, "application/json", br#"{"access_token":"idp-token"}"#.into());
        }
        let body: Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
        let form = body["gatewayId"].as_str().unwrap().to_owned();
        (form, "application/json", br#"{"secret":"5ec2e7","deliveryKey":"k"}"#.into())
    });
    let home = tempfile::tempdir().unwrap();
    let home_argument = home.path().display().to_string();
    let url = server.url();
    for (form, ends) in forms() {
        for (idp_form, connector_form) in [(form, "length"), ("length", form)] {
            let _ = fs::remove_file(home.path().join(".env"));
            let idp = format!("{url}/{idp_form}/token");
            let arguments =
                ["enroll", "--home", &home_argument, "--connector-url", &url, "--gateway-id", connector_form];
            let mut command = caduceus(home.path(), &arguments);
            command.envs([
                ("GATEWAY_RELAY_IDP_TOKEN_URL", idp.as_str()),
                ("GATEWAY_RELAY_IDP_CLIENT_ID", "me"),
                ("GATEWAY_RELAY_IDP_CLIENT_SECRET", "hunter2"),
                ("GATEWAY_RELAY_ENROLL_TOKEN", "once"),
            ]);
            let (code, printed) = run_command(&mut command);
            let shown = format!("{idp_form} {connector_form}: {code:?} {printed}");
            assert_eq!(code == Some(0), ends == Ends::Whole, "{shown}");
            assert!(!printed.contains("hunter2") && !printed.contains("5ec2e7"), "{shown}");
        }
    }
}

#[test]
fn a_command_reads_the_gateways_answer_in_every_form() {
    let server = server(r#"{"gateway_state":"running","active_agents":0}"#);
    let home = tempfile::tempdir().unwrap();
    let ask = |form: &str, more: &[(&str, &str)]| {
        let url = format!("{}/{form}", server.url());
        run_command(caduceus(home.path(), &["status", "--json", "--url", &url]).envs(more.iter().copied()))
    };
    for (form, ends) in forms() {
        let (code, printed) = ask(form, &[]);
        assert_eq!(code == Some(0), ends == Ends::Whole, "{form}: {code:?} {printed}");
    }
    // Loopback is not reached through a proxy; this one does not exist.
    assert_eq!(ask("length", &[("HTTP_PROXY", "http://127.0.0.1:9"), ("all_proxy", "http://127.0.0.1:9")]).0, Some(0));
}

/// A proxy that forwards each name to `target`: by CONNECT, or by reading the request. Records the head of each request.
fn proxy(target: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&heads);
    thread::spawn(move || {
        for inner in listener.incoming().map_while(Result::ok) {
            let recorded = Arc::clone(&recorded);
            thread::spawn(move || {
                let mut inner = inner;
                let Some(request) = read_request(&mut inner) else { return };
                recorded.lock().unwrap().push(request.clone());
                let mut outer = TcpStream::connect(target).unwrap();
                if request.starts_with("CONNECT ") {
                    inner.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
                } else {
                    // From the absolute form to the path.
                    let (line, rest) = request.split_once("\r\n").unwrap();
                    let mut words = line.split(' ');
                    let (method, url) = (words.next().unwrap(), words.next().unwrap());
                    let path = url.splitn(4, '/').nth(3).unwrap_or_default();
                    outer.write_all(format!("{method} /{path} HTTP/1.1\r\n{rest}").as_bytes()).unwrap();
                }
                let copy = |mut from: TcpStream, mut to: TcpStream| {
                    let mut piece = [0; 4096];
                    while let Ok(read @ 1..) = from.read(&mut piece) {
                        if to.write_all(&piece[..read]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(Shutdown::Write);
                };
                let (back_from, back_to) = (outer.try_clone().unwrap(), inner.try_clone().unwrap());
                let back = thread::spawn(move || copy(back_from, back_to));
                copy(inner, outer);
                back.join().unwrap();
            });
        }
    });
    (address, heads)
}

#[actix_web::test]
async fn the_link_uses_the_proxy_by_connect_and_the_doctor_reports_it() {
    let mut world = World::prepare().await;
    let (address, heads) = proxy(world.connector.authority().parse().unwrap());
    let env = fs::read_to_string(world.path(".env")).unwrap();
    // A name that only the proxy resolves.
    world.write(".env", &env.replace(world.connector.authority(), "relay.test:8080"));
    world.variable("http_proxy", &format!("http://me:hunter2@{address}"));
    world.variable("HTTPS_PROXY", "socks5://me:hunter2@127.0.0.1:9");
    world.variable("NO_PROXY", "other.test");
    world.serve().await;
    world.push("m1", "hello", "c", None).await;
    world.answer("m1").await;
    let requests = heads.lock().unwrap().clone();
    assert!(requests[0].starts_with("CONNECT relay.test:8080 HTTP/1.1\r\n"), "{requests:?}");
    // base64 of me:hunter2; the link's own token is sent only to the connector.
    assert!(requests[0].contains("proxy-authorization: Basic bWU6aHVudGVyMg==\r\n"), "{requests:?}");
    assert!(!requests[0].to_lowercase().contains("bearer"), "{requests:?}");
    let log = world.gateway().log();
    assert!(log.contains("HTTPS_PROXY is not used") && !log.contains("hunter2"), "{log}");

    let home = world.home().to_owned();
    let printed = actix_web::web::block(move || {
        let argument = home.display().to_string();
        let mut doctor = caduceus(&home, &["doctor", "--home", &argument]);
        doctor.env("http_proxy", format!("http://me:hunter2@{address}")).env("ALL_PROXY", "nonsense://x");
        String::from_utf8(doctor.output().unwrap().stdout).unwrap()
    });
    let printed = printed.await.unwrap();
    let shown = format!("http and ws goes through http://{address} with a login (HTTP_PROXY)");
    assert!(
        printed.contains(&shown) && printed.contains("ALL_PROXY is not used") && !printed.contains("hunter2"),
        "{printed}"
    );
}

#[actix_web::test]
async fn a_proxy_that_refuses_is_logged_by_name_and_the_link_is_redialled() {
    let mut world = World::prepare().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            read_request(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let env = fs::read_to_string(world.path(".env")).unwrap();
    world.write(".env", &env.replace(world.connector.authority(), "relay.test:8080"));
    world.variable("ALL_PROXY", &format!("http://me:hunter2@{address}"));
    world.serve_unlinked();
    let words = "it requires other credentials (407)";
    let log = wait_for("the proxy's refusal in the log", SOON, || async {
        Some(world.gateway().log()).filter(|log| log.matches(words).count() >= 2)
    })
    .await;
    assert!(log.contains(&format!("the proxy http://{address}")) && !log.contains("hunter2"), "{log}");
}
