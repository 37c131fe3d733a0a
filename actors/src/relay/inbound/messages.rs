//! Events that reach a link other than over its socket.

use std::sync::Arc;

use actix::Message;
use serde_json::Value;

use crate::dispatch::messages::{NotTaken, Receipt};
use crate::profile::name::ProfileName;
use crate::relay::event::InboundEvent;

/// An event received over HTTP with a valid signature. Answered `Ok` once it may be acknowledged.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Receipt, NotTaken>")]
pub struct Deliver {
    /// The profile whose key signed it, if that is a named one: it runs under that profile.
    pub owner: Option<ProfileName>,
    /// The id of the delivery: the same signature is the same delivery.
    pub signature: String,
    /// SHA-256 of the body.
    pub digest: [u8; 32],
    /// The event, parsed.
    pub event: Arc<InboundEvent>,
    /// The event, as received.
    pub raw_event: Arc<Value>,
}
