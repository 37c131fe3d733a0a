//! A thousand hostile requests, and clients that do nothing, while a turn and the link go on as if nothing were.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::hostile_shots::{SHOTS, Shot, handshake};
use crate::support::{SOON, wait_for};
use crate::world::World;

/// Requests in all; each kind gets its share.
const REQUESTS: usize = 1_000;
/// Shooters at once.
const SHOOTERS: usize = 24;
/// Clients that connect and say nothing, and that never stop saying.
const SILENT: usize = 150;
const TRICKLING: usize = 50;
/// Clients that watch the status and never read.
const VIEWERS: usize = 1_000;
/// Of which so many are let in.
const PLACES: usize = 256;
/// Longest that a client without a word is kept: the gateway gives 5 s.
const HEARD_OUT: Duration = Duration::from_secs(15);
/// Longest that a viewer is kept that takes nothing in: 15 s, and a look each 5 s.
const LET_GO: Duration = Duration::from_secs(40);
/// What the allocator may keep of it.
const MEMORY: u64 = 16 * 1024 * 1024;
/// Connections of ours that may come and go meanwhile.
const DESCRIPTORS: u64 = 12;

/// The first line that is answered, or nothing where the connection is closed without a word.
fn shoot(address: &str, shot: &Shot) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else { return "no connection".to_owned() };
    stream.set_read_timeout(Some(HEARD_OUT)).unwrap();
    stream.set_write_timeout(Some(HEARD_OUT)).unwrap();
    // Cut off in the middle is an answer as well.
    let sent = stream.write_all(&(shot.bytes)(address));
    if sent.is_ok() && shot.hangs_up {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..length]);
        if !shot.hangs_up && answer.windows(4).any(|four| four == b"\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

/// Fires `count` shots of all kinds; answers by kind.
fn fire(address: &str, count: usize) -> BTreeMap<&'static str, Vec<String>> {
    let (next, answers) = (AtomicUsize::new(0), Mutex::new(BTreeMap::<_, Vec<_>>::new()));
    thread::scope(|scope| {
        for _ in 0..SHOOTERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let shot = &SHOTS[number % SHOTS.len()];
                    let answer = shoot(address, shot);
                    answers.lock().unwrap().entry(shot.name).or_default().push(answer);
                }
            });
        }
    });
    answers.into_inner().unwrap()
}

/// Fails unless every answer is one that its kind may get.
fn judge(answers: &BTreeMap<&'static str, Vec<String>>) {
    let mut odd = BTreeSet::new();
    for shot in SHOTS {
        for answer in &answers[shot.name] {
            let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
            if !shot.allowed.contains(&code) {
                odd.insert(format!("{}: {answer:?} is none of {:?}", shot.name, shot.allowed));
            }
        }
    }
    assert!(odd.is_empty(), "{odd:#?}");
}

/// Connects and says nothing, or never comes to the point; how long until it was cut off.
fn wait_to_be_cut_off(address: &str, trickle: bool) -> Duration {
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    let begun = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut piece = [0; 512];
    while begun.elapsed() < HEARD_OUT {
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

/// Watches the status without ever reading on; `None` if there was no place.
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
fn raise_the_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("the soft limit may be raised");
}

fn process(status: &Value, field: &str) -> u64 {
    status["process"][field].as_u64().expect("Linux knows")
}

fn restarts(tree: &Value) -> u64 {
    let children = tree["children"].as_array().expect("a node has children");
    tree["restarts_total"].as_u64().unwrap_or_default() + children.iter().map(restarts).sum::<u64>()
}

#[actix_web::test]
async fn a_thousand_hostile_requests_disturb_neither_a_turn_nor_the_link() {
    raise_the_limit();
    let world = World::start().await;
    let address = world.gateway().authority().to_owned();
    let base = process(&world.status().await, "open_fds");
    // What is allocated once is not what is lost.
    let here = address.clone();
    let warm = thread::spawn(move || fire(&here, 2 * SHOTS.len()));
    judge(&world_goes_on(&world, "warm", warm).await);
    let before = world.status().await;

    world.say("long", "sleep 6", "long", None).await;
    world.until("the long turn", |status| status["active_agents"] == 1).await;
    let here = address.clone();
    let siege = thread::spawn(move || {
        let viewers: Vec<_> = (0..VIEWERS).filter_map(|_| watch(&here)).collect();
        let here: Arc<str> = here.into();
        let idlers: Vec<_> = (0..SILENT + TRICKLING)
            .map(|number| {
                let here = Arc::clone(&here);
                thread::spawn(move || wait_to_be_cut_off(&here, number < TRICKLING))
            })
            .collect();
        let answers = fire(&here, REQUESTS);
        let slowest = idlers.into_iter().map(|idler| idler.join().expect("an idler ends")).max();
        (viewers, answers, slowest.expect("there are idlers"))
    });
    let (viewers, answers, slowest) = world_goes_on(&world, "siege", siege).await;
    judge(&answers);
    assert_eq!(answers.values().map(Vec::len).sum::<usize>(), REQUESTS);
    assert_eq!(viewers.len(), PLACES, "viewers that were let in");
    assert!(slowest < HEARD_OUT, "a client without a word was kept for {slowest:?}");
    world.answer("long").await;

    // The viewers still hold their ends.
    let after = wait_for("the descriptors to be back", LET_GO, || async {
        let status = world.status().await;
        (process(&status, "open_fds") <= base + DESCRIPTORS).then_some(status)
    })
    .await;
    drop(viewers);
    let (was, is) = (process(&before, "resident_bytes"), process(&after, "resident_bytes"));
    println!("resident {was} before, {is} after; descriptors {base} and {}", process(&after, "open_fds"));
    assert!(is < was + MEMORY, "resident memory grew from {was} to {is} bytes");
    assert_eq!(restarts(&after["actors"]), 0, "nobody fell");
    assert_eq!(after["relay"][0]["generation"], before["relay"][0]["generation"], "the link was never dialled anew");
    assert_eq!(after["drain"]["draining"], false, "no order was smuggled in");
    assert_eq!(after["turns"]["failed"], 0);
}

/// Talks through the link while `work` is done; every message is answered.
async fn world_goes_on<T>(world: &World, name: &str, work: thread::JoinHandle<T>) -> T {
    let mut number = 0;
    while !work.is_finished() || number == 0 {
        let id = format!("{name}{number}");
        world.say(&id, "hello", "talk", None).await;
        world.answer(&id).await;
        number += 1;
    }
    work.join().expect("the besiegers come back")
}
