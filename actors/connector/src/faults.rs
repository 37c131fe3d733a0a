//! The fault switches for tests. Plain data.

use serde::{Deserialize, Serialize};

/// Body of `POST /dev/faults`: replaces the persistent switches of its gateway (or of all), carries out the others once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent switches, on the wire too")]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Faults {
    /// The gateway; every gateway if absent. A gateway's own set overrides the common one.
    #[serde(skip_serializing)]
    pub(super) gateway_id: Option<String>,
    /// Delay of every frame to the gateway; the order is kept.
    pub(super) delay_ms: u64,
    /// Additional delay of results of outbound frames.
    pub(super) answer_late_ms: u64,
    /// Outbound frames are carried out and never answered.
    pub(super) answer_never: bool,
    /// Sockets stay open and write nothing: no frame, no pong, no close.
    pub(super) half_open: bool,
    /// Every inbound frame is written twice.
    pub(super) duplicate: bool,
    /// Inbound frames are swapped in pairs.
    pub(super) reorder: bool,
    /// Dials are refused.
    pub(super) refuse: Option<DialFault>,
    /// Once: the connection ends without a close frame.
    #[serde(skip_serializing)]
    pub(super) drop: bool,
    /// Once: the connection is closed with this code.
    #[serde(skip_serializing)]
    pub(super) close: Option<CloseFault>,
}

/// The refusal of a dial: a status instead of the upgrade, or a close after it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DialFault {
    /// Answer the dial with this HTTP status.
    pub(super) status: Option<u16>,
    /// Accept, then close with this code; 4401 if neither is given.
    pub(super) code: Option<u16>,
    pub(super) reason: Option<String>,
    /// Number of dials to refuse; every dial if absent.
    pub(super) times: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CloseFault {
    pub(super) code: u16,
    #[serde(default)]
    pub(super) reason: String,
}

impl Faults {
    /// Checks that the values are valid on the wire.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let closes = [self.close.as_ref().map(|close| close.code), self.refuse.as_ref().and_then(|refuse| refuse.code)];
        if closes.into_iter().flatten().any(|code| !(1_000..5_000).contains(&code) || (1_004..1_007).contains(&code)) {
            return Err("a close code lies between 1000 and 4999 and is none of 1004, 1005, 1006");
        }
        let reasons = [
            self.close.as_ref().map(|close| close.reason.as_str()),
            self.refuse.as_ref().and_then(|refuse| refuse.reason.as_deref()),
        ];
        if reasons.into_iter().flatten().any(|reason| reason.len() > 123) {
            return Err("a close reason has at most 123 bytes");
        }
        let status = self.refuse.as_ref().and_then(|refuse| refuse.status);
        if status.is_some_and(|status| !(400..600).contains(&status)) {
            return Err("a dial is refused with a status between 400 and 599");
        }
        Ok(())
    }

    /// The refusal of the next dial, if dials are refused; counts it.
    pub(super) fn take_refusal(&mut self) -> Option<DialFault> {
        let refuse = self.refuse.as_mut()?;
        let fault = refuse.clone();
        if let Some(times) = &mut refuse.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.refuse = None;
            }
        }
        Some(fault)
    }
}
