//! One reload: reads the files if they changed, and carries out the steps that follow, in order.
//!
//! Every step can be repeated: what failed is still in the plan at the next reload.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{debug, error, info, warn};

use super::messages::{InForce, SettingsChanged};
use super::plan::ReloadStep;
use super::served_profiles::ServedProfiles;
use crate::drain::permit::messages::ListTurns;
use crate::files::events::{RECHECK_EVERY, Watched};
use crate::files::{FileEvents, Listening};
use crate::profile::messages::ProfileConfigChanged;
use crate::profile::redact::Redactor;
use crate::relay::claims::Claims;
use crate::settings::{DirectoryState, Reading, Settings, Sources};
use crate::status::changes::StatusChanges;
use caduceus_contract::messages::profile::ReloadEnv;
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::{OperateError, Port, SpecError, StartChild, StartChildError, StopChild};

/// Timeout of a supervisor for accepting an order, and of the gate for listing its turns; includes a restart of either.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of the gate for reading the markers of new profiles. If a disk hangs, they are served all the same.
const MARKER_TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout of a profile for reading its `.env`; its own timeout for a disk that does not answer is 5 s.
const ENV_TIMEOUT: Duration = Duration::from_secs(7);

/// Interval of the reloads while a file cannot be read or an actor has not received its settings.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// The ports of the other actors.
#[derive(Clone)]
pub struct ConfigPorts {
    /// Starts a profile's actor.
    pub start: Port<StartChild>,
    /// Stops it.
    pub stop: Port<StopChild>,
    /// Lists the running turns.
    pub turns: Port<ListTurns>,
    /// The gate, which answers once it has read the markers.
    pub drain: Port<SettingsChanged>,
    /// The dispatcher.
    pub dispatch: Port<SettingsChanged>,
    /// The grants.
    pub honcho: Port<SettingsChanged>,
    /// The status.
    pub status: Port<SettingsChanged>,
    /// The same: something shown changed.
    pub touched: StatusChanges,
    /// Which link serves which gateway: a removed profile releases its claims.
    pub claims: Claims,
    /// The secrets of a removed profile are removed from it.
    pub redactor: Redactor,
    /// Reports that files may have changed.
    pub events: FileEvents,
}

/// The state that one reload hands to the next.
pub(super) struct Reload {
    present: ServedProfiles,
    ports: ConfigPorts,
    /// Notified by file events.
    touched: Arc<Notify>,
    sources: Sources,
    /// By directory, with its identity when the watch began.
    listening: BTreeMap<PathBuf, (DirectoryState, Listening)>,
    /// The profiles of which the dispatcher was last notified.
    announced: BTreeSet<ProfileName>,
    /// A mailbox refused the settings; they are sent again at the next reload.
    announce_again: bool,
    /// Profiles whose mailbox refused their configuration.
    resend_config: BTreeSet<ProfileName>,
}

/// What a reload reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReloadScope {
    /// The files whose metadata changed.
    Changed,
    /// All files, including those of the profiles.
    All,
}

/// The result of a reload that read the files.
pub(super) struct ReloadResult {
    pub(super) problems: Vec<String>,
    /// Whether the settings in force changed.
    pub(super) changed: bool,
    /// The keys whose values changed.
    pub(super) keys: Vec<String>,
}

impl Reload {
    /// `announce`: the other actors may lack the present settings.
    pub(super) fn new(present: ServedProfiles, ports: ConfigPorts, touched: Arc<Notify>, announce: bool) -> Self {
        let announced = present.lock().plan.served().cloned().collect();
        Self {
            present,
            ports,
            touched,
            sources: Sources::default(),
            listening: BTreeMap::new(),
            announced,
            announce_again: announce,
            resend_config: BTreeSet::new(),
        }
    }

    /// Reads the files if they changed, and carries out what follows. Returns the result of reading, if they were read.
    pub(super) async fn run(mut self, scope: ReloadScope) -> (Self, Option<ReloadResult>) {
        if scope == ReloadScope::All {
            self.sources = Sources::default();
        }
        let (reload, reading) = self.read().await;
        self = reload;
        let (mut steps, mut result) = (VecDeque::new(), None);
        if let Some(Reading { sources, settings, problems }) = reading {
            self.sources = sources;
            let before = self.present.settings();
            log_warnings(&before, &settings);
            let keys = before.changed(&settings);
            if !keys.is_empty() {
                info!(?keys, "configuration changed");
            }
            steps.extend(self.present.lock().read(settings));
            result = Some(ReloadResult { problems, changed: !steps.is_empty(), keys });
        } else if !self.present.lock().plan.is_settled() {
            // Not in a reload that read the files: the dispatcher is notified of the change before the next check of the profiles.
            steps.extend(self.check().await);
        }
        steps.extend(std::mem::take(&mut self.resend_config).into_iter().map(ReloadStep::Change));
        if std::mem::take(&mut self.announce_again) && !steps.contains(&ReloadStep::Announce) {
            steps.push_back(ReloadStep::Announce);
        }
        while let Some(step) = steps.pop_front() {
            let more = self.carry_out(step).await;
            steps.extend(more);
        }
        if scope == ReloadScope::All {
            self.read_profiles().await;
        }
        (self, result)
    }

    /// When the files are read again although nothing reported a change: soon, if something is left to do.
    pub(super) fn check_again_in(&self) -> Duration {
        let settled = !self.announce_again && self.resend_config.is_empty() && self.sources.are_readable();
        if settled { RECHECK_EVERY } else { RETRY_EVERY }
    }

    /// Makes every profile read its `.env` again, concurrently.
    async fn read_profiles(&self) {
        let reads = self.present.in_force().profiles.clone().into_iter().map(|served| async move {
            if let Err(error) = served.ports.reload.ask(ReloadEnv, ENV_TIMEOUT).await {
                warn!(profile = %served.name, %error, "profile did not read its .env again");
            }
        });
        futures_util::future::join_all(reads).await;
    }

    /// Reads the files if they have changed, off the arbiter.
    async fn read(mut self) -> (Self, Option<Reading>) {
        let settings = self.present.settings();
        let reading = tokio::task::spawn_blocking(move || {
            // Before reading, so that a later change is reported.
            self.listen(&settings.home);
            let reading = settings.reread(&self.sources);
            (self, reading)
        });
        reading.await.expect("reading the settings does not panic")
    }

    fn listen(&mut self, home: &Path) {
        let sources = Sources::directories_of(home);
        let places: BTreeMap<_, _> = sources.directories().collect();
        self.listening.retain(|directory, _| {
            places.get(directory.as_path()).is_some_and(|place| *place != DirectoryState::Missing)
        });
        for (directory, place) in places {
            let listens =
                |(at, listening): &(DirectoryState, Listening)| *at == place && listening.watched() != Watched::No;
            // A directory that does not answer keeps its watch.
            if !matches!(place, DirectoryState::There(..)) || self.listening.get(directory).is_some_and(listens) {
                continue;
            }
            let touched = Arc::clone(&self.touched);
            let concerns = Settings::concerns(home, directory);
            let listening =
                self.ports
                    .events
                    .listen(directory, Settings::files_in(home, directory), concerns, move || touched.notify_one());
            self.listening.insert(directory.to_owned(), (place, listening));
        }
    }

    /// The steps that are left from earlier reloads. If the gate does not answer, no profile is stopped until it does.
    async fn check(&self) -> Vec<ReloadStep> {
        match self.ports.turns.ask(ListTurns, TIMEOUT).await {
            Ok(turns) => {
                let busy = turns.into_iter().map(|turn| turn.ticket.profile).collect();
                self.present.lock().plan.check(&busy)
            }
            Err(error) => {
                warn!(%error, "gate did not list the running turns; it is queried again at the next reload");
                Vec::new()
            }
        }
    }

    async fn carry_out(&mut self, step: ReloadStep) -> Vec<ReloadStep> {
        match step {
            ReloadStep::Open(name) => {
                info!(profile = %name, "profile added");
                self.present.lock().open(&name);
            }
            ReloadStep::Start(name) => self.start(&name).await,
            ReloadStep::Change(name) => self.change(name),
            ReloadStep::Stop(name) => return self.stop(&name).await,
            ReloadStep::Close(name) => {
                info!(profile = %name, "profile removed");
                self.present.lock().children.remove(&name);
                self.ports.redactor.remove(name.as_str());
                self.ports.claims.declare(&Some(name), None);
                self.ports.touched.report();
            }
            ReloadStep::Announce => self.announce().await,
            ReloadStep::AnnounceAgents => self.announce_agents(),
        }
        Vec::new()
    }

    async fn start(&self, name: &ProfileName) {
        let Some(spec) = self.present.lock().children.get(name).map(|child| child.spec.clone()) else { return };
        match self.ports.start.ask(StartChild(spec), TIMEOUT).await {
            // An earlier order succeeded and its answer was lost.
            Ok(Ok(()) | Err(StartChildError::Spec(SpecError::DuplicateId(_)))) => {
                self.present.lock().plan.started(name);
            }
            Ok(Err(error)) => warn!(profile = %name, %error, "profile not started yet"),
            Err(error) => warn!(profile = %name, %error, "profile not started yet"),
        }
    }

    async fn stop(&self, name: &ProfileName) -> Vec<ReloadStep> {
        match self.ports.stop.ask(StopChild { id: name.to_string() }, TIMEOUT).await {
            Ok(Err(OperateError::NoSuchChild(_))) => return self.present.lock().plan.stopped(name),
            // The actor ends asynchronously.
            Ok(Ok(())) => debug!(profile = %name, "profile's actor is being stopped"),
            Ok(Err(error)) => warn!(profile = %name, %error, "profile not stopped yet"),
            Err(error) => warn!(profile = %name, %error, "profile not stopped yet"),
        }
        Vec::new()
    }

    fn change(&mut self, name: ProfileName) {
        let sent = {
            let state = self.present.lock();
            let (Some(child), Some(config)) = (state.children.get(&name), state.profile_config(&name)) else { return };
            let config = Arc::new(config);
            // The next incarnation reads them from here, so they are stored before they are sent.
            child.config.set(Arc::clone(&config));
            child.ports.config.tell(ProfileConfigChanged(config))
        };
        if let Err(error) = sent {
            warn!(profile = %name, %error, "profile not notified of its settings; sent again at the next reload");
            self.resend_config.insert(name);
        }
    }

    /// Sends the dispatcher the profiles that it serves already, with their agents.
    fn announce_agents(&mut self) {
        if let Err(error) = self.ports.dispatch.tell(SettingsChanged(Arc::new(self.in_force_of_announced()))) {
            warn!(%error, "agents of profiles not sent to the dispatcher; sent again at the next reload");
            self.announce_again = true;
        }
    }

    /// The settings in force with those profiles that were announced.
    fn in_force_of_announced(&self) -> InForce {
        let mut in_force = InForce::clone(&self.present.in_force());
        in_force.profiles.retain(|served| self.announced.contains(&served.name));
        in_force
    }

    /// Notifies the other actors of the settings in force. The order matters: the dispatcher refuses events of a removed profile before
    /// the gate discards its drain, and serves a new profile after the gate has read its marker.
    async fn announce(&mut self) {
        let all = self.present.in_force();
        let known = self.in_force_of_announced();
        if known.profiles.len() < self.announced.len() {
            for name in self.announced.iter().filter(|name| known.profiles.iter().all(|served| served.name != **name)) {
                info!(profile = %name, "profile no longer served; its running turns continue");
            }
        }
        let mut sent = self.ports.dispatch.tell(SettingsChanged(Arc::new(known))).map_err(|error| error.to_string());
        if let Err(error) = self.ports.drain.ask(SettingsChanged(Arc::clone(&all)), MARKER_TIMEOUT).await {
            error!(%error, "gate has not read the drain markers of all profiles yet");
            sent = Err(error.to_string());
        }
        for port in [&self.ports.dispatch, &self.ports.honcho, &self.ports.status] {
            sent = sent.and(port.tell(SettingsChanged(Arc::clone(&all))).map_err(|error| error.to_string()));
        }
        self.announced = all.profiles.iter().map(|served| served.name.clone()).collect();
        if let Err(error) = sent {
            warn!(error, "settings not sent to every actor; sent again at the next reload");
            self.announce_again = true;
        }
        self.ports.touched.report();
    }
}

fn log_warnings(before: &Settings, now: &Settings) {
    for warning in now.warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
        warn!("{warning}");
    }
    for key in before.needs_restart(now) {
        warn!(key, "changed setting applies at the next start");
    }
}
