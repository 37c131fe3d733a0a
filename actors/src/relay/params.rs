//! What the profile last answered to the question what to dial, and the claim on the gateway that it names.

use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::claims::{Claims, GatewayClaim, LinkOwner};
use super::context::ParamsAnswer;
use super::media;
use super::steps::Prepared;
use crate::profile::messages::{ConnectParams, Identity, NoConnectParams};
use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::wire::event::{InboundEvent, RELAY};
use caduceus_contract::wire::provisioning::RelevancePolicy;
use caduceus_contract::wire::url::RelayUrl;

/// The parameters of the present dial or connection.
#[derive(Debug)]
pub(super) struct LinkParams {
    claims: Claims,
    owner: LinkOwner,
    /// Held while a gateway is dialled or open.
    claim: Option<GatewayClaim>,
    /// The last answer that could be dialled.
    last: Option<ConnectParams>,
}

/// The policies to declare to the connector, with the token that opened the connection.
pub(super) struct PolicyDeclaration {
    pub(super) url: String,
    pub(super) token: SecretString,
    pub(super) policies: Vec<RelevancePolicy>,
}

impl LinkParams {
    /// No parameters yet, for the link of `owner`.
    pub(super) fn new(claims: Claims, owner: LinkOwner) -> Self {
        Self { claims, owner, claim: None, last: None }
    }

    /// The profile has answered. Takes the claim on the gateway, if the answer names one.
    pub(super) fn answered(&mut self, answer: ParamsAnswer, link: &LinkId) -> Prepared {
        // There is no socket now, so its claim is over.
        self.claim = None;
        match answer {
            Ok(Ok(params)) => match self.may_dial(&params) {
                Ok(()) => {
                    let credentials = params.credentials;
                    if self.is_newly_exposed(&params) {
                        warn!(link = %link.0, "the connector is dialled without TLS: the network can read every message; use wss://");
                    }
                    self.last = Some(params);
                    Prepared::Dialable { credentials }
                }
                Err(reason) => Prepared::Nothing(Some(reason)),
            },
            Ok(Err(NoConnectParams::NotSet)) => Prepared::Nothing(None),
            Ok(Err(reason @ NoConnectParams::Undialable(_))) => Prepared::Nothing(Some(reason.to_string())),
            Err(reason) => {
                debug!(link = %link.0, %reason, "profile did not answer");
                Prepared::Silent
            }
        }
    }

    fn may_dial(&mut self, params: &ConnectParams) -> Result<(), String> {
        RelayUrl::new(&params.url).dialable().map_err(|reason| reason.to_string())?;
        if let Some(gateway) = &params.gateway {
            let claim = self.claims.take(&self.owner, gateway.clone()).map_err(|reason| reason.to_string())?;
            self.claim = Some(claim);
        }
        Ok(())
    }

    /// Once per address.
    fn is_newly_exposed(&self, params: &ConnectParams) -> bool {
        let is_new = self.last.as_ref().is_none_or(|before| before.url != params.url);
        is_new && RelayUrl::new(&params.url).is_exposed()
    }

    /// Changes when the link may have been evicted from its gateway.
    pub(super) fn claim_changes(&self) -> watch::Receiver<u64> {
        self.claims.changes()
    }

    /// Whether another link takes precedence for the gateway of this one.
    pub(super) fn is_evicted(&self) -> bool {
        self.claims.is_evicted(&self.owner)
    }

    /// Releases the gateway: the link is closed.
    pub(super) fn release(&mut self) {
        self.claim = None;
    }

    /// The id of the gateway that was last dialled, if it has one.
    pub(super) fn gateway_id(&self) -> Option<Arc<str>> {
        let gateway = self.last.as_ref().and_then(|params| params.gateway.as_ref());
        gateway.map(|gateway| Arc::clone(gateway.id()))
    }

    /// The address to dial, and the token of the upgrade.
    pub(super) fn dialable(&self) -> Option<(String, Option<SecretString>)> {
        let params = self.last.as_ref()?;
        Some((RelayUrl::new(&params.url).dial().to_owned(), params.token.clone()))
    }

    pub(super) fn identities(&self) -> &[Identity] {
        self.last.as_ref().map_or(&[], |params| &params.identities)
    }

    fn identity_of(&self, platform: &str) -> Option<&Identity> {
        self.identities().iter().find(|identity| identity.platform == platform)
    }

    /// The platform and bot on an outbound frame.
    pub(super) fn address<'a>(&'a self, target: &'a Target) -> (Option<&'a str>, Option<&'a str>) {
        let identity = self.identity_of(&target.platform);
        // Events of an unknown platform, and interactions, count as `relay`: the connector uses its default.
        if identity.is_none() && target.platform == RELAY {
            return (None, None);
        }
        let own = identity.map(|identity| identity.bot_id.as_str());
        let bot_id = target.bot_id.as_deref().or(own).filter(|id| !id.is_empty());
        (Some(target.platform.as_str()), bot_id)
    }

    /// The bot that an event was addressed to, where the link has several.
    pub(super) fn bot_of(&self, event: &InboundEvent) -> Option<String> {
        let identity = self.identity_of(&event.source.platform).filter(|_| self.identities().len() > 1)?;
        Some(identity.bot_id.clone()).filter(|id| !id.is_empty())
    }

    /// The connector's address, if it hosts any of the event's media.
    pub(super) fn media_host(&self, event: &InboundEvent) -> Option<String> {
        let url = &self.last.as_ref().filter(|_| !event.media_urls.is_empty())?.url;
        (!media::hosted(event, url).is_empty()).then(|| url.clone())
    }

    /// The policies to declare, if there are any. Takes the token, which expires in minutes.
    pub(super) fn take_declaration(&mut self) -> Option<PolicyDeclaration> {
        let params = self.last.as_mut()?;
        let token = params.token.take().filter(|_| !params.policies.is_empty())?;
        Some(PolicyDeclaration { url: RelayUrl::new(&params.url).policy(), token, policies: params.policies.clone() })
    }
}
