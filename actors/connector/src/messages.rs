//! The messages to the hub, from sockets and from the HTTP routes, and those of the hub to a socket.

use std::time::Duration;

use actix::Message;
use bytes::Bytes;
use caduceus_contract::wire::provisioning::{EnrollRequest, GatewayGrant, ProvisionRequest, RelevancePolicy};
use caduceus_supervision::Port;
use serde_json::Value;
use tokio::sync::mpsc;

use super::credentials::{Credentials, DialRefusal, GrantError};
use super::faults::Faults;
use super::inbound::{ChatInput, Push, PushError, Pushed};
use super::steps::DialDecision;

/// A command to a socket. One type, so that writes and closes keep the order in which they were sent.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum SocketCommand {
    /// Write text after a delay; the order of writes is kept.
    Write { text: String, after: Duration },
    /// Close with a close frame.
    Close { code: u16, reason: String },
    /// End without a close frame.
    Cut,
    /// Stay open and write nothing from now on.
    Freeze,
}

/// The messages that a socket sends to the hub.
#[derive(Clone)]
pub(super) struct HubPorts {
    pub(super) opened: Port<SocketOpened>,
    pub(super) received: Port<LineReceived>,
    pub(super) closed: Port<SocketClosed>,
}

/// Admit or refuse a dial.
#[derive(Message)]
#[rtype(result = "DialDecision")]
pub(super) struct Admit {
    pub(super) token: Option<String>,
}

/// An accepted connection is up.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SocketOpened {
    pub(super) connection: u64,
    pub(super) gateway_id: String,
    pub(super) socket: Port<SocketCommand>,
}

/// A line was received.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct LineReceived {
    pub(super) connection: u64,
    pub(super) line: String,
}

/// An accepted connection has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SocketClosed {
    pub(super) connection: u64,
    pub(super) gateway_id: String,
}

/// Register a gateway, or return the credentials of a registered one.
#[derive(Message)]
#[rtype(result = "Result<Credentials, GrantError>")]
pub(super) struct Register {
    pub(super) gateway_id: Option<String>,
}

/// Exchange an enrollment token for credentials.
#[derive(Message)]
#[rtype(result = "Result<GatewayGrant, GrantError>")]
pub(super) struct Enroll {
    pub(super) access_token: Option<String>,
    pub(super) request: EnrollRequest,
}

/// Issue credentials to a gateway that proves its tenant.
#[derive(Message)]
#[rtype(result = "Result<GatewayGrant, GrantError>")]
pub(super) struct ProvisionGateway {
    pub(super) access_token: Option<String>,
    pub(super) request: ProvisionRequest,
}

/// Issue a new secret to a gateway.
#[derive(Message)]
#[rtype(result = "Result<GatewayGrant, GrantError>")]
pub(super) struct Rotate {
    pub(super) gateway_id: String,
    pub(super) window_s: i64,
}

/// Revoke a gateway's secrets and close its link.
#[derive(Message)]
#[rtype(result = "Result<(), GrantError>")]
pub(super) struct Deprovision {
    pub(super) gateway_id: String,
}

/// Store a relevance policy.
#[derive(Message)]
#[rtype(result = "Result<(), DialRefusal>")]
pub(super) struct SetPolicy {
    pub(super) token: Option<String>,
    pub(super) policy: RelevancePolicy,
}

/// Push an event, forward, interrupt or raw text to a gateway.
#[derive(Message)]
#[rtype(result = "Result<Pushed, PushError>")]
pub(super) struct PushTo {
    pub(super) gateway_id: Option<String>,
    pub(super) push: Push,
}

/// Push a message of the chat page to a gateway. The answer has the id of the message.
#[derive(Message)]
#[rtype(result = "Result<(String, Pushed), PushError>")]
pub(super) struct PushChat(pub(super) ChatInput);

/// Get the endpoint of signed deliveries, and the key that signs them.
#[derive(Message)]
#[rtype(result = "Result<(Option<String>, String), PushError>")]
pub(super) struct GetEndpoint {
    pub(super) gateway_id: Option<String>,
}

/// Set the fault switches. The answer has those in force.
#[derive(Message)]
#[rtype(result = "Result<Faults, PushError>")]
pub(super) struct SetFaults(pub(super) Faults);

/// Get the counts of frames sent and received so far.
#[derive(Message)]
#[rtype(result = "Value")]
pub(super) struct GetTraffic;

/// Subscribe to the chats: a snapshot, then every change.
#[derive(Message)]
#[rtype(result = "mpsc::Receiver<Bytes>")]
pub(super) struct WatchChat;

/// Subscribe to the frames from gateways, from now on or from the one after a given number.
#[derive(Message)]
#[rtype(result = "mpsc::Receiver<Bytes>")]
pub(super) struct WatchFrames {
    pub(super) after: Option<u64>,
}

/// Close every link and stream, and write the data file.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop;
