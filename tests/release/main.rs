//! The shipped binary, of the release profile, in which a panic must still unwind and be supervised.

#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../support/backlog.rs"]
mod backlog;
mod backlog_released;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/world.rs"]
mod world;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use support::{Process, SOON, get, post, wait_for};

/// The release binary, in the folder beside the debug one; `tests/run` builds it first.
fn release_binary() -> PathBuf {
    let debug = Path::new(env!("CARGO_BIN_EXE_caduceus"));
    let folder = debug.parent().and_then(Path::parent).expect("the binary is in the folder of its profile");
    let path = folder.join("release").join("caduceus");
    assert!(path.exists(), "there is no {}; build it with `cargo build --release`", path.display());
    path
}

/// The node of an actor, anywhere in the tree.
fn find<'a>(node: &'a Value, path: &str) -> Option<&'a Value> {
    let here = (node["path"] == path).then_some(node);
    here.or_else(|| node["children"].as_array()?.iter().find_map(|child| find(child, path)))
}

async fn actor(gateway: &Process, path: &str) -> Value {
    let (status, tree) = get(&format!("{}/api/actors", gateway.url)).await;
    assert_eq!(status, 200, "{tree}");
    find(&tree, path).unwrap_or_else(|| panic!("{path} is in the tree: {tree}")).clone()
}

#[actix_web::test]
async fn a_panic_in_the_release_binary_restarts_one_actor_and_not_the_process() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("caduceus.yaml"), "agent:\n  backend: echo\n").unwrap();
    let folder = home.path().display().to_string();
    let gateway = Process::start_binary(
        &release_binary(),
        &["serve", "--home", &folder, "--bind", "127.0.0.1:0", "--allow-faults"],
    );

    for (path, fault) in [
        ("dispatch", "panic_in_timer"),
        ("drain", "panic_in_response"),
        ("profiles/default", "panic_in_drop"),
        ("honcho", "panic_in_started"),
    ] {
        assert_eq!(actor(&gateway, path).await["restarts_total"], 0, "{path}");
        let (status, answer) =
            post(&format!("{}/api/actors/{path}/fault", gateway.url), &json!({"fault": fault})).await;
        assert_eq!(status, 200, "{answer}");
        let back = wait_for(&format!("{path} to come back after {fault}"), SOON, || async {
            let node = actor(&gateway, path).await;
            (node["restarts_total"].as_u64() > Some(0) && node["state"] == "running").then_some(node)
        })
        .await;
        assert_eq!(back["last_exit"]["word"], "panic", "{back}");
    }
    let process = get(&format!("{}/api/status", gateway.url)).await.1["process"]["pid"].clone();
    assert_eq!(process, gateway.id(), "the process is the same");
    assert_eq!(get(&format!("{}/readyz", gateway.url)).await.0, 200);
}
