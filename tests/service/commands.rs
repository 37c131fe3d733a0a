//! `caduceus secrets` and `caduceus doctor` on the command line.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use serde_json::{Value, json};

use crate::support::{SOON, as_nobody, binary};
use crate::world::World;

/// Prefix of every value that must not be shown.
const CANARY: &str = "Canary7h2k";

/// How a command ended.
struct Ended {
    code: Option<i32>,
    output: String,
    error: String,
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.output).unwrap_or_else(|error| panic!("{error}: {}{}", self.output, self.error))
    }

    /// The findings above `ok`: level, code.
    fn findings(&self) -> Vec<(String, String)> {
        let report = self.json();
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
        let findings = report["findings"].as_array().unwrap().iter();
        findings
            .map(|finding| (text(finding, "level"), text(finding, "code")))
            .filter(|(level, _)| level != "ok")
            .collect()
    }

    fn assert_shows_no_value(&self) {
        for shown in [&self.output, &self.error] {
            assert!(!shown.contains(CANARY), "a value is shown: {shown}");
        }
    }
}

/// Runs the binary to its end in an environment of its own, with `input` on its standard input.
fn caduceus(arguments: &[&str], input: &[u8], environment: &[(&str, &str)]) -> Ended {
    to_the_end(binary().args(arguments), input, environment)
}

fn to_the_end(command: &mut Command, input: &[u8], environment: &[(&str, &str)]) -> Ended {
    let nowhere = tempfile::tempdir().unwrap();
    let shown = format!("{command:?}");
    let mut child = command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", nowhere.path())
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // Some commands stop reading early, correctly.
    let feeder = thread::spawn(move || drop(stdin.write_all(&input)));
    let id = child.id().to_string();
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    let output = ended.recv_timeout(SOON).unwrap_or_else(|_| {
        let _ = Command::new("kill").args(["-9", &id]).status();
        panic!("{shown} did not end in {SOON:?}")
    });
    let output = output.unwrap();
    feeder.join().unwrap();
    Ended {
        code: output.status.code(),
        output: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

fn on(home: &Path, command: &[&str]) -> Ended {
    caduceus(&[command, &["--home", home.to_str().unwrap()]].concat(), b"", &[])
}

/// A valid home with an agent that echoes.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "config.yaml", "gateway:\n  multiplex_profiles: true\n");
    write(home.path(), "caduceus.yaml", "agent:\n  backend: exec\n  command: ['true']\n  cwd: './${NEEDED}'\n");
    write(home.path(), ".env", format!("NEEDED={CANARY}-needed\n"));
    fs::create_dir(home.path().join(format!("{CANARY}-needed"))).unwrap();
    home
}

fn write(home: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = home.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn has(findings: &[(String, String)], level: &str, code: &str) -> bool {
    findings.iter().any(|finding| *finding == (level.to_owned(), code.to_owned()))
}

#[test]
fn a_generated_secret_passes_the_check_and_no_two_are_alike() {
    let [one, other] = [(); 2].map(|()| caduceus(&["secrets", "generate"], b"", &[]));
    assert_eq!((one.code, one.output.trim_end().len()), (Some(0), 43), "{}", one.error);
    assert_ne!(one.output, other.output);
    let check = caduceus(&["secrets", "check"], one.output.as_bytes(), &[]);
    assert_eq!(check.code, Some(0), "{}", check.output);
    let check = caduceus(&["secrets", "check", "--min-chars", "44"], one.output.as_bytes(), &[]);
    assert_eq!(check.code, Some(1), "{}", check.output);
}

#[test]
fn a_weak_secret_is_refused_with_its_class_and_not_printed() {
    let (distinct, entropy) = (format!("{CANARY}{}", "a".repeat(40)), format!("{CANARY}bcdefgij{}", "x".repeat(30)));
    let short = format!("{CANARY}-short");
    for (secret, class) in
        [(" \n", "empty: "), (short.as_str(), "short: "), (&distinct, "distinct: "), (&entropy, "entropy: ")]
    {
        let check = caduceus(&["secrets", "check"], secret.as_bytes(), &[]);
        assert_eq!(check.code, Some(1), "{class}");
        assert!(check.output.starts_with(class), "{class} {}", check.output);
        check.assert_shows_no_value();
    }
    let check = caduceus(&["secrets", "check"], &vec![b'x'; 8 * 1024 * 1024], &[]);
    assert!(check.code == Some(1) && check.output.starts_with("long: "), "{}", check.output);
    let argument = caduceus(&["secrets", "check", &short], b"", &[]);
    assert_eq!(argument.code, Some(2), "a secret as an argument is refused");
}

#[test]
fn an_audit_lists_the_names_of_each_profile_and_finds_nothing_in_a_valid_home() {
    let home = home();
    write(home.path(), "profiles/work/.env", format!("WORK_KEY={CANARY}-work\nNEEDED={CANARY}-other\nPATH={CANARY}\n"));
    let audit = on(home.path(), &["secrets", "audit", "--json"]);
    assert_eq!((audit.code, audit.findings()), (Some(0), Vec::new()), "{}", audit.output);
    let report = audit.json();
    let work = &report["profiles"][1];
    assert_eq!((&work["name"], &work["holds"]), (&json!("work"), &json!(["NEEDED", "PATH", "WORK_KEY"])));
    assert_eq!(work["kept_from_child"], json!([{"name": "PATH", "why": "global"}]));
    let sees = work["child_sees"].as_array().unwrap();
    for name in ["WORK_KEY", "PATH", "HERMES_HOME", "HERMES_PROFILE", "CADUCEUS_TURN_ID"] {
        assert!(sees.contains(&json!(name)), "{name} in {sees:?}");
    }
    assert!(!sees.contains(&json!("HONCHO_API_KEY")), "{sees:?}");
    audit.assert_shows_no_value();
}

#[test]
fn an_audit_finds_what_is_wrong_with_each_profile_and_shows_no_value() {
    let home = home();
    let env = format!("ONE='{CANARY}-same'\nTWO={CANARY}-own\nA B={CANARY}\n{CANARY}PieceOfAKey={CANARY}\n");
    write(home.path(), "profiles/open/.env", env);
    fs::set_permissions(home.path().join("profiles/open/.env"), fs::Permissions::from_mode(0o644)).unwrap();
    write(home.path(), "profiles/same/.env", format!("NEEDED={CANARY}-same\n"));
    write(home.path(), "profiles/torn/.env", [format!("X={CANARY}").as_bytes(), b"\xff"].concat());
    write(home.path(), "profiles/yaml/caduceus.yaml", format!("agent: [{CANARY}\n"));
    write(
        home.path(),
        "profiles/paste/caduceus.yaml",
        format!("agent: {{backend: openai, base_url: http://127.0.0.1:9, model: m, api_key_env: sk_{CANARY}}}\n"),
    );
    write(home.path(), "profiles/grant/.env", "NEEDED=1\n");
    write(home.path(), "profiles/grant/honcho.json", format!("{{\"hosts\": [{CANARY}"));
    let json = on(home.path(), &["secrets", "audit", "--json"]);
    let text = on(home.path(), &["secrets", "audit"]);
    for audit in [&json, &text] {
        assert_eq!(audit.code, Some(1), "{}", audit.output);
        audit.assert_shows_no_value();
    }
    let findings = json.findings();
    for (level, code) in [
        ("warn", "shared_value"),
        ("warn", "file_mode"),
        ("warn", "impossible_variable"),
        ("warn", "odd_name"),
        ("error", "env_unusable"),
        ("error", "missing_name"),
        ("error", "configuration"),
    ] {
        assert!(has(&findings, level, code), "{code} in {findings:?}");
    }
    assert!(text.output.contains("one value is held by open (ONE), same (NEEDED)"), "{}", text.output);
    assert!(text.output.contains("mode 0644"), "{}", text.output);
}

#[test]
fn an_audit_of_a_profile_alone_counts_the_environment_and_shows_no_value_of_it() {
    let home = home();
    write(home.path(), "config.yaml", "");
    write(home.path(), ".env", "");
    let value = format!("{CANARY}-needed");
    let arguments = ["secrets", "audit", "--json", "--home", home.path().to_str().unwrap()];
    let audit = caduceus(&arguments, b"", &[("NEEDED", &value), ("GATEWAY_RELAY_SECRET", &value)]);
    assert_eq!(audit.code, Some(0), "{}", audit.output);
    let report = audit.json();
    let profile = &report["profiles"][0];
    assert_eq!(profile["from_process"], json!(["NEEDED"]));
    assert!(!profile["child_sees"].as_array().unwrap().contains(&json!("GATEWAY_RELAY_SECRET")));
    audit.assert_shows_no_value();
    let audit = caduceus(&arguments, b"", &[]);
    assert_eq!((audit.code, has(&audit.findings(), "warn", "missing_name")), (Some(1), true), "{}", audit.output);
}

#[test]
fn a_home_that_cannot_be_audited_has_another_exit_code_than_one_with_findings() {
    let audit = on(Path::new("/nowhere/at/all"), &["secrets", "audit"]);
    assert_eq!(audit.code, Some(78), "{}", audit.error);
    let home = home();
    write(home.path(), "config.yaml", format!("gateway: [{CANARY}\n"));
    let audit = on(home.path(), &["secrets", "audit"]);
    assert_eq!((audit.code, audit.output.as_str()), (Some(78), ""));
    assert!(audit.error.contains("config.yaml: line "), "{}", audit.error);
    audit.assert_shows_no_value();
}

#[actix_web::test]
async fn the_doctor_finds_no_error_beside_a_running_gateway_and_does_not_affect_it() {
    let world = World::start().await;
    let doctor = on(world.home(), &["doctor", "--json"]);
    assert_eq!((doctor.code, doctor.findings()), (Some(0), Vec::new()), "{}", doctor.output);
    let text = on(world.home(), &["doctor"]);
    for words in ["a gateway is running", "the ledger is there", "answers", "Nothing to correct."] {
        assert!(text.output.contains(words), "{words} in {}", text.output);
    }
    let secret = fs::read_to_string(world.path(".env")).unwrap();
    let secret = secret.lines().find_map(|line| line.strip_prefix("GATEWAY_RELAY_SECRET=")).unwrap();
    assert!(!text.output.contains(secret) && !doctor.output.contains(secret));
    assert_eq!(world.status().await["relay"][0]["state"], "connected");
    world.push("m1", "still there?", "c1", None).await;
    world.answer("m1").await;
}

#[actix_web::test]
async fn the_doctor_finds_a_connector_that_is_down() {
    let mut world = World::prepare().await;
    let up = on(world.home(), &["doctor", "--json"]);
    assert_eq!((up.code, up.findings()), (Some(0), Vec::new()), "{}", up.output);
    world.connector.signal("KILL");
    world.connector.ended();
    let down = on(world.home(), &["doctor", "--json"]);
    assert_eq!((down.code, down.findings()), (Some(2), vec![("error".to_owned(), "connector".to_owned())]));
}

#[test]
fn the_doctor_requests_a_real_upgrade_from_the_connector_under_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = home();
    let relay = format!(
        "NEEDED=.\nGATEWAY_RELAY_URL=ws://{}/{CANARY}/relay\nGATEWAY_RELAY_ID=gw\nGATEWAY_RELAY_SECRET={CANARY}-secret\n",
        listener.local_addr().unwrap()
    );
    write(home.path(), ".env", relay);
    let answering = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = vec![0; 16 * 1024];
        let mut length = 0;
        while !request[..length].ends_with(b"\r\n\r\n") {
            length += socket.read(&mut request[length..]).unwrap();
        }
        socket.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").unwrap();
        (String::from_utf8(request[..length].to_vec()).unwrap().to_lowercase(), listener)
    });
    let doctor = on(home.path(), &["doctor", "--json"]);
    assert_eq!(doctor.findings(), [("error".to_owned(), "connector".to_owned())], "{}", doctor.output);
    assert!(
        doctor.output.contains("does not accept GATEWAY_RELAY_ID and GATEWAY_RELAY_SECRET (401)"),
        "{}",
        doctor.output
    );
    doctor.assert_shows_no_value();
    let (request, listener) = answering.join().unwrap();
    assert!(request.contains("upgrade: websocket") && request.contains("authorization: bearer"), "{request}");

    // Now the system accepts connections and no process answers them.
    let doctor = on(home.path(), &["doctor", "--json"]);
    assert_eq!(doctor.findings(), [("error".to_owned(), "connector".to_owned())], "{}", doctor.output);
    drop(listener);
    let doctor = on(home.path(), &["doctor", "--json"]);
    assert_eq!((doctor.code, doctor.findings().len()), (Some(2), 1), "{}", doctor.output);
    doctor.assert_shows_no_value();
}

#[actix_web::test]
async fn the_doctor_finds_a_wrong_secret_by_a_real_upgrade_without_superseding_the_gateways_link() {
    let mut world = World::prepare().await;
    let env = fs::read_to_string(world.path(".env")).unwrap();
    let right = on(world.home(), &["doctor"]);
    assert!(right.output.contains("accepts the gateway's credentials"), "{}", right.output);
    world.write(".env", &env.replace("GATEWAY_RELAY_SECRET=", "GATEWAY_RELAY_SECRET=x"));
    let wrong = on(world.home(), &["doctor", "--json"]);
    assert_eq!(wrong.findings(), [("error".to_owned(), "connector".to_owned())], "{}", wrong.output);
    assert!(wrong.output.contains("GATEWAY_RELAY_SECRET"), "{}", wrong.output);
    world.write(".env", &env);
    world.serve().await;
    let generation = world.status().await["relay"][0]["generation"].clone();
    let beside = on(world.home(), &["doctor", "--json"]);
    assert_eq!((beside.code, beside.findings()), (Some(0), Vec::new()), "{}", beside.output);
    world.push("m1", "still there?", "c1", None).await;
    world.answer("m1").await;
    assert_eq!(world.status().await["relay"][0]["generation"], generation, "its link was not superseded");
}

#[test]
fn the_doctor_finds_settings_without_their_intended_effect() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = home();
    let env = format!(
        "NEEDED=.\nGATEWAY_RELAY_SECERT={CANARY}1\nOPEN=\"{CANARY}2\nNOTED={CANARY}3 # mine\nHIDDEN={CANARY}4\u{200b}\n"
    );
    write(home.path(), ".env", env);
    let ours = fs::read_to_string(home.path().join("caduceus.yaml")).unwrap_or_default();
    write(home.path(), "caduceus.yaml", format!("{ours}http: {{bind: '{}'}}\n", taken.local_addr().unwrap()));
    fs::create_dir_all(home.path().join("profiles/work")).unwrap();
    write(home.path(), "config.yaml", "gateway:\n  multiplex_profiles: false\n");
    let alone = on(home.path(), &["doctor", "--json"]);
    for (level, code) in [
        ("warn", "env_unknown_name"),
        ("warn", "env_open_quote"),
        ("warn", "env_comment"),
        ("warn", "env_odd_character"),
        ("warn", "unserved_profiles"),
        ("error", "bind"),
    ] {
        assert!(alone.findings().contains(&(level.to_owned(), code.to_owned())), "{code}: {}", alone.output);
    }
    alone.assert_shows_no_value();
    assert!(alone.output.contains("was GATEWAY_RELAY_SECRET meant?"), "{}", alone.output);
    let audit = on(home.path(), &["secrets", "audit", "--json"]);
    assert!(audit.output.contains("env_open_quote"), "{}", audit.output);
    audit.assert_shows_no_value();

    let routes = "  profile_routes:\n  - {name: r, platform: discord, profile: ghost}\n";
    write(home.path(), "config.yaml", format!("gateway:\n  multiplex_profiles: true\n{routes}"));
    write(home.path(), "caduceus.yaml", format!("{ours}http: {{bind: '0.0.0.0:0'}}\n"));
    let together = on(home.path(), &["doctor", "--json"]);
    for (level, code) in [("warn", "unserved_route"), ("warn", "public_bind")] {
        assert!(together.findings().contains(&(level.to_owned(), code.to_owned())), "{code}: {}", together.output);
    }
}

#[test]
fn a_required_name_with_an_empty_value_is_missing() {
    for blank in ["NEEDED=\n", "NEEDED=''\n", "NEEDED=.\nNEEDED=\n"] {
        let home = home();
        write(home.path(), ".env", blank);
        let findings = on(home.path(), &["doctor", "--json"]).findings();
        assert!(findings.iter().any(|(_, code)| code == "missing_name"), "{blank:?}: {findings:?}");
    }
}

#[test]
fn the_doctor_finds_a_missing_home() {
    for home in ["/nowhere/at/all", "/dev/null"] {
        let doctor = on(Path::new(home), &["doctor", "--json"]);
        assert_eq!((doctor.code, doctor.findings()), (Some(2), vec![("error".to_owned(), "home".to_owned())]));
    }
}

#[test]
fn the_doctor_lists_all_mistakes_of_the_configuration_without_its_values() {
    let home = home();
    write(home.path(), "config.yaml", format!("gateway: [{CANARY}\n"));
    write(home.path(), "caduceus.yaml", format!("turns:\n  max_concurrent: {CANARY}\ndrain:\n  timeout: 5\n"));
    let doctor = on(home.path(), &["doctor", "--json"]);
    assert_eq!(doctor.code, Some(2));
    let mistakes = doctor.findings().iter().filter(|finding| finding.1 == "configuration").count();
    assert_eq!(mistakes, 3, "{}", doctor.output);
    doctor.assert_shows_no_value();
}

#[test]
fn the_doctor_finds_each_fault_and_changes_nothing() {
    let home = home();
    write(home.path(), "caduceus.yaml", "agent:\n  backend: exec\n  command: [no-such-agent]\n");
    write(home.path(), ".env", format!("HERMES_DASHBOARD_DRAIN_SECRET={CANARY}\nGATEWAY_RELAY_URL=relay.{CANARY}\n"));
    write(home.path(), "caduceus.db", "this is no ledger");
    fs::set_permissions(home.path().join("caduceus.db"), fs::Permissions::from_mode(0o644)).unwrap();
    let before = inventory(home.path());
    let (json, text) = (on(home.path(), &["doctor", "--json"]), on(home.path(), &["doctor"]));
    for doctor in [&json, &text] {
        assert_eq!(doctor.code, Some(2), "{}", doctor.output);
        doctor.assert_shows_no_value();
    }
    let findings = json.findings();
    for (level, code) in [
        ("warn", "file_mode"),
        ("error", "ledger"),
        ("error", "agent_command"),
        ("error", "connector"),
        ("error", "drain_secret"),
    ] {
        assert!(has(&findings, level, code), "{code} in {findings:?}");
    }
    assert_eq!(findings.len(), 5, "{findings:?}");
    assert!(json.json()["findings"].as_array().unwrap().iter().all(|finding| {
        finding["level"] == "ok" || finding["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty())
    }));
    assert_eq!(inventory(home.path()), before);
}

#[test]
fn the_doctor_warns_of_a_file_that_others_can_read() {
    let home = home();
    fs::set_permissions(home.path().join(".env"), fs::Permissions::from_mode(0o644)).unwrap();
    let doctor = on(home.path(), &["doctor", "--json"]);
    assert_eq!((doctor.code, doctor.findings()), (Some(1), vec![("warn".to_owned(), "file_mode".to_owned())]));
}

#[test]
fn files_without_permission_for_the_gateways_user_are_found() {
    let home = home();
    fs::set_permissions(home.path().join(".env"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(home.path().join("config.yaml"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(home.path().join("caduceus.yaml"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let run = |command: &[&str]| {
        as_nobody(|binary| to_the_end(binary.args(command).arg("--json").arg("--home").arg(home.path()), b"", &[]))
    };
    let (doctor, audit) = (run(&["doctor"]), run(&["secrets", "audit"]));
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (ended, code, expected) in [(doctor, 2, "home"), (audit, 1, "missing_name")] {
        let findings = ended.findings();
        assert_eq!(ended.code, Some(code), "{}", ended.output);
        assert!(has(&findings, "error", expected) && has(&findings, "error", "env_unusable"), "{findings:?}");
    }
}

/// Names, modes and contents of a home.
fn inventory(home: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let entry = |entry: fs::DirEntry| {
        let mode = entry.metadata().unwrap().permissions().mode();
        let content = if entry.path().is_dir() { Vec::new() } else { fs::read(entry.path()).unwrap() };
        (entry.file_name().into_string().unwrap(), mode, content)
    };
    let mut found: Vec<_> = fs::read_dir(home).unwrap().map(|found| entry(found.unwrap())).collect();
    found.sort();
    found
}
