//! Decides whether a turn may start.
//!
//! Owns the [`Gate`] while it is the gate's current owner, and the watch on the markers. Receives permit requests from the
//! dispatcher, begin and cancel from HTTP, file events and a slow poll; notifies the dispatcher and the status when the gate opens or
//! closes. A restart loses nothing of the gate, except the writes and removals of markers that are still queued: each is answered as
//! not done. A caller that waits for the end of a drain sends its request again.

mod handlers; // One per message.
mod markers; // Reads and writes the markers on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Message};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::permit::messages::{PermitAnswers, RequestPermits};
use super::permit::{self, Gate, PermitRequest, Permitted};
use super::plan::{Change, DrainScope, GatePlan};
use super::readings::{Hanging, Readings};
use super::watch::{MarkerTouched, MarkerWatch};
use crate::config::messages::InForce;
use crate::files::FileEvents;
use crate::files::events::RECHECK_EVERY;
use crate::status::changes::StatusChanges;
use caduceus_contract::files::epoch::Epoch;
use caduceus_contract::files::marker::MarkerReading;
use caduceus_contract::messages::drain::{DrainChanged, DrainView, TurnInFlight};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::time::millis;
use caduceus_supervision::{Incarnation, Port, StartContext};

/// Interval of checks of the markers without events, for file systems that have none.
const POLL: Duration = Duration::from_secs(1);

/// The settings of the gate.
#[derive(Clone)]
pub struct DrainSettings {
    /// The gateway's own home; its marker covers every profile.
    pub home: PathBuf,
    /// The homes of the named profiles; each marker applies to its profile.
    pub profiles: BTreeMap<ProfileName, PathBuf>,
    /// Notifies of possible changes of a marker; `None` for a test of the poll.
    pub events: Option<FileEvents>,
}

impl DrainSettings {
    /// The homes in these settings.
    #[must_use]
    pub fn of(in_force: &InForce, events: Option<FileEvents>) -> Self {
        let named = in_force.profiles.iter().filter(|served| served.home != in_force.settings.home);
        let profiles = named.map(|served| (served.name.clone(), served.home.clone())).collect();
        Self { home: in_force.settings.home.clone(), profiles, events }
    }
}

/// Where the gate sends its notifications.
#[derive(Clone)]
pub struct DrainPorts {
    /// The gate opened or closed.
    pub changes: Port<DrainChanged>,
    /// The status has changed.
    pub status: StatusChanges,
}

/// The actor of the gate.
pub struct DrainActor {
    pub(super) gate: Gate,
    pub(super) settings: DrainSettings,
    ports: DrainPorts,
    incarnation: Incarnation,
    own: Port<MarkerTouched>,
    released: Port<TurnReleased>,
    epoch: Option<Epoch>,
    /// The queues of the markers, and their last states.
    pub(super) markers: Readings<DiskOrder>,
    pub(super) watch: Option<MarkerWatch>,
    /// Requests received before the markers that they depend on were first read.
    early_requests: Vec<(RequestPermits, oneshot::Sender<PermitAnswers>)>,
    /// The gateway's own marker has been read.
    read_once: bool,
    waiters: Vec<Waiter>,
    /// Whether the end of a turn is to be reported, because a caller waits for it.
    is_awaited: Arc<AtomicBool>,
    /// A marker from a previous boot was logged.
    stale_logged: bool,
    /// Drains past their deadline whose marker remains and that were logged.
    overdue_logged: BTreeSet<DrainScope>,
    /// The last change of the gate was not delivered to the dispatcher: sent again with the next poll.
    change_unsent: bool,
    /// Number of the current set of homes.
    pub(super) homes_version: u64,
    /// When all markers were last read although nothing had changed.
    reread_at: Instant,
    /// Callers that wait until every marker of a set of homes, or of a later one, was read.
    pub(super) homes_waiters: Vec<(u64, oneshot::Sender<()>)>,
}

/// A caller that waits for the turns to end.
struct Waiter {
    /// Whether it also waits for the turns that themselves requested the drain.
    including_requesters: bool,
    woken: oneshot::Sender<()>,
}

/// Work on a marker off the arbiters, and what follows here. The work returns whether there was, or is, a
/// marker.
pub(super) struct DiskOrder {
    home: Option<PathBuf>,
    work: MarkerWork,
    then: AfterWork,
}

type MarkerWork = Box<dyn FnOnce(&Path) -> io::Result<bool> + Send>;

type AfterWork = Box<dyn FnOnce(&mut DrainActor, io::Result<bool>) + Send>;

/// A permit was dropped.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct TurnReleased;

impl DrainActor {
    /// An actor for `gate`.
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
            early_requests: Vec::new(),
            read_once: false,
            waiters: Vec::new(),
            is_awaited: Arc::default(),
            stale_logged: false,
            overdue_logged: BTreeSet::new(),
            change_unsent: false,
            homes_version: 0,
            reread_at: Instant::now(),
            homes_waiters: Vec::new(),
        }
    }

    pub(super) fn owner(&self) -> u64 {
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

    /// Reads every marker, beginning after this moment, and applies the results.
    pub(super) fn reread(&mut self, ctx: &mut Context<Self>) {
        for (scope, _) in self.homes() {
            self.reread_one(&scope, ctx);
        }
    }

    /// Reads again the markers of drained homes, those that could not be read or whose notification was refused, and rarely all. Without a
    /// watch all are read.
    fn reread_due(&mut self, ctx: &mut Context<Self>) {
        let Some(watch) = &self.watch else { return self.reread(ctx) };
        let missed = watch.take_missed();
        if self.reread_at.elapsed() >= RECHECK_EVERY {
            self.reread_at = Instant::now();
            return self.reread(ctx);
        }
        // A drain may be overdue, which is found after a reading.
        let drained = self.gate.read(|plan| {
            let gateway = plan.is_draining().then_some(DrainScope::Gateway);
            gateway.into_iter().chain(plan.profiles().into_iter().map(DrainScope::Profile)).collect::<Vec<_>>()
        });
        for scope in missed.iter().chain(&self.markers.unread()).chain(&drained) {
            self.reread_one(scope, ctx);
        }
    }

    /// Reads the marker of one home, beginning after this moment.
    pub(super) fn reread_one(&mut self, scope: &DrainScope, ctx: &mut Context<Self>) {
        self.markers.request_reading(scope);
        self.run_next(scope, ctx);
    }

    /// The marker of `scope` was read, or timed out: answers the callers that waited for it.
    fn after_reading(&mut self, scope: &DrainScope) {
        if self.markers.is_known(scope) {
            self.gate.set_read(self.owner(), scope);
        }
        self.first_reading_done();
        self.answer_early_requests();
        self.answer_homes_waiters();
    }

    /// Detects homes whose disk does not answer.
    fn check_hanging(&mut self) {
        for Hanging { scope, presumed } in self.markers.hanging(Instant::now()) {
            if presumed {
                error!(
                    ?scope,
                    "disk of a home does not answer: it may have a drain marker and counts as drained until it answers"
                );
                let drained = MarkerReading { draining: true, malformed: true, ..MarkerReading::default() };
                self.apply_reading(&scope, self.gate.read(GatePlan::orders), Some(&drained));
            } else {
                error!(?scope, "disk of a home does not answer: its last known drain state applies");
            }
            self.after_reading(&scope);
        }
    }

    fn apply_reading(&mut self, scope: &DrainScope, orders: u64, reading: Option<&MarkerReading>) {
        if reading.is_some_and(|reading| reading.stale) && !self.stale_logged {
            self.stale_logged = true;
            info!(?scope, "drain marker from a previous boot ignored");
        }
        let now = self.gate.now();
        let change = self.gate.change(self.owner(), |plan| plan.seen(scope.clone(), orders, reading, now));
        match change {
            Some(Change::Began) => {
                let principal = reading.and_then(|reading| reading.principal.as_deref()).unwrap_or("unknown");
                info!(?scope, principal, by = "marker", "drain.begun");
                self.notify_change();
            }
            Some(Change::Ended) => {
                info!(?scope, by = "marker", "drain.ended");
                self.notify_change();
            }
            Some(Change::None) | None => {}
        }
    }

    fn first_reading_done(&mut self) {
        if self.read_once || !self.markers.is_known(&DrainScope::Gateway) {
            return;
        }
        self.read_once = true;
        self.publish_unread();
        // The previous owner may have crashed between a change of the gate and its report.
        self.notify_change();
        self.incarnation.ready();
    }

    /// Shows the gate which markers are not known yet, once that of the gateway is.
    pub(super) fn publish_unread(&self) {
        if self.read_once {
            self.gate.set_unread(self.owner(), self.markers.unknown());
        }
    }

    /// Whether the markers on which turns of `profile` depend have been read.
    fn has_read_marker_of(&self, profile: &ProfileName) -> bool {
        self.read_once && self.markers.is_known(&DrainScope::Profile(profile.clone()))
    }

    fn answer_early_requests(&mut self) {
        for (requests, answer) in std::mem::take(&mut self.early_requests) {
            if self.has_read_markers_of(&requests) {
                // If the caller has timed out, the permits are dropped at once, and with them the count.
                drop(answer.send(self.admit(requests)));
            } else {
                self.early_requests.push((requests, answer));
            }
        }
    }

    fn has_read_markers_of(&self, RequestPermits(requests): &RequestPermits) -> bool {
        requests.iter().all(|request| self.has_read_marker_of(&request.ticket.profile))
    }

    fn admit(&self, RequestPermits(requests): RequestPermits) -> PermitAnswers {
        let admit = |request: PermitRequest| self.gate.admit(self.owner(), request.ticket, request.origin);
        let permits: Vec<_> = requests.into_iter().map(admit).collect();
        if permits.iter().any(Result::is_ok) {
            self.ports.status.report();
        }
        permits
    }

    pub(super) fn notify_change(&mut self) {
        let changed = self.gate.read(|plan| DrainChanged {
            draining: plan.is_draining() || plan.is_stopping(),
            stopping: plan.is_stopping(),
            profiles: plan.profiles(),
        });
        let sent = self.ports.changes.tell(changed);
        if let Err(error) = &sent {
            // The dispatcher requests a permit before every turn, so no turn starts wrongly. But held messages stay held until it is
            // notified that the gate has opened.
            warn!(%error, "change of the gate not delivered to the dispatcher, sent again with the next poll");
        }
        self.change_unsent = sent.is_err();
        self.ports.status.report();
    }

    fn view(&self) -> DrainView {
        let now = self.gate.now();
        let turns: Vec<_> = self.gate.turns();
        let age = |turn: &Permitted| millis(now.saturating_sub(turn.since));
        let shown = permit::shown(&turns).map(|turn| TurnInFlight {
            turn_id: turn.ticket.id,
            profile: turn.ticket.profile.clone(),
            session_key: turn.ticket.session.text(),
            age_ms: age(turn),
        });
        let shown: Vec<_> = shown.collect();
        self.gate.read(|plan| DrainView {
            draining: plan.is_draining() || plan.is_stopping(),
            stopping: plan.is_stopping(),
            requested_at: plan.gateway().and_then(|drain| drain.requested_at.clone()),
            principal: plan.gateway().and_then(|drain| drain.principal.clone()),
            age_ms: plan.gateway().map(|drain| millis(now.saturating_sub(drain.since))),
            profiles: plan.profiles(),
            active_agents: shown.len(),
            oldest_turn_ms: shown.iter().map(|turn| turn.age_ms).max(),
            turns: shown,
            waited_for: turns.iter().filter(|turn| !plan.requested_by(turn.ticket.id)).count(),
            suppress_notification: plan.gateway().is_some_and(|drain| drain.suppressed),
            file_events: self.watch.as_ref().is_some_and(MarkerWatch::is_complete),
        })
    }

    fn wake_waiters(&mut self) {
        if self.waiters.is_empty() {
            return self.is_awaited.store(false, Ordering::SeqCst);
        }
        let view = self.view();
        let left = |waiter: &mut Waiter| if waiter.including_requesters { view.active_agents } else { view.waited_for };
        for waiter in self.waiters.extract_if(.., |waiter| left(waiter) == 0) {
            // The caller may have timed out.
            let _ = waiter.woken.send(());
        }
        self.is_awaited.store(!self.waiters.is_empty(), Ordering::SeqCst);
    }
}

impl Actor for DrainActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (released, is_awaited) = (self.released.clone(), Arc::clone(&self.is_awaited));
        let changes = self.ports.status.clone();
        self.gate.adopt(self.owner(), move || {
            changes.report();
            if is_awaited.load(Ordering::SeqCst) {
                // If it is not delivered, the poll handles the waiting callers.
                let _ = released.tell(TurnReleased);
            }
        });
        self.watch = self.settings.events.clone().map(|events| MarkerWatch::new(events, self.own.clone()));
        self.watch_homes();
        self.reread(ctx);
        ctx.run_interval(POLL, |actor, ctx| {
            if actor.change_unsent {
                actor.notify_change();
            }
            actor.reread_due(ctx);
            actor.check_hanging();
            // Also for callers that wait for a turn whose incarnation was fenced: no message reports that.
            actor.wake_waiters();
        });
    }
}
