//! When a grant is refreshed, and which token is answered meanwhile. One [`GrantPlan`] per grant; no clock, no disk, no actix. Times are
//! on the clock of the actor.

use std::time::Duration;

use secrecy::SecretString;

use super::grant::Grant;
use super::held::{HeldGrant, Now};
use super::note::step;
use super::outcome::{RefreshOutcome, Unsaved};
use super::store::same_tokens;
use super::verdict::RefreshReason;
use caduceus_contract::messages::honcho::GrantState;

/// Waits that an operator or a test can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Waits {
    /// Longest wait of a caller for a refresh, counted from the start of the refresh.
    pub(super) caller: Duration,
    /// Wait before a token that may be spent is presented once more.
    pub(super) retry_wait: Duration,
}

/// The decisions for one grant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct GrantPlan {
    waits: Waits,
    held: Option<HeldGrant>,
    phase: GrantPhase,
    /// Why the file cannot be used; nothing is exchanged meanwhile.
    unreadable: Option<String>,
    unsaved: Option<Unsaved>,
    /// The file has a spent token. A refresh searches, under the lock, for the grant that replaced it.
    file_is_spent: bool,
    /// A requested refresh has failed and is tried again.
    requested: bool,
    failures: u32,
    last_error: Option<String>,
    last_exchange: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum GrantPhase {
    Idle,
    Refreshing {
        since: Duration,
        /// The token was in doubt before.
        doubt: bool,
    },
    Backoff {
        until: Duration,
    },
    Uncertain {
        retry_at: Option<Duration>,
    },
    ReauthRequired,
}

/// The answer to a request for the token.
#[derive(Debug)]
pub(super) enum TokenDecision {
    /// There is no grant.
    NoGrant,
    /// The current token can be used.
    Current(SecretString),
    /// A refresh is needed first; the caller waits until `until` at most.
    Wait {
        /// The refresh to start, if none is running.
        order: Option<Box<RefreshOrder>>,
        /// After this time the caller receives the old token.
        until: Duration,
    },
}

/// A refresh to start.
#[derive(Debug)]
pub(super) struct RefreshOrder {
    pub(super) known: Option<Grant>,
    pub(super) unsaved: Option<Unsaved>,
    pub(super) reason: RefreshReason,
}

/// The content of the file, read without the lock.
#[derive(Debug, Clone)]
pub(super) enum FileReading {
    NoGrant,
    Unreadable(String),
    Grant { grant: Grant, doubt: Doubt },
}

/// The state of the refresh token in the file, by the notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// No reason against its use.
    None,
    /// It was presented, and no outcome is noted.
    Unknown { retry_in: Option<Duration> },
    /// It was exchanged for one that is not in the file.
    Spent,
    /// The server refused it.
    Refused,
}

impl GrantPlan {
    pub(super) fn new(waits: Waits) -> Self {
        Self {
            waits,
            held: None,
            phase: GrantPhase::Idle,
            unreadable: None,
            unsaved: None,
            file_is_spent: false,
            requested: false,
            failures: 0,
            last_error: None,
            last_exchange: None,
        }
    }

    /// The token is requested.
    pub(super) fn ask(&mut self, now: Now) -> TokenDecision {
        let Some(held) = &self.held else {
            return TokenDecision::NoGrant;
        };
        let token = held.grant.access_token.clone();
        if !held.is_due(now) && !self.file_is_spent {
            return TokenDecision::Current(token);
        }
        // After a failure the retries run on their own, and no caller waits for one that is likely to fail as well.
        let order = (self.failures == 0 && self.may_begin(now)).then(|| Box::new(self.begin(false, now)));
        match self.phase {
            GrantPhase::Refreshing { since, .. } if self.failures == 0 && now.at < since + self.waits.caller => {
                TokenDecision::Wait { order, until: since + self.waits.caller }
            }
            _ => TokenDecision::Current(token),
        }
    }

    /// Some time has passed.
    pub(super) fn tick(&mut self, now: Now) -> Option<RefreshOrder> {
        let wanted = match self.phase {
            // After a failure the next attempt needs no request, even for a token that is only refreshed on request.
            GrantPhase::Backoff { .. } | GrantPhase::Uncertain { .. } => self.held.is_some(),
            GrantPhase::Idle => self.file_is_spent || self.held.as_ref().is_some_and(|held| held.is_due_ahead(now)),
            GrantPhase::Refreshing { .. } | GrantPhase::ReauthRequired => false,
        };
        (wanted && self.may_begin(now)).then(|| self.begin(false, now))
    }

    /// An operator requests a refresh now. `None` if one is running or cannot help.
    pub(super) fn request_now(&mut self, now: Now) -> Option<RefreshOrder> {
        let possible = match self.phase {
            GrantPhase::Idle | GrantPhase::Backoff { .. } | GrantPhase::Uncertain { .. } => true,
            GrantPhase::Refreshing { .. } | GrantPhase::ReauthRequired => false,
        };
        (possible && self.held.is_some() && self.unreadable.is_none()).then(|| self.begin(true, now))
    }

    /// A refresh has ended.
    pub(super) fn ended(&mut self, outcome: RefreshOutcome, presented: bool, now: Now) {
        let doubt = self.in_doubt();
        if presented {
            self.last_exchange = Some(now.at);
        }
        self.phase = GrantPhase::Idle;
        match outcome {
            RefreshOutcome::Rotated { grant, life_s, beside } => {
                self.settle(HeldGrant::exchanged(grant, life_s, now));
                self.unreadable =
                    beside.map(|path| format!("the file is broken; the grant is kept in {}", path.display()));
            }
            RefreshOutcome::Withheld { grant, life_s } => {
                self.settle(HeldGrant::exchanged(grant, life_s, now));
                self.phase = GrantPhase::Uncertain { retry_at: None };
                self.last_error = Some("the server gave no new refresh token".to_owned());
            }
            RefreshOutcome::Adopted(grant) => self.settle(HeldGrant::adopted(grant, now)),
            RefreshOutcome::StillValid(grant) => {
                // The times of the grant in memory stay: the wall clock may have been set back since.
                let held = self.held.take().filter(|held| same_tokens(&held.grant, &grant));
                let held = held.filter(|held| held.grant.expires_with(&grant));
                self.settle(held.unwrap_or_else(|| HeldGrant::first(grant, now)));
            }
            RefreshOutcome::NoGrant => {
                self.held = None;
                self.clear_pending();
            }
            RefreshOutcome::Unreadable(why) => {
                if doubt {
                    self.phase = GrantPhase::Uncertain { retry_at: Some(now.at + self.waits.retry_wait) };
                }
                self.unreadable = Some(why);
                self.requested = false;
            }
            RefreshOutcome::Failed(why) => self.fail(why, step(self.failures, now.random), doubt, now),
            RefreshOutcome::Denied { why, retry_in } => self.fail(why, retry_in, doubt, now),
            RefreshOutcome::Unsaved { unsaved, why } => {
                self.unsaved = Some(unsaved);
                self.fail(why, step(self.failures, now.random), doubt, now);
            }
            RefreshOutcome::Ambiguous { why, retry_in } => {
                self.last_error = Some(why);
                self.failures = self.failures.saturating_add(1);
                self.phase = GrantPhase::Uncertain { retry_at: retry_in.map(|wait| now.at + wait) };
            }
            RefreshOutcome::Refused { grant, why } => {
                self.held = Some(HeldGrant::first(grant, now));
                self.clear_pending();
                self.last_error = Some(why);
                self.phase = GrantPhase::ReauthRequired;
            }
        }
    }

    /// The file was read, and no refresh ran meanwhile.
    pub(super) fn seen(&mut self, seen: FileReading, now: Now) {
        let (grant, doubt) = match seen {
            FileReading::Unreadable(why) => {
                self.unreadable = Some(why);
                return;
            }
            FileReading::NoGrant => {
                *self = Self { last_exchange: self.last_exchange, ..Self::new(self.waits) };
                return;
            }
            FileReading::Grant { grant, doubt } => (grant, doubt),
        };
        self.unreadable = None;
        if let Some(held) = self.held.as_mut().filter(|held| same_tokens(&held.grant, &grant)) {
            // The file has another expiry than the grant in memory.
            if !held.grant.expires_with(&grant) {
                *held = HeldGrant::first(grant, now);
            }
            self.file_is_spent &= doubt == Doubt::Spent;
            return;
        }
        if doubt == Doubt::Spent {
            // The file was restored to its content before the last rotation. Until the grant that was kept is in the file, no
            // caller receives a token older than the one in memory.
            self.held.get_or_insert_with(|| HeldGrant::first(grant, now));
            if !self.file_is_spent {
                self.file_is_spent = true;
                self.phase = GrantPhase::Idle;
            }
            return;
        }
        let first = self.held.is_none();
        self.settle(if first { HeldGrant::first(grant, now) } else { HeldGrant::adopted(grant, now) });
        self.phase = match doubt {
            Doubt::None | Doubt::Spent => GrantPhase::Idle,
            Doubt::Refused => GrantPhase::ReauthRequired,
            Doubt::Unknown { retry_in } => GrantPhase::Uncertain { retry_at: retry_in.map(|wait| now.at + wait) },
        };
    }

    /// The access token, if there is one.
    pub(super) fn token(&self) -> Option<&SecretString> {
        self.held.as_ref().map(|held| &held.grant.access_token)
    }

    pub(super) fn is_refreshing(&self) -> bool {
        matches!(self.phase, GrantPhase::Refreshing { .. })
    }

    pub(super) fn state(&self) -> GrantState {
        match self.phase {
            GrantPhase::Refreshing { doubt: false, .. } => GrantState::Refreshing,
            GrantPhase::Refreshing { doubt: true, .. } => GrantState::Uncertain,
            GrantPhase::ReauthRequired => GrantState::ReauthRequired,
            _ if self.unreadable.is_some() => GrantState::Unreadable,
            _ if self.held.is_none() => GrantState::None,
            GrantPhase::Uncertain { .. } => GrantState::Uncertain,
            GrantPhase::Backoff { .. } => GrantState::Backoff,
            GrantPhase::Idle => GrantState::Fresh,
        }
    }

    /// Seconds until the access token expires; negative when it has.
    pub(super) fn expires_in_s(&self, now: Now) -> Option<i64> {
        self.held.as_ref().map(|held| held.grant.left_ms(now.unix_ms).div_euclid(1_000))
    }

    pub(super) fn last_refresh_age(&self, now: Now) -> Option<Duration> {
        self.last_exchange.map(|at| now.at.saturating_sub(at))
    }

    pub(super) fn last_error(&self) -> Option<&str> {
        self.unreadable.as_deref().or(self.last_error.as_deref())
    }

    fn may_begin(&self, now: Now) -> bool {
        self.unreadable.is_none()
            && match self.phase {
                GrantPhase::Idle => true,
                GrantPhase::Backoff { until } => now.at >= until,
                GrantPhase::Uncertain { retry_at } => retry_at.is_some_and(|at| now.at >= at),
                GrantPhase::Refreshing { .. } | GrantPhase::ReauthRequired => false,
            }
    }

    fn begin(&mut self, by_person: bool, now: Now) -> RefreshOrder {
        self.phase = GrantPhase::Refreshing { since: now.at, doubt: self.in_doubt() };
        let due = self.held.as_ref().is_some_and(|held| held.is_due(now) || held.is_due_ahead(now));
        let reason = if by_person {
            RefreshReason::Requested
        } else if due || self.requested {
            RefreshReason::Due
        } else {
            RefreshReason::Recheck
        };
        self.requested |= by_person;
        let known = self.held.as_ref().map(|held| held.grant.clone());
        RefreshOrder { known, unsaved: self.unsaved.clone(), reason }
    }

    fn in_doubt(&self) -> bool {
        matches!(self.phase, GrantPhase::Uncertain { .. } | GrantPhase::Refreshing { doubt: true, .. })
    }

    fn settle(&mut self, held: HeldGrant) {
        self.held = Some(held);
        self.unreadable = None;
        self.clear_pending();
        self.failures = 0;
        self.last_error = None;
    }

    fn clear_pending(&mut self) {
        self.unsaved = None;
        self.file_is_spent = false;
        self.requested = false;
    }

    fn fail(&mut self, why: String, wait: Duration, doubt: bool, now: Now) {
        self.last_error = Some(why);
        self.failures = self.failures.saturating_add(1);
        self.phase = if doubt {
            GrantPhase::Uncertain { retry_at: Some(now.at + wait.max(self.waits.retry_wait)) }
        } else {
            GrantPhase::Backoff { until: now.at + wait }
        };
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
