//! `caduceus doctor`: every finding, beside a running gateway and without one; and files that its user cannot read.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;

use super::{CANARY, has, home, on, run_isolated, write};
use crate::support::{as_unprivileged_user, reserved_port};
use crate::world::World;

#[actix_web::test]
async fn the_doctor_finds_no_error_beside_a_running_gateway_and_does_not_affect_it() {
    let world = World::start().await;
    let doctor = on(world.home(), &["doctor", "--json"]);
    assert_eq!((doctor.code, doctor.findings()), (Some(0), Vec::new()), "{}", doctor.output);
    let text = on(world.home(), &["doctor"]);
    for words in ["a gateway is running", "the ledger exists", "answers", "Nothing to correct."] {
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
    world.connector.wait_for_exit();
    let down = on(world.home(), &["doctor", "--json"]);
    assert_eq!((down.code, down.findings()), (Some(2), vec![("error".to_owned(), "connector".to_owned())]));
}

#[test]
fn the_doctor_requests_a_real_upgrade_from_the_connector_under_a_timeout() {
    let listener = TcpListener::bind(("127.0.0.1", reserved_port())).unwrap();
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
        as_unprivileged_user(|binary| {
            run_isolated(binary.args(command).arg("--json").arg("--home").arg(home.path()), b"", &[])
        })
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
