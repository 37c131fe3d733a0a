//! The registered gateways, their credentials, and the views of both.

use std::collections::VecDeque;

use caduceus_contract::wire::provisioning::{EnrollRequest, GatewayGrant, ProvisionRequest, RelevancePolicy};
use caduceus_contract::wire::token::UNAUTHORIZED_CODE;
use serde_json::{Value, json};

use super::ConnectorPlan;
use crate::chat_event::{ChatEvent, GatewayIdentity, GatewayStatus};
use crate::credentials::{Credentials, DialRefusal, GrantError};
use crate::inbound::PushError;
use crate::steps::ConnectorStep;

impl ConnectorPlan {
    pub(crate) fn register(&mut self, gateway_id: Option<String>, now_ms: i64) -> Result<Credentials, GrantError> {
        self.saved.store.register(gateway_id, now_ms / 1_000)
    }

    pub(crate) fn enroll(
        &mut self,
        access_token: Option<&str>,
        request: &EnrollRequest,
        now_ms: i64,
    ) -> Result<GatewayGrant, GrantError> {
        self.saved.store.enroll(access_token, request, now_ms / 1_000)
    }

    pub(crate) fn provision(
        &mut self,
        access_token: Option<&str>,
        request: ProvisionRequest,
        now_ms: i64,
    ) -> Result<GatewayGrant, GrantError> {
        self.saved.store.provision(access_token, request, now_ms / 1_000)
    }

    pub(crate) fn rotate(&mut self, gateway_id: &str, window_s: i64, now_ms: i64) -> Result<GatewayGrant, GrantError> {
        self.saved.store.rotate(gateway_id, window_s, now_ms / 1_000)
    }

    /// Revokes every secret and closes the link.
    pub(crate) fn deprovision(&mut self, gateway_id: &str) -> Result<Vec<ConnectorStep>, GrantError> {
        self.saved.store.deprovision(gateway_id)?;
        let mut steps = vec![ConnectorStep::Save];
        if let Some(&connection) = self.current.get(gateway_id) {
            let reason = DialRefusal::Unauthorized.reason().to_owned();
            steps.push(ConnectorStep::Close { connection, code: UNAUTHORIZED_CODE, reason });
        }
        Ok(steps)
    }

    /// Stores a relevance policy. The upgrade token identifies its gateway.
    pub(crate) fn set_policy(
        &mut self,
        token: Option<&str>,
        policy: &RelevancePolicy,
        now_ms: i64,
    ) -> Result<(), DialRefusal> {
        let gateway_id = self.saved.store.admit(token, self.open, now_ms / 1_000)?;
        if let Some(gateway) = self.saved.store.get_mut(&gateway_id) {
            let policy_json = serde_json::to_value(policy).expect("a policy is texts and flags");
            gateway.policies.insert(policy.platform.clone(), policy_json);
        }
        Ok(())
    }

    /// The endpoint of a gateway for signed deliveries, and the key that signs them.
    pub(crate) fn endpoint(&self, gateway_id: Option<&str>) -> Result<(Option<String>, String), PushError> {
        let gateway_id = self.resolve_gateway(gateway_id)?;
        let store = &self.saved.store;
        let endpoint = store.get(&gateway_id).and_then(|gateway| gateway.endpoint.clone());
        Ok((endpoint, store.delivery_key(&gateway_id).unwrap_or_default().to_owned()))
    }

    /// Answers `GET /dev/account`.
    pub(crate) fn traffic(&self) -> Value {
        let mut traffic = self.traffic.snapshot();
        traffic["links"] = self.status()["gateways"].clone();
        let registered = |id: &String| {
            let gateway = self.saved.store.get(id)?;
            let entry = json!({
                "policies": gateway.policies, "identities": gateway.identities, "routeKeys": gateway.route_keys,
                "endpoint": gateway.endpoint, "instanceId": gateway.instance_id, "wakeUrl": gateway.wake_url,
            });
            Some((id.clone(), entry))
        };
        traffic["registered"] = Value::Object(self.saved.store.ids().filter_map(registered).collect());
        traffic
    }

    /// The registered and the connected gateways, for the chat windows.
    pub(crate) fn status(&self) -> Value {
        let gateways = self.saved.store.ids().map(|id| {
            let link = self.current.get(id).and_then(|connection| self.links.get(connection));
            let identities = link.map(|link| link.identities.as_slice()).unwrap_or_default();
            GatewayStatus {
                gateway_id: id,
                connected: !identities.is_empty(),
                idle: link.is_some_and(|link| link.idle),
                buffered: self.saved.buffers.get(id).map_or(0, VecDeque::len),
                identities: identities.iter().map(|(platform, bot_id)| GatewayIdentity { platform, bot_id }).collect(),
            }
        });
        ChatEvent::Status { gateways: gateways.collect() }.to_json()
    }
}
