//! The watchdog, with a callback that reports to the test instead of ending the process.

use std::sync::mpsc;
use std::time::Duration;

use caduceus_supervision::{RootOptions, Strategy, TimeoutCause, Watchdog, WatchdogTimeout};

use crate::support::{CEILING, EventLog, Subject, hook, options, start, supervisor};

const STALE_AFTER: Duration = Duration::from_millis(300);

fn armed() -> (Watchdog, mpsc::Receiver<WatchdogTimeout>) {
    let (timeouts, fired) = mpsc::channel();
    let watchdog = Watchdog::start(STALE_AFTER, move |timeout| _ = timeouts.send(timeout)).expect("a thread starts");
    (watchdog, fired)
}

#[actix::test]
async fn unresponsive_root_fires_the_watchdog_and_the_report_names_every_child() {
    hook();
    let (watchdog, fired) = armed();
    assert!(!watchdog.is_fresh(), "there is no root yet");
    let subject = Subject::new("a", &EventLog::default());
    let spec = supervisor(Strategy::OneForOne, [subject.spec()]);
    let _root = start(spec, RootOptions { watchdog: Some(watchdog.clone()), ..options() });
    assert_eq!(subject.ping().await, 1);
    assert!(watchdog.is_fresh());
    // Blocks the root's thread until the watchdog has fired.
    let timeout = fired.recv_timeout(CEILING).expect("the watchdog fires");
    assert_eq!((timeout.cause, timeout.exit_code), (TimeoutCause::RootUnresponsive, None));
    assert!(!watchdog.is_fresh());
    assert!(timeout.report.contains("a: Running, generation 1, thread root"), "{}", timeout.report);
}

#[test]
fn missed_deadline_fires_the_watchdog_without_a_root() {
    let (watchdog, fired) = armed();
    watchdog.set_deadline(Duration::from_millis(10), 70);
    let timeout = fired.recv_timeout(CEILING).expect("the watchdog fires");
    assert_eq!((timeout.cause, timeout.exit_code), (TimeoutCause::DeadlineMissed, Some(70)));
}

#[actix::test]
async fn root_that_becomes_unresponsive_during_the_shutdown_ends_with_the_exit_code_of_the_deadline() {
    hook();
    let (watchdog, fired) = armed();
    let spec = supervisor(Strategy::OneForOne, []);
    let _root = start(spec, RootOptions { watchdog: Some(watchdog.clone()), ..options() });
    watchdog.set_deadline(CEILING, 70);
    let timeout = fired.recv_timeout(CEILING).expect("the watchdog fires");
    assert_eq!((timeout.cause, timeout.exit_code), (TimeoutCause::RootUnresponsive, Some(70)));
}

#[test]
fn disarmed_watchdog_never_fires() {
    let (watchdog, fired) = armed();
    watchdog.set_deadline(2 * STALE_AFTER, 75);
    watchdog.disarm();
    drop(watchdog);
    // The thread ends, and with it the sender it holds.
    assert_eq!(fired.recv_timeout(CEILING).map(|timeout| timeout.cause), Err(mpsc::RecvTimeoutError::Disconnected));
}
