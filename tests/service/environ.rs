//! What a profile's agent can see, looked at from outside: no secret of another profile, of the process or of the deployment, in
//! no environment, argument list, log, answer or file.
//!
//! Every look is made by one scan, which in each place has to find something that is known to be there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::processes::{self, Found};
use crate::support::{SOON, client, wait_for};
use crate::world::World;

/// Secrets of each profile.
const SECRETS: usize = 20;
/// The profiles beside the default one.
const PROFILES: [&str; 2] = ["alpha", "beta"];

/// Writes two of its secrets where they must not be seen, and one word that may be, and stays, with a child.
const AGENT: &str = r#"#!/bin/sh
read -r document
echo "planted-stderr-$HERMES_PROFILE $CANARY_0 $(printf %s "$CANARY_1" | base64)" >&2
sleep 600 &
echo "planted-reply-$HERMES_PROFILE"
sleep 600
"#;

#[actix_web::test]
async fn each_profiles_children_see_only_their_own_secrets() {
    let mut world = World::prepare().await;
    world.write("agent.sh", AGENT);
    let canaries = plant(&mut world);
    world.serve().await;
    let profiles = [None, Some("alpha"), Some("beta")];
    for profile in profiles {
        let name = profile.unwrap_or("default");
        world.say(&format!("to-{name}"), "hello", &format!("chat-{name}"), profile).await;
    }
    for profile in profiles {
        let name = profile.unwrap_or("default");
        let home = home(&world, profile);
        // Guard, shell and the shell's two children.
        let family = wait_for(&format!("the processes of {name}"), SOON, || async {
            Some(processes::of_home(&home)).filter(|found| found.len() >= 4)
        })
        .await;
        for process in &family {
            sees_only_its_own(process, name, &canaries);
        }
        assert!(family.iter().any(|process| process.parent == world.gateway().id()), "the guard is among them");
    }
    nothing_is_told_outside(&world, &canaries).await;
}

/// Every secret of the world by its owner. Owners that are no profile: `process` and `deployment`.
type Canaries = BTreeMap<String, BTreeMap<String, String>>;

fn plant(world: &mut World) -> Canaries {
    let mut canaries = Canaries::new();
    let secret = |name: &str, number: usize| format!("Canary.{name}.{number}/{}", fastrand::u64(..));
    for name in ["default"].into_iter().chain(PROFILES) {
        let own: BTreeMap<_, _> =
            (0..SECRETS).map(|number| (format!("CANARY_{number}"), secret(name, number))).collect();
        let lines: Vec<_> = own.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        let lines = lines.concat();
        if name == "default" {
            let relay = fs::read_to_string(world.path(".env")).expect("the relay's settings");
            let key = relay.lines().find_map(|line| line.strip_prefix("GATEWAY_RELAY_SECRET=")).expect("its secret");
            let deployment = canaries.entry("deployment".to_owned()).or_default();
            deployment.insert("GATEWAY_RELAY_SECRET".to_owned(), key.to_owned());
            world.write(".env", &format!("{relay}{lines}"));
        } else {
            world.profile(name, &lines);
        }
        canaries.insert(name.to_owned(), own);
    }
    let drain = format!("Drain-{:032x}{:032x}-xyzXYZ", fastrand::u128(..), fastrand::u128(..));
    let outer = [
        ("deployment", "HERMES_DASHBOARD_DRAIN_SECRET", drain),
        ("deployment", "HONCHO_OAUTH_CLIENT_SECRET", secret("honcho", 0)),
        ("process", "OPENAI_API_KEY", secret("openai", 0)),
        ("process", "CADUCEUS_PLANTED", secret("own", 0)),
        ("process", "NOTIFY_SOCKET", format!("/nowhere/{}", secret("notify", 0))),
    ];
    for (owner, name, value) in outer {
        world.variable(name, &value);
        canaries.entry(owner.to_owned()).or_default().insert(name.to_owned(), value);
    }
    canaries
}

fn sees_only_its_own(process: &Found, profile: &str, canaries: &Canaries) {
    let shown: Vec<&str> = process.environment.values().map(String::as_str).collect();
    let found = scan(&shown.join("\n"), canaries);
    let expected: BTreeSet<_> = canaries[profile].keys().map(|name| (profile.to_owned(), name.clone())).collect();
    assert_eq!(found, expected, "{profile} sees all of its own secrets and no other's");
    let arguments = scan(&process.arguments.join("\n"), canaries);
    assert!(arguments.is_empty(), "{arguments:?} in the argument list of {}", process.pid);

    let owned = |name: &&str| {
        name.starts_with("CADUCEUS_") || name.starts_with("GATEWAY_RELAY_") || name.starts_with("HONCHO_OAUTH_")
    };
    let told: Vec<&str> = process.environment.keys().map(String::as_str).filter(owned).collect();
    assert_eq!(told, ["CADUCEUS_ATTEMPT", "CADUCEUS_SESSION_KEY", "CADUCEUS_TURN_ID"]);
    for name in ["NOTIFY_SOCKET", "HERMES_DASHBOARD_DRAIN_SECRET", "OPENAI_API_KEY"] {
        assert!(!process.environment.contains_key(name), "{name} is given to {profile}");
    }
    assert_eq!(process.environment["HERMES_PROFILE"], profile);
}

/// Log, answers and files: a word that was planted is found in each, and no secret.
async fn nothing_is_told_outside(world: &World, canaries: &Canaries) {
    let plants: Vec<String> =
        ["default"].into_iter().chain(PROFILES).map(|name| format!("planted-stderr-{name}")).collect();
    let log = wait_for("the agents' words in the log", SOON, || async {
        let log = world.gateway().log();
        plants.iter().all(|plant| log.contains(plant)).then_some(log)
    })
    .await;
    assert_clean("the log", &log, "[redacted:CANARY_0]", canaries);
    assert_clean("the log", &log, "[redacted:CANARY_1]", canaries);

    world.until("the children counted", |status| status["active_agents"] == 3).await;
    for (path, plant) in [("/api/status", "alpha"), ("/api/actors", "profiles/beta"), ("/metrics", "# EOF")] {
        let mut answer = client().get(world.url(path)).send().await.expect("the gateway answers");
        let text = answer.body().limit(1 << 24).await.expect("the answer is whole");
        assert_clean(path, &String::from_utf8_lossy(&text), plant, canaries);
    }
    let (code, refused) = world.drain(json!({"action": "drain"})).await;
    assert_eq!(code, 401, "{refused}");
    assert_clean("the refusal", &refused.to_string(), "unauthenticated", canaries);

    let files = files_below(world.home());
    let texts = files.iter().filter(|path| !path.ends_with(".env"));
    let all: String =
        texts.map(|path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()).collect();
    assert_clean("the files of the home", &all, "chat-beta", canaries);
    let own = scan(&fs::read_to_string(world.path("profiles/alpha/.env")).expect("it is there"), canaries);
    assert_eq!(own.len(), SECRETS, "the scan finds what a file holds");
}

fn assert_clean(place: &str, text: &str, plant: &str, canaries: &Canaries) {
    assert!(text.contains(plant), "{plant} is not in {place}, so the scan of it proves nothing: {text}");
    let found = scan(text, canaries);
    assert!(found.is_empty(), "{found:?} in {place}");
}

/// The secrets that `text` holds, by owner and name: as they are, in base64, in hex or percent-encoded.
fn scan(text: &str, canaries: &Canaries) -> BTreeSet<(String, String)> {
    let all = canaries.iter().flat_map(|(owner, own)| own.iter().map(move |(name, value)| (owner, name, value)));
    let held = all.filter(|(_, _, value)| forms(value).iter().any(|form| text.contains(form.as_str())));
    held.map(|(owner, name, _)| (owner.clone(), name.clone())).collect()
}

fn forms(value: &str) -> [String; 4] {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(value);
    [value.to_owned(), base64, hex::encode(value), value.replace('/', "%2F")]
}

fn home(world: &World, profile: Option<&str>) -> PathBuf {
    profile.map_or_else(|| world.home().to_owned(), |name| world.path("profiles").join(name))
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { vec![entry.path()] })
        .collect()
}
