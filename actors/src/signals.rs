//! Makes signals harmless to a long-running process.
//!
//! They are caught and not ignored: children inherit ignored signals, but caught ones are reset to their default.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Signals that end a process by default and have no meaning for us: SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM,
/// SIGSTKFLT, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO and SIGPWR. Last SIGCHLD, which a process that waits for children must not
/// ignore. Those that report a program error (SIGSEGV, SIGABRT and similar) keep their meaning.
#[cfg(target_os = "linux")]
const HARMLESS: [i32; 12] = [10, 12, 13, 14, 16, 24, 25, 26, 27, 29, 30, 17];
/// The same on systems without SIGSTKFLT and SIGPWR, but with SIGEMT.
#[cfg(not(target_os = "linux"))]
const HARMLESS: [i32; 10] = [30, 31, 13, 14, 7, 24, 25, 26, 27, 20];

/// The real-time signals; the two below are used by the C library.
#[cfg(target_os = "linux")]
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;
#[cfg(not(target_os = "linux"))]
const REAL_TIME: std::ops::Range<i32> = 0..0;

/// Further signals that a parent may have ignored, and an agent must not: those of a terminal, and those without effect by default.
#[cfg(target_os = "linux")]
const OF_A_TERMINAL: [i32; 6] = [20, 21, 22, 18, 23, 28];
#[cfg(not(target_os = "linux"))]
const OF_A_TERMINAL: [i32; 6] = [18, 21, 22, 19, 16, 28];

/// Makes unused signals harmless for the rest of the process, and also those in `also`.
///
/// # Errors
/// The system's error; some signals may be caught by then.
pub fn catch_unused(also: &[SignalKind]) -> io::Result<()> {
    let harmless = HARMLESS.into_iter().chain(REAL_TIME).map(SignalKind::from_raw);
    catch(harmless.chain(also.iter().copied()))
}

/// The same, and ensures that a child starts with every signal at its default, even those that our parent had ignored.
///
/// # Errors
/// As [`catch_unused`].
pub fn catch_and_reset_in_children() -> io::Result<()> {
    let terminal = OF_A_TERMINAL.map(SignalKind::from_raw);
    catch_unused(
        &[&terminal[..], &[SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate()]]
            .concat(),
    )
}

fn catch(signals: impl Iterator<Item = SignalKind>) -> io::Result<()> {
    // The handlers outlive the runtime in which they were registered.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    for kind in signals {
        match signal(kind) {
            Ok(_) => {}
            // The system does not have this signal, or reserves it.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
