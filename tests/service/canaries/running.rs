//! A gateway with a running turn in every profile, each with its own secrets.

use std::fs;

use serde_json::json;

use super::values::{CanaryValues, GRANTED, NEVER, PASSED, SECRETS};
use crate::support::{SOON, wait_for};
use crate::world::World;

/// The agent of every profile: prints its planted text and two of its secrets, then runs until it is ended. Some reveal more.
const AGENT: &str = r#"#!/bin/sh
read -r document
echo "$1 $CANARY_0 $CANARY_13" >&2
case $HERMES_PROFILE in
loud) env >&2 ;;
encoding)
  env | base64 -w 0 >&2; echo >&2
  for value in "$CANARY_0" "$CANARY_2" "$CANARY_4" "$CANARY_5" "$CANARY_6" "$CANARY_7" "$CANARY_8"; do
    for before in "" x xy; do printf '%s%s' "$before" "$value" | base64 -w 0 | tr +/ -_ >&2; echo >&2; done
    printf %s "$value" | od -An -v -tx1 | tr -d ' \n' >&2; echo >&2
    printf %s "$value" | od -An -v -tx1 | tr -d ' \n' | sed 's/../%&/g' >&2; echo >&2
  done ;;
splitting)
  for value in "$CANARY_1" "$CANARY_5" "$CANARY_7"; do
    tail=${value#?????????}
    printf %s "${value%"$tail"}" >&2; sleep 0.2; printf '%s\n' "$tail" >&2
  done ;;
default) while [ ! -e "$HERMES_HOME/finish" ]; do sleep 0.05; done; echo "$1 is the reply"; exit ;;
crashing) while [ ! -e "$HERMES_HOME/crash" ]; do sleep 0.05; done; printf %s "$CANARY_1" >&2; kill -SEGV $$ ;;
esac
sleep 600 &
echo "$1 has printed all" >&2
wait
"#;

/// Profiles whose agents reveal more, and profiles that crash.
pub(super) const SPECIAL: [&str; 8] =
    ["default", "loud", "encoding", "splitting", "crashing", "panicking", "panicking-turn", GRANTED];

/// A gateway with a running turn in every profile.
pub(super) struct RunningProfiles {
    pub(super) world: World,
    pub(super) profiles: Vec<String>,
    pub(super) values: CanaryValues,
    pub(super) log: &'static str,
}

pub(super) async fn running(count: usize, log: &'static str) -> RunningProfiles {
    let ordinary = (SPECIAL.len()..count).map(|number| format!("p{number}"));
    let mut profiles: Vec<String> = SPECIAL.iter().map(|name| (*name).to_owned()).chain(ordinary).collect();
    let mut values = CanaryValues::of(&profiles);
    // A name is not secret, so this one shows that a place was scanned.
    let named = values.get("planted", "actor").to_owned();
    if count > SPECIAL.len() {
        let last = profiles.pop().expect("there are profiles");
        let own = values.0.remove(&last).expect("the profile has secrets");
        values.0.insert(named.clone(), own);
        profiles.push(named);
    }
    let mut world = World::prepare().await;
    let relay = fs::read_to_string(world.path(".env")).expect("the relay's settings");
    let key = relay.lines().find_map(|line| line.strip_prefix("GATEWAY_RELAY_SECRET=")).expect("the secret is set");
    values.add("deployment", "GATEWAY_RELAY_SECRET", key.to_owned());
    for profile in &profiles {
        match profile.as_str() {
            "default" => world.write(".env", &format!("{relay}{}", values.env_file(profile))),
            name => world.profile(name, &values.env_file(name)),
        }
    }
    write_grant(&world, &values);
    world.write("agent.sh", AGENT);
    let command = json!(["sh", world.path("agent.sh"), values.get("planted", "argument")]);
    let passed = json!([&[PASSED][..], &NEVER[..]].concat());
    world.write("caduceus.yaml", &format!("agent:\n  backend: exec\n  command: {command}\n  env_pass: {passed}\n"));
    for owner in ["deployment", "process", "passed"] {
        for (name, value) in values.0[owner].iter().filter(|(name, _)| *name != "GATEWAY_RELAY_SECRET") {
            world.variable(name, value);
        }
    }
    world.variable("RUST_LOG", "trace");
    world.argument("--log");
    world.argument(log);
    world.serve().await;
    let world = RunningProfiles { world, profiles, values, log };
    world.begin().await;
    world
}

/// A grant with a distant expiry, so that it is not refreshed.
fn write_grant(world: &World, values: &CanaryValues) {
    let block = json!({
        "apiKey": values.get(GRANTED, "HONCHO_API_KEY"),
        "oauth": {
            "refreshToken": values.get("grant", "refreshToken"), "expiresAt": 4_000_000_000_u64, "clientId": "c",
            "tokenEndpoint": "http://127.0.0.1:1/oauth/token",
        },
    });
    let file = json!({"hosts": {format!("hermes_{GRANTED}"): block}});
    world.write(&format!("profiles/{GRANTED}/honcho.json"), &file.to_string());
}

impl RunningProfiles {
    /// Starts a turn in every profile; returns once all of them run.
    async fn begin(&self) {
        for profile in &self.profiles {
            let named = (profile != "default").then_some(profile.as_str());
            let text = format!("{} for {profile}", self.values.get("planted", "chat"));
            self.world.push(&format!("to-{profile}"), &text, &format!("chat-{profile}"), named).await;
        }
        let all = self.profiles.len();
        self.world.until("all turns", |status| status["active_agents"] == all).await;
        wait_for("the output of all agents", SOON, || async {
            let log = self.world.gateway().log();
            let word = self.values.get("planted", "argument");
            let revealed = log.lines().filter(|line| line.contains(word) && line.contains("[redacted:CANARY_0]"));
            // Two agents wait for a file before they end.
            let revealed_all = log.matches("has printed all").count();
            (revealed.count() == all && revealed_all == all - 2).then_some(())
        })
        .await;
        let log = self.world.gateway().log();
        for number in 0..SECRETS {
            let shown = format!("CANARY_{number}=[redacted:CANARY_{number}]");
            assert!(log.contains(&shown), "the whole environment of one agent was logged: {shown}");
        }
    }
}
