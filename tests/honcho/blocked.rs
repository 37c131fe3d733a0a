//! The file or its lock cannot be used, and the gateway runs as an ordinary user: turns run, nothing is overwritten, and a remedy is
//! shown. Needs root for the small disk, and to run as another user.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use caduceus_actors::honcho::lock::ConfigLock;
use serde_json::Value;

use crate::grants::{HonchoGateway, SharedGrant, chown_to_unprivileged, is_new};
use crate::support::{SOON, as_unprivileged_user};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The findings of the doctor about the grant, run as the same user: codes, each with a remedy.
fn doctor(gateway: &HonchoGateway, shared: &SharedGrant) -> Vec<String> {
    let output = as_unprivileged_user(|binary| {
        binary.args(["doctor", "--json", "--home"]).arg(gateway.home()).env("HOME", shared.user.path()).output()
    });
    let output = output.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let of_grants = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["code"].as_str().unwrap().starts_with("grant"));
    let with_remedy = of_grants.map(|finding| {
        assert!(finding["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{finding}");
        finding["code"].as_str().unwrap().to_owned()
    });
    with_remedy.collect()
}

/// All at once, because they mostly wait: for the lock, or for the next step of a backoff.
#[actix_web::test]
async fn a_file_that_cannot_be_read_written_or_locked_fails_no_turn_spends_no_token_and_is_shown() {
    futures_util::join!(
        an_unusable_file_is_not_changed_and_is_used_again_once_it_is_repaired(),
        a_read_only_file_or_directory_spends_no_token(),
        a_full_disk_spends_no_token(),
        a_lock_that_another_process_never_releases_delays_no_turn_for_long(),
    );
}

/// Makes a file unusable.
type MakeUnusable = fn(&Path);

/// The gateway serves a turn, shows `state` with a remedy and presents nothing.
async fn shows(gateway: &HonchoGateway, shared: &SharedGrant, state: &str, words: &str) {
    let grant = gateway.until(state, |grant| grant["state"] == state).await;
    assert!(grant["last_error"].as_str().is_some_and(|error| error.contains(words)), "{grant}");
    assert!(grant["remedy"].is_string(), "{grant}");
    // No turn fails: its agent has the old token, or none if none can be read.
    let token = gateway.turn("meanwhile").await;
    assert_eq!(token, if state == "unreadable" { "none" } else { "hch-at-0" }, "{grant}");
    assert_eq!(shared.server.presented().len(), 0);
}

/// The gateway has a new token. The wait until its next attempt doubles with each one before the repair, from 5 s.
async fn until_new(gateway: &HonchoGateway) {
    crate::grants::until_grant(&gateway.process.url, "new", SOON * 8, is_new).await;
}

async fn an_unusable_file_is_not_changed_and_is_used_again_once_it_is_repaired() {
    const GARBAGE: &str = "{\"hosts\": ";
    let cases: [(&str, MakeUnusable); 3] = [
        ("Permission denied", |path| set_mode(path, 0o000)),
        ("line 1", |path| fs::write(path, "{\"hosts\": ").unwrap()),
        ("directory", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
    ];
    futures_util::future::join_all(cases.map(|(words, make_unusable)| async move {
        let shared = SharedGrant::expiring_in(60);
        let good = fs::read_to_string(shared.path()).unwrap();
        make_unusable(&shared.path());
        shared.chown_to_unprivileged();
        let gateway = HonchoGateway::start_unprivileged(&shared).await;
        shows(&gateway, &shared, "unreadable", words).await;
        assert_eq!(doctor(&gateway, &shared), ["grant_file"], "{words}");
        let left = fs::metadata(shared.path()).unwrap();
        assert!(left.is_dir() == (words == "directory"));
        match words {
            "line 1" => assert_eq!(fs::read_to_string(shared.path()).unwrap(), GARBAGE),
            "directory" => fs::remove_dir(shared.path()).unwrap(),
            _ => assert_eq!(
                (fs::read_to_string(shared.path()).unwrap(), left.permissions().mode() & 0o777),
                (good.clone(), 0)
            ),
        }
        // The file is repaired.
        let repaired = shared.path().with_file_name("repaired");
        fs::write(&repaired, good).unwrap();
        chown_to_unprivileged(&repaired);
        fs::rename(repaired, shared.path()).unwrap();
        until_new(&gateway).await;
        assert_eq!((shared.server.presented().len(), shared.server.replays()), (1, 0));
    }))
    .await;
}

async fn a_read_only_file_or_directory_spends_no_token() {
    let of_file: fn(&SharedGrant) -> PathBuf = SharedGrant::path;
    let of_directory: fn(&SharedGrant) -> PathBuf = |shared| shared.path().parent().unwrap().to_owned();
    let cases = [(of_file, 0o400, 0o600), (of_directory, 0o500, 0o700)];
    futures_util::future::join_all(cases.map(|(place, read_only, writable)| async move {
        let shared = SharedGrant::expiring_in(60);
        // The lock file exists already.
        drop(ConfigLock::take(&shared.path(), SOON).unwrap());
        shared.chown_to_unprivileged();
        let before = fs::read_to_string(shared.path()).unwrap();
        set_mode(&place(&shared), read_only);
        let gateway = HonchoGateway::start_unprivileged(&shared).await;
        shows(&gateway, &shared, "backoff", "cannot be replaced").await;
        assert_eq!(doctor(&gateway, &shared), ["grant_read_only"]);
        assert_eq!(fs::read_to_string(shared.path()).unwrap(), before);
        set_mode(&place(&shared), writable);
        until_new(&gateway).await;
        assert_eq!((shared.server.presented().len(), shared.server.replays()), (1, 0));
    }))
    .await;
}

/// A small disk, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Self {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k,mode=0777", "tmpfs"]).arg(at).status();
        assert!(mounted.is_ok_and(|status| status.success()), "a small disk cannot be mounted: this test needs root");
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn a_full_disk_spends_no_token() {
    let shared = SharedGrant::empty();
    fs::create_dir(shared.path().parent().unwrap()).unwrap();
    let _disk = SmallDisk::mount(shared.path().parent().unwrap());
    shared.log_in(0, 60);
    let before = fs::read_to_string(shared.path()).unwrap();
    let filler = shared.path().with_file_name("filler");
    // Until the disk is full.
    let _ = fs::write(&filler, vec![0; 256 * 1024]);
    shared.chown_to_unprivileged();
    let gateway = HonchoGateway::start_unprivileged(&shared).await;
    shows(&gateway, &shared, "backoff", "No space left").await;
    assert_eq!(fs::read_to_string(shared.path()).unwrap(), before);
    assert_eq!(shared.leftover_files(), ["filler"]);
    fs::remove_file(filler).unwrap();
    until_new(&gateway).await;
    assert_eq!((shared.server.presented().len(), shared.server.replays(), shared.leftover_files()), (1, 0, Vec::new()));
}

async fn a_lock_that_another_process_never_releases_delays_no_turn_for_long() {
    let shared = SharedGrant::expiring_in(60);
    drop(ConfigLock::take(&shared.path(), SOON).unwrap());
    shared.chown_to_unprivileged();
    let mut holder = Command::new("flock")
        .arg("--no-fork")
        .arg(shared.path().with_file_name("config.json.lock"))
        .args(["sleep", "600"])
        .stdin(Stdio::null())
        .spawn()
        .expect("flock starts");
    let gateway = HonchoGateway::start_unprivileged(&shared).await;
    let wait = |state: &'static str| {
        let url = gateway.process.url.clone();
        async move {
            // 20 s for the lock, and time for a busy machine.
            crate::grants::until_grant(&url, state, SOON * 3, move |grant| grant["state"] == state).await
        }
    };
    wait("backoff").await;
    shows(&gateway, &shared, "backoff", "another process holds").await;
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait("fresh").await;
    assert_eq!((shared.server.presented().len(), shared.server.replays()), (1, 0));
}
