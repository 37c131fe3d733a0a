//! A complete set-up on loopback: the real connector, the real gateway, a test agent, a temporary home.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::{Process, SOON, binary, client, get, output_of, post, send, wait_for};

/// The default agent of every profile. It keeps its own account: one line for each turn in `$HERMES_HOME/account`, written
/// before it answers. `sleep N` is a long turn, `pid` answers its process id and `sleep`s, any other text is repeated.
const AGENT: &str = r#"#!/bin/sh
read -r document
text=${document#*\"event\":}
text=${text#*\"text\":\"}
text=$(printf '%s\n' "$text" | sed 's/^\(\([^"\\]\|\\.\)*\)".*/\1/')
printf '%s %s %s\n' "$CADUCEUS_TURN_ID" "$CADUCEUS_ATTEMPT" "$text" >> "$HERMES_HOME/account"
case $text in
"sleep "*) sleep "${text#sleep }"; echo "slept ${text#sleep }" ;;
pid) echo $$ > "$HERMES_HOME/pid"; exec sleep 600 ;;
*) echo "$HERMES_PROFILE: $text" ;;
esac
"#;

/// An agent that starts no other process: it keeps the same account, and answers `received` with the text.
pub(crate) const BOOKKEEPER: &str = r#"#!/bin/sh
read -r document || exit 1
text=${document#*\"event\":}
text=${text#*\"text\":\"}
text=${text%%\"*}
printf '%s %s %s\n' "$CADUCEUS_TURN_ID" "$CADUCEUS_ATTEMPT" "$text" >> "$HERMES_HOME/account"
echo "received $text"
"#;

/// Connector, home and gateway. The gateway can be ended and started again on the same home.
pub(crate) struct World {
    pub(crate) connector: Process,
    pub(crate) gateway: Option<Process>,
    home: tempfile::TempDir,
    /// Extra arguments of `serve`.
    arguments: Vec<String>,
    /// Extra variables of its environment.
    environment: Vec<(String, String)>,
    /// Another build of the binary than the one under test.
    program: Option<PathBuf>,
}

impl World {
    /// A world whose gateway is not started yet.
    pub(crate) async fn prepare() -> Self {
        Self::prepare_with(Process::start(&["connector", "--bind", "127.0.0.1:0"])).await
    }

    /// The same with a connector that the test has started.
    pub(crate) async fn prepare_with(connector: Process) -> Self {
        let (status, credentials) =
            post(&format!("{}/dev/gateways", connector.url), &json!({"gatewayId": "world"})).await;
        assert_eq!(status, 200, "{credentials}");
        let home = tempfile::tempdir().expect("a temporary home");
        let agent = home.path().join("agent.sh");
        fs::write(&agent, AGENT).expect("the agent is written");
        let world =
            Self { connector, gateway: None, home, arguments: Vec::new(), environment: Vec::new(), program: None };
        world.write(
            ".env",
            &format!(
                "GATEWAY_RELAY_URL={}/relay\nGATEWAY_RELAY_ID=world\nGATEWAY_RELAY_SECRET={}\nGATEWAY_RELAY_PLATFORMS=discord,telegram\n",
                world.connector.url,
                credentials["secret"].as_str().expect("a secret"),
            ),
        );
        world.write("config.yaml", "gateway:\n  multiplex_profiles: true\n");
        world.configure("");
        world
    }

    /// A world with a gateway whose link is up. Faults are allowed, and drains from loopback.
    pub(crate) async fn start() -> Self {
        let mut world = Self::prepare().await;
        world.serve().await;
        world
    }

    /// Writes `caduceus.yaml`: the agent, and what the test adds.
    pub(crate) fn configure(&self, more: &str) {
        let agent = self.path("agent.sh");
        let text = format!("agent:\n  backend: exec\n  command: [sh, {:?}]\n{more}", agent.display().to_string());
        self.write("caduceus.yaml", &text);
    }

    /// Registers a gateway at the connector; returns a `.env` with its credentials, for a profile with a link of its own.
    pub(crate) async fn link_env(&self, gateway: &str) -> String {
        let url = format!("{}/dev/gateways", self.connector.url);
        let (status, own) = post(&url, &json!({"gatewayId": gateway})).await;
        assert_eq!(status, 200, "{own}");
        let secret = own["secret"].as_str().expect("a secret");
        format!(
            "GATEWAY_RELAY_URL={}/relay\nGATEWAY_RELAY_ID={gateway}\nGATEWAY_RELAY_SECRET={secret}\nGATEWAY_RELAY_PLATFORMS=discord\n",
            self.connector.url
        )
    }

    /// Adds a named profile with its own `.env`.
    pub(crate) fn profile(&self, name: &str, env: &str) {
        fs::create_dir_all(self.path("profiles").join(name)).expect("the profile's directory is made");
        self.write(&format!("profiles/{name}/.env"), env);
    }

    /// Adds a named profile whose agent is this shell script; `more` is appended to its `agent:` block.
    pub(crate) fn script(&self, name: &str, script: &str, more: &str) {
        self.profile(name, "");
        self.write(&format!("profiles/{name}/agent.sh"), script);
        let path = self.path("profiles").join(name).join("agent.sh").display().to_string();
        let agent = format!("agent:\n  backend: exec\n  command: [sh, {path:?}]\n{more}");
        self.write(&format!("profiles/{name}/caduceus.yaml"), &agent);
    }

    /// Every text that the gateway put into a chat, in order, as the connector received them.
    pub(crate) async fn texts(&self, chat: &str) -> Vec<String> {
        let frames = self.outbound().await;
        let actions = frames.iter().map(|kept| &kept["frame"]["action"]);
        let here = actions.filter(|action| action["chat_id"] == chat && action["op"] != "typing");
        here.filter_map(|action| action["content"].as_str().map(str::to_owned)).collect()
    }

    /// Waits until a text in a chat contains `words`; returns the text.
    pub(crate) async fn until_text(&self, chat: &str, words: &str) -> String {
        wait_for(&format!("{words:?} in {chat}"), SOON, || async {
            self.texts(chat).await.into_iter().find(|text| text.contains(words))
        })
        .await
    }

    pub(crate) fn argument(&mut self, argument: &str) {
        self.arguments.push(argument.to_owned());
    }

    /// Sets another build of the binary.
    pub(crate) fn program(&mut self, program: &Path) {
        self.program = Some(program.to_owned());
    }

    pub(crate) fn variable(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts the gateway and waits for its link.
    pub(crate) async fn serve(&mut self) {
        self.serve_unlinked();
        self.until("the link to be up", |status| status["relay"][0]["state"] == "connected").await;
    }

    /// Starts the gateway without a wait for its link.
    pub(crate) fn serve_unlinked(&mut self) {
        let home = self.home.path().display().to_string();
        let mut arguments =
            vec!["serve", "--home", &home, "--bind", "127.0.0.1:0", "--allow-faults", "--insecure-loopback-drain"];
        arguments.extend(self.arguments.iter().map(String::as_str));
        let variables = self.environment.iter().map(|(name, value)| (name, value));
        let mut program = self.program.as_ref().map_or_else(binary, Command::new);
        self.gateway = Some(Process::spawn(program.args(&arguments).envs(variables)));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).expect("the file is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode is set");
    }

    pub(crate) fn gateway(&self) -> &Process {
        self.gateway.as_ref().expect("the gateway runs")
    }

    /// Ends the gateway as `kill -9` does.
    pub(crate) fn kill_gateway(&mut self) {
        self.gateway().signal("KILL");
        self.gateway.take().expect("the gateway runs").wait_for_exit();
    }

    /// Ends the gateway by SIGTERM; returns its exit status.
    pub(crate) fn stop_gateway(&mut self) -> ExitStatus {
        self.gateway().signal("TERM");
        self.gateway.take().expect("the gateway runs").wait_for_exit()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.gateway().url)
    }

    pub(crate) async fn status(&self) -> Value {
        let (code, status) = get(&self.url("/api/status")).await;
        assert_eq!(code, 200, "{status}");
        status
    }

    /// Waits until the status satisfies `is`.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let what = format!("a status with {what}");
        wait_for(&what, SOON, || async {
            let (code, status) = get(&self.url("/api/status")).await;
            (code == 200 && is(&status)).then_some(status)
        })
        .await
    }

    pub(crate) async fn drain(&self, body: Value) -> (u16, Value) {
        post(&self.url("/api/gateway/drain"), &body).await
    }

    pub(crate) async fn ready(&self) -> u16 {
        get(&self.url("/readyz")).await.0
    }

    /// Injects a fault into an actor.
    pub(crate) async fn fault(&self, actor: &str, fault: Value) -> (u16, Value) {
        post(&self.url(&format!("/api/actors/{actor}/fault")), &fault).await
    }

    /// A message of a user, as the platform sends it.
    pub(crate) fn message(id: &str, text: &str, chat: &str, profile: Option<&str>) -> Value {
        json!({
            "text": text, "message_type": "text", "message_id": id,
            "source": {
                "platform": "discord", "chat_id": chat, "chat_type": "channel", "user_id": "u1", "user_name": "Ann",
                "scope_id": "g1", "profile": profile,
            },
        })
    }

    /// Pushes a message through the connector; returns once the connector has accepted it.
    pub(crate) async fn push(&self, id: &str, text: &str, chat: &str, profile: Option<&str>) {
        let body = json!({"event": Self::message(id, text, chat, profile)});
        let (status, pushed) = post(&format!("{}/dev/inbound", self.connector.url), &body).await;
        assert_eq!(status, 202, "{pushed}");
    }

    /// The connector's own account.
    pub(crate) async fn account(&self) -> Value {
        get(&format!("{}/dev/account", self.connector.url)).await.1
    }

    /// Waits for the answers to a message, as the connector received them.
    pub(crate) async fn answer(&self, id: &str) -> Value {
        wait_for(&format!("an answer to {id}"), SOON, || async {
            let account = self.account().await;
            let event = &account["events"][id];
            (event["answered"].as_u64() > Some(0)).then(|| event.clone())
        })
        .await
    }

    /// Every frame that the gateway sent, as recorded by the connector.
    pub(crate) async fn outbound(&self) -> Vec<Value> {
        let stream = format!("{}/dev/outbound?after=0", self.connector.url);
        let answer = client().get(stream).send().await.expect("the connector answers");
        let mut frames = Vec::new();
        let mut lines = String::new();
        let mut body = answer;
        // The stream does not end; a pause means that all recorded frames have arrived.
        while let Ok(Some(Ok(chunk))) = actix_web::rt::time::timeout(Duration::from_millis(200), body.next()).await {
            lines.push_str(&String::from_utf8_lossy(&chunk));
        }
        frames.extend(lines.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok()));
        frames
    }

    /// Waits until the gateway has sent a frame that contains `words`; returns the frame as text.
    pub(crate) async fn until_frame(&self, words: &str) -> String {
        wait_for(&format!("a frame with {words:?}"), SOON, || async {
            self.outbound().await.iter().map(Value::to_string).find(|frame| frame.contains(words))
        })
        .await
    }

    /// The turns that the agent of a profile ran, by its own account: turn, attempt, text.
    pub(crate) fn agent_account(&self, profile: Option<&str>) -> Vec<(String, u32, String)> {
        let home = profile.map_or_else(|| self.home.path().to_owned(), |name| self.path("profiles").join(name));
        let line = |line: String| {
            let mut words = line.splitn(3, ' ');
            let turn = words.next()?.to_owned();
            Some((turn, words.next()?.parse().ok()?, words.next()?.to_owned()))
        };
        ended_lines(&home.join("account")).into_iter().filter_map(line).collect()
    }
}

/// The lines of a file to which agents append, none without it. A line that is not ended yet is left out: a write across two pages
/// of the file is seen in parts.
pub(crate) fn ended_lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}

/// Runs the binary to its end, for a start that is expected to fail.
pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String) {
    run_command(binary().args(arguments))
}

/// Runs a command to its end; returns its exit code and standard error.
pub(crate) fn run_command(command: &mut Command) -> (Option<i32>, String) {
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let output = output_of(child, &format!("{command:?}"), SOON);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Sends a GET request with extra headers.
pub(crate) async fn get_with(url: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let request = headers.iter().fold(client().get(url), |request, header| request.insert_header(*header));
    send(request, String::new()).await
}
