//! The lock beside the file, which the original takes as well.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};
use std::thread;

use super::super::lock::{ConfigLock, LockError, lock_path};
use super::*;

#[test]
fn a_symbolic_link_is_written_through_and_both_names_are_locked() {
    let trial = GrantTrial::expired();
    let real = TempDir::new().unwrap();
    let target = real.path().join("shared.json");
    fs::rename(trial.path(), &target).unwrap();
    symlink(&target, trial.path()).unwrap();
    let held = ConfigLock::take(&trial.path(), SOON).unwrap();
    for path in [trial.path(), target.clone()] {
        let busy = ConfigLock::take(&path, Duration::from_millis(60));
        assert!(matches!(busy, Err(LockError::Busy { .. })), "{} is free", path.display());
    }
    drop(held);
    rotated(trial.run());
    assert!(fs::symlink_metadata(trial.path()).unwrap().is_symlink());
    assert_eq!(access(&grant_in(&target).unwrap()), "hch-at-n1");
}

#[test]
fn two_names_of_one_directory_are_no_deadlock() {
    let trial = GrantTrial::expired();
    let other = TempDir::new().unwrap();
    let alias = other.path().join("alias");
    symlink(trial.home.path(), &alias).unwrap();
    let mut refresh = trial.refresh();
    refresh.path = alias.join("honcho.json");
    rotated(refresh.run().outcome);
    assert_eq!(trial.json()["hosts"]["hermes"]["apiKey"], "hch-at-n1");
}

/// The original's way of holding the lock, until its input ends.
fn original_holds(path: &Path) -> Child {
    const HOLD: &str = "import fcntl,sys\nf=open(sys.argv[1],'a+b')\nfcntl.flock(f.fileno(),fcntl.LOCK_EX)\nprint('held',flush=True)\nsys.stdin.read()";
    let mut holder = Command::new("python3")
        .args(["-c", HOLD])
        .arg(lock_path(path))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs python3");
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    holder
}

#[test]
fn while_the_original_holds_the_lock_nothing_is_exchanged() {
    let trial = GrantTrial::expired();
    let mut holder = original_holds(&trial.path());
    let mut refresh = trial.refresh();
    refresh.timeouts.lock_wait = Duration::from_millis(150);
    let RefreshOutcome::Failed(why) = refresh.run().outcome else { panic!("it continued without the lock") };
    assert!(why.contains("another process"), "{why}");
    assert_eq!(trial.server.presented().len(), 0);
    drop(holder.stdin.take());
    holder.wait().unwrap();
    rotated(trial.run());
}

#[test]
fn the_original_waits_while_the_lock_is_held() {
    const TRY: &str =
        "import fcntl,sys\nf=open(sys.argv[1],'a+b')\nfcntl.flock(f.fileno(),fcntl.LOCK_EX|fcntl.LOCK_NB)";
    let trial = GrantTrial::expired();
    let tries = || {
        let path = lock_path(&trial.path());
        Command::new("python3").args(["-c", TRY]).arg(path).stderr(Stdio::null()).status().unwrap().success()
    };
    let lock = ConfigLock::take(&trial.path(), SOON).unwrap();
    assert!(!tries());
    drop(lock);
    assert!(tries());
}

#[test]
fn a_lock_file_that_was_deleted_during_the_wait_does_not_count() {
    let trial = GrantTrial::expired();
    let path = trial.path();
    let first = ConfigLock::take(&path, SOON).unwrap();
    let waiting = thread::spawn({
        let path = path.clone();
        move || ConfigLock::take(&path, SOON).unwrap()
    });
    thread::sleep(Duration::from_millis(60));
    fs::remove_file(lock_path(&path)).unwrap();
    drop(first);
    let second = waiting.join().unwrap();
    assert!(matches!(ConfigLock::take(&path, Duration::from_millis(60)), Err(LockError::Busy { .. })));
    drop(second);
}
