//! The files under `deploy/` name only what exists: flags, files, keys, exit codes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use caduceus_actors::settings::{Environment, Settings};
use serde_json::Value;

const UNITS: [&str; 2] = ["deploy/systemd/caduceus.service", "deploy/systemd/user/caduceus.service"];
/// Time of a shutdown in addition to the wait for turns.
const SHUTDOWN_MARGIN: Duration = Duration::from_mins(1);

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> String {
    fs::read_to_string(top().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn caduceus(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_caduceus")).args(arguments).output().unwrap()
}

/// The value of a setting in a unit.
fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("the unit sets {key}"))
}

/// The words of every command line: those of the units, and of the container file.
fn command_lines() -> Vec<Vec<String>> {
    let units = UNITS.map(|name| value(&text(name), "ExecStart").split(' ').map(str::to_owned).collect());
    let container = text("deploy/Containerfile");
    let json = |key: &str| -> Vec<String> {
        let line = container.lines().find_map(|line| Some(line.split_once(&format!("{key} ["))?.1)).unwrap();
        serde_json::from_str(&format!("[{line}")).unwrap()
    };
    let last_cmd = container.lines().rfind(|line| line.starts_with("CMD ")).unwrap();
    let arguments: Vec<String> = serde_json::from_str(last_cmd.trim_start_matches("CMD ")).unwrap();
    let health = json("s CMD");
    let serve = [json("ENTRYPOINT"), arguments].concat();
    units.into_iter().chain([serve, health]).collect()
}

#[test]
fn every_command_and_flag_that_a_deployment_names_exists() {
    let lines = command_lines();
    for line in &lines {
        let (program, command) = (&line[0], &line[1]);
        assert!(matches!(program.rsplit('/').next(), Some("hermes-gateway" | "caduceus")), "{line:?}");
        let help = caduceus(&[command, "--help"]);
        assert!(help.status.success(), "{line:?}");
        let help = String::from_utf8(help.stdout).unwrap();
        let existing: BTreeSet<&str> = help.split(|c: char| !c.is_alphanumeric() && c != '-').collect();
        for flag in line.iter().filter(|word| word.starts_with("--")) {
            assert!(existing.contains(flag.as_str()), "{flag} of {line:?}");
        }
    }
    let flags = lines.iter().flatten().filter(|word| word.starts_with("--")).count();
    assert!(flags >= 6, "flags are found: {lines:?}");
    assert!(text("deploy/Containerfile").contains("ln -s caduceus /usr/local/bin/hermes-gateway"));
}

/// The exit codes of the table, and whether a restart helps.
fn documented_codes() -> Vec<(u8, bool)> {
    let page = text("docs/operating.md");
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        // The table of `serve` has a third column.
        let [code, _, restart] = cells.as_slice() else { return None };
        Some((code.parse().ok()?, restart.starts_with("yes")))
    });
    rows.collect()
}

#[test]
fn the_units_restart_after_the_exit_codes_for_which_the_manual_recommends_it() {
    let codes = documented_codes();
    assert!(codes.contains(&(70, true)) && codes.contains(&(75, true)), "{codes:?}");
    // A successful exit is not restarted in any case.
    let hopeless: BTreeSet<u8> =
        codes.iter().filter(|(code, restart)| *code != 0 && !restart).map(|row| row.0).collect();
    for name in UNITS {
        let unit = text(name);
        let listed = value(&unit, "RestartPreventExitStatus").split(' ').map(|code| code.parse().unwrap());
        assert_eq!(listed.collect::<BTreeSet<u8>>(), hopeless, "{name}");
        assert_eq!(value(&unit, "Restart"), "on-failure");
        assert_eq!(value(&unit, "Type"), "notify");
    }
}

/// A home made from the example.
fn example() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::copy(top().join("deploy/example/caduceus.yaml"), home.path().join("caduceus.yaml")).unwrap();
    let env = home.path().join(".env");
    // With every line that the example proposes.
    fs::write(&env, text("deploy/example/env").replace("#GATEWAY_RELAY_P", "GATEWAY_RELAY_P")).unwrap();
    fs::set_permissions(&env, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    home
}

#[test]
fn the_doctor_finds_no_error_in_the_example() {
    let home = example();
    let run = Command::new(env!("CARGO_BIN_EXE_caduceus"))
        .args(["doctor", "--json", "--home"])
        .arg(home.path())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    let errors: Vec<_> =
        report["findings"].as_array().unwrap().iter().filter(|found| found["level"] == "error").collect();
    assert!(errors.is_empty(), "{errors:?}");
    fs::write(home.path().join("caduceus.yaml"), text("deploy/example/caduceus.yaml").replace("timeout_s", "timout_s"))
        .unwrap();
    assert_eq!(
        caduceus(&["doctor", "--home", home.path().to_str().unwrap()]).status.code(),
        Some(2),
        "the doctor runs its checks"
    );
}

#[test]
fn every_name_in_the_example_environment_is_documented() {
    let page = text("docs/configuration.md");
    let env = text("deploy/example/env");
    let names: Vec<&str> =
        env.lines().filter_map(|line| Some(line.trim_start_matches('#').split_once('=')?.0)).collect();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        assert!(page.contains(name), "{name}");
    }
}

#[test]
fn the_stop_timeout_covers_a_whole_drain() {
    let home = example();
    let settings = Settings::load(home.path(), Environment::default()).unwrap();
    for name in UNITS {
        let unit = text(name);
        let seconds = |key| Duration::from_secs(value(&unit, key).parse().unwrap());
        assert_eq!(seconds("TimeoutStopSec"), settings.values.drain.timeout + SHUTDOWN_MARGIN, "{name}");
        assert!(seconds("WatchdogSec") > Duration::from_secs(15), "{name}: the gateway's own watchdog fires first");
    }
    assert!(text("deploy/Containerfile").contains("--stop-timeout 240"));
}

#[test]
fn a_reload_of_either_unit_sends_sighup() {
    for name in UNITS {
        assert_eq!(value(&text(name), "ExecReload"), "/bin/kill -HUP $MAINPID", "{name}");
    }
}

#[test]
fn systemd_accepts_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("hermes-gateway");
    symlink(env!("CARGO_BIN_EXE_caduceus"), &link).unwrap();
    for (name, scope) in UNITS.into_iter().zip(["--system", "--user"]) {
        let unit = text(name);
        let program = value(&unit, "ExecStart").split(' ').next().unwrap();
        let place = folder.path().join("caduceus.service");
        let verify = |text: String| {
            fs::write(&place, text).unwrap();
            let mut command = Command::new("systemd-analyze");
            command.args(["verify", "--man=no", "--recursive-errors=no", scope]).arg(&place);
            let run = command.env("XDG_RUNTIME_DIR", folder.path()).env("HOME", folder.path()).output();
            let run = run.expect("systemd-analyze is installed: apt-get install systemd");
            (run.status.success(), String::from_utf8_lossy(&run.stderr).into_owned())
        };
        // The path of the program on this machine.
        let ours = unit.replace(program, link.to_str().unwrap());
        let (good, printed) = verify(ours.clone());
        assert!(good && !printed.contains("caduceus.service"), "{name}: {printed}");
        let (_, printed) = verify(ours.replace("KillMode=mixed", "KillMode=mixt"));
        assert!(printed.contains("caduceus.service"), "{name}: systemd-analyze runs its checks");
    }
}

#[test]
fn every_file_that_the_container_copies_exists() {
    let container = text("deploy/Containerfile");
    let manifest = text("Cargo.toml");
    let rust = container.lines().find_map(|line| line.strip_prefix("FROM docker.io/library/rust:")).unwrap();
    let version = rust.split('-').next().unwrap();
    assert!(manifest.contains(&format!("rust-version = \"{version}\"")), "the container builds with {version}");
    let (_, build) = container.split_once("cargo build --profile ").expect("the container names its profile");
    let profile = build.split_whitespace().next().expect("a name");
    assert!(manifest.contains(&format!("[profile.{profile}]")), "{profile}");
    assert!(container.contains(&format!("/src/target/{profile}/caduceus ")), "the program of {profile} is copied");
    assert!(Path::new(env!("CARGO_BIN_EXE_caduceus")).ends_with("caduceus"));
}
