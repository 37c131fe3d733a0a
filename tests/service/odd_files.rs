//! An odd thing at the path of a file (a pipe, a device, a link, 10 GB) is reported by name, delays nothing, and affects only its own home.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use crate::support::{Process, SOON, as_unprivileged_user, binary, wait_for};
use crate::world::{World, run, run_command};

/// Each kind, and a word of its report.
const KINDS: [(&str, &str); 8] = [
    ("pipe", "a named pipe"),
    ("directory", "a directory"),
    ("endless device", "a device"),
    ("socket", "a socket"),
    ("link to nothing", "a symbolic link to nothing"),
    ("link to itself", "cannot be used"),
    ("10 GB", "larger than"),
    ("not UTF-8", "not UTF-8"),
];
const CONFIGURATION: Option<i32> = Some(78);
/// The system's memory limit for a gateway under test; a read without a limit exceeds it.
const MEMORY: u64 = 4 * 1024 * 1024 * 1024;

/// Puts a thing of this kind at `path`, in the place of what is there. The returned value keeps a socket open.
fn place(kind: &str, path: &Path) -> Option<UnixListener> {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    clear(path);
    match kind {
        "pipe" => mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap(),
        "directory" => fs::create_dir(path).unwrap(),
        "endless device" => symlink("/dev/zero", path).unwrap(),
        "link to nothing" => symlink("nothing/at/all", path).unwrap(),
        "link to itself" => symlink(path.file_name().unwrap(), path).unwrap(),
        "10 GB" => {
            let mut file = fs::File::create(path).unwrap();
            file.seek(SeekFrom::Start(10_000_000_000)).unwrap();
            file.write_all(b"x").unwrap();
        }
        "not UTF-8" => fs::write(path, b"KEY=canary-not-shown\xff\xfe\n").unwrap(),
        "socket" => return Some(UnixListener::bind(path).unwrap()),
        other => panic!("unknown kind {other}"),
    }
    None
}

fn clear(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

pub(crate) fn troubles(status: &Value, profile: &str) -> String {
    let all = status["secrets"].as_array().expect("a list of profiles");
    all.iter().find(|view| view["name"] == profile).map(|view| view["troubles"].to_string()).unwrap_or_default()
}

/// The gateway with a limit on its memory.
fn limited(home: &Path) -> Process {
    let mut command = std::process::Command::new("prlimit");
    command.arg(format!("--as={MEMORY}")).arg(binary().get_program());
    Process::spawn(command.args(["serve", "--bind", "127.0.0.1:0", "--insecure-loopback-drain", "--home"]).arg(home))
}

#[actix_web::test]
async fn with_every_kind_of_odd_file_the_gateway_starts_serves_and_ends_and_commands_end() {
    for (kind, words) in KINDS {
        let mut world = World::prepare().await;
        world.profile("good", "");
        let mut held = Vec::new();
        // Files of the profile, reported as its troubles.
        for name in ["env/.env", "ours/caduceus.yaml"] {
            held.push(place(kind, &world.path("profiles").join(name)));
        }
        // Files that the gateway or a command reads at some time, and that are optional.
        for name in [
            "profiles/theirs/config.yaml",
            "profiles/grant/honcho.json",
            "profiles/grant/honcho.json.lock",
            "profiles/drained/.drain_request.json",
            "auth.json",
            "honcho.json",
            "honcho.json.lock",
            "gateway.pid",
            "gateway_state.json",
            "logs/dashboard-auth.log",
            "authority.pem",
        ] {
            held.push(place(kind, &world.path(name)));
        }
        world.configure("relay: {ca_file: authority.pem}\n");
        world.gateway = Some(limited(world.home()));
        let status = world
            .until(&format!("the troubles of {kind}"), |status| {
                troubles(status, "env").contains(words) && troubles(status, "ours").contains(words)
            })
            .await;
        assert_eq!(troubles(&status, "good"), "[]", "{kind}: {status}");
        for (id, profile) in [("d", None), ("g", Some("good"))] {
            world.push(id, "hello", id, profile).await;
            world.until_text(id, "hello").await;
        }
        let log = world.gateway().log();
        assert!(log.contains("authority.pem") && !log.contains("canary-not-shown"), "{kind}: {log}");
        let home = world.home().display().to_string();
        for command in
            [&["doctor"][..], &["secrets", "audit"], &["honcho", "status"], &["honcho", "refresh"], &["status"]]
        {
            // The command ends with every kind; `run` fails otherwise.
            let (code, errors) = run(&[command, &["--home", &home]].concat());
            assert!(code.is_some() && !errors.contains("panicked"), "{kind}: {command:?}: {errors}");
        }
        assert!(world.stop_gateway().success(), "{kind}");
    }
}

#[test]
fn an_odd_file_that_prevents_the_start_is_named_with_its_kind() {
    let ledger = ["caduceus/ledger.db", "caduceus/ledger.db.lock", "caduceus/ledger.db-wal", "caduceus.db"];
    let files = ["config.yaml", "caduceus.yaml", "gateway.lock"].into_iter().chain(ledger);
    for name in files {
        let yaml = name.contains(".yaml");
        for (kind, words) in KINDS.iter().filter(|(kind, _)| yaml || !matches!(*kind, "10 GB" | "not UTF-8")) {
            let home = tempfile::tempdir().unwrap();
            fs::create_dir(home.path().join("caduceus")).unwrap();
            let _held = place(kind, &home.path().join(name));
            // A device is placed as a link, too, and links at these paths are not followed.
            let link = kind.contains("link") || *kind == "endless device";
            let words = if link && !yaml { "a symbolic link" } else { words };
            let home = home.path().display().to_string();
            let (code, message) = run(&["serve", "--bind", "127.0.0.1:0", "--home", &home]);
            assert_eq!(code, CONFIGURATION, "{name}, {kind}: {message}");
            assert!(message.contains(name) && message.contains(words), "{name}, {kind}: {message}");
            assert!(!message.contains("canary-not-shown"), "{message}");
        }
    }
}

#[test]
fn a_token_path_that_is_not_a_file_is_refused_and_an_open_descriptor_is_read() {
    let home = tempfile::tempdir().unwrap();
    let shown = home.path().display().to_string();
    for (kind, words) in KINDS {
        let path = home.path().join(format!("token {kind}"));
        let _held = place(kind, &path);
        let (code, message) = run(&["drain", "status", "--home", &shown, "--token-file", &path.display().to_string()]);
        assert!(code != Some(0) && message.contains(words), "{kind}: {message}");
        assert!(message.contains("token") && !message.contains("canary-not-shown"), "{kind}: {message}");
    }
    let command = format!("exec {:?} drain status --home {shown:?} --token-file <(echo token)", binary().get_program());
    let (code, message) = run_command(std::process::Command::new("bash").args(["-c", &command]));
    assert_eq!((code, message.as_str()), (Some(0), ""));
}

#[actix_web::test]
async fn files_that_become_odd_at_run_time_block_no_reload_no_drain_and_no_shutdown() {
    let mut world = World::prepare().await;
    world.profile("bad", "A=1\n");
    world.profile("good", "");
    world.serve().await;
    for (kind, words) in KINDS {
        let new = world.path("new");
        let _held = place(kind, &new);
        // A link to itself is read through the other name.
        clear(&world.path("profiles/bad/.env"));
        fs::rename(&new, world.path("profiles/bad/.env")).unwrap();
        let expected = if kind == "link to itself" { "a symbolic link to nothing" } else { words };
        world.until(&format!("the trouble of {kind}"), |status| troubles(status, "bad").contains(expected)).await;
        for name in ["profiles/bad/honcho.json", "profiles/bad/config.yaml", "auth.json"] {
            place(kind, &world.path(name));
        }
    }
    world.profile("fresh", "");
    world.until("the new profile", |status| status["profiles"].to_string().contains("fresh")).await;
    for profile in ["good", "fresh"] {
        world.push(profile, "hello", profile, Some(profile)).await;
        world.until_text(profile, "hello").await;
    }
    world.configure("sessions: {busy: nonsense}\n");
    world
        .until("the reported mistake", |status| status["configuration"]["troubles"].to_string().contains("busy"))
        .await;
    world.write(".drain_request.json", "{}");
    world.until("the drain", |status| status["gateway_state"] == "draining").await;
    let begun = Instant::now();
    assert!(world.stop_gateway().success());
    assert!(begun.elapsed() < SOON);
}

#[actix_web::test]
async fn foreign_links_at_the_gateways_own_paths_are_neither_followed_nor_written() {
    let mut world = World::prepare().await;
    fs::create_dir(world.path("logs")).unwrap();
    let precious = world.path("precious");
    world.write("precious", "precious\n");
    let ours =
        ["gateway.pid", "gateway_state.json", "logs/dashboard-auth.log", ".drain_request.json", "honcho.json.lock"];
    for name in ours {
        symlink(&precious, world.path(name)).unwrap();
    }
    world.serve().await;
    world.drain(serde_json::json!({"action": "begin"})).await;
    world.drain(serde_json::json!({"action": "cancel"})).await;
    let (_, message) = run(&["honcho", "refresh", "--force", "--home", &world.home().display().to_string()]);
    assert!(!message.contains("panicked"), "{message}");
    assert!(world.stop_gateway().success());
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious\n");
    assert_eq!(fs::metadata(&precious).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn files_created_by_root_in_a_users_home_do_not_block_that_user() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root, to do what sudo does");
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(home.path(), Some(65534), Some(65534)).unwrap();
    let shown = home.path().display().to_string();
    let arguments = ["serve", "--bind", "127.0.0.1:0", "--home", &shown];
    let mut by_root = Process::start(&arguments);
    by_root.signal("TERM");
    assert!(by_root.wait_for_exit().success());
    for entry in fs::read_dir(home.path()).unwrap().map(Result::unwrap) {
        assert_eq!(entry.metadata().unwrap().uid(), 65534, "{:?}", entry.file_name());
    }
    let mut by_user = as_unprivileged_user(|command| Process::spawn(command.args(arguments)));
    by_user.signal("TERM");
    assert!(by_user.wait_for_exit().success());
    // A file that an earlier version left.
    let lock = home.path().join("gateway.lock");
    std::os::unix::fs::chown(&lock, Some(0), Some(0)).unwrap();
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o600)).unwrap();
    let (code, message) = as_unprivileged_user(|command| run_command(command.args(arguments)));
    assert_eq!(code, CONFIGURATION, "{message}");
    assert!(
        message.contains("belongs to user 0") && message.contains(&format!("chown 65534 '{}'", lock.display())),
        "{message}"
    );
}

#[actix_web::test]
async fn a_removed_ledger_is_reported_in_the_log_the_status_and_the_readiness() {
    let world = World::start().await;
    fs::rename(world.path("caduceus/ledger.db"), world.path("taken")).unwrap();
    let status = world.until("the loss", |status| status["ledger"]["trouble"].is_string()).await;
    assert!(status["ledger"]["trouble"].as_str().unwrap().contains("caduceus/ledger.db was removed"), "{status}");
    assert_eq!(world.ready().await, 503);
    assert!(world.gateway().log().contains("ledger file removed or replaced"));
    fs::rename(world.path("taken"), world.path("caduceus/ledger.db")).unwrap();
    world.until("the return of the ledger", |status| status["ledger"]["trouble"].is_null()).await;
    wait_for("readiness", SOON, || async { (world.ready().await == 200).then_some(()) }).await;
}
