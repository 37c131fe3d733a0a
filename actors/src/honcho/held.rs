//! A grant in memory: until when its token is answered, and when a refresh starts without a request. No clock.

use std::time::Duration;

use super::grant::{EXPIRY_SKEW_S, Grant};
use super::note::{EXCHANGE_FLOOR, SHORT_LIFE_S};

/// An early refresh starts between `AHEAD_MIN` and `AHEAD_MIN + AHEAD_SPREAD` before it is needed, so that of many processes one is
/// first and the others adopt its result.
const AHEAD_MIN: Duration = Duration::from_secs(15);
/// See [`AHEAD_MIN`].
const AHEAD_SPREAD: Duration = Duration::from_secs(45);
/// A token with a longer time to live is not refreshed, unless a person requests it or it is due by the monotonic clock.
pub(super) const REFRESH_MARGIN: Duration =
    AHEAD_MIN.saturating_add(AHEAD_SPREAD).saturating_add(Duration::from_secs(EXPIRY_SKEW_S as u64));
/// The largest part of a short lifetime that an early refresh leaves unused.
const AHEAD_PART: u32 = 10;

/// The present, by the wall clock, which the file uses, and by the monotonic clock of the actor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) unix_ms: i64,
    pub(super) at: Duration,
    /// From `0.0..1.0`; spreads actions of many processes in time.
    pub(super) random: f64,
}

/// A grant, and until when it is answered from memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct HeldGrant {
    pub(super) grant: Grant,
    /// After this the token is not answered without an attempt at a new one. By both clocks: the wall clock may be set back, and the
    /// monotonic one stops while the machine is suspended.
    good_until_ms: i64,
    good_until: Duration,
    /// How long before that a refresh starts without a request.
    ahead: Duration,
    /// A token of unknown lifetime is refreshed on request only.
    on_demand: bool,
}

impl HeldGrant {
    /// As read from the file: a token that counts as expired is not answered.
    pub(super) fn first(grant: Grant, now: Now) -> Self {
        let left_ms = grant.left_ms(now.unix_ms).saturating_sub(i64::from(EXPIRY_SKEW_S) * 1_000);
        Self::good_for(grant, left_ms, false, now)
    }

    /// As another process has just rotated it: not exchanged at once, however short its lifetime.
    pub(super) fn adopted(grant: Grant, now: Now) -> Self {
        let life_ms = grant.left_ms(now.unix_ms);
        Self::living(grant, life_ms, now)
    }

    /// As received from the server, with its lifetime in seconds; 0 if the server gave none.
    pub(super) fn exchanged(grant: Grant, life_s: i64, now: Now) -> Self {
        Self::living(grant, life_s.saturating_mul(1_000), now)
    }

    fn living(grant: Grant, life_ms: i64, now: Now) -> Self {
        let good_ms = if life_ms >= SHORT_LIFE_S * 1_000 {
            life_ms - i64::from(EXPIRY_SKEW_S) * 1_000
        } else {
            (life_ms / 2).max(in_millis(EXCHANGE_FLOOR))
        };
        Self::good_for(grant, good_ms, life_ms <= 0, now)
    }

    fn good_for(grant: Grant, good_ms: i64, on_demand: bool, now: Now) -> Self {
        let good = Duration::from_millis(u64::try_from(good_ms).unwrap_or(0));
        // Not earlier than the minimum interval of two exchanges.
        let most = good.saturating_sub(EXCHANGE_FLOOR).min(good / AHEAD_PART);
        Self {
            good_until_ms: now.unix_ms.saturating_add(good_ms),
            good_until: now.at.saturating_add(good),
            ahead: (AHEAD_MIN + AHEAD_SPREAD.mul_f64(now.random)).min(most),
            on_demand,
            grant,
        }
    }

    pub(super) fn is_due(&self, now: Now) -> bool {
        now.unix_ms >= self.good_until_ms || now.at >= self.good_until
    }

    pub(super) fn is_due_ahead(&self, now: Now) -> bool {
        let unix_ms = now.unix_ms.saturating_add(in_millis(self.ahead));
        !self.on_demand && self.is_due(Now { unix_ms, at: now.at + self.ahead, random: now.random })
    }
}

fn in_millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
