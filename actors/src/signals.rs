//! Signals that must do a long-running process no harm.
//!
//! They are caught and not ignored: what a process ignores its children ignore too, what it catches is back at its default in them.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Signals that end a process which does not catch them, and that say nothing to us: SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM,
/// SIGSTKFLT, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO and SIGPWR. Last SIGCHLD, which must not be ignored by one who waits for
/// children. Those that tell of a broken program (SIGSEGV, SIGABRT and their kin) keep their meaning.
#[cfg(target_os = "linux")]
const HARMLESS: [i32; 12] = [10, 12, 13, 14, 16, 24, 25, 26, 27, 29, 30, 17];
/// The same where there is neither SIGSTKFLT nor SIGPWR, but SIGEMT.
#[cfg(not(target_os = "linux"))]
const HARMLESS: [i32; 10] = [30, 31, 13, 14, 7, 24, 25, 26, 27, 20];

/// The real-time signals; the two below belong to the C library.
#[cfg(target_os = "linux")]
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;
#[cfg(not(target_os = "linux"))]
const REAL_TIME: std::ops::Range<i32> = 0..0;

/// What else a parent may have ignored, and an agent must not: the signals of a terminal, and those without effect by default.
#[cfg(target_os = "linux")]
const OF_A_TERMINAL: [i32; 6] = [20, 21, 22, 18, 23, 28];
#[cfg(not(target_os = "linux"))]
const OF_A_TERMINAL: [i32; 6] = [18, 21, 22, 19, 16, 28];

/// Has signals that nothing here listens to do no harm, for the rest of the process, and `also` those given.
///
/// # Errors
/// If the system does not let us; those before may be caught by then.
pub fn withstand(also: &[SignalKind]) -> io::Result<()> {
    let harmless = HARMLESS.into_iter().chain(REAL_TIME).map(SignalKind::from_raw);
    catch(harmless.chain(also.iter().copied()))
}

/// The same, and sees to it that a child starts with every signal at its default, whatever a parent of ours had ignored.
///
/// # Errors
/// As [`withstand`].
pub fn withstand_and_reset_in_children() -> io::Result<()> {
    let terminal = OF_A_TERMINAL.map(SignalKind::from_raw);
    withstand(
        &[&terminal[..], &[SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate()]]
            .concat(),
    )
}

fn catch(signals: impl Iterator<Item = SignalKind>) -> io::Result<()> {
    // The handlers outlive the runtime that they were made in.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    for kind in signals {
        match signal(kind) {
            Ok(_) => {}
            // One that this system does not have, or keeps for itself.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
