//! How often the links may be poked. Pure: the time comes in.
//!
//! A poke makes a link dial at once, and any client may send one: the limit holds for all addresses together, too.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::http::auth::slow::SlowDown;

/// Pokes at once over all addresses: those of several connectors while the gateway sleeps.
const MOST_AT_ONCE: u32 = 30;
/// From then on one is accepted in this time. The one before it has woken the links already.
const PAUSE: Duration = Duration::from_secs(2);

/// Pokes, by address and over all of them.
#[derive(Debug, Default)]
pub(super) struct Pokes {
    by_address: SlowDown,
    /// When all accepted ones are forgotten: each takes one pause.
    forgotten_at: Option<Instant>,
}

impl Pokes {
    /// Counts one more poke of `address`; `Some` with the time to wait when it is refused.
    pub(super) fn poked(&mut self, address: IpAddr, now: Instant) -> Option<Duration> {
        if let Some(left) = self.by_address.failed(address, now) {
            return Some(left);
        }
        let forgotten_at = self.forgotten_at.filter(|then| *then > now).unwrap_or(now);
        let ahead = forgotten_at.saturating_duration_since(now);
        let most = PAUSE * (MOST_AT_ONCE - 1);
        if ahead > most {
            return Some(ahead.saturating_sub(most));
        }
        self.forgotten_at = Some(forgotten_at + PAUSE);
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
        let (mut pokes, start) = (Pokes::default(), Instant::now());
        let mut heeded = |from: u32, seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            (from..from + 1_000).filter(|n| pokes.poked(address(*n), now).is_none()).count()
        };
        assert_eq!((heeded(0, 0), heeded(1_000, 1), heeded(2_000, 2), heeded(3_000, 60)), (30, 0, 1, 29));
    }

    #[test]
    fn a_refused_poke_gets_the_time_to_wait() {
        let (mut pokes, now) = (Pokes::default(), Instant::now());
        let left = (0..=MOST_AT_ONCE).map(|n| pokes.poked(address(n), now)).last().flatten();
        assert_eq!(left, Some(PAUSE));
        assert_eq!(pokes.poked(address(99), now + PAUSE), None);
    }

    #[test]
    fn one_address_alone_is_limited_as_before_and_takes_nothing_from_others() {
        let (mut pokes, now) = (Pokes::default(), Instant::now());
        assert_eq!((0..1_000).filter(|_| pokes.poked(address(1), now).is_none()).count(), 10);
        assert_eq!(pokes.poked(address(2), now), None);
    }
}
