//! A process that is killed at each step of a refresh: the test binary runs itself as a child process.

use std::process::{Command, Stdio};

use super::super::lock::ConfigLock;
use super::super::steps::RefreshStep;
use super::*;
use crate::settings::Environment;

const CHILD_STEP: &str = "CADUCEUS_TEST_REFRESH_STEP";
const STEPS: [RefreshStep; 6] = [
    RefreshStep::Locked,
    RefreshStep::Read,
    RefreshStep::BeforeSend,
    RefreshStep::Answered,
    RefreshStep::TemporaryWritten,
    RefreshStep::Renamed,
];

/// Not a separate test: does nothing unless it is run as a child process.
#[test]
fn the_child_is_killed_at_the_given_step() {
    let environment = Environment::capture();
    let Some(order) = environment.own.get(CHILD_STEP) else {
        return;
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (step, path) = order.split_once(' ').unwrap();
    let step = STEPS[step.parse::<usize>().unwrap()];
    let path = PathBuf::from(path);
    let refresh = Refresh {
        client: crate::http_client::HttpClient::default(),
        known: grant_in(&path),
        path,
        host: "hermes".to_owned(),
        unsaved: None,
        reason: RefreshReason::Due,
        timeouts: RefreshTimeouts::default(),
        redactor: Redactor::default(),
        steps: StepHook::new(move |reached| {
            if reached == step {
                std::process::abort();
            }
        }),
    };
    let _ = refresh.run();
    unreachable!("the child was not killed");
}

fn kill_on(step: RefreshStep, trial: &GrantTrial) {
    let index = STEPS.iter().position(|other| *other == step).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "honcho::trial::kill_tests::the_child_is_killed_at_the_given_step"])
        .env(CHILD_STEP, format!("{index} {}", trial.path().display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success() && status.code().is_none(), "the child was not killed: {status}");
}

#[test]
fn a_kill_before_the_token_is_presented_costs_nothing() {
    for step in [RefreshStep::Locked, RefreshStep::Read] {
        let trial = GrantTrial::expired();
        kill_on(step, &trial);
        rotated(trial.run());
        assert_eq!(trial.server.presented().len(), 1);
        trial.assert_no_replay();
    }
}

#[test]
fn a_kill_just_before_presenting_costs_a_minute() {
    let trial = GrantTrial::expired();
    kill_on(RefreshStep::BeforeSend, &trial);
    assert!(matches!(trial.run(), RefreshOutcome::Ambiguous { retry_in: Some(_), .. }));
    rotated(trial.run_after_the_wait());
    assert_eq!(trial.other_files(), Vec::<String>::new());
    trial.assert_no_replay();
}

#[test]
fn a_kill_after_the_answer_requires_a_login_and_does_not_loop() {
    let trial = GrantTrial::expired();
    kill_on(RefreshStep::Answered, &trial);
    for _ in 0..3 {
        assert!(matches!(trial.run(), RefreshOutcome::Ambiguous { retry_in: Some(_), .. }));
    }
    for _ in 0..3 {
        assert!(matches!(trial.run_after_the_wait(), RefreshOutcome::Refused { .. }));
    }
    assert_eq!((trial.server.presented().len(), trial.server.replays()), (2, 1));
}

#[test]
fn after_a_kill_before_the_rename_the_grant_is_restored_from_the_temporary_file() {
    let trial = GrantTrial::expired();
    kill_on(RefreshStep::TemporaryWritten, &trial);
    assert_eq!(access(&rotated(trial.run())), "hch-at-n1");
    assert_eq!((trial.server.presented().len(), trial.other_files()), (1, Vec::new()));
    assert_eq!(trial.json()["hosts"]["hermes"]["oauth"]["refreshToken"], "hch-rt-n1");
}

#[test]
fn a_kill_after_the_rename_costs_nothing() {
    let trial = GrantTrial::expired();
    let before = trial.refresh();
    kill_on(RefreshStep::Renamed, &trial);
    assert!(matches!(before.run().outcome, RefreshOutcome::Adopted(grant) if access(&grant) == "hch-at-n1"));
    assert_eq!(trial.server.presented().len(), 1);
}

#[test]
fn a_write_by_another_program_keeps_the_grant_of_a_killed_process() {
    let trial = GrantTrial::expired();
    kill_on(RefreshStep::TemporaryWritten, &trial);
    let mut theirs = grant_in(&trial.path()).unwrap();
    theirs.access_token = "hch-at-7".into();
    theirs.refresh_token = "hch-rt-7".into();
    let lock = ConfigLock::take(&trial.path(), SOON).unwrap();
    store::install(&lock, "other", &theirs, None).unwrap();
    drop(lock);
    assert_eq!(access(&rotated(trial.run())), "hch-at-n1");
    assert_eq!((trial.server.presented().len(), trial.other_files()), (1, Vec::new()));
    assert_eq!(trial.json()["hosts"]["other"]["apiKey"], "hch-at-7");
    trial.assert_no_replay();
}
