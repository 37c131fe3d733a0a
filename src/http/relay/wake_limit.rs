//! Limits the requests that wake the links. Pure: the time is an argument.
//!
//! A wake request makes a link dial at once, and the route is public: the limit holds for all addresses together, too.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::http::auth::rate_limit::PeerRateLimit;

/// Requests at once from all addresses: those of several connectors while the gateway is dormant.
const MAX_BURST: u32 = 30;
/// Beyond the burst, one is accepted in this time. The request before it has woken the links already.
const INTERVAL: Duration = Duration::from_secs(2);

/// Wake requests, by address and in total.
#[derive(Debug, Default)]
pub(super) struct WakeLimit {
    by_address: PeerRateLimit,
    /// When the burst is available again: each accepted request delays it by one interval.
    window_end: Option<Instant>,
}

impl WakeLimit {
    /// Counts one more request of `address`; `Some` with the time to wait when it is refused.
    pub(super) fn admit(&mut self, address: IpAddr, now: Instant) -> Option<Duration> {
        if let Some(left) = self.by_address.record(address, now) {
            return Some(left);
        }
        let window_end = self.window_end.filter(|then| *then > now).unwrap_or(now);
        let ahead = window_end.saturating_duration_since(now);
        let most = INTERVAL * (MAX_BURST - 1);
        if ahead > most {
            return Some(ahead.saturating_sub(most));
        }
        self.window_end = Some(window_end + INTERVAL);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn many_addresses_together_are_limited_too() {
        let (mut limit, start) = (WakeLimit::default(), Instant::now());
        let mut admitted = |from: u32, seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            (from..from + 1_000).filter(|n| limit.admit(address(*n), now).is_none()).count()
        };
        assert_eq!((admitted(0, 0), admitted(1_000, 1), admitted(2_000, 2), admitted(3_000, 60)), (30, 0, 1, 29));
    }

    #[test]
    fn a_refused_request_gets_the_time_to_wait() {
        let (mut limit, now) = (WakeLimit::default(), Instant::now());
        let left = (0..=MAX_BURST).map(|n| limit.admit(address(n), now)).last().flatten();
        assert_eq!(left, Some(INTERVAL));
        assert_eq!(limit.admit(address(99), now + INTERVAL), None);
    }

    #[test]
    fn the_limit_of_one_address_does_not_affect_others() {
        let (mut limit, now) = (WakeLimit::default(), Instant::now());
        assert_eq!((0..1_000).filter(|_| limit.admit(address(1), now).is_none()).count(), 10);
        assert_eq!(limit.admit(address(2), now), None);
    }
}
