//! The HTTP documents with which a gateway obtains its credentials from a connector, and declares what it receives.

use std::borrow::Cow;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::json::non_empty_text;

/// Path of the exchange of an enrollment token for credentials.
pub const ENROLL_PATH: &str = "/relay/enroll";
/// Path of a request for credentials by a gateway that proves its tenant.
pub const PROVISION_PATH: &str = "/relay/provision";
/// Path of a relevance policy.
pub const POLICY_PATH: &str = "/relay/policy";

/// Body of [`ENROLL_PATH`].
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrollRequest {
    /// Valid for one use.
    #[serde(serialize_with = "exposed", deserialize_with = "hidden")]
    pub enrollment_token: SecretString,
    /// Name of the gateway.
    pub gateway_id: String,
}

/// Body of [`PROVISION_PATH`], one for each platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProvisionRequest {
    /// Name of the gateway.
    pub gateway_id: String,
    /// The platform.
    pub platform: String,
    /// The bot on it; may be empty.
    #[serde(default)]
    pub bot_id: String,
    /// The endpoint of signed deliveries; empty for none.
    #[serde(default)]
    pub gateway_endpoint: String,
    /// The chats of the tenant.
    #[serde(default)]
    pub route_keys: Vec<String>,
    /// A name that is stable across restarts. If absent, the connector stores none; if empty, it stores an empty one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// The address that wakes the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_url: Option<String>,
}

/// The answer to enrolling, provisioning and rotating.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayGrant {
    /// Id of the gateway from now on.
    pub gateway_id: String,
    /// Signs upgrade tokens.
    #[serde(serialize_with = "exposed")]
    pub secret: SecretString,
    /// Verifies signed deliveries.
    #[serde(serialize_with = "exposed_if_any", skip_serializing_if = "Option::is_none")]
    pub delivery_key: Option<SecretString>,
    /// The tenant that the gateway belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The chats of the tenant, in the answer to a provision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_keys: Option<Vec<String>>,
}

impl GatewayGrant {
    /// The grant in the answer to a request of `gateway_id`, which stays the gateway's id if the answer contains none.
    ///
    /// `None` without a secret. Every other field counts as absent if it is empty or of the wrong type.
    #[must_use]
    pub fn read(answer: &Value, gateway_id: &str) -> Option<Self> {
        let fields = answer.as_object()?;
        let texts = |keys: &Vec<Value>| keys.iter().map(|key| key.as_str().map(str::to_owned)).collect();
        Some(Self {
            secret: non_empty_text(fields, "secret")?.into(),
            gateway_id: non_empty_text(fields, "gatewayId").unwrap_or(gateway_id).to_owned(),
            delivery_key: non_empty_text(fields, "deliveryKey").map(SecretString::from),
            tenant: non_empty_text(fields, "tenant").map(str::to_owned),
            route_keys: fields.get("routeKeys").and_then(Value::as_array).and_then(texts),
        })
    }
}

/// Body of [`POLICY_PATH`]: which messages of one platform start a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelevancePolicy {
    /// The platform.
    pub platform: String,
    /// Whether only messages that address the agent count.
    #[serde(default)]
    pub require_address: bool,
    /// Chats in which every message counts.
    #[serde(default)]
    pub free_response_scopes: Vec<String>,
    /// Whether messages of other bots count.
    #[serde(default)]
    pub allow_other_bots: bool,
}

/// Body of a successful answer without content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OkBody {
    /// True.
    pub ok: bool,
}

impl OkBody {
    /// The only value.
    pub const YES: Self = Self { ok: true };
}

/// Body of an answer that is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody<'a> {
    /// A stable word, or a sentence from a connector that has none.
    #[serde(default)]
    pub error: Cow<'a, str>,
    /// The error as a sentence.
    #[serde(default)]
    pub detail: Cow<'a, str>,
}

impl ErrorBody<'_> {
    /// The error code of the connector, if the body is an error.
    #[must_use]
    pub fn error_of(body: &Value) -> Option<&str> {
        non_empty_text(body.as_object()?, "error")
    }
}

fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

#[expect(clippy::ref_option, reason = "serde hands the field over by reference")]
fn exposed_if_any<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(ExposeSecret::expose_secret).serialize(serializer)
}

fn hidden<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grant(delivery_key: Option<&str>, route_keys: Option<Vec<String>>) -> GatewayGrant {
        GatewayGrant {
            gateway_id: "gw".into(),
            secret: "s".into(),
            delivery_key: delivery_key.map(SecretString::from),
            tenant: Some("t".into()),
            route_keys,
        }
    }

    #[test]
    fn a_grant_reads_back_as_it_was_written() {
        let texts = [
            r#"{"gatewayId":"gw","secret":"s","deliveryKey":"k","tenant":"t","routeKeys":["a"]}"#,
            r#"{"gatewayId":"gw","secret":"s","tenant":"t"}"#,
        ];
        for (grant, text) in [grant(Some("k"), Some(vec!["a".into()])), grant(None, None)].into_iter().zip(texts) {
            assert_eq!(serde_json::to_string(&grant).unwrap(), text);
            let read = GatewayGrant::read(&serde_json::from_str(text).unwrap(), "mine").unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
            assert!(!format!("{grant:?}").contains("\"s\""), "{grant:?}");
        }
    }

    #[test]
    fn only_the_secret_of_a_grant_is_required() {
        let read = GatewayGrant::read(&json!({"secret": "s", "gatewayId": "", "tenant": 7, "routeKeys": [1]}), "mine");
        let read = read.unwrap();
        assert_eq!((read.gateway_id.as_str(), read.tenant, read.route_keys), ("mine", None, None));
        for answer in [json!({"secret": ""}), json!({"gatewayId": "gw"}), json!(null), json!([])] {
            assert!(GatewayGrant::read(&answer, "mine").is_none(), "{answer}");
        }
    }

    #[test]
    fn requests_read_back_as_they_were_written() {
        let enroll = r#"{"enrollmentToken":"e","gatewayId":"gw"}"#;
        let read: EnrollRequest = serde_json::from_str(enroll).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), enroll);
        let provision = concat!(
            r#"{"gatewayId":"gw","platform":"discord","botId":"b","gatewayEndpoint":"","routeKeys":[],"#,
            r#""instanceId":"i","wakeUrl":"w"}"#
        );
        let read: ProvisionRequest = serde_json::from_str(provision).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), provision);
        let bare: ProvisionRequest = serde_json::from_str(r#"{"gatewayId":"gw","platform":"discord"}"#).unwrap();
        assert_eq!((bare.bot_id.as_str(), bare.instance_id), ("", None));
        let policy =
            r#"{"platform":"discord","requireAddress":true,"freeResponseScopes":["c"],"allowOtherBots":false}"#;
        let read: RelevancePolicy = serde_json::from_str(policy).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), policy);
    }
}
