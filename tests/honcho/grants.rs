//! A user's home with the shared file, the server of its grant, and gateways with homes of their own.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use caduceus_actors::honcho::lock::ConfigLock;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::oauth_server::OauthServer;
use crate::support::{Process, SOON, binary, get, post, wait_for};
use crate::world::World;

/// The id of the user `nobody`.
const UNPRIVILEGED_UID: u32 = 65534;

/// The user's home with `.honcho/config.json` in it, and the server.
pub(crate) struct SharedGrant {
    pub(crate) user: TempDir,
    pub(crate) server: OauthServer,
}

impl SharedGrant {
    /// A grant that expires in this number of seconds.
    pub(crate) fn expiring_in(life_s: i64) -> Self {
        let shared = Self::empty();
        fs::create_dir(shared.user.path().join(".honcho")).unwrap();
        shared.log_in(0, life_s);
        shared
    }

    /// No file at all.
    pub(crate) fn empty() -> Self {
        Self { user: tempfile::tempdir().unwrap(), server: OauthServer::start("hch-rt-0") }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.user.path().join(".honcho/config.json")
    }

    /// Writes the file as a login does, with other entries that must survive.
    pub(crate) fn log_in(&self, number: u32, life_s: i64) {
        let file = json!({"z": 1, "hosts": {"other": {"apiKey": "plain"}, "hermes": {"x": 1,
            "apiKey": format!("hch-at-{number}"), "oauth": {"refreshToken": format!("hch-rt-{number}"),
            "expiresAt": now_s() + life_s, "clientId": "hermes-agent", "tokenEndpoint": self.server.token_endpoint(),
            "scope": "write", "tokenType": "Bearer"}}}, "a": {"ü": null}});
        self.write(&file);
    }

    /// Replaces the file in one step.
    pub(crate) fn write(&self, file: &Value) {
        let temporary = self.path().with_file_name("test.tmp");
        fs::write(&temporary, serde_json::to_string_pretty(file).unwrap()).unwrap();
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(temporary, self.path()).unwrap();
    }

    /// Moves the token's expiry into the past, under the lock.
    pub(crate) fn expire(&self) {
        self.expire_now(None);
    }

    /// The same, without taking the lock.
    pub(crate) fn expire_now(&self, held: Option<&ConfigLock>) {
        let _lock = held.is_none().then(|| ConfigLock::take(&self.path(), SOON).unwrap());
        let mut file = self.json();
        file["hosts"]["hermes"]["oauth"]["expiresAt"] = json!(now_s() - 3600);
        self.write(&file);
    }

    /// The content of the file; it must parse.
    pub(crate) fn json(&self) -> Value {
        json_in(&self.path())
    }

    pub(crate) fn token(&self) -> String {
        self.json()["hosts"]["hermes"]["apiKey"].as_str().expect("a token").to_owned()
    }

    /// Everything in the file but the grant itself.
    pub(crate) fn without_grant(&self) -> Value {
        let mut file = self.json();
        let block = file["hosts"]["hermes"].as_object_mut().expect("a block");
        block["apiKey"].take();
        block["oauth"].take();
        file
    }

    /// As if the last refresh token had been presented a while ago.
    pub(crate) fn expire_last_attempt(&self) {
        let lock = self.path().with_file_name("config.json.lock");
        let mut notes = json_in(&lock);
        let at = notes["presented"]["hermes"]["at_s"].as_i64().expect("the time is recorded");
        notes["presented"]["hermes"]["at_s"] = json!(at - 61);
        fs::write(lock, notes.to_string()).unwrap();
    }

    /// Names in the directory of the file other than the file and its locks.
    pub(crate) fn leftover_files(&self) -> Vec<String> {
        let names = fs::read_dir(self.path().parent().unwrap()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let expected = ["config.json", "config.json.lock", "config.json.login.lock"];
        names.filter(|name| !expected.contains(&name.as_str())).collect()
    }

    /// Makes everything the property of the user that gateways of [`HonchoGateway::start_unprivileged`] run as.
    pub(crate) fn chown_to_unprivileged(&self) {
        chown_to_unprivileged(self.user.path());
    }
}

/// A gateway of the user with the shared file.
pub(crate) struct HonchoGateway {
    pub(crate) process: Process,
    home: TempDir,
    /// The other end of its link, if it has one.
    connector: Option<Process>,
}

/// Writes the token it was given to its `account` file.
const AGENT: &str = "read -r document; echo \"token ${HONCHO_API_KEY:-none}\" >> $HERMES_HOME/account; echo done";

impl HonchoGateway {
    pub(crate) fn start(shared: &SharedGrant, arguments: &[&str]) -> Self {
        let home = empty_home();
        let process = Self::run(&mut binary(), &shared.user, &home, arguments);
        Self { process, home, connector: None }
    }

    /// As an ordinary user, to which permission bits apply; with a link and an agent.
    pub(crate) async fn start_unprivileged(shared: &SharedGrant) -> Self {
        let home = empty_home();
        let connector = Process::start(&["connector", "--bind", "127.0.0.1:0"]);
        let (status, credentials) = post(&format!("{}/dev/gateways", connector.url), &json!({"gatewayId": "gw"})).await;
        assert_eq!(status, 200, "{credentials}");
        let env = format!(
            "GATEWAY_RELAY_URL={}/relay\nGATEWAY_RELAY_ID=gw\nGATEWAY_RELAY_SECRET={}\nGATEWAY_RELAY_PLATFORM=discord\n",
            connector.url,
            credentials["secret"].as_str().unwrap()
        );
        fs::write(home.path().join(".env"), env).unwrap();
        let agent = json!({"agent": {"backend": "exec", "command": ["sh", "-c", AGENT.replace('$', "$$")]}});
        fs::write(home.path().join("caduceus.yaml"), agent.to_string()).unwrap();
        chown_to_unprivileged(home.path());
        let process = crate::support::as_unprivileged_user(|binary| Self::run(binary, &shared.user, &home, &[]));
        Self { process, home, connector: Some(connector) }
    }

    /// Runs a turn over the link; returns the token that its agent was given.
    pub(crate) async fn turn(&self, id: &str) -> String {
        let connector = &self.connector.as_ref().expect("the gateway has a link").url;
        let event = json!({"event": World::message(id, "hello", "c1", None)});
        assert_eq!(post(&format!("{connector}/dev/inbound"), &event).await.0, 202);
        wait_for(&format!("an answer to {id}"), SOON, || async {
            let account = get(&format!("{connector}/dev/account")).await.1;
            (account["events"][id]["answered"].as_u64() == Some(1)).then_some(())
        })
        .await;
        let account = fs::read_to_string(self.home.path().join("account")).expect("the agent has run");
        account
            .lines()
            .last()
            .and_then(|line| line.strip_prefix("token "))
            .expect("the agent wrote its token")
            .to_owned()
    }

    fn run(binary: &mut Command, user: &TempDir, home: &TempDir, arguments: &[&str]) -> Process {
        binary.args(["serve", "--bind", "127.0.0.1:0", "--home"]).arg(home.path());
        Process::spawn(binary.args(arguments).env("HOME", user.path()).env_remove("HERMES_HOME"))
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Its grant, as the status shows it; null without a grant.
    pub(crate) async fn grant(&self) -> Value {
        grant_of(&self.process.url).await
    }

    /// Waits until its grant satisfies `is`.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        until_grant(&self.process.url, what, SOON, is).await
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) -> TempDir {
        self.process.signal("KILL");
        self.process.wait_for_exit();
        self.home
    }
}

/// The grant of the default profile of the gateway at `url`.
pub(crate) async fn grant_of(url: &str) -> Value {
    get(&format!("{url}/api/status")).await.1["honcho"][0].clone()
}

pub(crate) async fn until_grant(url: &str, what: &str, ceiling: Duration, is: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("a grant that is {what}"), ceiling, || async { Some(grant_of(url).await).filter(&is) }).await
}

/// Whether the token is valid and new.
pub(crate) fn is_new(grant: &Value) -> bool {
    grant["state"] == "fresh" && grant["expires_in_s"].as_i64() > Some(3000)
}

pub(crate) fn empty_home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("caduceus.yaml"), "agent:\n  backend: echo\n").unwrap();
    home
}

pub(crate) fn chown_to_unprivileged(path: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            chown_to_unprivileged(&entry.unwrap().path());
        }
    }
    chown(path, Some(UNPRIVILEGED_UID), Some(UNPRIVILEGED_UID)).unwrap();
}

pub(crate) fn json_in(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{} does not parse: {error}", path.display()))
}

pub(crate) fn now_s() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}
