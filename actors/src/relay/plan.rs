//! When a link dials, waits, goes idle or gives up.
//!
//! No I/O: the time and a random number come in, the next steps go out.

use std::time::{Duration, Instant};

use super::messages::{IdleAnswer, LinkState};
use super::steps::{At, CloseWith, EXPIRED, Idleness, LinkStep, Loss, Prepared};
use super::timings::LinkTimings;

/// Longest wait that a connector can ask for: a year would be a mistake, and nothing else would end it.
const LONGEST_ORDERED_WAIT: Duration = Duration::from_mins(5);

/// The state of one link.
#[derive(Debug)]
pub(super) struct LinkPlan {
    timings: LinkTimings,
    state: LinkPhase,
    since: Instant,
    /// Numbers the dials; events of an older dial are ignored.
    generation: u64,
    /// Failures since the last handshake whose connection was stable.
    attempt: u32,
    /// The credentials of the current dial.
    credentials: u64,
    /// Whether a handshake has ever succeeded: before that a 4401 may mean "not provisioned yet".
    handshaken: bool,
    /// Credentials that were refused once after a handshake and get one more dial.
    refused_once: Option<u64>,
    /// Credentials that were revoked; never dialled again.
    revoked: Option<u64>,
    last_error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkPhase {
    /// `ask_at` is `None` while the profile has a question to answer.
    Disabled {
        ask_at: Option<Instant>,
    },
    Preparing,
    Dialling {
        until: Instant,
    },
    Handshaking {
        until: Instant,
    },
    Up {
        since: Instant,
        last_seen: Instant,
        ping_at: Instant,
        idling: IdleProgress,
    },
    /// Without a connection.
    Idle {
        dial_at: Option<Instant>,
    },
    Waiting {
        until: Instant,
        /// The connector requested this wait; a poke does not shorten it.
        ordered: bool,
    },
    Revoked {
        ask_at: Option<Instant>,
    },
}

/// Progress of the current connection towards idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IdleProgress {
    Not,
    Asked { how: Idleness, until: Instant },
    Left,
}

type Steps = Vec<LinkStep>;

impl LinkPlan {
    pub(super) fn new(timings: LinkTimings, now: Instant) -> Self {
        Self {
            timings,
            state: LinkPhase::Preparing,
            since: now,
            generation: 0,
            attempt: 0,
            credentials: 0,
            handshaken: false,
            refused_once: None,
            revoked: None,
            last_error: None,
        }
    }

    /// The state for the view.
    pub(super) fn state(&self) -> LinkState {
        match self.state {
            LinkPhase::Disabled { .. } => LinkState::Disabled,
            LinkPhase::Preparing | LinkPhase::Dialling { .. } => LinkState::Connecting,
            LinkPhase::Handshaking { .. } => LinkState::Handshaking,
            LinkPhase::Up { idling: IdleProgress::Left, .. } | LinkPhase::Idle { .. } => LinkState::Idle,
            LinkPhase::Up { .. } => LinkState::Connected,
            LinkPhase::Waiting { .. } => LinkState::Waiting,
            LinkPhase::Revoked { .. } => LinkState::Revoked,
        }
    }

    /// The time of the last change of state.
    pub(super) fn since(&self) -> Instant {
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

    /// The time of the next dial, if the link waits for it.
    pub(super) fn next_dial(&self) -> Option<Instant> {
        match self.state {
            LinkPhase::Waiting { until, .. } => Some(until),
            LinkPhase::Idle { dial_at } => dial_at,
            _ => None,
        }
    }

    /// The time at which [`LinkPlan::tick`] has something to do.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        match self.state {
            LinkPhase::Disabled { ask_at } | LinkPhase::Revoked { ask_at } => ask_at,
            LinkPhase::Preparing => None,
            LinkPhase::Dialling { until } | LinkPhase::Handshaking { until } | LinkPhase::Waiting { until, .. } => {
                Some(until)
            }
            LinkPhase::Idle { dial_at } => dial_at,
            LinkPhase::Up { last_seen, ping_at, idling, .. } => {
                let due = ping_at.min(last_seen + self.timings.silence);
                Some(if let IdleProgress::Asked { until, .. } = idling { due.min(until) } else { due })
            }
        }
    }

    /// The actor has started.
    pub(super) fn start(&mut self, at: At) -> Steps {
        self.enter(LinkPhase::Preparing, at.now);
        vec![LinkStep::Prepare]
    }

    /// The profile answered.
    pub(super) fn prepared(&mut self, answer: Prepared, at: At) -> Steps {
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
            Prepared::NoAnswer => {
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
    pub(super) fn dialled(&mut self, generation: u64, at: At) -> Steps {
        if generation != self.generation || !matches!(self.state, LinkPhase::Dialling { .. }) {
            return Vec::new();
        }
        self.enter(LinkPhase::Handshaking { until: at.now + self.timings.handshake }, at.now);
        vec![LinkStep::Hello]
    }

    /// A valid descriptor was received; the first one completes the handshake.
    pub(super) fn described(&mut self, generation: u64, at: At) {
        if generation != self.generation || !matches!(self.state, LinkPhase::Handshaking { .. }) {
            return;
        }
        self.handshaken = true;
        self.last_error = None;
        let ping_at = at.now + self.timings.ping;
        self.enter(LinkPhase::Up { since: at.now, last_seen: at.now, ping_at, idling: IdleProgress::Not }, at.now);
    }

    /// The connection last received a frame at `seen`.
    pub(super) fn last_seen(&mut self, generation: u64, seen: Instant) {
        if let LinkPhase::Up { last_seen, .. } = &mut self.state
            && generation == self.generation
        {
            *last_seen = seen.max(*last_seen);
        }
    }

    /// The dial failed, or the connection ended.
    pub(super) fn lost(&mut self, generation: u64, loss: &Loss, at: At) -> Steps {
        let open =
            matches!(self.state, LinkPhase::Dialling { .. } | LinkPhase::Handshaking { .. } | LinkPhase::Up { .. });
        if generation != self.generation || !open { Vec::new() } else { self.give_up(loss, at) }
    }

    /// `going_idle` was acknowledged.
    pub(super) fn idle_acked(&mut self, generation: u64, at: At) -> Steps {
        match self.state {
            LinkPhase::Up { idling: IdleProgress::Asked { how, .. }, .. } if generation == self.generation => {
                self.idle(how, IdleAnswer::Acknowledged, at)
            }
            _ => Vec::new(),
        }
    }

    /// The link is requested to go idle.
    pub(super) fn go_idle(&mut self, how: Idleness, at: At) -> Steps {
        let until = at.now + self.timings.idle_ack;
        match &mut self.state {
            LinkPhase::Up { idling: idling @ IdleProgress::Not, .. } => {
                *idling = IdleProgress::Asked { how, until };
                vec![LinkStep::SendGoingIdle]
            }
            // The request that goes further applies, and one answer is for both.
            LinkPhase::Up { idling: IdleProgress::Asked { how: asked, .. }, .. } => {
                if how == Idleness::Leaving {
                    *asked = how;
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

    /// The link is poked: a dormant or waiting one dials at once.
    pub(super) fn wake(&mut self, at: At) -> Steps {
        match self.state {
            LinkPhase::Idle { dial_at: Some(_) } | LinkPhase::Waiting { ordered: false, .. } => self.start(at),
            _ => Vec::new(),
        }
    }

    /// Another link serves this gateway from now on: this one closes, and later asks whether it may dial.
    pub(super) fn evicted(&mut self, at: At) -> Steps {
        let idling = match self.state {
            LinkPhase::Dialling { .. } | LinkPhase::Handshaking { .. } => IdleProgress::Not,
            LinkPhase::Up { idling, .. } => idling,
            _ => return Vec::new(),
        };
        self.reset_failures(at.now);
        self.last_error = Some("another link of this process fronts the same gateway".into());
        let mut steps = vec![LinkStep::Close(CloseWith::Away)];
        if let IdleProgress::Asked { .. } = idling {
            steps.push(LinkStep::AnswerIdle(IdleAnswer::NotAcknowledged));
        }
        let leaving = matches!(idling, IdleProgress::Left | IdleProgress::Asked { how: Idleness::Leaving, .. });
        let later = Some(at.now + self.timings.settings);
        self.enter(
            if leaving { LinkPhase::Idle { dial_at: None } } else { LinkPhase::Disabled { ask_at: later } },
            at.now,
        );
        steps
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, at: At) -> Steps {
        let due = |then: Instant| then <= at.now;
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
                self.give_up(&Loss::Other("no good descriptor came in time".into()), at)
            }
            LinkPhase::Up { .. } => self.tick_up(at),
            _ => Vec::new(),
        }
    }

    fn tick_up(&mut self, at: At) -> Steps {
        let LinkPhase::Up { last_seen, ping_at, idling, .. } = &mut self.state else { return Vec::new() };
        if *last_seen + self.timings.silence <= at.now {
            return self.give_up(&Loss::Other("the connector went silent".into()), at);
        }
        let mut steps = Vec::new();
        if *ping_at <= at.now {
            *ping_at = at.now + self.timings.ping;
            steps.push(LinkStep::Ping);
        }
        if let IdleProgress::Asked { how, until } = *idling
            && until <= at.now
        {
            steps.extend(self.idle(how, IdleAnswer::NotAcknowledged, at));
        }
        steps
    }

    fn idle(&mut self, how: Idleness, answer: IdleAnswer, at: At) -> Steps {
        if let (Idleness::Leaving, LinkPhase::Up { idling, .. }) = (how, &mut self.state) {
            *idling = IdleProgress::Left;
            self.since = at.now;
            return vec![LinkStep::AnswerIdle(answer)];
        }
        self.reset_failures(at.now);
        self.enter(LinkPhase::Idle { dial_at: Some(at.now + self.timings.dormant) }, at.now);
        vec![LinkStep::Close(CloseWith::Away), LinkStep::AnswerIdle(answer)]
    }

    /// The end of a connection that was stable resets the count of failures.
    fn reset_failures(&mut self, now: Instant) {
        if let LinkPhase::Up { since, .. } = self.state
            && now.saturating_duration_since(since) >= self.timings.held
        {
            self.attempt = 0;
            self.refused_once = None;
        }
    }

    /// Ends the current connection or dial and decides what follows; nothing else does.
    fn give_up(&mut self, loss: &Loss, at: At) -> Steps {
        let mut steps = vec![LinkStep::Close(if *loss == Loss::TooBig { CloseWith::TooBig } else { CloseWith::Away })];
        let idling = if let LinkPhase::Up { idling, .. } = self.state { idling } else { IdleProgress::Not };
        self.reset_failures(at.now);
        let unauthorized = matches!(loss, Loss::Unauthorized { reason } if reason != EXPIRED) && self.handshaken;
        self.last_error = Some(loss.text());
        if let IdleProgress::Asked { .. } = idling {
            steps.push(LinkStep::AnswerIdle(IdleAnswer::NotAcknowledged));
        }
        if unauthorized && self.refused_once == Some(self.credentials) {
            self.revoked = Some(self.credentials);
            self.refused_once = None;
            self.enter(LinkPhase::Revoked { ask_at: Some(at.now + self.timings.settings) }, at.now);
            return steps;
        }
        match idling {
            IdleProgress::Left | IdleProgress::Asked { how: Idleness::Leaving, .. } => {
                self.enter(LinkPhase::Idle { dial_at: None }, at.now);
            }
            IdleProgress::Asked { how: Idleness::Dormant, .. } => {
                self.enter(LinkPhase::Idle { dial_at: Some(at.now + self.timings.dormant) }, at.now);
            }
            IdleProgress::Not if unauthorized => {
                self.refused_once = Some(self.credentials);
                steps.extend(self.start(at));
            }
            IdleProgress::Not => self.wait(loss.ordered_wait(), at),
        }
        steps
    }

    /// The next dial comes after our own wait and after the wait that the connector `ordered`.
    fn wait(&mut self, ordered: Option<Duration>, at: At) {
        let delay = self.timings.redial.delay(self.attempt, at.random);
        let ordered = ordered.map(|wait| wait.min(LONGEST_ORDERED_WAIT)).filter(|wait| *wait > delay);
        self.attempt = self.attempt.saturating_add(1);
        let until = at.now + ordered.unwrap_or(delay);
        self.enter(LinkPhase::Waiting { until, ordered: ordered.is_some() }, at.now);
    }

    fn enter(&mut self, state: LinkPhase, now: Instant) {
        let before = self.state();
        self.state = state;
        if self.state() != before {
            self.since = now;
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
