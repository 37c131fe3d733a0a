//! One look at the files and all that follows from it, in order.
//!
//! Everything in here can be done again: what did not come about is found in the plan at the next round.

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
use crate::files::events::Watched;
use crate::files::{FileEvents, Listening};
use crate::profile::messages::TermsChanged;
use crate::profile::redact::Redactor;
use crate::relay::claims::Claims;
use crate::settings::{DirectoryState, Reading, Settings, Sources};
use caduceus_contract::messages::profile::ReadEnvAgain;
use caduceus_contract::messages::status::StatusTouched;
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::{OperateError, Port, SpecError, StartChild, StartChildError, StopChild};

/// How long a supervisor may take to note an order down, and the gate to name its turns; a restart of them included.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the gate may take to read the markers of profiles that are new to it. A disk that hangs does not keep them out.
const MARKER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a profile may take to read its `.env`; it gives up a disk that does not answer after 5 s.
const ENV_TIMEOUT: Duration = Duration::from_secs(7);

/// Whom the keeper of the settings asks and tells.
#[derive(Clone)]
pub struct ConfigPorts {
    /// Starts a profile's actor.
    pub start: Port<StartChild>,
    /// Stops it.
    pub stop: Port<StopChild>,
    /// Whose turns run.
    pub turns: Port<ListTurns>,
    /// The gate, which answers once it has read the markers.
    pub drain: Port<SettingsChanged>,
    /// The dispatcher.
    pub dispatch: Port<SettingsChanged>,
    /// The keeper of the grants.
    pub honcho: Port<SettingsChanged>,
    /// The status.
    pub status: Port<SettingsChanged>,
    /// The same: something shown changed.
    pub touched: Port<StatusTouched>,
    /// Which link fronts which gateway: a profile that is gone leaves its own to others.
    pub claims: Claims,
    /// Forgets what profiles that are gone put in.
    pub redactor: Redactor,
    /// Tells that files may have changed.
    pub events: FileEvents,
}

/// What goes from one round to the next.
pub(super) struct Reload {
    present: ServedProfiles,
    ports: ConfigPorts,
    /// Rung by file events.
    touched: Arc<Notify>,
    sources: Sources,
    /// By directory, and which one it was when we began.
    listening: BTreeMap<PathBuf, (DirectoryState, Listening)>,
    /// Whom the dispatcher was last told of.
    told: BTreeSet<ProfileName>,
    /// News that a mailbox did not take, told again next time.
    untold: bool,
    untold_terms: BTreeSet<ProfileName>,
}

/// What a round reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Files that do not look as they did.
    AtChanges,
    /// All files, those of the profiles too.
    AtEverything,
}

/// What a reading brought.
pub(super) struct SettingsNews {
    pub(super) troubles: Vec<String>,
    /// Whether anything is in force that was not before.
    pub(super) changed: bool,
    /// What reads otherwise.
    pub(super) keys: Vec<String>,
}

impl Reload {
    pub(super) fn new(present: ServedProfiles, ports: ConfigPorts, touched: Arc<Notify>) -> Self {
        let told = present.lock().plan.served().cloned().collect();
        Self {
            present,
            ports,
            touched,
            sources: Sources::default(),
            listening: BTreeMap::new(),
            told,
            // A predecessor may have died before it told everyone.
            untold: true,
            untold_terms: BTreeSet::new(),
        }
    }

    /// Looks, and does what there is to be done. Answers what was read, if anything was.
    pub(super) async fn run(mut self, look: Look) -> (Self, Option<SettingsNews>) {
        if look == Look::AtEverything {
            self.sources = Sources::default();
        }
        let (round, reading) = self.read().await;
        self = round;
        let (mut steps, mut news) = (VecDeque::new(), None);
        if let Some(Reading { sources, settings, troubles }) = reading {
            self.sources = sources;
            let before = self.present.settings();
            tell_oddities(&before, &settings);
            let keys = before.changed(&settings);
            if !keys.is_empty() {
                info!(?keys, "the configuration changed");
            }
            steps.extend(self.present.lock().read(settings));
            news = Some(SettingsNews { troubles, changed: !steps.is_empty(), keys });
        } else if !self.present.lock().plan.is_settled() {
            // Not in a round that read something: the dispatcher has to hear of it before anyone is looked after.
            steps.extend(self.look().await);
        }
        steps.extend(std::mem::take(&mut self.untold_terms).into_iter().map(ReloadStep::Change));
        if std::mem::take(&mut self.untold) && !steps.contains(&ReloadStep::Tell) {
            steps.push_back(ReloadStep::Tell);
        }
        while let Some(step) = steps.pop_front() {
            let more = self.carry_out(step).await;
            steps.extend(more);
        }
        if look == Look::AtEverything {
            self.read_profiles().await;
        }
        (self, news)
    }

    /// Has each profile read its `.env` again, all at once.
    async fn read_profiles(&self) {
        let asked = self.present.in_force().profiles.clone().into_iter().map(|served| async move {
            if let Err(error) = served.ports.read_again.ask(ReadEnvAgain, ENV_TIMEOUT).await {
                warn!(profile = %served.name, %error, "a profile did not read its .env again");
            }
        });
        futures_util::future::join_all(asked).await;
    }

    /// Reads the files if they have changed, off the arbiter.
    async fn read(mut self) -> (Self, Option<Reading>) {
        let settings = self.present.settings();
        let reading = tokio::task::spawn_blocking(move || {
            // First, so that what changes after the look is heard of.
            self.listen(&settings.home);
            let reading = settings.reread(&self.sources);
            (self, reading)
        });
        reading.await.expect("reading the settings does not panic")
    }

    fn listen(&mut self, home: &Path) {
        let sources = Sources::look(home);
        let places: BTreeMap<_, _> = sources.directories().collect();
        self.listening.retain(|directory, _| {
            places.get(directory.as_path()).is_some_and(|place| *place != DirectoryState::Missing)
        });
        for (directory, place) in places {
            let listens =
                |(at, listening): &(DirectoryState, Listening)| *at == place && listening.watched() != Watched::No;
            // One that does not answer is listened to as before.
            if !matches!(place, DirectoryState::There(..)) || self.listening.get(directory).is_some_and(listens) {
                continue;
            }
            let touched = Arc::clone(&self.touched);
            let heard = Settings::concerns(home, directory);
            let listening = self.ports.events.listen(directory, heard, move || touched.notify_one());
            self.listening.insert(directory.to_owned(), (place, listening));
        }
    }

    /// What is left to be done from before. A gate that does not answer is asked next time; until then nobody is stopped.
    async fn look(&self) -> Vec<ReloadStep> {
        match self.ports.turns.ask(ListTurns, TIMEOUT).await {
            Ok(turns) => {
                let busy = turns.into_iter().map(|turn| turn.ticket.profile).collect();
                self.present.lock().plan.look(&busy)
            }
            Err(error) => {
                warn!(%error, "the gate did not say whose turns run; it is asked again");
                Vec::new()
            }
        }
    }

    async fn carry_out(&mut self, step: ReloadStep) -> Vec<ReloadStep> {
        match step {
            ReloadStep::Open(name) => {
                info!(profile = %name, "a profile is served from now on");
                self.present.lock().open(&name);
            }
            ReloadStep::Start(name) => self.start(&name).await,
            ReloadStep::Change(name) => self.change(name),
            ReloadStep::Stop(name) => return self.stop(&name).await,
            ReloadStep::Close(name) => {
                info!(profile = %name, "a profile is gone");
                self.present.lock().children.remove(&name);
                self.ports.redactor.remove(name.as_str());
                self.ports.claims.declare(&Some(name), None);
                self.touch();
            }
            ReloadStep::Tell => self.tell().await,
        }
        Vec::new()
    }

    async fn start(&self, name: &ProfileName) {
        let Some(spec) = self.present.lock().children.get(name).map(|child| child.spec.clone()) else { return };
        match self.ports.start.ask(StartChild(spec), TIMEOUT).await {
            // The answer to an earlier order was lost.
            Ok(Ok(()) | Err(StartChildError::Spec(SpecError::DuplicateId(_)))) => {
                self.present.lock().plan.started(name);
            }
            Ok(Err(error)) => warn!(profile = %name, %error, "a profile is not started yet"),
            Err(error) => warn!(profile = %name, %error, "a profile is not started yet"),
        }
    }

    async fn stop(&self, name: &ProfileName) -> Vec<ReloadStep> {
        match self.ports.stop.ask(StopChild { id: name.to_string() }, TIMEOUT).await {
            Ok(Err(OperateError::NoSuchChild(_))) => return self.present.lock().plan.stopped(name),
            // It takes its time to end.
            Ok(Ok(())) => debug!(profile = %name, "a profile's actor is being stopped"),
            Ok(Err(error)) => warn!(profile = %name, %error, "a profile is not stopped yet"),
            Err(error) => warn!(profile = %name, %error, "a profile is not stopped yet"),
        }
        Vec::new()
    }

    fn change(&mut self, name: ProfileName) {
        let told = {
            let state = self.present.lock();
            let (Some(child), Some(terms)) = (state.children.get(&name), state.terms(&name)) else { return };
            let terms = Arc::new(terms);
            // For the next incarnation before the present one.
            child.terms.set(Arc::clone(&terms));
            child.ports.terms.tell(TermsChanged(terms))
        };
        if let Err(error) = told {
            warn!(profile = %name, %error, "a profile was not told of its settings; it is told again");
            self.untold_terms.insert(name);
        }
    }

    /// Tells everyone what is in force. Whoever is gone is refused before the gate forgets that it was drained, and whoever is new
    /// is served after the gate knows whether it is.
    async fn tell(&mut self) {
        let all = self.present.in_force();
        let known: Vec<_> = all.profiles.iter().filter(|served| self.told.contains(&served.name)).cloned().collect();
        if known.len() < self.told.len() {
            for name in self.told.iter().filter(|name| known.iter().all(|served| served.name != **name)) {
                info!(profile = %name, "a profile is served no more; its turns run to their end");
            }
        }
        let before = Arc::new(InForce { profiles: known, ..(*all).clone() });
        let mut told = self.ports.dispatch.tell(SettingsChanged(before)).map_err(|error| error.to_string());
        if let Err(error) = self.ports.drain.ask(SettingsChanged(Arc::clone(&all)), MARKER_TIMEOUT).await {
            error!(%error, "the gate has not read the markers of all profiles yet");
            told = Err(error.to_string());
        }
        for port in [&self.ports.dispatch, &self.ports.honcho, &self.ports.status] {
            told = told.and(port.tell(SettingsChanged(Arc::clone(&all))).map_err(|error| error.to_string()));
        }
        self.told = all.profiles.iter().map(|served| served.name.clone()).collect();
        if let Err(error) = told {
            warn!(error, "not everyone was told of the settings; they are told again");
            self.untold = true;
        }
        self.touch();
    }

    fn touch(&self) {
        if let Err(error) = self.ports.touched.tell(StatusTouched) {
            debug!(%error, "the status was not told");
        }
    }
}

fn tell_oddities(before: &Settings, now: &Settings) {
    for oddity in now.warnings.iter().filter(|oddity| !before.warnings.contains(oddity)) {
        warn!("{oddity}");
    }
    for key in before.needs_restart(now) {
        warn!(key, "this was changed and holds from the next start only");
    }
}
