//! What leaves a profile, checked from outside: fifty profiles with twenty secrets each, all running at once, everything logged,
//! agents that reveal secrets, agents and actors that crash.
//!
//! One scan covers every place, and in each it has to find a planted text that was written there.

mod running;
mod scan;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use rustix::process::geteuid;
use serde_json::json;

use crate::processes::{self, FoundProcess};
use crate::support::{SOON, client, post, wait_for};
use crate::world::World;
use running::{RunningProfiles, SPECIAL, running};
use scan::Scanner;
use values::{NEVER, SECRETS};

#[actix_web::test]
async fn fifty_running_profiles_reveal_no_secret() {
    let world = running(50, "text").await;
    world.children_have_only_their_own_secrets();
    world.the_gateways_environment_and_arguments_hold_none();
    world.crash().await;
    world.nothing_sent_outside_holds_a_secret().await;
}

/// A format that escapes quotes and non-ASCII letters has to be clean, too.
#[actix_web::test]
async fn a_log_in_json_reveals_no_secret() {
    let world = running(SPECIAL.len(), "json").await;
    world.crash().await;
    world.nothing_sent_outside_holds_a_secret().await;
}

/// The agent keeps the secrets it was started with, and the log redacts them for as long.
#[actix_web::test]
async fn removed_secrets_are_redacted_while_an_agent_that_has_them_runs() {
    let mut world = World::prepare().await;
    world.write(
        "agent.sh",
        "#!/bin/sh\necho \"begun $CANARY\" >&2\nread -r word < $HERMES_HOME/pipe\necho \"$word $CANARY\" >&2\n",
    );
    world.profile("rotating", "CANARY=the-first-value");
    let pipe = world.path("profiles/rotating/pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    world.serve().await;
    let logged = async |what: &str| {
        wait_for(what, SOON, || async { world.gateway().log().contains(what).then_some(()) }).await;
    };
    world.push("first", "hello", "one chat", Some("rotating")).await;
    logged("begun [redacted:CANARY]").await;
    world.write("profiles/rotating/.env", "CANARY=the-next-value\nANOTHER=x");
    logged(".env read again profile=rotating names=2").await;
    fs::write(&pipe, "still here:\n").expect("the agent gets its line");
    logged("still here: [redacted:CANARY]").await;
    assert!(!world.gateway().log().contains("the-first-value"));
}

impl RunningProfiles {
    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.world.path(name)).expect("the file exists")
    }

    fn scanner(&self) -> Scanner<'_> {
        Scanner::of(&self.values)
    }

    fn home(&self, profile: &str) -> PathBuf {
        if profile == "default" { self.world.home().to_owned() } else { self.world.path("profiles").join(profile) }
    }

    /// Environment and arguments of every guard, agent and their descendants.
    fn children_have_only_their_own_secrets(&self) {
        let scanner = self.scanner();
        let mut families: BTreeMap<PathBuf, Vec<FoundProcess>> = BTreeMap::new();
        for process in processes::below_home(self.world.home()) {
            families.entry(PathBuf::from(&process.environment["HERMES_HOME"])).or_default().push(process);
        }
        for profile in &self.profiles {
            let home = self.home(profile).canonicalize().expect("the home exists");
            let family = families.remove(&home).unwrap_or_default();
            let gateway = self.world.gateway().id();
            // The processes of the shell start and end all the time.
            assert!(family.len() >= 2, "guard and shell of {profile}: {family:?}");
            assert!(family.iter().any(|process| process.parent == gateway), "the guard of {profile} is included");
            for process in &family {
                self.has_its_own_secrets(process, profile, &scanner);
            }
        }
        assert!(families.is_empty(), "processes of no profile: {families:?}");
    }

    fn has_its_own_secrets(&self, process: &FoundProcess, profile: &str, scanner: &Scanner<'_>) {
        let environment = &process.environment;
        for owner in [profile, "passed"] {
            for (name, value) in &self.values.0[owner] {
                assert_eq!(environment.get(name), Some(value), "{name} of {owner} in {profile}, byte for byte");
            }
        }
        let shown: Vec<String> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        scanner.must_hold_none(
            &format!("the environment of {profile}"),
            shown.join("\n").as_bytes(),
            &[profile, "passed"],
        );
        let arguments = process.arguments.join(" ");
        if process.arguments.iter().any(|argument| argument == "sleep") {
            scanner.must_hold_none(&format!("the arguments of {profile}"), arguments.as_bytes(), &[]);
        } else {
            scanner.must_be_clean(&format!("the arguments of {profile}"), arguments.as_bytes(), "argument", &[]);
        }
        let deployment = |name: &&str| {
            ["CADUCEUS_", "GATEWAY_RELAY_", "HONCHO_OAUTH_"].iter().any(|family| name.starts_with(family))
        };
        let given: Vec<&str> = environment.keys().map(String::as_str).filter(deployment).collect();
        assert_eq!(given, ["CADUCEUS_ATTEMPT", "CADUCEUS_SESSION_KEY", "CADUCEUS_TURN_ID"], "of {profile}");
        for name in NEVER.iter().chain(&["OPENAI_API_KEY"]) {
            assert!(!environment.contains_key(*name), "{name} is given to {profile}");
        }
        assert_eq!(environment["HERMES_PROFILE"], profile);
        let canaries = environment.keys().filter(|name| name.starts_with("CANARY_")).count();
        assert_eq!(canaries, SECRETS, "of {profile}");
    }

    /// The gateway's own environment and arguments.
    fn the_gateways_environment_and_arguments_hold_none(&self) {
        let scanner = self.scanner();
        let read = |name: &str| fs::read(format!("/proc/{}/{name}", self.world.gateway().id()));
        let arguments = read("cmdline").expect("the arguments are readable");
        assert!(String::from_utf8_lossy(&arguments).contains("--allow-faults"), "the arguments were read");
        scanner.must_hold_none("the gateway's arguments", &arguments, &[]);
        // The process is not dumpable, so only root can read the rest; its own user cannot.
        match read("environ") {
            Ok(environment) => {
                assert!(geteuid().is_root(), "the environment of a process that is not dumpable is root's to read");
                let found = scanner.find(&environment);
                assert!(found.contains(&("process", "OPENAI_API_KEY")), "the environment was read: {found:?}");
                let started_with = ["deployment", "process", "passed"];
                scanner.must_hold_none("the gateway's environment", &environment, &started_with);
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
        }
    }

    /// One agent answers and ends, one crashes, an actor that holds the secrets panics, a turn panics.
    async fn crash(&self) {
        fs::write(self.world.path("finish"), "").expect("the agent is released");
        self.world.answer("to-default").await;
        fs::write(self.world.path("profiles/crashing/crash"), "").expect("the agent is made to crash");
        let turn = processes::of_home(&self.world.path("profiles/panicking-turn"))
            .into_iter()
            .find_map(|process| process.environment.get("CADUCEUS_TURN_ID").cloned())
            .expect("the turn runs");
        for (actor, fault) in
            [("profiles/panicking".to_owned(), "panic_in_timer"), (format!("turns/{turn}"), "panic_in_timer")]
        {
            let (code, answer) = self.world.fault(&actor, json!({"fault": fault})).await;
            assert_eq!(code, 200, "{actor}: {answer}");
        }
        let left = self.profiles.len() - 3;
        self.world.until("the end of three turns", |status| status["active_agents"] == left).await;
        wait_for("the panics in the log", SOON, || async {
            let log = self.world.gateway().log();
            let panicked =
                |actor: &str| log.lines().any(|line| line.contains("actor panicked") && line.contains(actor));
            (panicked("profiles/panicking") && panicked(&turn)).then_some(())
        })
        .await;
        wait_for("a notice in both chats", SOON, || async {
            let frames = self.world.outbound().await;
            let has_notice = |chat: &str, words: &str| {
                let to_chat = |frame: &&serde_json::Value| frame["frame"]["action"]["chat_id"] == chat;
                frames.iter().filter(to_chat).any(|frame| frame.to_string().contains(words))
            };
            // 128 and the number of the signal.
            (has_notice("chat-crashing", "exit code 139") && has_notice("chat-panicking-turn", "was not answered"))
                .then_some(())
        })
        .await;
    }

    /// Log, answers, frames, files.
    async fn nothing_sent_outside_holds_a_secret(&self) {
        let scanner = self.scanner();
        let world = &self.world;
        // An authorized order, so that a good token was processed as well; then a bad one.
        let drain = world.url("/api/gateway/drain");
        let ask =
            |token: String| client().get(drain.clone()).insert_header(("Authorization", format!("Bearer {token}")));
        let good = ask(self.values.get("deployment", "HERMES_DASHBOARD_DRAIN_SECRET").to_owned());
        assert_eq!(good.send().await.expect("an answer").status(), 200);
        let mut refused = ask(self.values.get("caller", "bearer").to_owned()).send().await.expect("an answer");
        assert_eq!(refused.status(), 401);
        scanner.must_hold_none("the refusal", &refused.body().await.expect("the body is complete"), &[]);

        let path = self.values.get("planted", "path");
        let restart = world.url(&format!("/api/actors/{path}/restart"));
        let (code, refused) = post(&restart, &json!({})).await;
        assert_eq!(code, 401, "{refused}");
        for (code, url, body) in [
            (404, world.url(&format!("/{path}")), "{}"),
            (404, world.url(&format!("/api/actors/{path}/fault")), r#"{"fault": "panic_in_timer"}"#),
            (400, world.url("/api/actors/profiles/loud/fault"), r#"{"fault": "#),
            (400, world.url("/api/actors/profiles/loud/fault"), r#"{"fault": "none such"}"#),
        ] {
            let mut answer = client().post(url.as_str()).send_body(body).await.expect("an answer");
            let text = answer.body().await.expect("the body is complete");
            assert_eq!(answer.status().as_u16(), code, "{url}: {}", String::from_utf8_lossy(&text));
            scanner.must_hold_none(&url, &text, &[]);
        }

        let get = async |path: &str| {
            let mut answer = client().get(world.url(path)).send().await.expect("an answer");
            answer.body().limit(1 << 26).await.expect("the body is complete")
        };
        let named = self.profiles.len() > SPECIAL.len();
        for path in ["/api/status", "/api/actors"] {
            let text = get(path).await;
            if named {
                scanner.must_be_clean(path, &text, "actor", &[]);
            } else {
                assert!(String::from_utf8_lossy(&text).contains("panicking-turn"), "{path} names the profiles");
                scanner.must_hold_none(path, &text, &[]);
            }
        }
        // No planted text can be in these two, so their own content shows that they were read.
        let count = format!("caduceus_profiles {}", self.profiles.len());
        for (path, text_of_it) in [("/metrics", count.as_str()), ("/", "<title>"), ("/readyz", "ready")] {
            let text = get(path).await;
            assert!(String::from_utf8_lossy(&text).contains(text_of_it), "{path}: {}", String::from_utf8_lossy(&text));
            scanner.must_hold_none(path, &text, &[]);
        }

        let frames: Vec<String> = world.outbound().await.iter().map(ToString::to_string).collect();
        scanner.must_be_clean("the messages in the chats", frames.concat().as_bytes(), "argument", &[]);
        self.files_hold_none(&scanner).await;
        let log = world.gateway().log();
        println!("{} log of {} bytes", self.log, log.len());
        for plant in ["argument", "path"] {
            scanner.must_be_clean("the log", log.as_bytes(), plant, &[]);
        }
    }

    async fn files_hold_none(&self, scanner: &Scanner<'_>) {
        let audit = wait_for("the refusals in the audit", SOON, || async {
            let files = files_below(&self.world.path("logs"));
            let all: Vec<u8> = files.iter().flat_map(|file| fs::read(file).unwrap_or_default()).collect();
            scanner.find(&all).contains(&("planted", "path")).then_some(all)
        })
        .await;
        scanner.must_be_clean("the logs of the home", &audit, "path", &[]);
        scanner.must_be_clean("the log ahead of the ledger", &self.read("caduceus/ledger.db-wal"), "chat", &[]);
        // The write-ahead log may not be in the ledger file yet.
        let ledger = Connection::open(self.world.path("caduceus/ledger.db")).expect("the file exists");
        ledger
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
            .expect("the write-ahead log is checkpointed");
        scanner.must_be_clean("the ledger", &self.read("caduceus/ledger.db"), "chat", &[]);
        // An index of page numbers, which holds no text.
        let index = self.read("caduceus/ledger.db-shm");
        assert_eq!(index[..4], 3_007_000_u32.to_ne_bytes(), "the index was read");
        scanner.must_hold_none("caduceus/ledger.db-shm", &index, &[]);
        let (secret, public): (Vec<PathBuf>, Vec<PathBuf>) = files_below(self.world.home())
            .into_iter()
            .partition(|file| file.ends_with(".env") || file.ends_with("honcho.json"));
        assert_eq!(secret.len(), self.profiles.len() + 1, "the files that hold secrets");
        let bytes: Vec<u8> = secret.iter().flat_map(|file| fs::read(file).expect("the file exists")).collect();
        let everywhere =
            scanner.find(&bytes).into_iter().filter(|(owner, _)| self.profiles.iter().any(|one| one == owner));
        assert_eq!(
            everywhere.count(),
            self.profiles.len() * SECRETS + 1,
            "the scan finds every secret in its own file"
        );
        for file in &public {
            scanner.must_hold_none(&file.display().to_string(), &fs::read(file).unwrap_or_default(), &[]);
        }
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { vec![entry.path()] })
        .collect()
}
