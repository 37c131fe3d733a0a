use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use super::super::lock::{ConfigLock, lock_path};
use super::super::steps::RefreshStep;
use super::super::store::Installed;
use super::*;

#[test]
fn a_rotation_is_on_disk_before_it_is_reported_and_changes_nothing_else() {
    let trial = GrantTrial::expired();
    let grant = rotated(trial.run());
    assert_eq!(access(&grant), "hch-at-n1");
    let file = trial.json();
    let block = &file["hosts"]["hermes"];
    assert_eq!(block["apiKey"], "hch-at-n1");
    assert_eq!(block["oauth"]["refreshToken"], "hch-rt-n1");
    assert_eq!(block["oauth"]["scope"], "write", "a scope of null falls back to the old one");
    assert!(block["oauth"]["expiresAt"].is_i64());
    assert_eq!((&block["x"], &file["hosts"]["other"]["apiKey"]), (&json!(1), &json!("plain")));
    let order: Vec<_> = file.as_object().unwrap().keys().collect();
    assert_eq!(order, ["z", "hosts", "a"]);
    assert_eq!(fs::metadata(trial.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(trial.other_files(), Vec::<String>::new());
    trial.assert_no_replay();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn two_threads_on_one_file_exchange_once() {
    let trial = GrantTrial::expired();
    trial.server.script(Fault::Delay(Duration::from_millis(200)));
    let refreshes = [trial.refresh(), trial.refresh()];
    let ends = refreshes.map(|refresh| thread::spawn(move || refresh.run().outcome)).map(|end| end.join().unwrap());
    let adopted =
        ends.iter().filter(|end| matches!(end, RefreshOutcome::Adopted(grant) if access(grant) == "hch-at-n1")).count();
    assert_eq!((adopted, trial.server.exchanges()), (1, 1));
    trial.assert_no_replay();
}

#[test]
fn a_short_lived_rotation_of_another_process_is_adopted_and_not_exchanged() {
    let trial = GrantTrial::expired();
    for life in [json!(30), json!(null), json!("odd"), json!(-7)] {
        trial.server.tokens_live(life.clone());
        let mut late = trial.refresh();
        late.reason = RefreshReason::Requested;
        rotated(late.run().outcome);
        late.reason = RefreshReason::Due;
        let before = trial.server.exchanges();
        assert!(matches!(late.run().outcome, RefreshOutcome::Adopted(_)), "{life}");
        assert!(
            matches!(trial.run(), RefreshOutcome::Adopted(_)),
            "a newcomer exchanges within 30 s of the last time: {life}"
        );
        assert_eq!(trial.server.exchanges(), before);
    }
    trial.assert_no_replay();
}

#[test]
fn a_token_that_is_still_valid_is_exchanged_on_request_and_not_by_a_recheck() {
    let trial = GrantTrial::with_life(3590);
    let mut refresh = trial.refresh();
    let rechecked = |refresh: &mut Refresh| {
        refresh.reason = RefreshReason::Recheck;
        let RefreshReport { outcome, presented } = refresh.run();
        assert!(matches!(outcome, RefreshOutcome::StillValid(_)) && !presented, "{outcome:?}");
    };
    rechecked(&mut refresh);
    // A request that the server refused leaves no doubt to other processes.
    trial.server.script(Fault::Status(503, String::new()));
    refresh.reason = RefreshReason::Requested;
    assert!(matches!(refresh.run().outcome, RefreshOutcome::Denied { .. }));
    trial.waits_are_over();
    rechecked(&mut refresh);
    assert_eq!(trial.server.presented().len(), 1);
    refresh.reason = RefreshReason::Requested;
    rotated(refresh.run().outcome);
    trial.assert_no_replay();
}

#[test]
fn a_file_that_does_not_parse_is_never_overwritten() {
    let trial = GrantTrial::expired();
    let refresh = trial.refresh();
    fs::write(trial.path(), "{\"hosts\": hch-at-").unwrap();
    let RefreshOutcome::Unreadable(why) = refresh.run().outcome else { panic!("it was used") };
    assert!(why.contains("line 1") && !why.contains("hch-"), "{why}");
    assert_eq!(fs::read_to_string(trial.path()).unwrap(), "{\"hosts\": hch-at-");
    assert_eq!(trial.server.presented().len(), 0);
}

#[test]
fn if_the_file_breaks_during_the_exchange_the_grant_is_kept_beside_it_and_restored_after_the_repair() {
    let trial = GrantTrial::expired();
    let (path, good) = (trial.path(), fs::read_to_string(trial.path()).unwrap());
    let mut refresh = trial.refresh();
    let broken = path.clone();
    refresh.steps = StepHook::new(move |step| {
        if step == RefreshStep::Answered {
            fs::write(&broken, "garbage").unwrap();
        }
    });
    let RefreshOutcome::Rotated { grant, beside: Some(kept), .. } = refresh.run().outcome else {
        panic!("it was not kept")
    };
    assert_eq!(fs::read_to_string(&path).unwrap(), "garbage");
    assert_eq!(access(&grant_in(&kept).unwrap()), access(&grant));
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);

    fs::write(&path, good).unwrap();
    let repaired = rotated(trial.run());
    assert_eq!(access(&repaired), "hch-at-n1");
    assert_eq!((trial.server.presented().len(), trial.other_files()), (1, Vec::new()));
    assert_eq!(trial.json()["hosts"]["hermes"]["oauth"]["refreshToken"], "hch-rt-n1");
}

#[test]
fn after_a_lost_answer_no_process_presents_the_token_for_a_minute() {
    let trial = GrantTrial::expired();
    for fault in [Fault::LostAnswer, Fault::CutAnswer, Fault::Body("<html>".to_owned())] {
        let trial = GrantTrial::expired();
        trial.server.script(fault.clone());
        assert!(matches!(trial.run(), RefreshOutcome::Ambiguous { retry_in: Some(_), .. }), "{fault:?}");
        for _ in 0..5 {
            assert!(matches!(trial.run(), RefreshOutcome::Ambiguous { retry_in: Some(_), .. }), "{fault:?}");
        }
        assert_eq!(trial.server.presented().len(), 1, "{fault:?}");
        assert!(matches!(trial.run_after_the_wait(), RefreshOutcome::Refused { .. }), "{fault:?}");
        for _ in 0..5 {
            assert!(matches!(trial.run_after_the_wait(), RefreshOutcome::Refused { .. }), "{fault:?}");
        }
        assert_eq!((trial.server.presented().len(), trial.server.replays()), (2, 1), "{fault:?}");
    }
    // A token that did not arrive remains valid.
    trial.server.script(Fault::Closed);
    assert!(matches!(trial.run(), RefreshOutcome::Ambiguous { .. }));
    rotated(trial.run_after_the_wait());
    trial.assert_no_replay();
}

#[test]
fn a_server_that_hangs_times_out_and_is_retried_once() {
    let trial = GrantTrial::expired();
    for _ in 0..2 {
        trial.server.script(Fault::Status(0, String::new()));
    }
    // A malformed status line is not an answer either.
    let mut hangs = trial.refresh();
    hangs.timeouts.exchange = Duration::from_millis(300);
    hangs.timeouts.retry_wait = Duration::ZERO;
    assert!(matches!(hangs.run().outcome, RefreshOutcome::Ambiguous { retry_in: Some(_), .. }));
    assert!(matches!(hangs.run().outcome, RefreshOutcome::Ambiguous { retry_in: None, .. }));
    assert!(matches!(hangs.run().outcome, RefreshOutcome::Ambiguous { retry_in: None, .. }));
    assert_eq!(trial.server.presented().len(), 2);
    hangs.reason = RefreshReason::Requested;
    rotated(hangs.run().outcome);

    let trial = GrantTrial::expired();
    trial.server.script(Fault::Delay(SOON));
    let mut hangs = trial.refresh();
    hangs.timeouts.exchange = Duration::from_millis(100);
    let RefreshOutcome::Ambiguous { why, .. } = hangs.run().outcome else { panic!("silence was taken for an answer") };
    assert!(why.contains("no answer within 0.1 s"), "{why}");
}

#[test]
fn a_refusing_or_unreachable_server_costs_no_token() {
    let trial = GrantTrial::expired();
    let faults = [
        Fault::Status(503, "{}".to_owned()),
        Fault::Status(429, String::new()),
        Fault::Status(400, r#"{"error":"invalid_client"}"#.to_owned()),
        Fault::Redirect(trial.server.token_endpoint()),
    ];
    for fault in faults {
        trial.server.script(fault.clone());
        assert!(matches!(trial.run(), RefreshOutcome::Denied { .. }), "{fault:?}");
        trial.waits_are_over();
    }
    assert_eq!(trial.server.presented().len(), 4, "a redirect was followed");

    let mut file = trial.json();
    let good = file["hosts"]["hermes"]["oauth"]["tokenEndpoint"].take();
    for endpoint in ["http://127.0.0.1:1/oauth/token", "nowhere", "ftp://127.0.0.1/", "http:///x"] {
        file["hosts"]["hermes"]["oauth"]["tokenEndpoint"] = json!(endpoint);
        fs::write(trial.path(), file.to_string()).unwrap();
        let RefreshReport { outcome, presented } = trial.refresh().run();
        assert!(matches!(outcome, RefreshOutcome::Failed(_)) && !presented, "{endpoint}: {outcome:?}");
    }
    file["hosts"]["hermes"]["oauth"]["tokenEndpoint"] = good;
    fs::write(trial.path(), file.to_string()).unwrap();
    rotated(trial.run());
    trial.assert_no_replay();
}

#[test]
fn a_refused_token_is_presented_once_by_all_processes_together() {
    let trial = GrantTrial::expired();
    trial.server.revoke();
    for _ in 0..4 {
        assert!(matches!(trial.run(), RefreshOutcome::Refused { .. }));
    }
    assert_eq!(trial.server.presented().len(), 1);
}

#[test]
fn without_a_new_refresh_token_the_old_one_stays_in_the_file_and_waits_for_a_request() {
    let trial = GrantTrial::expired();
    trial.server.script(Fault::NoRefreshToken);
    trial.server.tokens_live(json!(100));
    assert!(matches!(trial.run(), RefreshOutcome::Withheld { .. }));
    let block = &trial.json()["hosts"]["hermes"];
    assert_eq!((&block["apiKey"], &block["oauth"]["refreshToken"]), (&json!("hch-at-n1"), &json!("hch-rt-0")));
    assert!(matches!(trial.run_after_the_wait(), RefreshOutcome::Ambiguous { retry_in: None, .. }));
    assert_eq!(trial.server.presented().len(), 1);
    let mut requested = trial.refresh();
    requested.reason = RefreshReason::Requested;
    rotated(requested.run().outcome);
}

#[test]
fn if_the_file_cannot_be_written_no_token_is_presented() {
    let trial = GrantTrial::expired();
    let mut refresh = trial.refresh();
    let home = trial.home.path().to_owned();
    // Permission bits do not apply to root; a missing directory prevents the write for root as well.
    refresh.steps = StepHook::new(move |step| {
        if step == RefreshStep::Read {
            fs::remove_dir_all(&home).unwrap();
        }
    });
    assert!(matches!(refresh.run().outcome, RefreshOutcome::Failed(_)));
    assert_eq!(trial.server.presented().len(), 0);
    fs::create_dir(trial.home.path()).unwrap();
}

#[test]
fn a_grant_that_could_not_be_saved_is_saved_first_the_next_time() {
    let trial = GrantTrial::expired();
    let (home, away) = (trial.home.path().to_owned(), trial.home.path().with_extension("away"));
    let mut refresh = trial.refresh();
    refresh.steps = StepHook::new({
        let (home, away) = (home.clone(), away.clone());
        move |step| {
            if step == RefreshStep::TemporaryWritten {
                fs::rename(&home, &away).unwrap();
            }
        }
    });
    let RefreshOutcome::Unsaved { unsaved, .. } = refresh.run().outcome else { panic!("it was saved") };
    fs::rename(away, home).unwrap();
    let mut next = trial.refresh();
    next.unsaved = Some(unsaved);
    assert_eq!(access(&rotated(next.run().outcome)), "hch-at-n1");
    assert_eq!((trial.server.presented().len(), trial.other_files()), (1, Vec::new()));
    assert_eq!(trial.json()["hosts"]["hermes"]["oauth"]["refreshToken"], "hch-rt-n1");
}

#[test]
fn a_login_during_the_exchange_takes_precedence() {
    let trial = Arc::new(GrantTrial::expired());
    let mut refresh = trial.refresh();
    let logging_in = Arc::clone(&trial);
    refresh.steps = StepHook::new(move |step| {
        if step == RefreshStep::Answered {
            logging_in.log_in(7, 3600);
        }
    });
    assert!(matches!(refresh.run().outcome, RefreshOutcome::Adopted(grant) if access(&grant) == "hch-at-7"));
    assert_eq!(trial.json()["hosts"]["hermes"]["apiKey"], "hch-at-7");
}

#[test]
fn an_older_block_is_renewed_in_place() {
    let trial = GrantTrial::expired();
    let text = fs::read_to_string(trial.path()).unwrap().replace("\"hermes\"", "\"hermes.work\"");
    fs::write(trial.path(), text).unwrap();
    let mut refresh = trial.refresh();
    refresh.host = "hermes_work".to_owned();
    rotated(refresh.run().outcome);
    let hosts = &trial.json()["hosts"];
    assert_eq!((&hosts["hermes.work"]["apiKey"], &hosts["hermes_work"]), (&json!("hch-at-n1"), &Value::Null));
}

#[test]
fn a_login_with_its_settings_is_installed_without_a_file() {
    let home = TempDir::new().unwrap();
    let path = home.path().join(".honcho").join("config.json");
    let grant = grant_in(&GrantTrial::expired().path()).unwrap();
    let lock = ConfigLock::take(&path, SOON).unwrap();
    let config = json!({"workspace": "w"});
    store::check_install(&lock, "hermes").unwrap();
    assert!(!path.exists(), "the check creates no file");
    assert_eq!(store::install(&lock, "hermes", &grant, config.as_object()).unwrap(), Installed::InPlace);
    drop(lock);
    assert_eq!(access(&grant_in(&path).unwrap()), "hch-at-0");
    assert_eq!(mode(&path), 0o600);
    fs::write(&path, "garbage").unwrap();
    let lock = ConfigLock::take(&path, SOON).unwrap();
    assert!(store::check_install(&lock, "hermes").is_err());
    let Installed::Beside(kept) = store::install(&lock, "hermes", &grant, None).unwrap() else { panic!("not beside") };
    assert_eq!(fs::read_to_string(&path).unwrap(), "garbage");
    assert_eq!((access(&grant_in(&kept).unwrap()), mode(&kept)), ("hch-at-0", 0o600));
}

#[test]
fn the_end_is_reported_even_if_the_thread_panics_and_the_lock_is_held_until_then() {
    let trial = GrantTrial::expired();
    let (done, reports) = mpsc::channel();
    let mut refresh = trial.refresh();
    let path = trial.path();
    let held = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&held);
    refresh.steps = StepHook::new(move |step| {
        if step == RefreshStep::Answered {
            *seen.lock().unwrap() = ConfigLock::take(&path, Duration::from_millis(60)).is_err();
            panic!("for the test");
        }
    });
    refresh.spawn(move |report| done.send(report).unwrap()).unwrap();
    let report = reports.recv_timeout(SOON).expect("the end is reported");
    assert!(matches!(report.outcome, RefreshOutcome::Ambiguous { .. }) && report.presented);
    assert!(*held.lock().unwrap());
    drop(ConfigLock::take(&trial.path(), SOON).unwrap());
}

#[test]
fn no_token_is_in_any_debug_text_or_reason() {
    let trial = GrantTrial::expired();
    trial.server.script(Fault::Status(403, r#"{"error":"hch-rt-0 is bad"}"#.to_owned()));
    let shown = format!("{:?} {:?}", trial.refresh(), trial.refresh().run());
    trial.waits_are_over();
    let shown = shown + &format!("{:?}", trial.run());
    assert!(!shown.contains("hch-at-") && !shown.contains("hch-rt-"), "{shown}");
    let notes = fs::read_to_string(lock_path(&trial.path())).unwrap();
    assert!(notes.contains("rotated") && !notes.contains("hch-"), "{notes}");
}
