//! The state that every worker of a server shares.

use std::sync::Arc;

use actix_web::web;
use caduceus_actors::profile::Redactor;

use super::admission::Admission;
use super::auth::Authenticator;
use super::feed::Feed;
use super::ledger::LedgerContinuations;
use super::names::HostNames;
use super::openapi::ApiDocument;
use super::page::document::StatusPage;
use super::ports::{Healthy, HttpPorts};
use super::proxies::TrustedProxies;
use super::relay::inbound::RelayInbound;
use super::viewers::Viewers;

/// The shared state.
pub(super) type SharedState = web::Data<ServerState>;

/// The ports into the gateway, and the state of HTTP itself.
#[derive(Clone)]
pub(super) struct ServerState {
    pub(super) ports: HttpPorts,
    pub(super) feed: Arc<Feed>,
    pub(super) authenticator: Arc<Authenticator>,
    /// Redacts secrets in texts of the ledger.
    pub(super) redactor: Redactor,
    /// Calls that continue an export or an erasure.
    pub(super) continuations: Arc<LedgerContinuations>,
    pub(super) names: HostNames,
    pub(super) proxies: TrustedProxies,
    pub(super) page: StatusPage,
    pub(super) document: ApiDocument,
    pub(super) viewers: Viewers,
    pub(super) healthy: Healthy,
    pub(super) log_dropped: fn() -> u64,
    pub(super) relay: RelayInbound,
    pub(super) admission: Admission,
    pub(super) allow_faults: bool,
}
