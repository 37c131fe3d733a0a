//! How the default profile obtains the relay's credentials by itself: kept in memory only.
//!
//! Without actix: it returns the next step, and the profile's actor carries it out.

mod plan;

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tracing::{info, warn};

use super::redact::Redactor;
use crate::http_client::HttpClient;
use crate::relay::identity::{IdentitySource, NoIdentity};
use crate::relay::provision::{ProvisionError, ProvisionOrder, Provisioned};
use caduceus_supervision::Backoff;
use plan::{ProvisionPlan, ProvisionStep};

/// Ceiling of the first wait.
const FLOOR: Duration = Duration::from_secs(1);
/// Ceiling of the later waits: the longest wait after a login.
const CEILING: Duration = Duration::from_mins(1);

/// The state of the profile's credentials from its connector.
#[derive(Debug)]
pub(super) struct Provisioning {
    plan: ProvisionPlan,
    /// The current request, or the provisioned credentials.
    order: Option<ProvisionOrder>,
    /// Whether an attempt is running; a dial waits for its end.
    in_progress: watch::Sender<bool>,
    credentials: BTreeMap<String, SecretString>,
    /// The last reason that was logged; each reason is logged once.
    logged: Option<String>,
    /// It was logged that the pair is pinned.
    pinned: bool,
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotProvisioned {
    #[error(transparent)]
    Identity(#[from] NoIdentity),
    #[error(transparent)]
    ProvisionError(#[from] ProvisionError),
}

/// The result of an attempt: the request, and the credentials for it.
pub(super) type Attempted = Result<(ProvisionOrder, Provisioned), NotProvisioned>;

/// The next step. Each replaces the running one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ProvisionTask {
    /// None.
    Stop,
    /// Make this request, by [`attempt`]; then call [`Provisioning::ended`].
    Ask(ProvisionOrder),
    /// After this time, call [`Provisioning::due`] with this fingerprint.
    AskAfter(u64, Duration),
}

/// The effect of an attempt's end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AttemptEnd {
    /// There are new credentials, see [`Provisioning::credentials`].
    Granted,
    /// There are none, and this is the next step.
    Failed(Option<ProvisionTask>),
    /// The request has changed meanwhile.
    Outdated,
}

/// Makes one attempt: requests a token from the identity provider, and with it the credentials.
///
/// # Errors
/// [`NotProvisioned`] if there is no token, or no credentials for it.
pub(super) async fn attempt(
    order: ProvisionOrder,
    source: IdentitySource,
    client: HttpClient,
    redactor: Redactor,
) -> Attempted {
    let now_s = jiff::Timestamp::now().as_second();
    let token = source.token(&client, now_s).await?;
    let _held = redactor.lease_value("GATEWAY_RELAY_ACCESS_TOKEN", &token);
    let provisioned = order.carry_out(&client, &token).await?;
    Ok((order, provisioned))
}

impl Default for Provisioning {
    fn default() -> Self {
        Self {
            plan: ProvisionPlan::new(Backoff::new(FLOOR, CEILING).expect("the floor is below the ceiling")),
            order: None,
            in_progress: watch::Sender::new(false),
            credentials: BTreeMap::new(),
            logged: None,
            pinned: false,
        }
    }
}

impl Provisioning {
    /// Completes once no attempt is running.
    pub(super) fn settled(&self) -> impl Future<Output = ()> + use<> {
        let mut in_progress = self.in_progress.subscribe();
        async move {
            // The sender is in the actor; without it there is nothing to wait for.
            let _ = in_progress.wait_for(|in_progress| !in_progress).await;
        }
    }

    /// The provisioned credentials, by name; empty without any.
    pub(super) fn credentials(&self) -> BTreeMap<String, SecretString> {
        self.credentials.clone()
    }

    /// The settings were read: they make this request. `pinned`: they have the credentials themselves.
    pub(super) fn wanted(&mut self, order: Option<ProvisionOrder>, pinned: bool) -> Option<ProvisionTask> {
        if pinned && !std::mem::replace(&mut self.pinned, pinned) {
            info!("relay self-provision skipped: id and secret are set");
        }
        let step = self.plan.wanted(order.as_ref().map(ProvisionOrder::fingerprint));
        self.order = order;
        self.task(step)
    }

    /// The wait before the next attempt at the request with this fingerprint is over.
    pub(super) fn due(&mut self, fingerprint: u64) -> Option<ProvisionTask> {
        let step = self.plan.due(fingerprint);
        self.task(step)
    }

    /// The attempt at the request with this fingerprint has ended.
    pub(super) fn ended(&mut self, fingerprint: u64, outcome: Attempted) -> AttemptEnd {
        self.in_progress.send_replace(false);
        match outcome {
            Ok((order, provisioned)) if self.plan.granted(fingerprint) => {
                self.store(&order, provisioned);
                AttemptEnd::Granted
            }
            Ok(_) => AttemptEnd::Outdated,
            Err(reason) => {
                self.log_failure(&reason);
                let step = self.plan.failed(fingerprint, fastrand::f64());
                AttemptEnd::Failed(self.task(step))
            }
        }
    }

    fn task(&mut self, step: ProvisionStep) -> Option<ProvisionTask> {
        match (step, self.order.clone()) {
            (ProvisionStep::Nothing, _) => None,
            (ProvisionStep::Ask, Some(order)) => {
                self.credentials.clear();
                self.in_progress.send_replace(true);
                Some(ProvisionTask::Ask(order))
            }
            (ProvisionStep::AskAfter(wait), Some(order)) => Some(ProvisionTask::AskAfter(order.fingerprint(), wait)),
            (ProvisionStep::Drop, _) | (_, None) => {
                self.credentials.clear();
                self.in_progress.send_replace(false);
                Some(ProvisionTask::Stop)
            }
        }
    }

    fn store(&mut self, order: &ProvisionOrder, Provisioned { granted, platforms }: Provisioned) {
        info!(
            gateway = granted.gateway_id,
            tenant = granted.tenant.as_deref().unwrap_or("?"),
            platforms = platforms.join(","),
            routes = order.route_keys.len(),
            inbound = if order.endpoint.is_some() { "yes" } else { "outbound-only" },
            instance = order.instance_id.as_deref().unwrap_or("unbound"),
            wake = if order.wake_url.is_some() { "yes" } else { "none" },
            "relay self-provisioned"
        );
        let named = |name: &str, value: SecretString| (name.to_owned(), value);
        let pair =
            [named("GATEWAY_RELAY_ID", granted.gateway_id.into()), named("GATEWAY_RELAY_SECRET", granted.secret)];
        let key = granted.delivery_key.map(|key| named("GATEWAY_RELAY_DELIVERY_KEY", key));
        self.credentials = pair.into_iter().chain(key).collect();
        self.logged = None;
    }

    /// Logs each reason once, however many attempts fail with it.
    fn log_failure(&mut self, reason: &NotProvisioned) {
        let text = reason.to_string();
        if self.logged.as_ref() != Some(&text) {
            let none = matches!(reason, NotProvisioned::Identity(_));
            let what = if none { "relay self-provision skipped: no identity" } else { "relay self-provision failed" };
            warn!(reason = text, "{what}; will be tried again");
            self.logged = Some(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use caduceus_contract::wire::provisioning::GatewayGrant;

    fn order(gateway: &str) -> ProvisionOrder {
        let setting = |name| match name {
            "GATEWAY_RELAY_URL" => Some("wss://relay.example"),
            "GATEWAY_RELAY_ID" => Some(gateway),
            _ => None,
        };
        ProvisionOrder::of(&setting, Vec::new()).unwrap()
    }

    fn granted() -> Provisioned {
        let granted = GatewayGrant {
            gateway_id: "gw-1".into(),
            secret: "hunter2".into(),
            delivery_key: None,
            tenant: None,
            route_keys: None,
        };
        Provisioned { granted, platforms: Vec::new() }
    }

    #[test]
    fn provisioned_credentials_are_kept_until_the_settings_have_their_own() {
        let mut provisioning = Provisioning::default();
        let order = order("gw-1");
        assert_eq!(provisioning.wanted(Some(order.clone()), false), Some(ProvisionTask::Ask(order.clone())));
        assert!(provisioning.credentials().is_empty());
        assert_eq!(provisioning.ended(order.fingerprint(), Ok((order.clone(), granted()))), AttemptEnd::Granted);
        assert_eq!(provisioning.wanted(Some(order), false), None, "the file was read again");
        assert_eq!(
            provisioning.credentials().into_keys().collect::<Vec<_>>(),
            ["GATEWAY_RELAY_ID", "GATEWAY_RELAY_SECRET"]
        );
        assert_eq!(provisioning.wanted(None, true), Some(ProvisionTask::Stop));
        assert!(provisioning.credentials().is_empty());
    }

    #[test]
    fn a_failed_attempt_is_followed_by_a_wait_and_by_another_attempt() {
        let mut provisioning = Provisioning::default();
        let order = order("gw-1");
        provisioning.wanted(Some(order.clone()), false);
        let end = provisioning.ended(order.fingerprint(), Err(ProvisionError::NoSecret.into()));
        let AttemptEnd::Failed(Some(ProvisionTask::AskAfter(fingerprint, wait))) = end else { panic!("{end:?}") };
        assert!(wait <= FLOOR, "{wait:?}");
        assert_eq!(provisioning.due(fingerprint), Some(ProvisionTask::Ask(order)));
    }

    #[test]
    fn a_dial_waits_while_an_attempt_runs() {
        let mut provisioning = Provisioning::default();
        assert!(provisioning.settled().now_or_never().is_some());
        let (first, second) = (order("gw-1"), order("gw-2"));
        provisioning.wanted(Some(first), false);
        provisioning.wanted(Some(second.clone()), false);
        assert!(provisioning.settled().now_or_never().is_none());
        provisioning.ended(second.fingerprint(), Err(NoIdentity::NotLoggedIn.into()));
        assert!(provisioning.settled().now_or_never().is_some());
    }
}
