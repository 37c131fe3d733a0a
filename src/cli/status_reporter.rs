//! Reports the state of the process: to the original's tools by `gateway_state.json`, to the service manager by its socket.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use caduceus_actors::locked::locked;
use caduceus_actors::settings::Environment;
use caduceus_actors::status::identity;
use caduceus_actors::status::listener::SnapshotListener;
use caduceus_actors::status::state_file::StateFile;
use caduceus_contract::files::gateway_state::{FILE_NAME, StateRecord};
use caduceus_contract::status::lifecycle::GatewayState;
use caduceus_contract::status::readiness::ReadinessLevel;
use caduceus_contract::status::snapshot::Snapshot;
use caduceus_supervision::Watchdog;
use jiff::Timestamp;
use tracing::warn;

use super::arguments;
use super::service_manager::ServiceManager;

/// How long the last state may take to reach the disk.
const LAST_STATE_TIMEOUT: Duration = Duration::from_secs(2);

/// Reports each change of the state. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct StatusReporter {
    state: StateFile,
    manager: ServiceManager,
    reason: Arc<Mutex<Option<String>>>,
    /// It was ready once, or a regular shutdown began before that.
    was_ready: Arc<AtomicBool>,
}

impl StatusReporter {
    /// A gateway of `home` is about to start.
    pub(super) fn start(home: &Path, environment: &Environment, watchdog: &Watchdog) -> io::Result<Self> {
        let record = StateRecord::starting(identity::own(arguments::as_given()), home);
        let state = StateFile::start(home.join(FILE_NAME), record)?;
        let manager = match environment.own.get("NOTIFY_SOCKET").filter(|address| !address.is_empty()) {
            None => ServiceManager::default(),
            Some(address) => ServiceManager::start(address, watchdog.clone()).unwrap_or_else(|error| {
                warn!(%error, "service manager not notified");
                ServiceManager::default()
            }),
        };
        Ok(Self { state, manager, reason: Arc::default(), was_ready: Arc::default() })
    }

    /// The recipient of every snapshot of the status.
    pub(super) fn listener(&self) -> SnapshotListener {
        let (status_reporter, last) = (self.clone(), Mutex::new(String::new()));
        SnapshotListener::new(move |snapshot| {
            status_reporter.state.change(|record| record.update_from(snapshot));
            let line = line(snapshot);
            // No code panics while it holds the lock; after a panic only the line would be missing.
            if let Ok(mut last) = last.lock()
                && *last != line
            {
                last.clone_from(&line);
                status_reporter.manager.status(line);
            }
        })
    }

    /// The listening address is bound.
    pub(super) fn listens(&self, address: SocketAddr) {
        self.state.change(|record| record.set_address(format!("http://{address}")));
    }

    /// The whole tree is running.
    pub(super) fn ready(&self) {
        self.was_ready.store(true, Ordering::Relaxed);
        self.manager.ready();
    }

    /// A reload is under way; [`StatusReporter::ready`] reports its end.
    pub(super) fn reloading(&self) {
        self.manager.reloading();
    }

    /// The shutdown has begun; `restart`: the service manager is to start the gateway again.
    pub(super) fn stopping(&self, restart: bool) {
        self.was_ready.store(true, Ordering::Relaxed);
        self.state.change(|record| record.set_restart_requested(restart));
        self.manager.stopping();
    }

    /// Sets the reason of the end.
    pub(super) fn because(&self, reason: String) {
        *locked(&self.reason) = Some(reason);
    }

    /// Writes the last state. Blocks for as long as the disk takes, within bounds.
    pub(super) fn ended(&self) {
        let was_ready = self.was_ready.load(Ordering::Relaxed);
        let state = if was_ready { GatewayState::Stopped } else { GatewayState::StartupFailed };
        let reason = locked(&self.reason).take();
        if !self.state.close(LAST_STATE_TIMEOUT, |record| record.set_ended(state, reason, Timestamp::now())) {
            warn!("last state of the gateway not written in time");
        }
    }
}

/// The status in one line, without names and addresses.
fn line(snapshot: &Snapshot) -> String {
    let turns = match snapshot.active_agents {
        0 => "no turn".to_owned(),
        1 => "1 turn".to_owned(),
        many => format!("{many} turns"),
    };
    let suffix = match (snapshot.gateway_state, snapshot.readiness) {
        (_, ReadinessLevel::Degraded) => ", degraded",
        (GatewayState::Running, ReadinessLevel::NotReady) => ", not ready",
        // Every other state implies it.
        (_, ReadinessLevel::Ready | ReadinessLevel::NotReady) => "",
    };
    format!("{}{suffix}, {turns}", snapshot.gateway_state)
}
