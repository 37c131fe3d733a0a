//! The golden cases taken from the original: inputs and expected outputs.
//!
//! `$CADUCEUS_VECTORS` names another directory of such cases.

#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]
#![expect(clippy::unwrap_used, reason = "the cases are well-formed, and a test may panic")]

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use caduceus_actors::honcho::grant::Grant;
use caduceus_actors::profile::{env_file, globals, strength};
use caduceus_actors::relay::route::Routes;
use caduceus_contract::files::epoch::Epoch;
use caduceus_contract::files::marker;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::status::lifecycle::{GatewayState, busy, drainable};
use caduceus_contract::wire::descriptor::Descriptor;
use caduceus_contract::wire::event::{InboundEvent, Source};
use caduceus_contract::wire::session::{SessionKey, SessionRules};
use caduceus_contract::wire::url::RelayUrl;
use caduceus_contract::wire::{delivery, interaction, token};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

/// Runs every case of one file through `answer`, where null means a refusal.
fn check(file: &str, answer: impl Fn(&Value) -> Value) {
    #[expect(clippy::disallowed_methods, reason = "names the cases to try, and no secret")]
    let chosen = std::env::var_os("CADUCEUS_VECTORS").map(PathBuf::from);
    let kept = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors");
    let path = chosen.unwrap_or_else(kept).join(file).with_extension("json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(!cases.is_empty(), "{file} holds no case");
    let refused = |case: &Value| case["out"].get("raises").is_some();
    let wrong: Vec<String> = cases
        .iter()
        .map(|case| (case, answer(&case["in"]), if refused(case) { &Value::Null } else { &case["out"] }))
        .filter(|(_, answer, expected)| answer != *expected)
        .map(|(case, answer, expected)| format!("\n{}\n  is {answer}\n  not {expected}", case["in"]))
        .collect();
    // A few cases show what is wrong; a thousand would hide it.
    let shown: String = wrong.iter().take(8).cloned().collect();
    assert!(wrong.is_empty(), "{file}: {} of {} cases differ:{shown}", wrong.len(), cases.len());
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn secrets(value: &Value) -> Vec<SecretString> {
    value.as_array().unwrap().iter().map(|secret| secret.as_str().unwrap().into()).collect()
}

fn profile(name: Option<&str>) -> ProfileName {
    name.filter(|name| !name.is_empty())
        .map_or_else(ProfileName::default_profile, |name| ProfileName::parse(name).unwrap())
}

fn source_of(value: &Value) -> Source {
    InboundEvent::parse(&json!({ "source": value })).unwrap().source
}

/// The fields that the original has, of an event that may have more.
fn event_as_expected(event: &InboundEvent) -> Map<String, Value> {
    let mut wire = serde_json::to_value(event).unwrap();
    wire["source"].as_object_mut().unwrap().remove("user_display_name");
    let key = SessionKey::new(&event.source, &profile(event.source.profile.as_deref()), SessionRules::default());
    wire["session_key"] = key.text().into();
    wire.as_object().unwrap().clone()
}

fn only(mut fields: Map<String, Value>, names: &[&str]) -> Value {
    fields.retain(|name, _| names.contains(&name.as_str()));
    fields.into()
}

#[test]
fn vectors_delivery_signatures() {
    check("delivery_signatures", |case| {
        let header = |name: &str| case[name].as_str();
        let (timestamp, signature) = (header("timestamp"), header("signature"));
        let (skew, now) = (case["max_skew_s"].as_u64().unwrap(), case["now"].as_i64().unwrap());
        let body = text(case, "body").as_bytes();
        delivery::verify(body, timestamp, signature, &secrets(&case["keys"]), skew, now).is_ok().into()
    });
}

#[test]
fn vectors_descriptors() {
    check("descriptors", |case| {
        Descriptor::parse(case).map_or(Value::Null, |descriptor| {
            let mut fields = serde_json::to_value(descriptor).unwrap();
            // A field of Caduceus that the original does not have.
            fields.as_object_mut().unwrap().remove("supported_ops");
            fields
        })
    });
}

#[test]
fn vectors_discord_interactions() {
    check("discord_interactions", |case| {
        let event = interaction::event(case.as_str().unwrap().as_bytes());
        event.map_or(Value::Null, |event| only(event_as_expected(&event), &["session_key", "source"]))
    });
}

#[test]
fn vectors_drain_markers() {
    check("drain_markers", |case| {
        let content = text(case, "content_base64");
        let bytes = match content {
            "deep" => vec![b'['; 100_000],
            _ => BASE64_STANDARD.decode(content).unwrap(),
        };
        let reading = marker::read(&bytes, Epoch::from_text(text(case, "epoch_now")).as_ref());
        json!({"draining": reading.draining, "suppressed": reading.suppressed})
    });
}

#[test]
fn vectors_env_files() {
    check("env_files", |case| {
        let file = env_file::parse(case.as_str().unwrap());
        file.iter().map(|(name, value)| (name.to_owned(), Value::from(value.expose_secret()))).collect()
    });
}

#[test]
fn vectors_global_names() {
    check("global_names", |case| globals::is_global(case.as_str().unwrap()).into());
}

#[test]
fn vectors_honcho_blocks() {
    check("honcho_blocks", |case| {
        Grant::from_block(&case["block"]).map_or(Value::Null, |grant| {
            json!({
                "access_token": grant.access_token.expose_secret(),
                "expired": grant.is_expired(case["now"].as_i64().unwrap() * 1_000),
                "oauth_block": *grant.oauth_block(),
            })
        })
    });
}

#[test]
fn vectors_inbound_events() {
    let names = ["channel_context", "media_urls", "message_id", "message_type", "session_key", "source", "text"];
    check("inbound_events", |case| {
        InboundEvent::parse(case).map_or(Value::Null, |event| only(event_as_expected(&event), &names))
    });
}

#[test]
fn vectors_profile_routes() {
    check("profile_routes", |case| {
        let (routes, _) = Routes::parse(&case["routes"]);
        let query = &case["query"];
        let id = |name: &str| query[name].as_str().map(str::to_owned);
        let source = Source {
            platform: text(query, "platform").into(),
            scope_id: id("guild_id"),
            chat_id: text(query, "chat_id").into(),
            parent_chat_id: id("parent_chat_id"),
            thread_id: id("thread_id"),
            ..Source::default()
        };
        routes.find(&source).map(|route| route.name.clone()).into()
    });
}

#[test]
fn vectors_relay_urls() {
    check("relay_urls", |case| {
        let url = RelayUrl::new(case.as_str().unwrap());
        json!({"dial": url.dial(), "enroll_base": url.enroll_base(), "provision": url.provision()})
    });
}

#[test]
fn vectors_secret_strength() {
    check("secret_strength", |case| {
        let min_chars = case["min_chars"].as_u64().unwrap().try_into().unwrap();
        strength::assess(text(case, "secret"), min_chars).map_or_else(strength::Weakness::word, |()| "ok").into()
    });
}

#[test]
fn vectors_session_keys() {
    check("session_keys", |case| {
        let rules = SessionRules {
            group_sessions_per_user: case["group_sessions_per_user"].as_bool().unwrap(),
            thread_sessions_per_user: case["thread_sessions_per_user"].as_bool().unwrap(),
        };
        let profile = profile(case["profile"].as_str());
        SessionKey::new(&source_of(&case["source"]), &profile, rules).text().into()
    });
}

#[test]
fn vectors_status_words() {
    check("status_words", |case| {
        let state = case["state"].as_str().and_then(GatewayState::from_name);
        let alive = case["running"].as_bool().unwrap();
        // The original reads an invalid count as none.
        let text = || case["active_agents"].as_str().and_then(|text| text.parse().ok());
        let active = case["active_agents"].as_u64().or_else(text).unwrap_or(0);
        json!({"busy": busy(state, alive, active), "drainable": drainable(state, alive)})
    });
}

#[test]
fn vectors_upgrade_tokens() {
    check("upgrade_tokens", |case| {
        let number = |name: &str| case[name].as_u64().unwrap();
        let secret = SecretString::from(text(case, "secret"));
        let minted = token::mint(text(case, "gateway_id"), &secret, number("now"), number("ttl_s"));
        minted.expose_secret().into()
    });
}

#[test]
fn vectors_verify_tokens() {
    check("verify_tokens", |case| {
        let now = case["now"].as_u64().unwrap();
        token::verify(text(case, "token"), &secrets(&case["secrets"]), now).ok().into()
    });
}
