//! The token of each dial, and the time of the next one.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::SocketAddrAny;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::hostile::{HostileConnector, Wire, descriptor, next_of_kind, send_all, text};
use crate::support::{SOON, within};
use crate::world::World;

const CREDENTIALS: &str = "GATEWAY_RELAY_ID=gw\nGATEWAY_RELAY_SECRET=a-secret-shared-by-both-ends-0123456789\n";

/// The next connection, after its handshake, and its token.
#[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
async fn dialled(connector: &HostileConnector) -> (Wire, String) {
    let (socket, _) = within(SOON, "a dial", connector.listener.accept()).await.unwrap();
    let mut token = String::new();
    let note = |request: &Request, response: Response| {
        request.headers()["authorization"].to_str().unwrap().clone_into(&mut token);
        Ok(response)
    };
    let mut wire = accept_hdr_async(socket, note).await.unwrap();
    next_of_kind(&mut wire, "hello").await.unwrap();
    send_all(&mut wire, [text(&descriptor())]).await;
    (wire, token)
}

#[actix_web::test]
async fn a_redial_after_4401_has_a_new_token_also_in_the_same_second() {
    let connector = HostileConnector::start_with(CREDENTIALS).await;
    let mut last = String::new();
    for round in 0..4 {
        let (mut wire, token) = dialled(&connector).await;
        assert_ne!(token, last, "round {round}");
        last = token;
        connector.world.until("a link", |status| status["relay"][0]["state"] == "connected").await;
        // A second refusal in a row of the same credentials would be final.
        let reason = if round % 2 == 0 { "expired" } else { "unauthorized" };
        let reason = CloseFrame { code: 4401.into(), reason: reason.into() };
        wire.close(Some(reason)).await.unwrap();
        if round % 2 == 1 {
            let (_wire, token) = dialled(&connector).await;
            assert_ne!(token, last, "the redial of round {round}");
            return;
        }
    }
}

#[actix_web::test]
async fn a_refused_upgrade_is_redialled_after_its_retry_after() {
    let connector = HostileConnector::start().await;
    let refuse = async |answer: &str| {
        let (mut socket, _) = within(SOON, "a dial", connector.listener.accept()).await.unwrap();
        let _ = socket.read(&mut [0; 4096]).await.unwrap();
        socket.write_all(answer.as_bytes()).await.unwrap();
        Instant::now()
    };
    let date = || (jiff::Timestamp::now() + Duration::from_secs(3)).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    // A date has whole seconds.
    for (status, wait, at_least) in [("503 Busy", "2".to_owned(), 1_900), ("429 Slow", String::new(), 1_900)] {
        let wait = if wait.is_empty() { date() } else { wait };
        let answer = format!("HTTP/1.1 {status}\r\nRetry-After: {wait}\r\ncontent-length: 0\r\n\r\n");
        let refused = refuse(&answer).await;
        // A wake request needs no authentication, and does not override `Retry-After`.
        let (woken, _) = crate::support::get(&connector.world.url("/wake")).await;
        assert_eq!(woken, 204);
        let again = refuse("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await;
        let waited = again.duration_since(refused).as_millis();
        println!("{status}, {wait}: redialled after {waited} ms");
        assert!(waited >= at_least, "{status}, {wait}: redialled after {waited} ms");
    }
    let _wire = connector.wire().await;
}

/// Every TCP connection of a process, by address at both ends, and whether it sends without delay.
fn connections(process: u32) -> Vec<(String, bool)> {
    let pid = Pid::from_raw(process.try_into().unwrap()).unwrap();
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{process}/fd")).unwrap() {
        let entry = entry.unwrap();
        if !std::fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:")) {
            continue;
        }
        let number = entry.file_name().to_str().unwrap().parse().unwrap();
        // A connection that has just been closed does not count.
        let Ok(socket) = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()) else { continue };
        found.extend(connection(&socket));
    }
    found
}

fn connection(socket: &OwnedFd) -> Option<(String, bool)> {
    let address = |name: SocketAddrAny| std::net::SocketAddr::try_from(name).ok();
    // A listening socket has no peer.
    let (local, peer) =
        (address(rustix::net::getsockname(socket).ok()?)?, address(rustix::net::getpeername(socket).ok()??)?);
    Some((format!("{local} to {peer}"), rustix::net::sockopt::tcp_nodelay(socket).ok()?))
}

#[actix_web::test]
async fn every_socket_of_the_gateway_and_of_the_connector_sends_without_delay() {
    let mut world = World::prepare().await;
    world.argument("--dumpable");
    world.serve().await;
    world.push("m", "hello", "c", None).await;
    world.answer("m").await;
    // The link, and the requests of this test, at both ends.
    for (owner, process) in [("gateway", world.gateway().id()), ("connector", world.connector.id())] {
        let found = connections(process);
        println!("{owner}: {found:?}");
        let least = if owner == "gateway" { 2 } else { 1 };
        assert!(found.len() >= least, "{owner}: {found:?}");
        assert!(found.iter().all(|(_, without_delay)| *without_delay), "{owner}: {found:?}");
    }
}
