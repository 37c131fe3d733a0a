//! When a link dials, waits, becomes idle or stops dialling.
//!
//! Without actix or I/O: takes an event with the time and a random number, returns the next steps. Times are on the clock of the actor.

mod phase;

use std::time::Duration;

use self::phase::{IdleProgress, LinkPhase};
use super::steps::{At, CloseWith, Idleness, LinkStep, Loss, Prepared};
use super::timings::LinkTimings;
use caduceus_contract::messages::relay::{IdleAnswer, LinkState};
use caduceus_contract::wire::token::EXPIRED;

/// The decisions of one link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LinkPlan {
    timings: LinkTimings,
    state: LinkPhase,
    since: Duration,
    /// Counts the dials; reports of an older dial are dropped.
    generation: u64,
    /// Failures since the last connection that held long enough.
    attempt: u32,
    /// Credentials of the present dial.
    credentials: u64,
    /// Whether a handshake has ever succeeded: before that a 4401 may mean "not provisioned yet".
    had_handshake: bool,
    /// Credentials that were refused once after a handshake and get one more dial.
    refused_once: Option<u64>,
    /// Credentials that were revoked; never dialled again.
    revoked: Option<u64>,
    last_error: Option<String>,
}

type LinkSteps = Vec<LinkStep>;

impl LinkPlan {
    pub(super) fn new(timings: LinkTimings, now: Duration) -> Self {
        Self {
            timings,
            state: LinkPhase::Preparing,
            since: now,
            generation: 0,
            attempt: 0,
            credentials: 0,
            had_handshake: false,
            refused_once: None,
            revoked: None,
            last_error: None,
        }
    }

    /// The state as shown.
    pub(super) fn state(&self) -> LinkState {
        self.state.shown()
    }

    /// When the state was entered.
    pub(super) fn since(&self) -> Duration {
        self.since
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Whether actions can be sent: the handshake is complete and the connection is open.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, LinkPhase::Up { .. })
    }

    /// When the next dial is due, when waiting for it.
    pub(super) fn next_dial(&self) -> Option<Duration> {
        self.state.next_dial()
    }

    /// When [`LinkPlan::tick`] is due.
    pub(super) fn next_tick(&self) -> Option<Duration> {
        self.state.next_tick(self.timings.silence)
    }

    /// The actor has started.
    pub(super) fn start(&mut self, at: At) -> LinkSteps {
        self.enter(LinkPhase::Preparing, at.now);
        vec![LinkStep::Prepare]
    }

    /// The profile has answered.
    pub(super) fn prepared(&mut self, answer: Prepared, at: At) -> LinkSteps {
        let expected = matches!(
            self.state,
            LinkPhase::Preparing | LinkPhase::Disabled { ask_at: None } | LinkPhase::Revoked { ask_at: None }
        );
        if !expected {
            return Vec::new();
        }
        let later = Some(at.now + self.timings.settings);
        match answer {
            Prepared::Dialable { credentials } if self.revoked == Some(credentials) => {
                self.enter(LinkPhase::Revoked { ask_at: later }, at.now);
                Vec::new()
            }
            Prepared::Dialable { credentials } => {
                if self.revoked.take().is_some() {
                    self.attempt = 0;
                }
                self.credentials = credentials;
                self.generation += 1;
                self.enter(LinkPhase::Dialling { until: at.now + self.timings.dial }, at.now);
                vec![LinkStep::Dial { generation: self.generation }]
            }
            Prepared::Nothing(why) => {
                self.last_error = why;
                self.enter(LinkPhase::Disabled { ask_at: later }, at.now);
                Vec::new()
            }
            Prepared::Silent => {
                match &mut self.state {
                    LinkPhase::Disabled { ask_at } | LinkPhase::Revoked { ask_at } => *ask_at = later,
                    _ => {
                        self.last_error = Some("the profile did not answer what to dial".into());
                        self.wait(None, at);
                    }
                }
                Vec::new()
            }
        }
    }

    /// The upgrade succeeded.
    pub(super) fn dialled(&mut self, generation: u64, at: At) -> LinkSteps {
        if generation != self.generation || !matches!(self.state, LinkPhase::Dialling { .. }) {
            return Vec::new();
        }
        self.enter(LinkPhase::Handshaking { until: at.now + self.timings.handshake }, at.now);
        vec![LinkStep::Hello]
    }

    /// A valid descriptor arrived; the first one completes the handshake.
    pub(super) fn described(&mut self, generation: u64, at: At) {
        if generation != self.generation || !matches!(self.state, LinkPhase::Handshaking { .. }) {
            return;
        }
        self.had_handshake = true;
        self.last_error = None;
        let ping_at = at.now + self.timings.ping;
        self.enter(
            LinkPhase::Up { since: at.now, last_seen: at.now, ping_at, idling: IdleProgress::NotRequested },
            at.now,
        );
    }

    /// The connection last received a frame at this time.
    pub(super) fn received(&mut self, generation: u64, then: Duration) {
        if let LinkPhase::Up { last_seen, .. } = &mut self.state
            && generation == self.generation
        {
            *last_seen = then.max(*last_seen);
        }
    }

    /// The dial failed, or the connection ended.
    pub(super) fn lost(&mut self, generation: u64, loss: &Loss, at: At) -> LinkSteps {
        let open =
            matches!(self.state, LinkPhase::Dialling { .. } | LinkPhase::Handshaking { .. } | LinkPhase::Up { .. });
        if generation != self.generation || !open { Vec::new() } else { self.give_up(loss, at) }
    }

    /// `going_idle` was acknowledged.
    pub(super) fn idle_acked(&mut self, generation: u64, at: At) -> LinkSteps {
        match self.state {
            LinkPhase::Up { idling: IdleProgress::Requested { how, .. }, .. } if generation == self.generation => {
                self.idle(how, IdleAnswer::Acknowledged, at)
            }
            _ => Vec::new(),
        }
    }

    /// An order to go idle.
    pub(super) fn go_idle(&mut self, how: Idleness, at: At) -> LinkSteps {
        let until = at.now + self.timings.idle_ack;
        match &mut self.state {
            LinkPhase::Up { idling: idling @ IdleProgress::NotRequested, .. } => {
                *idling = IdleProgress::Requested { how, until };
                vec![LinkStep::SendGoingIdle]
            }
            // Leaving takes precedence over dormant; one answer is for both requests.
            LinkPhase::Up { idling: IdleProgress::Requested { how: requested, .. }, .. } => {
                if how == Idleness::Leaving {
                    *requested = how;
                }
                Vec::new()
            }
            LinkPhase::Up { idling: IdleProgress::Left, .. } => vec![LinkStep::AnswerIdle(IdleAnswer::Acknowledged)],
            _ if how == Idleness::Dormant => vec![LinkStep::AnswerIdle(IdleAnswer::NotConnected)],
            LinkPhase::Dialling { .. } | LinkPhase::Handshaking { .. } => {
                self.enter(LinkPhase::Idle { dial_at: None }, at.now);
                vec![LinkStep::Close(CloseWith::Away), LinkStep::AnswerIdle(IdleAnswer::NotConnected)]
            }
            _ => {
                self.enter(LinkPhase::Idle { dial_at: None }, at.now);
                vec![LinkStep::AnswerIdle(IdleAnswer::NotConnected)]
            }
        }
    }

    /// An order to wake: a dormant or waiting link dials at once.
    pub(super) fn wake(&mut self, at: At) -> LinkSteps {
        match self.state {
            LinkPhase::Idle { dial_at: Some(_) } | LinkPhase::Waiting { requested: false, .. } => self.start(at),
            _ => Vec::new(),
        }
    }

    /// Another link has the claim to this gateway: this link closes, and tries later to take the claim.
    pub(super) fn evicted(&mut self, at: At) -> LinkSteps {
        let idling = match self.state {
            LinkPhase::Dialling { .. } | LinkPhase::Handshaking { .. } => IdleProgress::NotRequested,
            LinkPhase::Up { idling, .. } => idling,
            _ => return Vec::new(),
        };
        self.clear_old_failures(at.now);
        self.last_error = Some("another link of this process serves the same gateway".into());
        let mut steps = vec![LinkStep::Close(CloseWith::Away)];
        let requested = matches!(idling, IdleProgress::Requested { .. });
        steps.extend(requested.then_some(LinkStep::AnswerIdle(IdleAnswer::NotAcknowledged)));
        let leaving = matches!(idling, IdleProgress::Left | IdleProgress::Requested { how: Idleness::Leaving, .. });
        let later = Some(at.now + self.timings.settings);
        self.enter(
            if leaving { LinkPhase::Idle { dial_at: None } } else { LinkPhase::Disabled { ask_at: later } },
            at.now,
        );
        steps
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, at: At) -> LinkSteps {
        let due = |then: Duration| then <= at.now;
        match &mut self.state {
            LinkPhase::Disabled { ask_at } | LinkPhase::Revoked { ask_at } if ask_at.is_some_and(due) => {
                *ask_at = None;
                vec![LinkStep::Prepare]
            }
            LinkPhase::Waiting { until, .. } if due(*until) => self.start(at),
            LinkPhase::Idle { dial_at: Some(then) } if due(*then) => self.start(at),
            LinkPhase::Dialling { until } if due(*until) => {
                self.give_up(&Loss::Other("the dial took too long".into()), at)
            }
            LinkPhase::Handshaking { until } if due(*until) => {
                self.give_up(&Loss::Other("no valid descriptor in time".into()), at)
            }
            LinkPhase::Up { .. } => self.tick_up(at),
            _ => Vec::new(),
        }
    }

    fn tick_up(&mut self, at: At) -> LinkSteps {
        let LinkPhase::Up { last_seen, ping_at, idling, .. } = &mut self.state else { return Vec::new() };
        if *last_seen + self.timings.silence <= at.now {
            return self.give_up(&Loss::Other("the connector is silent".into()), at);
        }
        let mut steps = Vec::new();
        if *ping_at <= at.now {
            *ping_at = at.now + self.timings.ping;
            steps.push(LinkStep::Ping);
        }
        if let IdleProgress::Requested { how, until } = *idling
            && until <= at.now
        {
            steps.extend(self.idle(how, IdleAnswer::NotAcknowledged, at));
        }
        steps
    }

    fn idle(&mut self, how: Idleness, answer: IdleAnswer, at: At) -> LinkSteps {
        if let (Idleness::Leaving, LinkPhase::Up { idling, .. }) = (how, &mut self.state) {
            *idling = IdleProgress::Left;
            self.since = at.now;
            return vec![LinkStep::AnswerIdle(answer)];
        }
        self.clear_old_failures(at.now);
        self.enter(LinkPhase::Idle { dial_at: Some(at.now + self.timings.dormant) }, at.now);
        vec![LinkStep::Close(CloseWith::Away), LinkStep::AnswerIdle(answer)]
    }

    /// The end of a connection that held long enough clears older failures.
    fn clear_old_failures(&mut self, now: Duration) {
        if let LinkPhase::Up { since, .. } = self.state
            && now.saturating_sub(since) >= self.timings.held
        {
            self.attempt = 0;
            self.refused_once = None;
        }
    }

    /// Ends the present connection or dial and decides the next state. No other function does.
    fn give_up(&mut self, loss: &Loss, at: At) -> LinkSteps {
        let mut steps = vec![LinkStep::Close(if *loss == Loss::TooBig { CloseWith::TooBig } else { CloseWith::Away })];
        let idling = if let LinkPhase::Up { idling, .. } = self.state { idling } else { IdleProgress::NotRequested };
        self.clear_old_failures(at.now);
        let unauthorized = matches!(loss, Loss::Unauthorized { reason } if reason != EXPIRED) && self.had_handshake;
        self.last_error = Some(loss.text());
        let requested = matches!(idling, IdleProgress::Requested { .. });
        steps.extend(requested.then_some(LinkStep::AnswerIdle(IdleAnswer::NotAcknowledged)));
        if unauthorized && self.refused_once == Some(self.credentials) {
            self.revoked = Some(self.credentials);
            self.refused_once = None;
            self.enter(LinkPhase::Revoked { ask_at: Some(at.now + self.timings.settings) }, at.now);
            return steps;
        }
        match idling {
            IdleProgress::Left | IdleProgress::Requested { how: Idleness::Leaving, .. } => {
                self.enter(LinkPhase::Idle { dial_at: None }, at.now);
            }
            IdleProgress::Requested { how: Idleness::Dormant, .. } => {
                self.enter(LinkPhase::Idle { dial_at: Some(at.now + self.timings.dormant) }, at.now);
            }
            IdleProgress::NotRequested if unauthorized => {
                self.refused_once = Some(self.credentials);
                steps.extend(self.start(at));
            }
            IdleProgress::NotRequested => self.wait(loss.requested_wait(), at),
        }
        steps
    }

    /// Waits for the next dial: the longer of the backoff and the wait that the connector `requested`.
    fn wait(&mut self, requested: Option<Duration>, at: At) {
        let delay = self.timings.redial.delay(self.attempt, at.random);
        let requested = requested.filter(|wait| *wait > delay);
        self.attempt = self.attempt.saturating_add(1);
        let until = at.now + requested.unwrap_or(delay);
        self.enter(LinkPhase::Waiting { until, requested: requested.is_some() }, at.now);
    }

    fn enter(&mut self, state: LinkPhase, now: Duration) {
        let before = self.state();
        self.state = state;
        if self.state() != before {
            self.since = now;
        }
    }
}

#[cfg(test)]
#[path = "plan_tests/mod.rs"]
mod tests;
