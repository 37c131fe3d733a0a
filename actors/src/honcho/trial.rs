//! Helpers of the tests with real files, locks and sockets.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::grant::Grant;
use super::outcome::RefreshOutcome;
use super::refresh::{Refresh, RefreshReport, RefreshTimeouts, unix_now_ms};
use super::steps::StepHook;
use super::store;
use super::verdict::RefreshReason;
use crate::profile::redact::Redactor;

mod actor_tests;
mod answers_tests;
mod files_tests;
mod kill_tests;
mod lock_tests;
#[path = "../../tests/support/oauth_server.rs"]
#[expect(unreachable_pub, reason = "it is shared with tests outside the crate")]
mod oauth_server;
mod tree_tests;

use oauth_server::{OauthFault as Fault, OauthServer};

/// Timeout of anything that should happen at once.
const SOON: Duration = Duration::from_secs(10);

/// A home with a file in it, and the server of its grant.
struct GrantTrial {
    home: TempDir,
    server: OauthServer,
}

impl GrantTrial {
    /// The remaining lifetime of the access token.
    fn with_life(life_s: i64) -> Self {
        // A second call has no effect.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let trial = Self { home: TempDir::new().unwrap(), server: OauthServer::start("hch-rt-0") };
        trial.log_in(0, life_s);
        trial
    }

    fn expired() -> Self {
        Self::with_life(60)
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("honcho.json")
    }

    /// Writes the file as a login would, with the block of another host, which must not change.
    fn log_in(&self, number: u32, life_s: i64) {
        let expires_at = unix_now_ms() / 1_000 + life_s;
        let oauth = json!({"refreshToken": format!("hch-rt-{number}"), "expiresAt": expires_at, "clientId": "hermes-agent",
            "tokenEndpoint": self.server.token_endpoint(), "scope": "write", "tokenType": "Bearer"});
        let hosts = json!({"other": {"apiKey": "plain"}, "hermes": {"x": 1, "apiKey": format!("hch-at-{number}"), "oauth": oauth}});
        let text = serde_json::to_string_pretty(&json!({"z": 1, "hosts": hosts, "a": 2})).unwrap();
        let temporary = self.home.path().join("login.tmp");
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, self.path()).unwrap();
    }

    fn refresh(&self) -> Refresh {
        Refresh {
            path: self.path(),
            host: "hermes".to_owned(),
            known: grant_in(&self.path()),
            unsaved: None,
            reason: RefreshReason::Due,
            timeouts: RefreshTimeouts {
                lock_wait: SOON,
                exchange: Duration::from_secs(2),
                retry_wait: Duration::from_mins(1),
            },
            client: crate::http_client::HttpClient::default(),
            redactor: Redactor::default(),
            steps: StepHook::default(),
        }
    }

    fn run(&self) -> RefreshOutcome {
        self.refresh().run().outcome
    }

    /// Runs a refresh as if the wait before the retry were over.
    fn run_after_the_wait(&self) -> RefreshOutcome {
        let mut refresh = self.refresh();
        refresh.timeouts.retry_wait = Duration::ZERO;
        refresh.run().outcome
    }

    /// Ends every wait in the notes.
    fn waits_are_over(&self) {
        let lock = self.home.path().join("honcho.json.lock");
        let mut notes: Value = serde_json::from_str(&fs::read_to_string(&lock).unwrap()).unwrap();
        for kind in ["presented", "rests"] {
            if let Some(note) = notes.get_mut(kind).and_then(|hosts| hosts.get_mut("hermes")) {
                note["at_s"] = json!(note["at_s"].as_i64().unwrap() - 7_200);
            }
        }
        fs::write(lock, notes.to_string()).unwrap();
    }

    fn json(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path()).unwrap()).unwrap()
    }

    /// Asserts that the server received only valid requests, and every token once.
    fn assert_no_replay(&self) {
        assert_eq!((self.server.replays(), self.server.odd_requests()), (0, Vec::new()));
    }

    /// Everything in the home except the file and its lock.
    fn other_files(&self) -> Vec<String> {
        let names = fs::read_dir(self.home.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        names.filter(|name| !matches!(name.as_str(), "honcho.json" | "honcho.json.lock")).collect()
    }
}

fn grant_in(path: &Path) -> Option<Grant> {
    store::read(path).unwrap()?.grant("hermes")
}

fn access(grant: &Grant) -> &str {
    grant.access_token.expose_secret()
}

fn rotated(outcome: RefreshOutcome) -> Grant {
    match outcome {
        RefreshOutcome::Rotated { grant, .. } => grant,
        other => panic!("not rotated: {other:?}"),
    }
}
