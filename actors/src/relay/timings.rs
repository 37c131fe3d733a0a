//! The timeouts and intervals of a link.

use std::time::Duration;

use crate::settings::RelayValues;
use caduceus_supervision::Backoff;

/// The timeouts and intervals of a link. [`LinkTimings::default`] keeps within the contract's limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LinkTimings {
    /// Timeout of the profile's answer what to dial; it answers from memory.
    pub prepare: Duration,
    /// Interval of questions to the profile while the link is disabled or revoked.
    pub settings: Duration,
    /// Timeout of a dial, from the name lookup to the answer of the upgrade.
    pub dial: Duration,
    /// Timeout of the first valid descriptor.
    pub handshake: Duration,
    /// Interval of pings.
    pub ping: Duration,
    /// A connection without any frame for this long has failed.
    pub silence: Duration,
    /// A connection that was up for this long resets the count of failures.
    pub held: Duration,
    /// Waits between dials.
    pub redial: Backoff,
    /// Timeout of the acknowledgement of `going_idle`.
    pub idle_ack: Duration,
    /// A dormant link dials again after this time. A suspended machine does not count the time of its suspension.
    pub dormant: Duration,
    /// Timeout of the result of an action.
    pub result: Duration,
    /// Timeout of the dispatcher's answer for an event.
    pub take: Duration,
    /// Waits before refused events are offered again.
    pub offer: Backoff,
    /// Timeout of the closing handshake.
    pub close_timeout: Duration,
}

impl LinkTimings {
    /// The times that can be set are these.
    #[must_use]
    pub fn of(set: &RelayValues) -> Self {
        let seconds = Duration::from_secs;
        Self {
            prepare: seconds(5),
            settings: seconds(2),
            dial: set.dial,
            handshake: set.handshake,
            // The contract allows 30 s and 60 s; by default a failed link is found within 45 s, after two lost pings.
            ping: set.ping,
            silence: set.silence,
            held: seconds(60),
            redial: set.redial,
            idle_ack: seconds(10),
            dormant: seconds(1),
            result: set.result,
            take: seconds(30),
            offer: default_offer(),
            close_timeout: seconds(1),
        }
    }
}

fn default_offer() -> Backoff {
    Backoff::new(Duration::from_millis(250), Duration::from_secs(5)).expect("the floor is below the ceiling")
}

impl Default for LinkTimings {
    fn default() -> Self {
        Self::of(&RelayValues::default())
    }
}
