//! A grant in hand: until when its token is answered from memory, and from when on a refresh comes by itself. No clock.

use std::time::{Duration, Instant};

use super::grant::{EXPIRY_SKEW_S, Grant};
use super::note::{EXCHANGE_FLOOR, SHORT_LIFE_S};

/// A refresh ahead of need comes between `AHEAD_MIN_S` and `AHEAD_MIN_S + AHEAD_SPREAD_S` before it, so that of many
/// processes one goes first and the others take what it wrote.
const AHEAD_MIN_S: f64 = 15.0;
/// See [`AHEAD_MIN_S`].
const AHEAD_SPREAD_S: f64 = 45.0;
/// Of a short-lived token, no more than this part is given up for being early.
const AHEAD_PART: f64 = 0.1;

/// The present, by the clock on the wall, which the file goes by, and by the one that nobody sets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) unix_s: f64,
    pub(super) at: Instant,
    /// From `0.0..1.0`, for what shall not happen at the same moment everywhere.
    pub(super) random: f64,
}

/// A grant, and until when it is answered from memory.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) grant: Grant,
    /// From here on the token is not answered without trying for a new one. By both clocks: the wall's may be set back, and the
    /// other stands still while the machine sleeps.
    pub(super) good_until_s: f64,
    good_until: Instant,
    /// How long before that a refresh comes by itself.
    ahead_s: f64,
    /// A lifetime that nobody knows is not worth a refresh that nobody asked for.
    pub(super) on_demand: bool,
}

impl Held {
    /// As found in the file: what counts as expired is.
    pub(super) fn first(grant: Grant, now: Now) -> Self {
        let left_s = grant.expires_at_s - f64::from(EXPIRY_SKEW_S) - now.unix_s;
        Self::good_for(grant, left_s, false, now)
    }

    /// As somebody else has just rotated it: never exchanged at once, however short it lives.
    pub(super) fn adopted(grant: Grant, now: Now) -> Self {
        let life_s = grant.expires_at_s - now.unix_s;
        Self::exchanged(grant, life_s, now)
    }

    pub(super) fn exchanged(grant: Grant, life_s: f64, now: Now) -> Self {
        let good_s = if life_s >= SHORT_LIFE_S {
            life_s - f64::from(EXPIRY_SKEW_S)
        } else {
            (life_s / 2.0).max(EXCHANGE_FLOOR.as_secs_f64())
        };
        Self::good_for(grant, good_s, life_s <= 0.0, now)
    }

    fn good_for(grant: Grant, good_s: f64, on_demand: bool, now: Now) -> Self {
        let good = Duration::try_from_secs_f64(good_s.max(0.0)).unwrap_or(Duration::MAX);
        let wanted_s = AHEAD_MIN_S + AHEAD_SPREAD_S * now.random;
        // Never earlier than the floor between two exchanges allows.
        let most_s = (good_s - EXCHANGE_FLOOR.as_secs_f64()).max(0.0).min(good_s.max(0.0) * AHEAD_PART);
        Self {
            good_until_s: now.unix_s + good_s,
            // Beyond what an instant can hold it is the wall clock's alone to say.
            good_until: now.at.checked_add(good).unwrap_or(now.at + Duration::from_hours(24)),
            ahead_s: wanted_s.min(most_s),
            on_demand,
            grant,
        }
    }

    pub(super) fn is_due(&self, now: Now) -> bool {
        now.unix_s >= self.good_until_s || now.at >= self.good_until
    }

    pub(super) fn is_due_ahead(&self, now: Now) -> bool {
        let ahead = Duration::from_secs_f64(self.ahead_s);
        let early = Now { unix_s: now.unix_s + self.ahead_s, at: now.at + ahead, random: now.random };
        !self.on_demand && self.is_due(early)
    }
}
