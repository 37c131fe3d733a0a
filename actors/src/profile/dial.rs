//! The parameters of one dial of the relay, from a profile's scope.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::messages::{ConnectParams, Identity, NoConnectParams};
use super::scope::Scope;
use crate::relay::descriptors::is_platform;
use crate::relay::gateway_key::GatewayKey;
use crate::relay::policy::Relevance;
use crate::relay::provision::ProvisionOrder;
use caduceus_contract::json::identifier;
use caduceus_contract::wire::event::RELAY;
use caduceus_contract::wire::token;
use caduceus_contract::wire::url::RelayUrl;

/// Keys the fingerprint of the credentials, so that it means nothing outside this process.
static FINGERPRINT: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Tokens of the same second differ by their time; many of them must not add up to one that is valid for long.
const MAX_AHEAD_S: u64 = 60;

/// The owner of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// The process: the deployment's settings apply, and id and secret may be missing.
    Process,
    /// A named profile: all three settings are in its `.env`, or there is no such link.
    Own,
}

/// A dial at `now_s`, in seconds since 1970.
///
/// # Errors
/// [`NoConnectParams`] if there is no address, or one that cannot be dialled.
pub(super) fn prepare(
    scope: &Scope,
    link: Link,
    relevance: &Relevance,
    now_s: u64,
) -> Result<ConnectParams, NoConnectParams> {
    let setting = |name| link.setting(scope, name);
    let url = setting("GATEWAY_RELAY_URL").ok_or(NoConnectParams::NotSet)?;
    let credentials = setting("GATEWAY_RELAY_ID").zip(setting("GATEWAY_RELAY_SECRET"));
    if link == Link::Own && credentials.is_none() {
        return Err(NoConnectParams::NotSet);
    }
    RelayUrl::new(url).dialable().map_err(|why| NoConnectParams::Undialable(why.to_string()))?;
    let mint = |(id, secret): (&str, &str)| token::mint(id, &SecretString::from(secret), now_s, token::DEFAULT_TTL_S);
    let identities = identities(&setting).0;
    let policy = |identity: &Identity| {
        let platform = &identity.platform;
        let allow_bots = scope.get(&format!("{}_ALLOW_BOTS", platform.to_uppercase()));
        relevance.policy(platform, allow_bots.map(ExposeSecret::expose_secret))
    };
    Ok(ConnectParams {
        url: url.to_owned(),
        token: credentials.map(mint),
        gateway: credentials.map(|(id, _)| GatewayKey::new(url, id)),
        credentials: FINGERPRINT.hash_one((url, credentials)),
        policies: identities.iter().filter_map(policy).collect(),
        identities,
    })
}

/// The issue time of a token minted at `now_s`, in seconds since 1970: never that of the one before it, `last_s`, because the
/// connector may have refused that one; at most [`MAX_AHEAD_S`] ahead.
#[must_use]
pub(super) fn mint_at(now_s: u64, last_s: u64) -> u64 {
    now_s.max(last_s.saturating_add(1)).min(now_s.saturating_add(MAX_AHEAD_S))
}

/// The gateway in the settings, if they make an authenticated link.
#[must_use]
pub(super) fn gateway(scope: &Scope, link: Link) -> Option<GatewayKey> {
    let setting = |name| link.setting(scope, name);
    let url = setting("GATEWAY_RELAY_URL")?;
    let (id, _) = setting("GATEWAY_RELAY_ID").zip(setting("GATEWAY_RELAY_SECRET"))?;
    Some(GatewayKey::new(url, id))
}

/// The keys that verify signed deliveries, the newest first; none if none is set.
#[must_use]
pub(super) fn delivery_keys(scope: &Scope, link: Link) -> Vec<SecretString> {
    let listed = link.setting(scope, "GATEWAY_RELAY_DELIVERY_KEY").unwrap_or_default().split(',');
    listed.map(str::trim).filter(|key| !key.is_empty()).map(SecretString::from).collect()
}

/// The request for credentials of a gateway without any; `None` if it needs none or no connector is set.
#[must_use]
pub(super) fn provision(scope: &Scope) -> Option<ProvisionOrder> {
    let setting = |name| scope.setting(name);
    let pinned = setting("GATEWAY_RELAY_ID").is_some() && setting("GATEWAY_RELAY_SECRET").is_some();
    let dialable = RelayUrl::new(setting("GATEWAY_RELAY_URL")?).dialable().is_ok();
    if pinned || !dialable { None } else { ProvisionOrder::of(&setting, identities(&setting).0) }
}

impl Link {
    fn setting<'a>(self, scope: &'a Scope, name: &str) -> Option<&'a str> {
        match self {
            Self::Process => scope.setting(name),
            Self::Own => scope.own_setting(name),
        }
    }
}

/// The problem in the settings of the process's link, as one sentence.
pub(super) fn setting_problem(scope: &Scope) -> Option<&'static str> {
    identities(&|name| scope.setting(name)).1
}

/// The identities of the gateway: the list, else the single form, else `relay`.
fn identities<'a>(setting: &impl Fn(&'static str) -> Option<&'a str>) -> (Vec<Identity>, Option<&'static str>) {
    const NO_PLATFORM: &str = "a name in GATEWAY_RELAY_PLATFORMS or GATEWAY_RELAY_PLATFORM is not 1 to 64 of a-z, 0-9, `_` and \
                               `-`; it is left out";
    let mut platforms: Vec<String> = Vec::new();
    let mut no_platform = None;
    for platform in setting("GATEWAY_RELAY_PLATFORMS").unwrap_or_default().split(',') {
        let platform = platform.trim().to_lowercase();
        if platform.is_empty() || platforms.contains(&platform) {
            continue;
        }
        if is_platform(&platform) {
            platforms.push(platform);
        } else {
            no_platform = Some(NO_PLATFORM);
        }
    }
    if platforms.is_empty() {
        let platform = setting("GATEWAY_RELAY_PLATFORM").unwrap_or(RELAY).to_lowercase();
        let bot_id = setting("GATEWAY_RELAY_BOT_ID").unwrap_or_default().to_owned();
        if is_platform(&platform) {
            return (vec![Identity { platform, bot_id }], no_platform);
        }
        return (vec![Identity { platform: RELAY.to_owned(), bot_id }], Some(NO_PLATFORM));
    }
    let text = setting("GATEWAY_RELAY_BOT_IDS");
    let read: Option<Map<String, Value>> = text.and_then(|text| serde_json::from_str(text).ok());
    let odd =
        (text.is_some() && read.is_none()).then_some("GATEWAY_RELAY_BOT_IDS is not a JSON object; no bot id is sent");
    let ids = read.unwrap_or_default();
    let bot_id = |platform: &str| {
        let entry = ids.iter().find(|(name, _)| name.to_lowercase() == platform).map(|(_, entry)| entry)?;
        identifier(entry.get("botId")).or_else(|| identifier(Some(entry)))
    };
    let identity = |platform: String| Identity { bot_id: bot_id(&platform).unwrap_or_default(), platform };
    (platforms.into_iter().map(identity).collect(), no_platform.or(odd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::env_file::parse;

    const FULL: &str = "GATEWAY_RELAY_URL=https://relay.example\nGATEWAY_RELAY_ID=gw-1\nGATEWAY_RELAY_SECRET=s3cret\n";

    fn dial(env_file: &str, link: Link) -> Result<ConnectParams, NoConnectParams> {
        prepare(&Scope::new(&parse(env_file), None), link, &Relevance::default(), 1_000)
    }

    fn named_platforms(env_file: &str) -> Vec<(String, String)> {
        let dial = dial(&format!("{FULL}{env_file}"), Link::Process).unwrap();
        dial.identities.into_iter().map(|identity| (identity.platform, identity.bot_id)).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(platform, bot)| ((*platform).to_owned(), (*bot).to_owned())).collect()
    }

    #[test]
    fn a_dial_has_a_token_that_is_valid_for_300_seconds() {
        let token = dial(FULL, Link::Process).unwrap().token.unwrap();
        let secrets = [SecretString::from("s3cret")];
        assert_eq!(token::verify(token.expose_secret(), &secrets, 1_300), Ok("gw-1".to_owned()));
        assert_eq!(token::verify(token.expose_secret(), &secrets, 1_301), Err(token::TokenError::Expired));
    }

    #[test]
    fn tokens_of_one_second_differ_and_are_valid_little_longer() {
        assert_eq!((mint_at(1_000, 0), mint_at(1_000, 1_000), mint_at(1_005, 1_001)), (1_000, 1_001, 1_005));
        assert_eq!(mint_at(1_000, 9_000), 1_000 + MAX_AHEAD_S);
        let token = |now_s| {
            let dial = prepare(&Scope::new(&parse(FULL), None), Link::Process, &Relevance::default(), now_s).unwrap();
            dial.token.unwrap().expose_secret().to_owned()
        };
        assert_ne!(token(mint_at(1_000, 0)), token(mint_at(1_000, 1_000)));
    }

    #[test]
    fn the_gateway_is_named_for_an_authenticated_link() {
        let named = |file: &str, link| gateway(&Scope::new(&parse(file), None), link);
        assert_eq!(named(FULL, Link::Own), Some(GatewayKey::new("wss://relay.example", " GW-1 ")));
        assert_eq!(dial(FULL, Link::Own).unwrap().gateway, named(FULL, Link::Own));
        for name in ["URL", "ID", "SECRET"] {
            let blank = format!("{FULL}GATEWAY_RELAY_{name}= ");
            assert_eq!((named(&blank, Link::Own), named(&blank, Link::Process)), (None, None), "{name}");
        }
    }

    #[test]
    fn an_invalid_platform_name_is_left_out_and_reported() {
        let odd = |file: &str| setting_problem(&Scope::new(&parse(file), None)).is_some();
        assert_eq!(named_platforms("GATEWAY_RELAY_PLATFORMS=discord,two words\n"), pairs(&[("discord", "")]));
        assert_eq!(named_platforms("GATEWAY_RELAY_PLATFORM=ä\n"), pairs(&[("relay", "")]));
        assert!(odd("GATEWAY_RELAY_PLATFORMS=discord,two words") && odd("GATEWAY_RELAY_PLATFORM=ä"));
        assert!(!odd("GATEWAY_RELAY_PLATFORMS=discord"));
    }

    #[test]
    fn without_id_or_secret_the_process_dials_without_a_token_and_a_profile_does_not_dial() {
        let file = "GATEWAY_RELAY_URL=wss://relay.example\nGATEWAY_RELAY_ID=gw-1\nGATEWAY_RELAY_SECRET= ";
        assert!(dial(file, Link::Process).unwrap().token.is_none());
        assert_eq!(dial(file, Link::Own).unwrap_err(), NoConnectParams::NotSet);
        assert!(dial(FULL, Link::Own).unwrap().token.is_some());
    }

    #[test]
    fn a_missing_address_differs_from_an_undialable_one() {
        assert_eq!(dial("GATEWAY_RELAY_URL= ", Link::Process).unwrap_err(), NoConnectParams::NotSet);
        assert!(matches!(dial("GATEWAY_RELAY_URL=relay.example", Link::Process), Err(NoConnectParams::Undialable(_))));
    }

    #[test]
    fn the_fingerprint_changes_with_each_of_the_credentials_only() {
        let of = |file: &str| dial(file, Link::Process).unwrap().credentials;
        assert_eq!(of(FULL), of(&format!("{FULL}OTHER=1")));
        for name in
            ["GATEWAY_RELAY_URL=wss://other", "GATEWAY_RELAY_ID=gw-2", "GATEWAY_RELAY_SECRET=x", "GATEWAY_RELAY_ID="]
        {
            assert_ne!(of(FULL), of(&format!("{FULL}{name}")), "{name}");
        }
    }

    #[test]
    fn a_gateway_without_a_complete_pair_requests_one_and_a_pinned_pair_is_kept() {
        let requested = |file: &str| provision(&Scope::new(&parse(file), None)).map(|order| order.gateway_id);
        assert_eq!(requested(FULL), None);
        assert_eq!(requested(&FULL.replace("SECRET=s3cret", "SECRET=")), Some("gw-1".to_owned()));
        assert!(requested(&FULL.replace("ID=gw-1", "ID=")).is_some_and(|id| id.starts_with("gw-")));
        assert_eq!(requested("GATEWAY_RELAY_URL="), None);
        assert_eq!(requested("GATEWAY_RELAY_URL=relay.example"), None);
    }

    #[test]
    fn delivery_keys_are_a_list_and_a_named_profiles_are_its_own() {
        let keys = |file: &str| {
            let keys = delivery_keys(&Scope::new(&parse(file), None), Link::Own);
            keys.iter().map(|key| key.expose_secret().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(keys("GATEWAY_RELAY_DELIVERY_KEY= new, ,old "), ["new", "old"]);
        assert!(keys("GATEWAY_RELAY_DELIVERY_KEY=,").is_empty());
    }

    #[test]
    fn a_platforms_setting_of_bots_is_read_from_the_profile() {
        let file = format!("{FULL}GATEWAY_RELAY_PLATFORMS=discord,telegram\nDISCORD_ALLOW_BOTS=all");
        let policies = dial(&file, Link::Process).unwrap().policies;
        assert_eq!(policies.iter().map(|policy| policy.platform.as_str()).collect::<Vec<_>>(), ["discord"]);
    }

    #[test]
    fn one_identity_is_named_unless_several_are_listed() {
        assert_eq!(named_platforms(""), pairs(&[("relay", "")]));
        let single = "GATEWAY_RELAY_PLATFORM=Discord\nGATEWAY_RELAY_BOT_ID=7\n";
        assert_eq!(named_platforms(single), pairs(&[("discord", "7")]));
        let several = format!("{single}GATEWAY_RELAY_PLATFORMS=telegram, discord,telegram,\n");
        assert_eq!(named_platforms(&several), pairs(&[("telegram", ""), ("discord", "")]));
        let ids = format!("{several}GATEWAY_RELAY_BOT_IDS={{\"discord\":{{\"botId\":\"9\"}},\"x\":1}}");
        assert_eq!(named_platforms(&ids), pairs(&[("telegram", ""), ("discord", "9")]));
    }

    #[test]
    fn bot_ids_that_are_not_json_are_reported_and_the_platforms_are_still_named() {
        let file = "GATEWAY_RELAY_PLATFORMS=discord\nGATEWAY_RELAY_BOT_IDS=nonsense";
        assert_eq!(named_platforms(file), pairs(&[("discord", "")]));
        assert!(setting_problem(&Scope::new(&parse(file), None)).is_some());
    }
}
