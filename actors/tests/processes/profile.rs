//! What a profile's child process can read, checked from outside.

use std::fs;
use std::path::Path;

use actix::Addr;
use caduceus_actors::profile::ProfileActor;
use caduceus_actors::profile::agent::messages::{SpawnChild, SpawnError, SpawnedChild};
use caduceus_actors::profile::messages::PrepareDial;
use caduceus_actors::turn::id::fresh_turn_id;
use caduceus_contract::messages::profile::{GetProfile, ProfileState, ProfileView, TokenChanged};
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::event::Source;
use caduceus_supervision::Port;
use secrecy::ExposeSecret;

use super::proc::{arguments_of, environment_of, marked};
use super::support::{Fixture, session};
use super::wait::{CEILING, until, until_async};

async fn spawn(fixture: &Fixture, profile: &Addr<ProfileActor>) -> (TurnId, Result<SpawnedChild, SpawnError>) {
    let turn = fresh_turn_id();
    let order = order(fixture, turn);
    (turn, Port::from(profile.clone()).ask(order, CEILING).await.unwrap())
}

fn order(fixture: &Fixture, turn: TurnId) -> SpawnChild {
    SpawnChild { agent: fixture.agent(), turn, session: session(&Source::default()), attempt: 1 }
}

async fn view(profile: &Addr<ProfileActor>) -> ProfileView {
    Port::from(profile.clone()).ask(GetProfile, CEILING).await.unwrap()
}

/// The agent's process, without its guard.
async fn agent(turn: TurnId) -> i32 {
    let mark = format!("CADUCEUS_TURN_ID={turn}");
    let is_agent = |pid: &i32| arguments_of(*pid).starts_with("sleep\0");
    until("the agent", || marked(&mark).into_iter().find(is_agent)).await
}

/// Ends an agent and waits until its guard is gone, and is not a zombie either.
async fn end(child: SpawnedChild) {
    let guard = child.guard.pid();
    drop(child);
    gone(guard.as_raw_nonzero().get()).await;
}

/// Waits until the process is gone, and is not a zombie either.
async fn gone(pid: i32) {
    until("the end of the guard", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())).await;
}

const SLEEP: &str = "agent:\n  backend: exec\n  command: [sleep, '300']\n";

#[actix::test]
async fn children_of_two_profiles_get_their_own_secrets_and_not_each_others() {
    let fixture = Fixture::new(SLEEP);
    let home = fixture.home.path().canonicalize().unwrap();
    let work = home.join("profiles/work");
    fs::create_dir_all(&work).unwrap();
    fs::write(home.join("config.yaml"), "gateway:\n  multiplex_profiles: true\n").unwrap();
    let line = |name: &str, i: usize| format!("{name}_{i}=canary-{name}-{i}-canary\n");
    let canaries = |name| (0..20).map(|i| line(name, i)).collect::<Vec<_>>().concat();
    fs::write(home.join(".env"), format!("{}GATEWAY_RELAY_SECRET=canary-relay\n", canaries("home"))).unwrap();
    fs::write(work.join(".env"), format!("{}PATH=/evil\n", canaries("work"))).unwrap();
    let environment = [
        ("OPENAI_API_KEY", "canary-process"),
        ("HERMES_DASHBOARD_DRAIN_SECRET", "canary-drain"),
        ("HONCHO_OAUTH_CLIENT_ID", "canary-client"),
        ("NOTIFY_SOCKET", "canary-notify"),
        ("TZ", "UTC"),
    ];
    for (name, home, foreign) in [("default", &home, "canary-work"), ("work", &work, "canary-home")] {
        let profile = fixture.profile(name, &environment);
        let (turn, child) = spawn(&fixture, &profile).await;
        let child = child.unwrap();
        let pid = agent(turn).await;
        for process in [pid, child.guard.pid().as_raw_nonzero().get()] {
            let seen = environment_of(process);
            let all = format!("{seen:?} {}", arguments_of(process));
            for canary in [foreign, "canary-process", "canary-drain", "canary-client", "canary-notify", "canary-relay"]
            {
                assert!(!all.contains(canary), "{canary} in a process of {name}");
            }
            assert_eq!(all.matches("-canary").count(), 20, "the scan finds the profile's own secrets");
            assert_eq!(seen["HERMES_HOME"], home.to_str().unwrap());
            assert_eq!(seen["HERMES_PROFILE"], name);
            assert_eq!(seen["CADUCEUS_ATTEMPT"], "1");
            assert_eq!((seen["TZ"].as_str(), seen["PATH"].contains("evil")), ("UTC", false));
        }
        assert_eq!(view(&profile).await.children_started, 1);
        end(child).await;
    }
}

#[actix::test]
async fn a_child_whose_caller_is_gone_leaves_neither_an_agent_nor_a_zombie() {
    let fixture = Fixture::new(SLEEP);
    let profile = fixture.profile("default", &[]);
    let turn = fresh_turn_id();
    let order = order(&fixture, turn);
    let asking = caduceus_supervision::spawn(Port::from(profile).ask(order, CEILING));
    agent(turn).await;
    let processes = marked(&format!("CADUCEUS_TURN_ID={turn}"));
    assert_eq!(processes.len(), 2, "the agent and its guard");
    // The answer is dropped, whether it has arrived or is still on its way.
    asking.abort();
    drop(asking);
    for pid in processes {
        gone(pid).await;
    }
}

#[actix::test]
async fn a_value_just_written_applies_to_the_next_child_and_not_to_a_running_one() {
    let fixture = Fixture::new(SLEEP);
    let profile = fixture.profile("default", &[("KEY", "of the process")]);
    let (first, one) = spawn(&fixture, &profile).await;
    let first = agent(first).await;
    fs::write(fixture.home.path().join(".env"), "KEY=of the file").unwrap();
    let (second, two) = spawn(&fixture, &profile).await;
    assert_eq!(environment_of(agent(second).await)["KEY"], "of the file");
    assert_eq!(environment_of(first)["KEY"], "of the process");
    end(one.unwrap()).await;
    end(two.unwrap()).await;
}

#[actix::test]
async fn a_changed_file_is_read_without_a_request_for_a_child() {
    let fixture = Fixture::new(SLEEP);
    let profile = fixture.profile("default", &[]);
    assert_eq!(view(&profile).await.secrets, 0);
    let next = fixture.home.path().join("next");
    fs::write(&next, "A=1\nB=2").unwrap();
    fs::rename(&next, fixture.home.path().join(".env")).unwrap();
    until_async("the new file to be read", async || (view(&profile).await.secrets == 2).then_some(())).await;
    assert_eq!(fixture.redactor.redact("no value is long enough"), "no value is long enough");
}

#[actix::test]
async fn the_token_of_a_grant_reaches_the_child_and_the_redactor() {
    let fixture = Fixture::new(SLEEP);
    fixture.stub.state().token = Some("hch-at-fresh-token");
    let profile = fixture.profile("default", &[]);
    let (turn, child) = spawn(&fixture, &profile).await;
    assert_eq!(environment_of(agent(turn).await)["HONCHO_API_KEY"], "hch-at-fresh-token");
    assert_eq!(fixture.redactor.redact("a hch-at-fresh-token b"), "a [redacted:HONCHO_API_KEY] b");
    end(child.unwrap()).await;
    Port::from(profile.clone()).ask(TokenChanged { token: None }, CEILING).await.unwrap();
    assert_eq!(fixture.redactor.redact("a hch-at-fresh-token b"), "a hch-at-fresh-token b");
}

#[actix::test]
async fn each_key_of_a_list_and_the_credentials_for_the_identity_provider_are_redacted() {
    let fixture = Fixture::new(SLEEP);
    let text =
        "GATEWAY_RELAY_DELIVERY_KEY=delivery-AAAA, delivery-BBBB\nGATEWAY_RELAY_IDP_CLIENT_SECRET=client-secret-1\n";
    fs::write(fixture.home.path().join(".env"), text).unwrap();
    let profile = fixture.profile("default", &[]);
    // The file has been read by then.
    let (_, child) = spawn(&fixture, &profile).await;
    let [key, secret] = ["[redacted:GATEWAY_RELAY_DELIVERY_KEY]", "[redacted:GATEWAY_RELAY_IDP_CLIENT_SECRET]"];
    for (value, shown) in [("delivery-AAAA", key), ("delivery-BBBB", key), ("client-secret-1", secret)] {
        assert_eq!(fixture.redactor.redact(value), shown);
    }
    end(child.unwrap()).await;
}

#[actix::test]
async fn a_missing_command_degrades_the_profile_until_it_exists() {
    let fixture = Fixture::new("agent:\n  backend: exec\n  command: [./agent.sh]\n");
    let profile = fixture.profile("default", &[]);
    let (_, missing) = spawn(&fixture, &profile).await;
    let Err(SpawnError::CommandNotFound { command, .. }) = missing else { panic!("{missing:?}") };
    assert_eq!(command, "./agent.sh");
    assert_eq!(view(&profile).await.state, ProfileState::Degraded);
    let script = fixture.home.path().join("agent.sh");
    let text = fixture.home.path().join("text");
    fs::write(&text, "#!/bin/sh\nsleep 300\n").unwrap();
    // By a process of its own: what a thread of this one has open for writing while another one starts a process is busy.
    let copied = std::process::Command::new("install").args(["-m", "600"]).args([&text, &script]).status();
    assert!(copied.unwrap().success());
    let (_, forbidden) = spawn(&fixture, &profile).await;
    assert!(matches!(forbidden, Err(SpawnError::CommandNotFound { .. })), "{forbidden:?}");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&script, mode).unwrap();
    let (_, child) = spawn(&fixture, &profile).await;
    end(child.unwrap()).await;
    assert_eq!(view(&profile).await.state, ProfileState::Ready);
}

#[actix::test]
async fn a_missing_working_directory_is_not_reported_as_a_missing_command() {
    let fixture = Fixture::new("agent:\n  backend: exec\n  command: [sleep, '1']\n  cwd: nowhere\n");
    let (_, started) = spawn(&fixture, &fixture.profile("default", &[])).await;
    assert!(started.unwrap_err().to_string().contains("working directory"));
}

#[actix::test]
async fn references_are_resolved_in_the_profiles_own_scope_and_a_missing_one_is_reported() {
    let fixture = Fixture::new("agent:\n  backend: exec\n  command: [sleep, '300']\n  cwd: ${DIR}\n");
    fs::create_dir(fixture.home.path().join("sub")).unwrap();
    let profile = fixture.profile("default", &[]);
    let (_, missing) = spawn(&fixture, &profile).await;
    assert!(missing.unwrap_err().to_string().contains("agent.cwd needs DIR"));
    let seen = view(&profile).await;
    assert_eq!((seen.state, seen.missing), (ProfileState::Degraded, vec!["DIR".to_owned()]));
    fs::write(fixture.home.path().join(".env"), "DIR=sub\n").unwrap();
    let (turn, child) = spawn(&fixture, &profile).await;
    let pid = agent(turn).await;
    assert!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap().ends_with("sub"));
    assert_eq!(view(&profile).await.state, ProfileState::Ready);
    end(child.unwrap()).await;
}

#[actix::test]
async fn a_command_that_refers_to_a_secret_is_not_run_and_degrades_the_profile() {
    let fixture = Fixture::new("agent:\n  backend: exec\n  command: [sleep, '${KEY}']\n");
    fs::write(fixture.home.path().join(".env"), "KEY=canary-key\n").unwrap();
    let profile = fixture.profile("default", &[]);
    for attempt in 0..2 {
        let seen = view(&profile).await;
        assert_eq!((seen.state, seen.troubles.len()), (ProfileState::Degraded, 1), "{:?}", seen.troubles);
        assert!(seen.troubles[0].contains("agent.command refers to KEY,"), "{:?}", seen.troubles);
        assert!(!seen.troubles[0].contains("canary"), "{:?}", seen.troubles);
        let (_, refused) = spawn(&fixture, &profile).await;
        assert!(matches!(refused, Err(SpawnError::CommandNotFound { .. })), "attempt {attempt}: {refused:?}");
    }
}

#[actix::test]
async fn a_file_that_is_not_utf8_leaves_an_empty_scope_and_degrades_the_profile() {
    let fixture = Fixture::new(SLEEP);
    fs::write(fixture.home.path().join(".env"), b"KEY=\xff\xfe").unwrap();
    let profile = fixture.profile("default", &[]);
    let (turn, child) = spawn(&fixture, &profile).await;
    assert!(!environment_of(agent(turn).await).contains_key("KEY"));
    let seen = view(&profile).await;
    assert_eq!(seen.state, ProfileState::Degraded);
    assert!(seen.troubles[0].contains("not UTF-8"), "{:?}", seen.troubles);
    end(child.unwrap()).await;
}

#[actix::test]
async fn the_relay_credentials_of_the_deployment_belong_to_the_default_profile_only() {
    let fixture = Fixture::new(SLEEP);
    let work = fixture.home.path().join("profiles/work");
    fs::create_dir_all(&work).unwrap();
    fs::write(fixture.home.path().join("config.yaml"), "gateway:\n  multiplex_profiles: true\n").unwrap();
    let environment = [
        ("GATEWAY_RELAY_URL", "wss://relay.example"),
        ("GATEWAY_RELAY_ID", "gw"),
        ("GATEWAY_RELAY_SECRET", "s3cret-s3cret"),
    ];
    let dial = async |name| Port::from(fixture.profile(name, &environment)).ask(PrepareDial, CEILING).await.unwrap();
    let ours = dial("default").await.unwrap();
    assert!(!ours.token.unwrap().expose_secret().is_empty());
    assert!(dial("work").await.is_err());
    assert_eq!(fixture.redactor.redact("s3cret-s3cret"), "[redacted:GATEWAY_RELAY_SECRET]");
}
