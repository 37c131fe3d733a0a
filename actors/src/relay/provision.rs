//! Credentials for a gateway that has none: the request to the connector, and its answer.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use secrecy::SecretString;
use tracing::warn;

use super::post::{self, PostError};
use crate::http_client::HttpClient;
use crate::profile::messages::Identity;
use caduceus_contract::wire::provisioning::{GatewayGrant, ProvisionRequest};
use caduceus_contract::wire::url::RelayUrl;

/// Keys the fingerprint of a request, so that it means nothing outside this process.
static FINGERPRINT: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The request of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProvisionOrder {
    /// The connector's address.
    pub url: String,
    /// The gateway's id.
    pub gateway_id: String,
    /// The identities, one per platform.
    pub identities: Vec<Identity>,
    /// The address for signed deliveries; without it there are none.
    pub endpoint: Option<String>,
    /// The chats of the tenant.
    pub route_keys: Vec<String>,
    /// A name that is stable across restarts.
    pub instance_id: Option<String>,
    /// The address of `/wake`.
    pub wake_url: Option<String>,
}

/// The result of a request.
pub struct Provisioned {
    /// The credentials of the first success.
    pub granted: GatewayGrant,
    /// The platforms that were accepted.
    pub platforms: Vec<String>,
}

/// Why a platform was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionError {
    /// No answer.
    #[error("the connector cannot be reached: {0}")]
    Unreachable(#[from] PostError),
    /// The connector refused.
    #[error("the connector answered with status {status}{}", .sentence.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Status {
        /// The status.
        status: u16,
        /// The connector's text.
        sentence: Option<String>,
    },
    /// A success without credentials.
    #[error("the connector's answer holds no secret")]
    NoSecret,
}

impl ProvisionOrder {
    /// The request in these settings, if they have an address.
    #[must_use]
    pub fn of<'a>(setting: &impl Fn(&'static str) -> Option<&'a str>, identities: Vec<Identity>) -> Option<Self> {
        let address = |name| setting(name).map(|url| url.trim_end_matches('/').to_owned());
        Some(Self {
            url: setting("GATEWAY_RELAY_URL")?.to_owned(),
            gateway_id: setting("GATEWAY_RELAY_ID").map_or_else(default_gateway_id, str::to_owned),
            identities,
            endpoint: address("GATEWAY_RELAY_ENDPOINT"),
            route_keys: route_keys(setting("GATEWAY_RELAY_ROUTE_KEYS").unwrap_or_default()),
            instance_id: setting("GATEWAY_RELAY_INSTANCE_ID").map(str::to_owned),
            wake_url: address("GATEWAY_RELAY_WAKE_URL"),
        })
    }

    /// Differs when the request does.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        FINGERPRINT.hash_one(self)
    }

    /// Requests every platform in turn. The first success has the credentials; a platform that fails is skipped.
    ///
    /// # Errors
    /// The refusal of the last platform, when all were refused.
    pub async fn carry_out(&self, client: &HttpClient, token: &SecretString) -> Result<Provisioned, ProvisionError> {
        let url = RelayUrl::new(&self.url).provision();
        let mut first = None;
        let mut platforms = Vec::new();
        let mut last = ProvisionError::NoSecret;
        for identity in &self.identities {
            let platform = &identity.platform;
            match self.ask(client, &url, token, identity).await {
                Ok(granted) => {
                    platforms.push(platform.clone());
                    first.get_or_insert(granted);
                }
                Err(reason) => {
                    warn!(platform, %reason, "relay self-provision failed for one platform");
                    last = reason;
                }
            }
        }
        first.map(|granted| Provisioned { granted, platforms }).ok_or(last)
    }

    async fn ask(
        &self,
        client: &HttpClient,
        url: &str,
        token: &SecretString,
        identity: &Identity,
    ) -> Result<GatewayGrant, ProvisionError> {
        granted(&post::json(client, url, token, &self.request(identity)).await?, &self.gateway_id)
    }

    fn request(&self, identity: &Identity) -> ProvisionRequest {
        ProvisionRequest {
            gateway_id: self.gateway_id.clone(),
            platform: identity.platform.clone(),
            bot_id: identity.bot_id.clone(),
            gateway_endpoint: self.endpoint.clone().unwrap_or_default(),
            route_keys: self.route_keys.clone(),
            instance_id: self.instance_id.clone(),
            wake_url: self.wake_url.clone(),
        }
    }
}

/// The credentials in an answer to a gateway whose request named `gateway_id`.
///
/// # Errors
/// [`ProvisionError`] unless it holds a secret.
pub fn granted(answer: &post::PostResponse, gateway_id: &str) -> Result<GatewayGrant, ProvisionError> {
    if !answer.is_success() {
        return Err(ProvisionError::Status { status: answer.status, sentence: answer.sentence() });
    }
    GatewayGrant::read(&answer.body, gateway_id).ok_or(ProvisionError::NoSecret)
}

/// The id of a gateway that has none in the settings: derived from its host.
#[must_use]
pub fn default_gateway_id() -> String {
    let name = rustix::system::uname();
    let host = name.nodename().to_string_lossy();
    let host = host.trim();
    format!("gw-{}", if host.is_empty() { "hermes" } else { host })
}

fn route_keys(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn identity() -> Identity {
        Identity { platform: "discord".into(), bot_id: "7".into() }
    }

    #[test]
    fn an_order_contains_the_settings_and_omits_what_is_not_set() {
        let bare =
            ProvisionOrder::of(&|name| (name == "GATEWAY_RELAY_URL").then_some("wss://c.example"), vec![identity()]);
        let bare = bare.unwrap();
        assert!(bare.gateway_id.starts_with("gw-") && bare.gateway_id.len() > 3);
        let body = serde_json::to_value(bare.request(&identity())).unwrap();
        assert_eq!((&body["gatewayEndpoint"], &body["routeKeys"]), (&json!(""), &json!([])));
        assert!(body.get("instanceId").is_none() && body.get("wakeUrl").is_none(), "{body}");
        let setting = |name: &'static str| {
            Some(match name {
                "GATEWAY_RELAY_URL" => "wss://c.example",
                "GATEWAY_RELAY_ID" => "gw-1",
                "GATEWAY_RELAY_ENDPOINT" => "https://me.example/in/",
                "GATEWAY_RELAY_ROUTE_KEYS" => " g1, ,g2",
                "GATEWAY_RELAY_INSTANCE_ID" => "i1",
                "GATEWAY_RELAY_WAKE_URL" => "https://me.example/wake/",
                _ => return None,
            })
        };
        let full = ProvisionOrder::of(&setting, vec![identity()]).unwrap();
        assert_eq!(
            serde_json::to_value(full.request(&identity())).unwrap(),
            json!({
                "gatewayId": "gw-1", "platform": "discord", "botId": "7", "gatewayEndpoint": "https://me.example/in",
                "routeKeys": ["g1", "g2"], "instanceId": "i1", "wakeUrl": "https://me.example/wake",
            })
        );
        assert_ne!(full.fingerprint(), bare.fingerprint());
        assert!(ProvisionOrder::of(&|_| None, vec![identity()]).is_none());
    }

    #[test]
    fn an_answer_has_credentials_or_a_reason() {
        let of = |status, body| granted(&post::PostResponse { status, body }, "mine");
        let granted = of(200, json!({"secret": "s", "gatewayId": "theirs"})).ok().unwrap();
        assert_eq!((granted.gateway_id.as_str(), granted.tenant), ("theirs", None));
        assert_eq!(of(200, json!({"secret": "s", "gatewayId": ""})).ok().unwrap().gateway_id, "mine");
        assert_eq!(of(200, json!({"secret": ""})).err(), Some(ProvisionError::NoSecret));
        assert_eq!(of(200, json!(null)).err(), Some(ProvisionError::NoSecret));
        let refused = of(403, json!({"error": "tenant mismatch"})).err().unwrap().to_string();
        assert_eq!(refused, "the connector answered with status 403: tenant mismatch");
    }
}
