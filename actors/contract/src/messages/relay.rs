//! The messages of a relay link.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Message;
use serde::Serialize;

use super::dispatch::NotRecorded;
use crate::json::RawJson;
use crate::link::{LinkId, Target};
use crate::profile_name::ProfileName;
use crate::wire::action::ActionResult;
use crate::wire::descriptor::Descriptor;
use crate::wire::event::InboundEvent;
use caduceus_supervision::{Port, port_set};

port_set! {
    /// The ports of an operator to one link, for a machine that suspends.
    pub struct DormancyPorts {
        /// Closes the link until it is woken.
        pub go_dormant: Port<GoDormant>,
        /// Dials it again.
        pub wake: Port<Wake>,
    }
}

/// Sends one action and waits for the connector's result. Always answered: a link that is down answers
/// `success: false` at once, one that is lost after the write answers `ambiguous: true`.
#[derive(Debug, Clone, Message)]
#[rtype(result = "ActionResult")]
pub struct SendAction {
    /// The destination.
    pub target: Arc<Target>,
    /// The action, JSON with `op`.
    pub action: RawJson,
}

/// Announces to the connector that this gateway accepts no more events, and waits for the acknowledgement: for a shutdown. Replies
/// still leave over the connection while it is open; after its end it is not dialled again.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "IdleAnswer")]
pub struct GoIdle;

/// As [`GoIdle`], for a machine that is about to suspend: afterwards the connection is closed, and dialled again on
/// [`Wake`] or after 1 s of running time.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "IdleAnswer")]
pub struct GoDormant;

/// Ends dormancy and waits: a dormant or waiting link dials at once.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Wake;

/// Answer to [`GoIdle`] and [`GoDormant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleAnswer {
    /// The connector acknowledged: it buffers from now on.
    Acknowledged,
    /// No acknowledgement within 10 s.
    NotAcknowledged,
    /// There is no link.
    NotConnected,
}

/// Requests the view of the link.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "LinkView")]
pub struct GetLink;

/// State of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// No address is set, or it cannot be dialled.
    Disabled,
    /// A dial is running.
    Connecting,
    /// Dialled; the descriptors have not arrived yet.
    Handshaking,
    /// In service.
    Connected,
    /// Dormant after [`GoIdle`] or [`GoDormant`].
    Idle,
    /// Waiting for the next dial.
    Waiting,
    /// The credentials were revoked; it dials again only with new ones.
    Revoked,
}

/// Answer to [`GetLink`]. Ages are in milliseconds at the time of the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LinkView {
    /// Which link.
    pub link: LinkId,
    /// Its state. The status shows it beside that of the actor, see `status::shown`.
    #[serde(skip)]
    pub state: LinkState,
    /// Milliseconds in this state.
    pub state_age_ms: u64,
    /// Number of dials since the process started.
    pub generation: u64,
    /// Milliseconds until the next dial, while waiting.
    pub next_dial_ms: Option<u64>,
    /// Age of the last frame of any kind from the connector.
    pub last_inbound_age_ms: Option<u64>,
    /// Age of the last acknowledgement sent.
    pub last_ack_age_ms: Option<u64>,
    /// The last error, free of secrets.
    pub last_error: Option<String>,
    /// Frames by kind and direction, such as `inbound` or `outbound`.
    pub frames: BTreeMap<String, u64>,
    /// Lines that were skipped because they were invalid.
    pub skipped: u64,
    /// Frames that could not be used and are in the ledger as dead letters.
    pub dead_letters: u64,
    /// Pending sends.
    pub waiting: usize,
    /// The platforms in its settings, connected or not.
    pub platforms: Vec<String>,
    /// The descriptors of the connector, one per identity.
    pub descriptors: Vec<Arc<Descriptor>>,
}

impl LinkView {
    /// The view of a link that has not reported yet.
    #[must_use]
    pub fn not_reported(link: LinkId) -> Self {
        Self {
            link,
            state: LinkState::Disabled,
            state_age_ms: 0,
            generation: 0,
            next_dial_ms: None,
            last_inbound_age_ms: None,
            last_ack_age_ms: None,
            last_error: None,
            frames: BTreeMap::new(),
            skipped: 0,
            dead_letters: 0,
            waiting: 0,
            platforms: Vec::new(),
            descriptors: Vec::new(),
        }
    }
}

/// A link went up or down, or the connector's descriptors changed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct LinkChanged {
    /// The link.
    pub link: LinkId,
    /// Its new state.
    pub state: LinkState,
    /// The descriptors of the connector, while the link is in service and every identity is described, or the time for that has
    /// passed; the first is the default.
    pub descriptors: Option<Arc<[Arc<Descriptor>]>>,
}

/// Makes the link send [`LinkChanged`] again, for a receiver that may have missed it. It has no answer, so that
/// no answer can arrive after a newer change.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ResendLinkState {
    /// The number of the dispatcher that receives it.
    pub dispatcher: usize,
}

/// An event received over HTTP with a valid signature. Answered `Ok` once it may be acknowledged.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), NotRecorded>")]
pub struct Deliver {
    /// The profile whose key signed it, if that is a named one: the event runs under it.
    pub owner: Option<ProfileName>,
    /// Identifies the delivery: the same signature is the same delivery.
    pub signature: String,
    /// SHA-256 of the body.
    pub digest: [u8; 32],
    /// Milliseconds since 1970 at which the request began.
    pub read_at_ms: i64,
    /// The event, parsed.
    pub event: Arc<InboundEvent>,
    /// The event, as received.
    pub raw_event: RawJson,
}
