//! A thousand hostile requests, and idle clients, while a turn and the link are not affected.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::hostile_requests::{HOSTILE_REQUESTS, HostileRequest, handshake};
use crate::support::{SOON, wait_for};
use crate::world::World;

/// Requests in all; each kind gets its share.
const REQUESTS: usize = 1_000;
/// Threads that send requests.
const SENDERS: usize = 24;
/// Clients that connect and send nothing, and clients that never end their request.
const SILENT: usize = 150;
const TRICKLING: usize = 50;
/// Clients that watch the status and never read.
const VIEWERS: usize = 1_000;
/// Viewers that are admitted.
const PLACES: usize = 256;
/// Longest time until a client without a request is cut off: the gateway gives 5 s.
const SILENT_CLIENT_LIMIT: Duration = Duration::from_secs(15);
/// Longest time until a viewer that does not read is cut off: 15 s, checked every 5 s.
const UNREAD_VIEWER_LIMIT: Duration = Duration::from_secs(40);
/// Allowed growth of resident memory, for the allocator.
const MEMORY: u64 = 16 * 1024 * 1024;
/// Connections of the test itself that may open and close meanwhile.
const DESCRIPTORS: u64 = 12;

/// The first line of the answer, or nothing if the connection is closed without one.
fn send_raw(address: &str, request: &HostileRequest) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else { return "no connection".to_owned() };
    stream.set_read_timeout(Some(SILENT_CLIENT_LIMIT)).unwrap();
    stream.set_write_timeout(Some(SILENT_CLIENT_LIMIT)).unwrap();
    // A reset in the middle is an answer as well.
    let sent = stream.write_all(&(request.bytes)(address));
    if sent.is_ok() && request.closes {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..length]);
        if !request.closes && answer.windows(4).any(|four| four == b"\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

/// Sends `count` requests of all kinds; returns the answers by kind.
fn send_all(address: &str, count: usize) -> BTreeMap<&'static str, Vec<String>> {
    let (next, answers) = (AtomicUsize::new(0), Mutex::new(BTreeMap::<_, Vec<_>>::new()));
    thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let request = &HOSTILE_REQUESTS[number % HOSTILE_REQUESTS.len()];
                    let answer = send_raw(address, request);
                    answers.lock().unwrap().entry(request.name).or_default().push(answer);
                }
            });
        }
    });
    answers.into_inner().unwrap()
}

/// Fails unless every answer is allowed for its kind.
fn check(answers: &BTreeMap<&'static str, Vec<String>>) {
    let mut odd = BTreeSet::new();
    for request in HOSTILE_REQUESTS {
        for answer in &answers[request.name] {
            let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
            if !request.allowed.contains(&code) {
                odd.insert(format!("{}: {answer:?} is none of {:?}", request.name, request.allowed));
            }
        }
    }
    assert!(odd.is_empty(), "{odd:#?}");
}

/// Connects and sends nothing, or an endless request; returns how long until it was cut off.
fn wait_to_be_cut_off(address: &str, trickle: bool) -> Duration {
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    let begun = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut piece = [0; 512];
    while begun.elapsed() < SILENT_CLIENT_LIMIT {
        if trickle && stream.write_all(b"G").is_err() {
            break;
        }
        match stream.read(&mut piece) {
            Ok(0) => break,
            Err(error) if !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                break;
            }
            _ => {}
        }
    }
    begun.elapsed()
}

/// Watches the status without reading; `None` if no place was free.
fn watch(address: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(handshake(address).as_bytes()).unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).expect("an answer to the handshake");
    match &first {
        b"HTTP/1.1 101" => Some(stream),
        b"HTTP/1.1 503" => None,
        other => panic!("a viewer got {:?}", String::from_utf8_lossy(other)),
    }
}

/// As many descriptors as the system allows: a thousand viewers are a thousand sockets at either end.
fn raise_descriptor_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("the soft limit may be raised");
}

fn process(status: &Value, field: &str) -> u64 {
    status["process"][field].as_u64().expect("the status has the count on Linux")
}

fn restarts(tree: &Value) -> u64 {
    let children = tree["children"].as_array().expect("a node has children");
    tree["restarts_total"].as_u64().unwrap_or_default() + children.iter().map(restarts).sum::<u64>()
}

#[actix_web::test]
async fn a_thousand_hostile_requests_affect_neither_a_turn_nor_the_link() {
    raise_descriptor_limit();
    let world = World::start().await;
    let address = world.gateway().authority().to_owned();
    let base = process(&world.status().await, "open_fds");
    // A first round, so that one-time allocations do not count as leaks.
    let here = address.clone();
    let warm = thread::spawn(move || send_all(&here, 2 * HOSTILE_REQUESTS.len()));
    check(&messages_are_answered_during(&world, "warm", warm).await);
    let before = world.status().await;

    world.push("long", "sleep 6", "long", None).await;
    world.until("the long turn", |status| status["active_agents"] == 1).await;
    let here = address.clone();
    let attack = thread::spawn(move || {
        let viewers: Vec<_> = (0..VIEWERS).filter_map(|_| watch(&here)).collect();
        let here: Arc<str> = here.into();
        let idlers: Vec<_> = (0..SILENT + TRICKLING)
            .map(|number| {
                let here = Arc::clone(&here);
                thread::spawn(move || wait_to_be_cut_off(&here, number < TRICKLING))
            })
            .collect();
        let answers = send_all(&here, REQUESTS);
        let slowest = idlers.into_iter().map(|idler| idler.join().expect("an idle client ends")).max();
        (viewers, answers, slowest.expect("there are idle clients"))
    });
    let (viewers, answers, slowest) = messages_are_answered_during(&world, "attack", attack).await;
    check(&answers);
    assert_eq!(answers.values().map(Vec::len).sum::<usize>(), REQUESTS);
    assert_eq!(viewers.len(), PLACES, "admitted viewers");
    assert!(slowest < SILENT_CLIENT_LIMIT, "a client without a request was cut off only after {slowest:?}");
    world.answer("long").await;

    // The viewers still hold their ends of the connections.
    let after = wait_for("the descriptors to be back", UNREAD_VIEWER_LIMIT, || async {
        let status = world.status().await;
        (process(&status, "open_fds") <= base + DESCRIPTORS).then_some(status)
    })
    .await;
    drop(viewers);
    let (was, is) = (process(&before, "resident_bytes"), process(&after, "resident_bytes"));
    println!("resident {was} before, {is} after; descriptors {base} and {}", process(&after, "open_fds"));
    assert!(is < was + MEMORY, "resident memory grew from {was} to {is} bytes");
    assert_eq!(restarts(&after["actors"]), 0, "no actor was restarted");
    assert_eq!(after["relay"][0]["generation"], before["relay"][0]["generation"], "the link was not redialled");
    assert_eq!(after["drain"]["draining"], false, "no smuggled request was carried out");
    assert_eq!(after["turns"]["failed"], 0);
}

/// Sends messages through the link while `work` runs; every message is answered.
async fn messages_are_answered_during<T>(world: &World, name: &str, work: thread::JoinHandle<T>) -> T {
    let mut number = 0;
    while !work.is_finished() || number == 0 {
        let id = format!("{name}{number}");
        world.push(&id, "hello", "chat", None).await;
        world.answer(&id).await;
        number += 1;
    }
    work.join().expect("the hostile clients end")
}
