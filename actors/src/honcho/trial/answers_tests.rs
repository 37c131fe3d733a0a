//! The answers of a server, and how often all processes together present a token for each.

use std::thread;
use std::time::Duration;

use super::super::outcome::RefreshOutcome;
use super::super::verdict::RefreshReason;
use super::oauth_server::OauthFault;
use super::{GrantTrial, SOON, rotated};

/// Every form of an answer; how often the token is presented before any wait is over, and after all waits are over; and how often it
/// is replayed then.
fn answers() -> Vec<(&'static str, OauthFault, [usize; 3])> {
    let raw = |text: &str, rotates| OauthFault::Raw(text.to_owned(), rotates);
    let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
    vec![
        ("500 before a rotation", OauthFault::Status(500, String::new()), [1, 2, 0]),
        ("500 after a rotation", OauthFault::RotatedThen(500), [1, 2, 1]),
        ("502 after a rotation", OauthFault::RotatedThen(502), [1, 2, 1]),
        ("502 before a rotation", OauthFault::Status(502, "<html>".to_owned()), [1, 2, 0]),
        ("504 after a rotation", OauthFault::RotatedThen(504), [1, 2, 1]),
        ("503", OauthFault::Status(503, String::new()), [1, 2, 0]),
        ("429 with a pause", OauthFault::StatusWith(429, "retry-after: 30\r\n".to_owned()), [1, 2, 0]),
        ("100, then cut", raw("HTTP/1.1 100 Continue\r\n\r\n", true), [1, 2, 1]),
        ("103, then cut", raw("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", true), [1, 2, 1]),
        ("no answer", OauthFault::LostAnswer, [1, 2, 1]),
        ("a cut body", OauthFault::CutAnswer, [1, 2, 1]),
        ("a cut head", raw("HTTP/1.1 200 OK\r\ncontent-ty", true), [1, 2, 1]),
        ("a cut refusal", raw("HTTP/1.1 400 No\r\ncontent-length: 99\r\n\r\n{\"err", false), [1, 2, 0]),
        ("an empty 200", OauthFault::Body(String::new()), [1, 2, 1]),
        ("an HTML 200", raw(html, true), [1, 2, 1]),
        ("a redirect", OauthFault::Redirect("/elsewhere".to_owned()), [1, 2, 0]),
        ("see other, after a rotation", OauthFault::RotatedThen(303), [1, 2, 1]),
        ("a refused token", OauthFault::Status(400, r#"{"error":"invalid_grant"}"#.to_owned()), [1, 1, 0]),
    ]
}

#[test]
fn for_any_answer_all_processes_present_the_token_once_and_then_once_more() {
    for (name, fault, expected) in answers() {
        let trial = GrantTrial::expired();
        trial.server.script(fault);
        // Eight processes that share only the file and its lock.
        let run_eight = || {
            let threads: Vec<_> =
                (0..8).map(|_| trial.refresh()).map(|refresh| thread::spawn(move || refresh.run())).collect();
            for thread in threads {
                thread.join().unwrap();
            }
            trial.server.presented().iter().filter(|token| *token == "hch-rt-0").count()
        };
        let at_once = run_eight();
        trial.waits_are_over();
        let after = run_eight();
        trial.waits_are_over();
        let (last, replays) = (run_eight(), trial.server.replays());
        println!("{name}: presented {at_once} times, {after} after the wait, {last} in the end; {replays} replays");
        assert_eq!(([at_once, after, replays], last), (expected, after), "{name}");
    }
}

#[test]
fn a_server_that_does_not_answer_times_out_and_the_token_is_not_presented_again() {
    let trial = GrantTrial::expired();
    trial.server.script(OauthFault::Delay(SOON));
    let mut refresh = trial.refresh();
    refresh.timeouts.exchange = Duration::from_millis(100);
    let threads: Vec<_> = (0..8).map(|_| refresh.clone()).map(|refresh| thread::spawn(move || refresh.run())).collect();
    for thread in threads {
        thread.join().unwrap();
    }
    println!("never answered: presented {} times", trial.server.presented().len());
    assert_eq!(trial.server.presented().len(), 1);
}

#[test]
fn while_a_server_is_busy_eight_processes_present_the_token_once_per_step() {
    let trial = GrantTrial::expired();
    for (step, least_s) in [5, 10, 20, 40].into_iter().enumerate() {
        trial.server.script(OauthFault::Status(503, String::new()));
        let threads: Vec<_> =
            (0..8).map(|_| trial.refresh()).map(|refresh| thread::spawn(move || refresh.run())).collect();
        for thread in threads {
            let report = thread.join().unwrap();
            let RefreshOutcome::Denied { retry_in, .. } = report.outcome else { panic!("{report:?}") };
            assert!((least_s..=least_s + least_s / 4 + 2).contains(&retry_in.as_secs()), "{step}: {retry_in:?}");
        }
        assert_eq!(trial.server.presented().len(), step + 1);
        trial.waits_are_over();
    }
    rotated(trial.run());
    trial.assert_no_replay();
}

#[test]
fn a_wait_that_the_server_requests_is_observed_except_on_request() {
    let trial = GrantTrial::expired();
    trial.server.script(OauthFault::StatusWith(429, "retry-after: 900\r\n".to_owned()));
    let RefreshOutcome::Denied { retry_in, .. } = trial.run() else { panic!("it is not denied") };
    assert_eq!(retry_in, Duration::from_secs(901));
    assert!(matches!(trial.run(), RefreshOutcome::Denied { .. }));
    assert_eq!(trial.server.presented().len(), 1);
    let mut requested = trial.refresh();
    requested.reason = RefreshReason::Requested;
    rotated(requested.run().outcome);
}
