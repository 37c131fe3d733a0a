//! What the hub takes, from sockets and from the HTTP routes, and what it sends to a socket.

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

/// What the hub has a socket do. One type, so that writing and closing keep the order in which they were sent.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum SocketCommand {
    /// Write text after a pause, behind everything sent before.
    Write { text: String, after: Duration },
    /// Close with a close frame.
    Close { code: u16, reason: String },
    /// End without a close frame.
    Cut,
    /// Stay open and write nothing more.
    Freeze,
}

/// What a socket sends to the hub.
#[derive(Clone)]
pub(super) struct HubPorts {
    pub(super) opened: Port<SocketOpened>,
    pub(super) received: Port<LineReceived>,
    pub(super) closed: Port<SocketClosed>,
}

/// Decide on a dial.
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
    pub(super) wire: Port<SocketCommand>,
}

/// A line came in.
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

/// Register a gateway, or give the credentials of one that is there.
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
    pub(super) asked: EnrollRequest,
}

/// Give credentials to a gateway that proves its tenant.
#[derive(Message)]
#[rtype(result = "Result<GatewayGrant, GrantError>")]
pub(super) struct ProvisionGateway {
    pub(super) access_token: Option<String>,
    pub(super) asked: ProvisionRequest,
}

/// Give a gateway a fresh secret.
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

/// Keep a relevance policy.
#[derive(Message)]
#[rtype(result = "Result<(), DialRefusal>")]
pub(super) struct SetPolicy {
    pub(super) token: Option<String>,
    pub(super) policy: RelevancePolicy,
}

/// Bring something to a gateway.
#[derive(Message)]
#[rtype(result = "Result<Pushed, PushError>")]
pub(super) struct PushTo {
    pub(super) gateway_id: Option<String>,
    pub(super) push: Push,
}

/// Bring a message of the chat page to a gateway; answers its message id too.
#[derive(Message)]
#[rtype(result = "Result<(String, Pushed), PushError>")]
pub(super) struct Say(pub(super) ChatInput);

/// Where signed deliveries go, and the key that signs them.
#[derive(Message)]
#[rtype(result = "Result<(Option<String>, String), PushError>")]
pub(super) struct GetEndpoint {
    pub(super) gateway_id: Option<String>,
}

/// Set the fault switches; answers those that stand.
#[derive(Message)]
#[rtype(result = "Result<Faults, PushError>")]
pub(super) struct SetFaults(pub(super) Faults);

/// What went over the wire so far.
#[derive(Message)]
#[rtype(result = "Value")]
pub(super) struct GetAccount;

/// The chat as it is, then every change.
#[derive(Message)]
#[rtype(result = "mpsc::Receiver<Bytes>")]
pub(super) struct WatchChat;

/// Every frame from gateways, from now on or from the one after a number that was seen.
#[derive(Message)]
#[rtype(result = "mpsc::Receiver<Bytes>")]
pub(super) struct WatchFrames {
    pub(super) after: Option<u64>,
}

/// Close every link and stream, bring the data file up to date.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop;
