//! The times of a link.

use std::time::Duration;

use crate::settings::RelayValues;
use caduceus_supervision::Backoff;

/// The times of a link. [`LinkTimings::default`] keeps within the contract's limits.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkTimings {
    /// Longest wait for the profile to say what to dial; it answers from memory.
    pub prepare: Duration,
    /// How often the profile is asked again while the link is disabled or revoked.
    pub settings: Duration,
    /// Longest dial, from the name to the answer of the upgrade.
    pub dial: Duration,
    /// Longest wait for the first good descriptor.
    pub handshake: Duration,
    /// Between two pings.
    pub ping: Duration,
    /// A connection without any frame for so long is dead.
    pub silence: Duration,
    /// A handshake that held for so long wipes the slate of failures.
    pub held: Duration,
    /// Waits between dials.
    pub redial: Backoff,
    /// Longest wait for the acknowledgement of `going_idle`.
    pub idle_ack: Duration,
    /// A dormant link redials after so long. A suspended machine does not count the time it sleeps.
    pub dormant: Duration,
    /// Longest wait for the result of an action.
    pub result: Duration,
    /// Longest wait for the dispatcher to take an event.
    pub take: Duration,
    /// Waits before events that were not taken are offered again.
    pub offer: Backoff,
    /// Longest farewell of a socket that is closed.
    pub farewell: Duration,
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
            // The contract allows 30 s and 60 s; by default a dead link is found within 45 s, and two pings were lost.
            ping: set.ping,
            silence: set.silence,
            held: seconds(60),
            redial: set.redial,
            idle_ack: seconds(10),
            dormant: seconds(1),
            result: set.result,
            take: seconds(30),
            offer: default_offer(),
            farewell: seconds(1),
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
