//! Response times for wrong tokens of the right length, by the number of right characters: they must not differ.
//!
//! Prints, and asserts nothing: on a shared machine microseconds vary too much for a test. The order of the lengths changes each round, so
//! that other load affects all of them alike.

#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SECRET: &str = "Wq3rT8yU1iO5pA7sD2fG9hJ4kL6zX0cV-bN_mQwErTy";
/// Numbers of right characters.
const RIGHT: [usize; 6] = [0, 1, 8, 21, 42, 43];
const ROUNDS: usize = 5_000;

/// A token of the secret's length with this many right characters at its start, all others wrong.
fn token(right: usize) -> String {
    let wrong = |c: char| if c == 'x' { 'y' } else { 'x' };
    SECRET.chars().enumerate().map(|(place, c)| if place < right { c } else { wrong(c) }).collect()
}

fn ask(stream: &mut TcpStream, host: &str, token: &str) -> Duration {
    let request = format!("GET /api/gateway/drain HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\r\n");
    let mut answer = [0; 4096];
    let begun = Instant::now();
    stream.write_all(request.as_bytes()).expect("the gateway reads");
    let length = stream.read(&mut answer).expect("the gateway answers");
    assert!(answer[..length].starts_with(b"HTTP/1.1 "), "an answer");
    begun.elapsed()
}

fn main() {
    let home = tempfile::tempdir().expect("a temporary home");
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_caduceus"))
        .args(["serve", "--bind", "127.0.0.1:0", "--home"])
        .arg(home.path())
        .env("HERMES_DASHBOARD_DRAIN_SECRET", SECRET)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the gateway starts");
    let mut line = String::new();
    let output = gateway.stdout.take().expect("standard output is piped");
    BufReader::new(output).read_line(&mut line).expect("the gateway prints its address");
    let host = line.trim().trim_start_matches(r#"{"listening":"http://"#).trim_end_matches(r#""}"#).to_owned();
    let mut stream = TcpStream::connect(&host).expect("the gateway listens");
    stream.set_nodelay(true).expect("an option of the socket");

    let mut times: Vec<Vec<Duration>> = vec![Vec::with_capacity(ROUNDS); RIGHT.len()];
    let mut order: Vec<usize> = (0..RIGHT.len()).collect();
    for round in 0..ROUNDS {
        fastrand::shuffle(&mut order);
        for &which in &order {
            let time = ask(&mut stream, &host, &token(RIGHT[which]));
            // The first rounds are answered with 401, all others with 429: those are compared.
            if round >= 100 {
                times[which].push(time);
            }
        }
    }
    gateway.kill().expect("the gateway can be killed");
    gateway.wait().expect("the gateway ends");

    println!("{:>6} {:>10} {:>10} {:>10}   of {} a row", "right", "p10", "median", "p90", ROUNDS - 100);
    for (right, times) in RIGHT.iter().zip(&mut times) {
        times.sort();
        let at = |percent: usize| format!("{:.1} µs", times[times.len() * percent / 100].as_secs_f64() * 1e6);
        let note = if *right == SECRET.len() { "   the secret itself, answered with 200" } else { "" };
        println!("{right:>6} {:>10} {:>10} {:>10}{note}", at(10), at(50), at(90));
    }
}
