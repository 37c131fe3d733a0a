//! Gateways, their tenants, secrets and tokens: decides which dials are admitted. Plain data, no clock and no I/O.
//!
//! Owned by [`ConnectorPlan`](super::plan::ConnectorPlan), stored in the data file unchanged. Independent of sockets.

use std::collections::BTreeMap;

use caduceus_contract::wire::delivery;
use caduceus_contract::wire::provisioning::{EnrollRequest, GatewayGrant, ProvisionRequest};
use caduceus_contract::wire::token::{self, TokenError};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::credentials::{Credentials, DialRefusal, GrantError, ID_LIMIT};

/// Time for which a superseded secret remains valid: enough for a fleet to restart.
pub(super) const ROTATION_WINDOW_S: i64 = 3_600;
/// Validity of an enrollment token, which can be used once.
const ENROLLMENT_TTL_S: i64 = 24 * 3_600;
/// The id of a gateway that dials without a token, if the connector allows that.
pub(super) const OPEN_GATEWAY: &str = "open";

/// All gateways and tenants.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct GatewayStore {
    gateways: BTreeMap<String, RegisteredGateway>,
    tenants: BTreeMap<String, Tenant>,
    #[serde(skip)]
    secrets: SecretSource,
}

#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RegisteredGateway {
    tenant: String,
    /// The first one signs; the others verify until they expire.
    secrets: Vec<Secret>,
    /// Policies by platform, as posted.
    pub(super) policies: BTreeMap<String, Value>,
    /// `platform:botId` of each provision.
    pub(super) identities: Vec<String>,
    pub(super) route_keys: Vec<String>,
    pub(super) endpoint: Option<String>,
    pub(super) instance_id: Option<String>,
    pub(super) wake_url: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Secret {
    value: String,
    /// Unix seconds; the first secret of the list has none.
    valid_until: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Tenant {
    access_token: String,
    delivery_key: String,
    enrollments: BTreeMap<String, Enrollment>,
}

#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Enrollment {
    expires: i64,
    used: bool,
}

impl GatewayStore {
    /// Registers a gateway under a tenant of its own, or returns the credentials of a registered one.
    pub(super) fn register(&mut self, gateway_id: Option<String>, now_s: i64) -> Result<Credentials, GrantError> {
        let gateway_id = gateway_id.unwrap_or_else(|| format!("gw-{}", &self.secrets.generate("")[..8]));
        check_id(&gateway_id)?;
        let tenant = match self.gateways.get(&gateway_id) {
            Some(gateway) => gateway.tenant.clone(),
            None => self.new_tenant(),
        };
        self.gateways
            .entry(gateway_id.clone())
            .or_insert_with(|| RegisteredGateway { tenant: tenant.clone(), ..RegisteredGateway::default() });
        let secret = self.primary_secret(&gateway_id);
        let enrollment_token = self.secrets.generate("enroll-");
        let tenant = self.tenants.get_mut(&tenant).expect("a gateway's tenant is added before it and never removed");
        tenant.enrollments.retain(|_, enrollment| !enrollment.used && enrollment.expires >= now_s);
        let enrollment = Enrollment { expires: now_s + ENROLLMENT_TTL_S, used: false };
        tenant.enrollments.insert(enrollment_token.clone(), enrollment);
        Ok(Credentials {
            gateway_id,
            secret,
            delivery_key: tenant.delivery_key.clone(),
            enrollment_token,
            access_token: tenant.access_token.clone(),
        })
    }

    /// Decides on a dial: the id of the gateway, or the reason of the refusal.
    pub(super) fn admit(&mut self, token: Option<&str>, open: bool, now_s: i64) -> Result<String, DialRefusal> {
        let Some(token) = token else {
            if !open {
                return Err(DialRefusal::Unauthorized);
            }
            if !self.gateways.contains_key(OPEN_GATEWAY) {
                let tenant = self.new_tenant();
                self.gateways
                    .insert(OPEN_GATEWAY.to_owned(), RegisteredGateway { tenant, ..RegisteredGateway::default() });
            }
            return Ok(OPEN_GATEWAY.to_owned());
        };
        let gateway =
            token::claimed_gateway(token).and_then(|id| self.gateways.get(&id)).ok_or(DialRefusal::Unauthorized)?;
        let secrets: Vec<SecretString> = gateway
            .secrets
            .iter()
            .filter(|secret| secret.valid_until.is_none_or(|until| now_s <= until))
            .map(|secret| secret.value.as_str().into())
            .collect();
        token::verify(token, &secrets, now_s.unsigned_abs()).map_err(|error| match error {
            TokenError::Expired => DialRefusal::Expired,
            TokenError::Malformed | TokenError::Signature => DialRefusal::Unauthorized,
        })
    }

    pub(super) fn enroll(
        &mut self,
        access_token: Option<&str>,
        request: &EnrollRequest,
        now_s: i64,
    ) -> Result<GatewayGrant, GrantError> {
        let (enrollment_token, gateway_id) = (request.enrollment_token.expose_secret(), request.gateway_id.as_str());
        let tenant = self.tenant_of(access_token)?;
        check_id(gateway_id)?;
        self.check_owner(gateway_id, &tenant)?;
        let enrollment = self.tenants.get_mut(&tenant).and_then(|tenant| tenant.enrollments.get_mut(enrollment_token));
        match enrollment {
            Some(enrollment) if !enrollment.used && enrollment.expires >= now_s => enrollment.used = true,
            _ => return Err(GrantError::Enrollment),
        }
        Ok(self.issue(gateway_id, &tenant, ROTATION_WINDOW_S, now_s))
    }

    pub(super) fn provision(
        &mut self,
        access_token: Option<&str>,
        request: ProvisionRequest,
        now_s: i64,
    ) -> Result<GatewayGrant, GrantError> {
        let tenant = self.tenant_of(access_token)?;
        check_id(&request.gateway_id)?;
        self.check_owner(&request.gateway_id, &tenant)?;
        // A gateway sends one request per platform and uses the first answer, so later requests must not change the secret.
        let current = self.gateways.get(&request.gateway_id).and_then(|gateway| gateway.secrets.first());
        let current = current.filter(|secret| secret.valid_until.is_none()).map(|secret| secret.value.clone());
        let mut grant = match current {
            Some(secret) => self.grant_with(&request.gateway_id, &tenant, secret),
            None => self.issue(&request.gateway_id, &tenant, ROTATION_WINDOW_S, now_s),
        };
        let gateway = self.gateways.entry(request.gateway_id).or_default();
        let identity = format!("{}:{}", request.platform, request.bot_id);
        if !gateway.identities.contains(&identity) {
            gateway.identities.push(identity);
        }
        gateway.endpoint = Some(request.gateway_endpoint).filter(|endpoint| !endpoint.is_empty());
        gateway.wake_url = request.wake_url.filter(|url| !url.is_empty());
        gateway.instance_id = request.instance_id;
        gateway.route_keys.clone_from(&request.route_keys);
        grant.route_keys = Some(request.route_keys);
        Ok(grant)
    }

    /// Issues a new secret; the former ones expire after `window_s`.
    pub(super) fn rotate(&mut self, gateway_id: &str, window_s: i64, now_s: i64) -> Result<GatewayGrant, GrantError> {
        let tenant = self.gateways.get(gateway_id).ok_or(GrantError::Unknown)?.tenant.clone();
        Ok(self.issue(gateway_id, &tenant, window_s, now_s))
    }

    /// Removes every secret; the gateway stays registered, so that it can be provisioned again.
    pub(super) fn deprovision(&mut self, gateway_id: &str) -> Result<(), GrantError> {
        self.gateways.get_mut(gateway_id).ok_or(GrantError::Unknown)?.secrets.clear();
        Ok(())
    }

    pub(super) fn get(&self, gateway_id: &str) -> Option<&RegisteredGateway> {
        self.gateways.get(gateway_id)
    }

    pub(super) fn get_mut(&mut self, gateway_id: &str) -> Option<&mut RegisteredGateway> {
        self.gateways.get_mut(gateway_id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &String> {
        self.gateways.keys()
    }

    pub(super) fn delivery_key(&self, gateway_id: &str) -> Option<&str> {
        let tenant = &self.gateways.get(gateway_id)?.tenant;
        self.tenants.get(tenant).map(|tenant| tenant.delivery_key.as_str())
    }

    fn issue(&mut self, gateway_id: &str, tenant: &str, window_s: i64, now_s: i64) -> GatewayGrant {
        let gateway = self
            .gateways
            .entry(gateway_id.to_owned())
            .or_insert_with(|| RegisteredGateway { tenant: tenant.to_owned(), ..RegisteredGateway::default() });
        gateway.secrets.retain(|secret| secret.valid_until.is_none_or(|until| now_s <= until));
        for secret in &mut gateway.secrets {
            let until = now_s + window_s;
            secret.valid_until = Some(secret.valid_until.map_or(until, |earlier| earlier.min(until)));
        }
        if window_s == 0 {
            gateway.secrets.clear();
        }
        let secret = self.secrets.generate("");
        gateway.secrets.insert(0, Secret { value: secret.clone(), valid_until: None });
        self.grant_with(gateway_id, tenant, secret)
    }

    fn grant_with(&self, gateway_id: &str, tenant: &str, secret: String) -> GatewayGrant {
        GatewayGrant {
            gateway_id: gateway_id.to_owned(),
            secret: secret.into(),
            delivery_key: Some(self.tenants[tenant].delivery_key.as_str().into()),
            tenant: Some(tenant.to_owned()),
            route_keys: None,
        }
    }

    fn primary_secret(&mut self, gateway_id: &str) -> String {
        let gateway = self.gateways.get_mut(gateway_id).expect("the caller has just inserted it");
        if gateway.secrets.first().is_none_or(|secret| secret.valid_until.is_some()) {
            gateway.secrets.insert(0, Secret { value: self.secrets.generate(""), valid_until: None });
        }
        gateway.secrets[0].value.clone()
    }

    fn new_tenant(&mut self) -> String {
        let name = self.secrets.generate("tenant-");
        let (access_token, delivery_key) = (self.secrets.generate("access-"), self.secrets.generate(""));
        let tenant = Tenant { access_token, delivery_key, enrollments: BTreeMap::new() };
        self.tenants.insert(name.clone(), tenant);
        name
    }

    fn tenant_of(&self, access_token: Option<&str>) -> Result<String, GrantError> {
        let access_token = access_token.ok_or(GrantError::Identity)?;
        self.tenants
            .iter()
            .find(|(_, tenant)| constant_time_eq(&tenant.access_token, access_token))
            .map(|(name, _)| name.clone())
            .ok_or(GrantError::Identity)
    }

    fn check_owner(&self, gateway_id: &str, tenant: &str) -> Result<(), GrantError> {
        match self.gateways.get(gateway_id) {
            Some(gateway) if gateway.tenant != tenant => Err(GrantError::Tenant),
            _ => Ok(()),
        }
    }
}

/// Signature of a delivery's raw body at a Unix second, in hex.
pub(super) fn sign_delivery(key: &str, timestamp: i64, body: &str) -> String {
    delivery::sign(body.as_bytes(), timestamp, &key.into())
}

/// Compares in constant time.
fn constant_time_eq(one: &str, other: &str) -> bool {
    // Digests have equal length, so the comparison does not stop early.
    Sha256::digest(one).ct_eq(&Sha256::digest(other)).into()
}

fn check_id(gateway_id: &str) -> Result<(), GrantError> {
    let fits = !gateway_id.is_empty() && gateway_id.chars().count() <= ID_LIMIT;
    if fits && !gateway_id.chars().any(char::is_control) { Ok(()) } else { Err(GrantError::Id) }
}

/// Generates secrets of 256 bits from a random seed and a counter, so that the plan stays deterministic: equal sources generate
/// equal secrets.
#[derive(Clone, PartialEq, Eq, Hash)]
struct SecretSource {
    seed: [u8; 32],
    count: u64,
}

impl Default for SecretSource {
    fn default() -> Self {
        let random = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(uuid::Uuid::into_bytes);
        Self { seed: Sha256::digest(random.concat()).into(), count: 0 }
    }
}

impl SecretSource {
    fn generate(&mut self, prefix: &str) -> String {
        self.count += 1;
        let digest = Sha256::new().chain_update(self.seed).chain_update(self.count.to_be_bytes()).finalize();
        let half = |bytes: &[u8]| u128::from_be_bytes(bytes.try_into().expect("a digest has 32 bytes"));
        format!("{prefix}{:032x}{:032x}", half(&digest[..16]), half(&digest[16..]))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn token(gateway_id: &str, secret: &str, expires: u64) -> String {
        token::mint(gateway_id, &secret.into(), 0, expires).expose_secret().to_owned()
    }

    #[test]
    fn an_expired_token_is_distinguished_from_a_forged_one() {
        let mut store = GatewayStore::default();
        let secret = store.register(Some("gw:1".into()), 100).unwrap().secret;
        assert_eq!(store.admit(Some(&token("gw:1", &secret, 200)), false, 200), Ok("gw:1".into()));
        assert_eq!(store.admit(Some(&token("gw:1", &secret, 200)), false, 201), Err(DialRefusal::Expired));
        assert_eq!(store.admit(Some(&token("gw:1", "other", 200)), false, 201), Err(DialRefusal::Unauthorized));
        assert_eq!(store.admit(Some(&token("gw:2", &secret, 200)), false, 100), Err(DialRefusal::Unauthorized));
        assert_eq!(store.admit(Some("rubbish"), true, 100), Err(DialRefusal::Unauthorized));
        assert_eq!(store.admit(None, false, 100), Err(DialRefusal::Unauthorized));
        assert_eq!(store.admit(None, true, 100), Ok(OPEN_GATEWAY.into()));
    }

    #[test]
    fn a_rotated_secret_is_valid_until_its_window_ends() {
        let mut store = GatewayStore::default();
        let old = store.register(Some("gw".into()), 0).unwrap().secret;
        let rotated = |store: &mut GatewayStore, window_s, now_s| {
            store.rotate("gw", window_s, now_s).unwrap().secret.expose_secret().to_owned()
        };
        let new = rotated(&mut store, 60, 1_000);
        assert!(store.admit(Some(&token("gw", &old, 0)), false, 1_060).is_ok());
        assert!(store.admit(Some(&token("gw", &old, 0)), false, 1_061).is_err());
        assert!(store.admit(Some(&token("gw", &new, 0)), false, 9_999).is_ok());
        assert_eq!(store.register(Some("gw".into()), 9_999).unwrap().secret, new, "registering again changes nothing");
        let newest = rotated(&mut store, 0, 9_999);
        assert!(store.admit(Some(&token("gw", &new, 0)), false, 9_999).is_err());
        store.deprovision("gw").unwrap();
        assert!(store.admit(Some(&token("gw", &newest, 0)), false, 9_999).is_err());
    }

    #[test]
    fn an_enrollment_token_is_valid_once_and_for_its_tenant() {
        let mut store = GatewayStore::default();
        let own = store.register(Some("own".into()), 0).unwrap();
        let other = store.register(Some("other".into()), 0).unwrap();
        let enroll = |store: &mut GatewayStore, access: Option<&str>, token: &str, id: &str| {
            store
                .enroll(access, &EnrollRequest { enrollment_token: token.into(), gateway_id: id.into() }, 10)
                .map(|grant| grant.gateway_id)
        };
        let access = Some(own.access_token.as_str());
        assert_eq!(enroll(&mut store, None, &own.enrollment_token, "new"), Err(GrantError::Identity));
        assert_eq!(enroll(&mut store, access, &other.enrollment_token, "new"), Err(GrantError::Enrollment));
        assert_eq!(enroll(&mut store, access, &own.enrollment_token, "other"), Err(GrantError::Tenant));
        assert_eq!(enroll(&mut store, access, &own.enrollment_token, ""), Err(GrantError::Id));
        assert_eq!(enroll(&mut store, access, &own.enrollment_token, "new"), Ok("new".into()));
        assert_eq!(enroll(&mut store, access, &own.enrollment_token, "new"), Err(GrantError::Enrollment));
    }
}
