//! Unauthenticated clients of every kind, each of which uses up a resource, while an operator, a probe and a signed delivery are served.
//!
//! Peers are different addresses of loopback; each kind also comes from the operator's own address.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use caduceus_contract::wire::delivery::sign;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::json;

use crate::support::{SOON, pace_thread, wait_for};
use crate::world::World;

const KEY: &str = "the key of the connector";
const TOKEN: &str = "kQ7vXw2mZr9TbN4cLp8sYd1fGh6jKa3eUo5iRt0WqEx";
/// The delivery keys of the gateway; each costs a pass over every unsigned body.
const KEYS: usize = 300;
/// Longest allowed wait of an operator, a probe or a connector under attack. Half a second unless the machine is loaded.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Rounds of served requests for each kind of client.
const ROUNDS: usize = 6;
const OPERATOR: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A connection from an address of this machine.
fn connect_from(source: Ipv4Addr, target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    // Small buffers: a client that does not read has an effect at once, not after megabytes.
    set_socket_recv_buffer_size(&socket, 4_096)?;
    bind(&socket, &SocketAddr::from((source, 0)))?;
    connect(&socket, &target)?;
    Ok(TcpStream::from(socket))
}

/// The address of client `n`; the operator's own if `shared`.
fn source(n: usize, shared: bool) -> Ipv4Addr {
    let third = u8::try_from(n % 200).unwrap_or_default();
    if shared { OPERATOR } else { Ipv4Addr::new(127, 7, third, 9) }
}

/// Sends a whole request and reads the answer; returns its code and how long it took.
fn exchange(target: SocketAddr, request: &[u8]) -> Result<(u16, Duration), String> {
    let begun = Instant::now();
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what} after {:?}: {error}", begun.elapsed());
    let mut stream = connect_from(OPERATOR, target).map_err(|error| failed("connect", &error))?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(|error| failed("set", &error))?;
    stream.write_all(request).map_err(|error| failed("write", &error))?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).map_err(|error| failed("read", &error))?;
    let code = std::str::from_utf8(&head[9..]).ok().and_then(|code| code.parse().ok());
    Ok((code.ok_or_else(|| format!("no answer: {head:?}"))?, begun.elapsed()))
}

fn probe() -> Vec<u8> {
    b"GET /readyz HTTP/1.0\r\n\r\n".to_vec()
}

/// An operator behind a proxy, identified only by the token.
fn order(target: SocketAddr) -> Vec<u8> {
    format!(
        "GET /api/gateway/drain HTTP/1.1\r\nHost: {target}\r\nX-Forwarded-For: 9.9.9.9\r\nAuthorization: Bearer {TOKEN}\r\n\
         Connection: close\r\n\r\n"
    )
    .into_bytes()
}

fn watch(target: SocketAddr, headers: &str) -> Vec<u8> {
    format!(
        "GET /api/status/ws HTTP/1.1\r\nHost: {target}\r\n{headers}Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

fn now_s() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn delivery(id: &str) -> Vec<u8> {
    let body = json!({"event": World::message(id, id, "c", None)}).to_string();
    let now = now_s();
    let signature = sign(body.as_bytes(), now, &KEY.into());
    let head = delivery_head(now, &signature, body.len());
    format!("{head}{body}").into_bytes()
}

/// The head of a delivery that was signed at `time`, in seconds since 1970.
fn delivery_head(time: i64, signature: &str, length: usize) -> String {
    format!(
        "POST /relay/inbound HTTP/1.1\r\nHost: x\r\nx-relay-timestamp: {time}\r\nx-relay-signature: {signature}\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

/// A gateway with many delivery keys, of which the connector's is the last.
async fn start() -> (World, SocketAddr) {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("the soft limit may be raised");
    let mut world = World::prepare().await;
    let keys: Vec<_> = (0..KEYS - 1).map(|n| format!("other key {n}")).chain([KEY.to_owned()]).collect();
    let env = fs::read_to_string(world.path(".env")).unwrap();
    world.write(".env", &format!("{env}GATEWAY_RELAY_DELIVERY_KEY='{}'\n", keys.join(",")));
    world.variable("HERMES_DASHBOARD_DRAIN_SECRET", TOKEN);
    world.serve().await;
    let target = world.gateway().authority().parse().unwrap();
    (world, target)
}

/// What a client does on a connection; called repeatedly until it fails or the attack is over.
type AttackStep = fn(&mut TcpStream, SocketAddr, usize) -> std::io::Result<()>;

/// A kind of client.
struct ClientKind {
    name: &'static str,
    /// Connections held at a time.
    count: usize,
    /// Sent first.
    opening: fn(SocketAddr) -> Vec<u8>,
    /// Called after each pause.
    then: AttackStep,
}

fn drip(stream: &mut TcpStream, _: SocketAddr, _: usize) -> std::io::Result<()> {
    stream.write_all(b"x")
}

const KINDS: [ClientKind; 8] = [
    ClientKind {
        name: "dripping head",
        count: 400,
        opening: |_| b"GET /api/status HTTP/1.1\r\nX-".to_vec(),
        then: drip,
    },
    ClientKind {
        name: "dripping body",
        count: 200,
        opening: |_| delivery_head(now_s(), &"00".repeat(32), 2_000_000).into_bytes(),
        then: drip,
    },
    ClientKind { name: "idle", count: 3_000, opening: |_| Vec::new(), then: |_, _, _| Ok(()) },
    ClientKind {
        name: "idle after a request",
        count: 1_500,
        opening: |target| format!("GET /healthz HTTP/1.1\r\nHost: {target}\r\n\r\n").into_bytes(),
        then: |_, _, _| Ok(()),
    },
    ClientKind {
        name: "silent WebSocket",
        count: 600,
        opening: |target| watch(target, "X-Forwarded-For: 9.9.9.9\r\n"),
        then: |_, _, _| Ok(()),
    },
    ClientKind {
        name: "pipelined garbage",
        count: 100,
        opening: |target| format!("GET / HTTP/1.1\r\nHost: {target}\r\n\r\n").repeat(50).into_bytes(),
        then: |stream, _, _| stream.write_all(&[b'\x01'; 4_096]),
    },
    ClientKind {
        name: "half closed",
        count: 300,
        opening: |_| delivery_head(now_s(), &"00".repeat(32), 1_000).into_bytes(),
        then: |stream, _, _| stream.shutdown(Shutdown::Write),
    },
    ClientKind {
        name: "slow reader",
        count: 300,
        opening: |target| format!("GET /openapi.json HTTP/1.1\r\nHost: {target}\r\n\r\n").repeat(40).into_bytes(),
        then: |stream, _, _| stream.read(&mut [0; 1]).map(|_| ()),
    },
];

/// Clients that attack until dropped.
struct Attack {
    over: Arc<AtomicBool>,
    /// Connections made, and those that the gateway closed or that failed.
    made: Arc<AtomicUsize>,
    lost: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Attack {
    fn start(kind: &'static ClientKind, target: SocketAddr, shared: bool) -> Self {
        let (over, made, lost) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default(), Arc::default());
        let worker = |first: usize| {
            let (over, made, lost) = (Arc::clone(&over), Arc::clone(&made), Arc::clone(&lost));
            thread::spawn(move || attack_from_thread(kind, target, shared, first, &over, &made, &lost))
        };
        let threads = (0..WORKERS).map(worker).collect();
        Self { over, made, lost, threads }
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Threads of one attack; each has its share of the connections.
const WORKERS: usize = 2;
/// Pause between two steps of a client, so that the attack does not take the CPU time of the gateway.
const STEP_PAUSE: Duration = Duration::from_millis(200);

fn attack_from_thread(
    kind: &ClientKind,
    target: SocketAddr,
    shared: bool,
    first: usize,
    over: &AtomicBool,
    made: &AtomicUsize,
    lost: &AtomicUsize,
) {
    let mut held: Vec<TcpStream> = Vec::new();
    let mut number = first;
    while !over.load(Ordering::Relaxed) {
        while held.len() < kind.count / WORKERS && !over.load(Ordering::Relaxed) {
            number += WORKERS;
            let Ok(mut stream) = connect_from(source(number, shared), target) else { break };
            // A write that would block is ignored.
            let _ = stream.set_nonblocking(true);
            let _ = stream.write(&(kind.opening)(target));
            made.fetch_add(1, Ordering::Relaxed);
            held.push(stream);
        }
        pace_thread(STEP_PAUSE);
        held.retain_mut(|stream| {
            let closed = match (kind.then)(stream, target, number) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(_) => true,
                Ok(()) => matches!(stream.peek(&mut [0; 1]), Ok(0)),
            };
            lost.fetch_add(usize::from(closed), Ordering::Relaxed);
            !closed
        });
    }
}

/// The longest wait of each kind of served request.
#[derive(Debug, Default)]
struct Longest {
    probe: Duration,
    operator: Duration,
    watching: Duration,
    delivery: Duration,
}

/// Sends the four kinds of requests repeatedly; returns the longest time of each.
async fn serve(target: SocketAddr, name: &str, rounds: usize) -> Longest {
    let name = name.replace(' ', "-");
    let work = tokio::task::spawn_blocking(move || {
        let mut longest = Longest::default();
        for round in 0..rounds {
            let bearer = format!("X-Forwarded-For: 9.9.9.9\r\nAuthorization: Bearer {TOKEN}\r\n");
            let requests = [
                (probe(), 200, &mut longest.probe),
                (order(target), 200, &mut longest.operator),
                (watch(target, &bearer), 101, &mut longest.watching),
                (delivery(&format!("{name}-{round}")), 200, &mut longest.delivery),
            ];
            for (request, expected, longest) in requests {
                let shown = String::from_utf8_lossy(&request[..20]).into_owned();
                let (code, took) =
                    exchange(target, &request).unwrap_or_else(|why| panic!("{name} {round} {shown}: {why}"));
                assert_eq!(code, expected, "{name} {round} {shown}");
                *longest = took.max(*longest);
            }
        }
        longest
    });
    work.await.expect("every request is served")
}

async fn serve_under_attack(shared: bool) {
    let (world, target) = start().await;
    let calm = serve(target, &format!("calm{shared}"), ROUNDS).await;
    println!("without an attack: {calm:?}");
    for kind in &KINDS {
        let attack = Attack::start(kind, target, shared);
        wait_for("the clients' connections", SOON, || async {
            (attack.made.load(Ordering::Relaxed) >= kind.count / WORKERS * WORKERS).then_some(())
        })
        .await;
        let longest = serve(target, &format!("{}{shared}", kind.name), ROUNDS).await;
        let (made, lost) = (attack.made.load(Ordering::Relaxed), attack.lost.load(Ordering::Relaxed));
        println!("{:<22} {made:>5} connections, {lost:>5} closed: {longest:?}", kind.name);
        drop(attack);
    }
    assert!(world.gateway().log().lines().filter(|line| line.contains("all slots are taken")).count() <= 30);
}

#[actix_web::test]
async fn clients_of_many_addresses_block_neither_operator_nor_probe_nor_delivery() {
    serve_under_attack(false).await;
}

#[actix_web::test]
async fn clients_at_the_operators_own_address_block_neither_operator_nor_probe_nor_delivery() {
    serve_under_attack(true).await;
}

#[actix_web::test]
async fn huge_unsigned_bodies_delay_no_delivery() {
    let (world, target) = start().await;
    let over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..6)
        .map(|n| {
            let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
            thread::spawn(move || {
                let mut request = delivery_head(now_s(), &"ab".repeat(32), 2 * 1024 * 1024).into_bytes();
                request.resize(request.len() + 2 * 1024 * 1024, b' ');
                while !over.load(Ordering::Relaxed) {
                    let Ok(mut stream) = connect_from(source(n, false), target) else { continue };
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
                    if stream.write_all(&request).is_ok() && stream.read(&mut [0; 64]).is_ok_and(|length| length > 0) {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    wait_for("a huge body to be refused", SOON, || async { (answered.load(Ordering::Relaxed) > 0).then_some(()) })
        .await;
    let longest = serve(target, "huge", ROUNDS).await;
    over.store(true, Ordering::Relaxed);
    println!("under bodies of 2 MiB with {KEYS} keys: {longest:?}, {} refused", answered.load(Ordering::Relaxed));
    for client in clients {
        client.join().expect("a client thread ends");
    }
    drop(world);
}

#[actix_web::test]
async fn a_delivery_that_its_headers_rule_out_is_refused_before_the_body() {
    let (_world, target) = start().await;
    let good = "ab".repeat(32);
    let now = jiff::Timestamp::now().as_second();
    for (time, signature, length, code) in [
        (now.to_string(), "00", 1_000, 401),
        (now.to_string(), "not hex", 1_000, 401),
        (now.to_string(), "", 1_000, 401),
        ((now - 400).to_string(), &good, 1_000, 401),
        ("soon".to_owned(), &good, 1_000, 401),
        (now.to_string(), &good, 2 * 1024 * 1024 + 1, 413),
    ] {
        // The body is never sent.
        let request = format!(
            "POST /relay/inbound HTTP/1.1\r\nHost: x\r\nx-relay-timestamp: {time}\r\nx-relay-signature: {signature}\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        let (answered, took) = exchange(target, request.as_bytes()).expect("an answer without the body");
        assert_eq!(answered, code, "{request}");
        println!("{code} after {took:?}");
    }
    let unsigned = "POST /relay/inbound HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    assert_eq!(exchange(target, unsigned.as_bytes()).expect("an answer without the body").0, 401);
}

#[actix_web::test]
async fn a_body_that_arrives_too_slowly_is_cut_off_with_408() {
    let (_world, target) = start().await;
    let dripped = tokio::task::spawn_blocking(move || {
        let mut stream = connect_from(source(1, false), target).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        stream.write_all(delivery_head(now_s(), &"ab".repeat(32), 1_000).as_bytes()).unwrap();
        let begun = Instant::now();
        let mut head = [0; 12];
        while begun.elapsed() < SOON {
            let _ = stream.write(b"x");
            if stream.read_exact(&mut head).is_ok() {
                return (String::from_utf8_lossy(&head).into_owned(), begun.elapsed());
            }
        }
        panic!("the slow body was read for {SOON:?}");
    });
    let (head, took) = dripped.await.unwrap();
    println!("{head} after {took:?}");
    assert_eq!(head, "HTTP/1.1 408");
}
