//! The times of a link.

use std::time::Duration;

use caduceus_supervision::Backoff;

/// The times of a link. [`LinkTimings::default`] keeps within the contract's limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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

impl Default for LinkTimings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let backoff = |floor, ceiling| Backoff::new(floor, ceiling).expect("the floor is below the ceiling");
        Self {
            prepare: seconds(5),
            settings: seconds(2),
            dial: seconds(30),
            handshake: seconds(30),
            // The contract allows 30 s and 60 s; so a dead link is found within 45 s, and two pings were lost.
            ping: seconds(20),
            silence: seconds(45),
            held: seconds(60),
            redial: backoff(seconds(1), seconds(30)),
            idle_ack: seconds(10),
            dormant: seconds(1),
            result: seconds(30),
            take: seconds(30),
            offer: backoff(Duration::from_millis(250), seconds(5)),
            farewell: seconds(1),
        }
    }
}
