//! The one authority on whether a turn may start.
//!
//! Owns the [`Gate`] for as long as it is its keeper, and the watch on the markers. Receives permits from the
//! dispatcher, begin and cancel from HTTP, file events and a slow poll; sends to the dispatcher and the status when the gate opens or
//! closes. A restart loses nothing of the gate, but the writes and removals of markers that are still queued: each is answered as
//! not done. What awaits the end of a drain asks again.

mod handlers; // One a message.
mod markers; // What is done to the markers on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Message};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::epoch::Epoch;
use super::marker::MarkerReading;
use super::messages::{DrainChanged, DrainView, Refusal, TurnInFlight};
use super::permit::messages::RequestPermit;
use super::permit::{Gate, TurnPermit};
use super::plan::{Change, DrainScope, GatePlan};
use super::readings::{Hanging, Readings};
use super::watch::{MarkerTouched, MarkerWatch};
use crate::config::messages::InForce;
use crate::files::FileEvents;
use crate::profile::name::ProfileName;
use crate::status::messages::StatusTouched;
use caduceus_supervision::{Incarnation, Port, StartContext};

/// How often the markers are looked at without any event, for file systems that give none.
const POLL: Duration = Duration::from_secs(1);

/// What one gate needs.
#[derive(Clone)]
pub struct DrainSettings {
    /// The gateway's own home; its marker covers every profile.
    pub home: PathBuf,
    /// The homes of the named profiles; each marker covers that profile.
    pub profiles: BTreeMap<ProfileName, PathBuf>,
    /// Tells that a marker may have changed; `None` for a test of the poll.
    pub events: Option<FileEvents>,
}

impl DrainSettings {
    /// The homes by what is in force.
    #[must_use]
    pub fn of(in_force: &InForce, events: Option<FileEvents>) -> Self {
        let named = in_force.profiles.iter().filter(|served| served.home != in_force.home);
        let profiles = named.map(|served| (served.name.clone(), served.home.clone())).collect();
        Self { home: in_force.home.clone(), profiles, events }
    }
}

/// Where the gate reports.
#[derive(Clone)]
pub struct DrainPorts {
    /// The gate opened or closed.
    pub changes: Port<DrainChanged>,
    /// Something shown changed.
    pub status: Port<StatusTouched>,
}

/// Keeps the gate.
pub struct DrainActor {
    pub(super) gate: Gate,
    pub(super) settings: DrainSettings,
    ports: DrainPorts,
    incarnation: Incarnation,
    own: Port<MarkerTouched>,
    released: Port<TurnReleased>,
    epoch: Option<Epoch>,
    /// Whatever is done to the markers, and what is known of them.
    pub(super) markers: Readings<DiskOrder>,
    pub(super) watch: Option<MarkerWatch>,
    /// Questions that came before the markers that they depend on were first read.
    early: Vec<(RequestPermit, oneshot::Sender<Result<TurnPermit, Refusal>>)>,
    /// The gateway's own marker has been read.
    read_once: bool,
    waiters: Vec<Waiter>,
    /// So that a marker from a previous boot is mentioned once.
    stale_logged: bool,
    /// Drains past their deadline whose marker stays, so that each is mentioned once.
    stuck: BTreeSet<DrainScope>,
    /// The last change of the gate was not delivered to the dispatcher: sent again with the next poll.
    change_unsent: bool,
    /// Counts the sets of homes that there were.
    pub(super) homes_version: u64,
    /// What waits until every marker of a set of homes, or of a later one, was read.
    pub(super) homes_waiters: Vec<(u64, oneshot::Sender<()>)>,
}

/// A question that waits for the turns to end.
struct Waiter {
    /// Whether also for the turns that themselves asked for the drain.
    askers_too: bool,
    woken: oneshot::Sender<()>,
}

/// What is to be done to a marker off the arbiters, and what follows from it here. The work answers whether it met, or left, a
/// marker.
pub(super) struct DiskOrder {
    home: Option<PathBuf>,
    work: MarkerWork,
    then: AfterWork,
}

type MarkerWork = Box<dyn FnOnce(&Path) -> io::Result<bool> + Send>;

type AfterWork = Box<dyn FnOnce(&mut DrainActor, io::Result<bool>) + Send>;

/// News from a permit that was dropped.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct TurnReleased;

impl DrainActor {
    /// A keeper for `gate`.
    #[must_use]
    pub fn new(gate: Gate, settings: DrainSettings, ports: DrainPorts, start: &StartContext<Self>) -> Self {
        Self {
            gate,
            settings,
            ports,
            incarnation: start.incarnation().clone(),
            own: start.own(),
            released: start.own(),
            epoch: None,
            markers: Readings::new(),
            watch: None,
            early: Vec::new(),
            read_once: false,
            waiters: Vec::new(),
            stale_logged: false,
            stuck: BTreeSet::new(),
            change_unsent: false,
            homes_version: 0,
            homes_waiters: Vec::new(),
        }
    }

    pub(super) fn keeper(&self) -> u64 {
        self.incarnation.generation()
    }

    fn home(&self, scope: &DrainScope) -> Option<PathBuf> {
        match scope {
            DrainScope::Gateway => Some(self.settings.home.clone()),
            DrainScope::Profile(name) => self.settings.profiles.get(name).cloned(),
        }
    }

    pub(super) fn homes(&self) -> Vec<(DrainScope, PathBuf)> {
        let named = self.settings.profiles.iter().map(|(name, home)| (DrainScope::Profile(name.clone()), home.clone()));
        std::iter::once((DrainScope::Gateway, self.settings.home.clone())).chain(named).collect()
    }

    /// Has every marker read, beginning after this moment, and takes in what is found.
    pub(super) fn reread(&mut self, ctx: &mut Context<Self>) {
        for (scope, _) in self.homes() {
            self.reread_one(&scope, ctx);
        }
    }

    /// The same for one home.
    pub(super) fn reread_one(&mut self, scope: &DrainScope, ctx: &mut Context<Self>) {
        self.markers.ask_reading(scope);
        self.go_on(scope, ctx);
    }

    /// Markers were read, or given up: what waited for that goes on.
    fn were_read(&mut self) {
        self.first_reading_done();
        self.answer_early();
        self.homes_were_read();
    }

    /// Looks for homes whose disk does not answer.
    fn notice_hanging(&mut self) {
        for Hanging { scope, presumed } in self.markers.hanging(Instant::now()) {
            if presumed {
                error!(
                    ?scope,
                    "the disk of a home does not answer, so a drain marker may lie there: it counts as drained until it does"
                );
                let drained = MarkerReading { draining: true, garbled: true, ..MarkerReading::default() };
                self.take_in(&scope, self.gate.look(GatePlan::orders), Some(&drained));
            } else {
                error!(?scope, "the disk of a home does not answer; what was known last of its drain holds");
            }
            self.were_read();
        }
    }

    fn take_in(&mut self, scope: &DrainScope, orders: u64, reading: Option<&MarkerReading>) {
        if reading.is_some_and(|reading| reading.stale) && !self.stale_logged {
            self.stale_logged = true;
            info!(?scope, "a drain marker from a previous boot is ignored");
        }
        let now = self.gate.now();
        let change = self.gate.change(self.keeper(), |plan| plan.seen(scope.clone(), orders, reading, now));
        match change {
            Some(Change::Began) => {
                let principal = reading.and_then(|reading| reading.principal.as_deref()).unwrap_or("unknown");
                info!(?scope, principal, by = "marker", "drain.begun");
                self.tell_change();
            }
            Some(Change::Ended) => {
                info!(?scope, by = "marker", "drain.ended");
                self.tell_change();
            }
            Some(Change::None) | None => {}
        }
    }

    fn first_reading_done(&mut self) {
        if self.read_once || !self.markers.is_known(&DrainScope::Gateway) {
            return;
        }
        self.read_once = true;
        // The previous keeper may have failed between changing the gate and reporting it.
        self.tell_change();
        self.incarnation.ready();
    }

    /// Whether the markers on which turns of `profile` depend have been read.
    fn knows_of(&self, profile: &ProfileName) -> bool {
        self.read_once && self.markers.is_known(&DrainScope::Profile(profile.clone()))
    }

    fn answer_early(&mut self) {
        for (question, answer) in std::mem::take(&mut self.early) {
            if self.knows_of(&question.ticket.profile) {
                // An asker that has gone drops the permit, and so the count, at once.
                drop(answer.send(self.admit(question)));
            } else {
                self.early.push((question, answer));
            }
        }
    }

    fn admit(&self, question: RequestPermit) -> Result<TurnPermit, Refusal> {
        let permit = self.gate.admit(self.keeper(), question.ticket, question.origin)?;
        self.touch();
        Ok(permit)
    }

    pub(super) fn tell_change(&mut self) {
        let news = self.gate.look(|plan| DrainChanged {
            draining: plan.is_draining() || plan.is_stopping(),
            stopping: plan.is_stopping(),
            profiles: plan.profiles(),
        });
        let sent = self.ports.changes.tell(news);
        if let Err(error) = &sent {
            // The dispatcher asks for a permit before every turn, so it admits nothing wrong; but what it holds back it holds
            // until it receives that the gate opened.
            warn!(%error, "change of the gate not delivered to the dispatcher, sent again with the next poll");
        }
        self.change_unsent = sent.is_err();
        self.touch();
    }

    fn touch(&self) {
        if let Err(error) = self.ports.status.tell(StatusTouched) {
            tracing::debug!(%error, "change not delivered to the status");
        }
    }

    fn view(&self) -> DrainView {
        let now = self.gate.now();
        let turns: Vec<_> = self.gate.turns();
        let ages: Vec<_> = turns.iter().map(|turn| millis(now.saturating_sub(turn.since))).collect();
        let shown = turns.iter().zip(&ages).map(|(turn, age)| TurnInFlight {
            turn_id: turn.ticket.id,
            profile: turn.ticket.profile.clone(),
            session_key: turn.ticket.session.text(),
            age_ms: *age,
        });
        self.gate.look(|plan| DrainView {
            draining: plan.is_draining() || plan.is_stopping(),
            stopping: plan.is_stopping(),
            requested_at: plan.gateway().and_then(|drain| drain.requested_at.clone()),
            principal: plan.gateway().and_then(|drain| drain.principal.clone()),
            age_ms: plan.gateway().map(|drain| millis(now.saturating_sub(drain.since))),
            profiles: plan.profiles(),
            active_agents: turns.len(),
            oldest_turn_ms: ages.iter().max().copied(),
            turns: shown.collect(),
            waited_for: turns.iter().filter(|turn| !plan.asked_by(turn.ticket.id)).count(),
            suppress_notification: plan.gateway().is_some_and(|drain| drain.suppressed),
            file_events: self.watch.as_ref().is_some_and(MarkerWatch::is_whole),
        })
    }

    fn wake_waiters(&mut self) {
        if self.waiters.is_empty() {
            return;
        }
        let view = self.view();
        let left = |waiter: &mut Waiter| if waiter.askers_too { view.active_agents } else { view.waited_for };
        for waiter in self.waiters.extract_if(.., |waiter| left(waiter) == 0) {
            // The waiter may have gone.
            let _ = waiter.woken.send(());
        }
    }
}

impl Actor for DrainActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let released = self.released.clone();
        // When it is not taken the poll sees to those who wait.
        self.gate.adopt(self.keeper(), move || {
            let _ = released.tell(TurnReleased);
        });
        self.watch = self.settings.events.clone().map(|events| MarkerWatch::new(events, self.own.clone()));
        self.watch_homes();
        self.reread(ctx);
        ctx.run_interval(POLL, |actor, ctx| {
            if actor.change_unsent {
                actor.tell_change();
            }
            actor.reread(ctx);
            actor.notice_hanging();
            // Also for those who wait for a turn whose incarnation was cut off: no message reports that.
            actor.wake_waiters();
        });
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
