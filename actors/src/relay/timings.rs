//! The timeouts and intervals of a link.

use std::time::Duration;

use caduceus_supervision::Backoff;

/// The timeouts and intervals of a link. [`LinkTimings::default`] keeps within the contract's limits.
#[derive(Debug, Clone, PartialEq)]
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

impl Default for LinkTimings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let backoff = |floor, ceiling| Backoff::new(floor, ceiling).expect("the floor is below the ceiling");
        Self {
            prepare: seconds(5),
            settings: seconds(2),
            dial: seconds(30),
            handshake: seconds(30),
            // The contract allows 30 s and 60 s; with these a failed link is found within 45 s, after two lost pings.
            ping: seconds(20),
            silence: seconds(45),
            held: seconds(60),
            redial: backoff(seconds(1), seconds(30)),
            idle_ack: seconds(10),
            dormant: seconds(1),
            result: seconds(30),
            take: seconds(30),
            offer: backoff(Duration::from_millis(250), seconds(5)),
            close_timeout: seconds(1),
        }
    }
}
