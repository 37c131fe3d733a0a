//! How long each step in the life of the process may take.

use std::time::Duration;

/// The root's thread only supervises; when it does not turn for this long nobody is looked after.
pub(super) const ROOT_SILENCE: Duration = Duration::from_secs(15);
/// How long the status may take to know of everyone; what does not answer it has half a second.
pub(super) const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the files may take to be read again, before the service manager hears that the gateway is ready all the same.
pub(super) const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the gate may take to close.
pub(super) const GATE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a link may take to have its farewell acknowledged.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(12);
/// How long turns may take to end once they are stopped: SIGTERM, 5 s, SIGKILL.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// How long the ledger may take to be written out.
pub(super) const LEDGER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the threads may take to end.
pub(super) const THREADS_TIMEOUT: Duration = Duration::from_secs(5);
/// What the record, the lock and the log may take after that.
pub(super) const LAST_STEPS: Duration = Duration::from_secs(10);
/// When the watchdog ends a process that is closing: later than all that closing waits for.
pub(super) const CLOSING_DEADLINE: Duration =
    LEDGER_TIMEOUT.saturating_add(THREADS_TIMEOUT).saturating_add(LAST_STEPS).saturating_add(Duration::from_secs(5));
/// What all of a shutdown but the wait for turns may take, before the watchdog ends the process.
pub(super) const SHUTDOWN_MARGIN: Duration = Duration::from_mins(1);
/// Pause before the successor of a gate that fell is asked.
pub(super) const GATE_PAUSE: Duration = Duration::from_millis(100);
