//! How long each step in the lifecycle of the process may take.

use std::time::Duration;

/// The root's thread only supervises; while it is unresponsive, no actor is supervised.
pub(super) const ROOT_SILENCE: Duration = Duration::from_secs(15);
/// How long the status may take to have every part; a part that does not answer costs half a second.
pub(super) const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a reload may take, before the service manager is notified that the gateway is ready anyway.
pub(super) const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the gate may take to close.
pub(super) const GATE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the acknowledgement of a link's `going_idle` may take.
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
/// Pause before the next request to a restarted gate.
pub(super) const GATE_PAUSE: Duration = Duration::from_millis(100);
