//! The watchdog, with something else to do than to end the test.

use std::sync::mpsc;
use std::time::Duration;

use caduceus_actors::supervision::{Bite, Cause, Root, RootOptions, Strategy, Watchdog};

use crate::support::{CEILING, Diary, Subject, hook, options, supervisor};

const STALE_AFTER: Duration = Duration::from_millis(300);

fn armed() -> (Watchdog, mpsc::Receiver<Bite>) {
    let (bites, bitten) = mpsc::channel();
    let watchdog = Watchdog::arm_with(STALE_AFTER, move |bite| _ = bites.send(bite)).expect("a thread starts");
    (watchdog, bitten)
}

#[actix::test]
async fn silent_root_is_bitten_and_the_report_says_where_everyone_was() {
    hook();
    let (watchdog, bitten) = armed();
    assert!(!watchdog.fresh(), "there is no root yet");
    let subject = Subject::new("a", &Diary::default());
    let spec = supervisor(Strategy::OneForOne, [subject.spec()]);
    let _root = Root::start(spec, RootOptions { watchdog: Some(watchdog.clone()), ..options() });
    assert_eq!(subject.ping().await, 1);
    assert!(watchdog.fresh());
    // Blocks the root's thread until the watchdog has seen it.
    let bite = bitten.recv_timeout(CEILING).expect("the watchdog bites");
    assert_eq!((bite.cause, bite.exit_code), (Cause::RootSilent, 75));
    assert!(!watchdog.fresh());
    assert!(bite.report.contains("a: Running, generation 1, lane root"), "{}", bite.report);
}

#[test]
fn missed_deadline_is_bitten_without_any_root() {
    let (watchdog, bitten) = armed();
    watchdog.arm_deadline(Duration::from_millis(10), 70);
    let bite = bitten.recv_timeout(CEILING).expect("the watchdog bites");
    assert_eq!((bite.cause, bite.exit_code), (Cause::DeadlineMissed, 70), "how it ends was decided before");
}

#[actix::test]
async fn a_root_that_is_silent_on_its_way_out_ends_as_was_decided() {
    hook();
    let (watchdog, bitten) = armed();
    let spec = supervisor(Strategy::OneForOne, []);
    let _root = Root::start(spec, RootOptions { watchdog: Some(watchdog.clone()), ..options() });
    watchdog.arm_deadline(CEILING, 70);
    let bite = bitten.recv_timeout(CEILING).expect("the watchdog bites");
    assert_eq!((bite.cause, bite.exit_code), (Cause::RootSilent, 70));
}

#[test]
fn disarmed_watchdog_lets_go() {
    let (watchdog, bitten) = armed();
    watchdog.arm_deadline(2 * STALE_AFTER, 75);
    watchdog.disarm();
    drop(watchdog);
    // The thread ends, and with it the sender it holds.
    assert_eq!(bitten.recv_timeout(CEILING).map(|bite| bite.cause), Err(mpsc::RecvTimeoutError::Disconnected));
}
