//! `caduceus secrets`: generated secrets, their check, the audit of a home.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use super::{CANARY, caduceus, has, home, on, write};

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
