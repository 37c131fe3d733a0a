//! `caduceus honcho login`, `status` and `refresh` as commands; a plain HTTP client acts as the browser. `consent` uses a real one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::grants::{HonchoGateway, SharedGrant, empty_home, is_new, json_in};
use crate::oauth_server::OauthFault;
use crate::support::{SOON, binary, client, install};

/// A login in progress.
pub(crate) struct RunningLogin {
    child: Child,
    output: BufReader<ChildStdout>,
    /// The printed address, to be opened in a browser.
    pub(crate) address: Url,
    home: TempDir,
}

/// A `caduceus` command of a user with the shared file.
pub(crate) fn honcho(shared: &SharedGrant, home: &TempDir, arguments: &[&str]) -> Command {
    let mut command = binary();
    command.arg("honcho").args(arguments).arg("--home").arg(home.path());
    command.env("HOME", shared.user.path()).env_remove("HERMES_HOME").env_remove("HERMES_HONCHO_HOST");
    let server = &shared.server;
    command.env("HONCHO_OAUTH_AUTHORIZE_URL", server.authorize_url());
    command.env("HONCHO_OAUTH_TOKEN_URL", server.token_endpoint());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl RunningLogin {
    pub(crate) fn begin(shared: &SharedGrant, arguments: &[&str]) -> Self {
        Self::begin_with(shared, empty_home(), &[&["login", "--no-browser"], arguments].concat())
    }

    fn begin_with(shared: &SharedGrant, home: TempDir, arguments: &[&str]) -> Self {
        let mut child = honcho(shared, &home, arguments).spawn().expect("the command starts");
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.trim().starts_with("http") {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "no address was printed: {:?}", child.wait_with_output());
        }
        let address = Url::parse(line.trim()).unwrap();
        Self { child, output, address, home }
    }

    fn parameter(&self, name: &str) -> String {
        self.address.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    }

    /// Follows `button` of the consent page as a browser does; returns the last page.
    pub(crate) async fn press(&self, button: &str) -> String {
        let mut next = self.address.clone();
        next.set_path(&format!("/{button}"));
        // The client follows redirects.
        let mut page = client().get(next.as_str()).timeout(SOON).send().await.expect("the loopback page answers");
        String::from_utf8(page.body().await.unwrap().to_vec()).unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit code and its whole output.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let mut printed = String::new();
        self.output.read_to_string(&mut printed).unwrap();
        let Output { status, stderr, .. } = self.child.wait_with_output().unwrap();
        printed.push_str(&String::from_utf8_lossy(&stderr));
        drop(self.home);
        (status.code(), printed)
    }
}

pub(crate) fn run(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().expect("the command runs");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

#[actix_web::test]
async fn a_first_login_creates_the_users_file_with_the_settings_it_delivers() {
    let shared = SharedGrant::empty();
    shared.server.set_config(json!({"peerName": "ann", "hosts": {"hermes": {"workspace": "w"}}}));
    let login = RunningLogin::begin(&shared, &[]);
    let sent: BTreeMap<String, String> = login.address.query_pairs().into_owned().collect();
    let sent = |name: &str| sent[name].as_str();
    assert_eq!(
        (sent("response_type"), sent("code_challenge_method"), sent("client_id")),
        ("code", "S256", "hermes-agent")
    );
    assert_eq!((sent("scope"), sent("config_path")), ("write", "~/.honcho/config.json"));
    let page = login.press("agree").await;
    assert!(page.contains("Logged in") && page.contains("close this page"), "{page}");
    let (code, printed) = login.ended();
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("Logged in") && printed.contains("60 min"), "{printed}");
    let file = shared.json();
    let block = &file["hosts"]["hermes"];
    assert_eq!((&file["peerName"], &block["workspace"]), (&json!("ann"), &json!("w")));
    assert_eq!((&block["apiKey"], &block["oauth"]["refreshToken"]), (&json!("hch-at-n2"), &json!("hch-rt-n2")));
    assert_eq!(block["oauth"]["tokenEndpoint"], shared.server.token_endpoint());
    assert_eq!(fs::metadata(shared.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!((shared.server.logins(), shared.leftover_files()), (1, Vec::new()));
}

#[actix_web::test]
async fn a_later_login_changes_only_the_grant_and_a_running_gateway_uses_it() {
    let shared = SharedGrant::expiring_in(60);
    shared.server.revoke();
    let gateway = HonchoGateway::start(&shared, &[]);
    gateway.until("the need of a login", |grant| grant["state"] == "reauth_required").await;
    shared.server.set_config(json!({"z": 2}));
    let rest = shared.without_grant();
    let login = RunningLogin::begin(&shared, &["--tokens-only"]);
    login.press("agree").await;
    assert_eq!(login.ended().0, Some(0));
    assert_eq!(shared.without_grant(), rest);
    gateway.until("new", is_new).await;
}

#[actix_web::test]
async fn a_named_profile_has_a_block_of_its_own() {
    let shared = SharedGrant::expiring_in(3600);
    let home = empty_home();
    fs::create_dir_all(home.path().join("profiles/work")).unwrap();
    let login = RunningLogin::begin_with(&shared, home, &["login", "--no-browser", "--profile", "work"]);
    login.press("agree").await;
    assert_eq!(login.ended().0, Some(0));
    let hosts = &shared.json()["hosts"];
    assert_eq!(
        (&hosts["hermes"]["apiKey"], &hosts["hermes_work"]["apiKey"]),
        (&json!("hch-at-0"), &json!("hch-at-n2"))
    );

    let (code, printed) = run(&mut honcho(&shared, &empty_home(), &["login", "--profile", "unknown"]));
    assert_eq!(code, Some(78), "{printed}");
    assert!(printed.contains("no profile unknown"), "{printed}");
}

#[actix_web::test]
async fn a_login_that_is_denied_or_belongs_to_another_changes_nothing_and_names_the_reason() {
    for (button, expected, words) in [("deny", 77, "denied (access_denied)"), ("forge", 76, "belongs to another login")]
    {
        let shared = SharedGrant::expiring_in(3600);
        let before = fs::read_to_string(shared.path()).unwrap();
        let login = RunningLogin::begin(&shared, &[]);
        let page = login.press(button).await;
        assert!(page.contains("Not logged in") && page.contains(words), "{page}");
        let (code, printed) = login.ended();
        assert_eq!(code, Some(expected), "{printed}");
        assert!(printed.contains(words), "{printed}");
        assert_eq!((fs::read_to_string(shared.path()).unwrap(), shared.server.logins()), (before, 0));
    }
}

#[actix_web::test]
async fn a_login_without_a_redirect_ends_at_its_timeout() {
    let shared = SharedGrant::empty();
    let begun = Instant::now();
    let (code, printed) = RunningLogin::begin(&shared, &["--limit-s", "1"]).ended();
    assert_eq!(code, Some(75), "{printed}");
    assert!(printed.contains("no login within 1 s"), "{printed}");
    assert!(begun.elapsed() < SOON);
    assert!(!shared.path().exists());
}

#[actix_web::test]
async fn if_the_usual_port_is_taken_the_redirect_uses_another_one() {
    // Taken by this test, or by another login of these tests.
    let taken = TcpListener::bind("127.0.0.1:8765");
    let shared = SharedGrant::empty();
    let login = RunningLogin::begin(&shared, &[]);
    let back = Url::parse(&login.parameter("redirect_uri")).unwrap();
    assert_eq!((back.host_str(), back.path()), (Some("127.0.0.1"), "/callback"));
    assert!(taken.is_err() || back.port() != Some(8765), "{back}");
    login.press("agree").await;
    assert_eq!(login.ended().0, Some(0));
}

#[actix_web::test]
async fn a_second_login_during_a_first_is_refused_and_does_not_affect_it() {
    let shared = SharedGrant::empty();
    let login = RunningLogin::begin(&shared, &[]);
    let (code, printed) = run(&mut honcho(&shared, &empty_home(), &["login", "--no-browser"]));
    assert_eq!(code, Some(69), "{printed}");
    assert!(printed.contains("another login") && printed.contains("under way"), "{printed}");
    login.press("agree").await;
    assert_eq!(login.ended().0, Some(0));
}

#[actix_web::test]
async fn a_file_that_cannot_take_a_grant_is_reported_before_the_login_starts() {
    let shared = SharedGrant::expiring_in(60);
    fs::write(shared.path(), "garbage").unwrap();
    let (code, printed) = run(&mut honcho(&shared, &empty_home(), &["login", "--no-browser"]));
    assert_eq!(code, Some(78), "{printed}");
    assert!(printed.contains("the login did not begin") && printed.contains("is broken"), "{printed}");
    assert_eq!(fs::read_to_string(shared.path()).unwrap(), "garbage");
}

#[actix_web::test]
async fn a_file_that_becomes_invalid_during_a_login_is_not_changed_and_the_grant_is_saved_beside_it() {
    let shared = SharedGrant::expiring_in(60);
    let login = RunningLogin::begin(&shared, &[]);
    fs::write(shared.path(), "garbage").unwrap();
    let page = login.press("agree").await;
    assert!(page.contains("Not logged in"), "{page}");
    let (code, printed) = login.ended();
    let kept = shared.path().with_file_name("config.json.kept-hermes");
    assert_eq!(code, Some(78), "{printed}");
    assert!(printed.contains(&kept.display().to_string()), "{printed}");
    assert_eq!(fs::read_to_string(shared.path()).unwrap(), "garbage");
    assert_eq!(json_in(&kept)["hosts"]["hermes"]["apiKey"], "hch-at-n2");
    assert_eq!(fs::metadata(kept).unwrap().permissions().mode() & 0o777, 0o600);
}

#[actix_web::test]
async fn an_unreachable_server_and_an_invalid_answer_are_reported_differently() {
    let shared = SharedGrant::empty();
    let login = RunningLogin::begin(&shared, &[]);
    let mut back = Url::parse(&login.parameter("redirect_uri")).unwrap();
    back.query_pairs_mut().append_pair("code", "made-up").append_pair("state", &login.parameter("state"));
    client().get(back.as_str()).timeout(SOON).send().await.expect("the loopback page answers");
    let (code, printed) = login.ended();
    assert_eq!(code, Some(77), "{printed}");
    assert!(printed.contains("did not accept the code"), "{printed}");

    let login = RunningLogin::begin(&shared, &[]);
    let mut back = Url::parse(&login.parameter("redirect_uri")).unwrap();
    back.query_pairs_mut().append_pair("code", "c").append_pair("state", &login.parameter("state"));
    shared.server.stop_listening();
    client().get(back.as_str()).timeout(SOON).send().await.expect("the loopback page answers");
    let (code, printed) = login.ended();
    assert_eq!(code, Some(75), "{printed}");
    assert!(printed.contains("cannot be reached"), "{printed}");
}

#[actix_web::test]
async fn the_systems_browser_is_opened_unless_no_browser_is_set() {
    let shared = SharedGrant::empty();
    let tools = tempfile::tempdir().unwrap();
    let opener = tools.path().join("xdg-open");
    let script = tools.path().join("script");
    fs::write(&script, "#!/bin/sh\nprintf %s \"$1\" > \"$0.new\"\nmv \"$0.new\" \"$0.opened\"\n").unwrap();
    install(&script, &opener);
    let path = format!("{}:/usr/bin:/bin", tools.path().display());
    let opened = tools.path().join("xdg-open.opened");
    for (flags, expected) in [(vec!["login", "--no-browser"], false), (vec!["login"], true)] {
        let home = empty_home();
        let mut command = honcho(&shared, &home, &[&flags[..], &["--limit-s", "2"]].concat());
        let (code, printed) = run(command.env("PATH", &path));
        assert_eq!((code, opened.exists()), (Some(75), expected), "{printed}");
        assert_eq!(printed.contains("A browser should open"), expected, "{printed}");
    }
    assert!(fs::read_to_string(opened).unwrap().starts_with(&shared.server.authorize_url()));
}

#[actix_web::test]
async fn the_state_of_a_grant_is_shown_with_its_remedy() {
    let shared = SharedGrant::expiring_in(3600);
    let home = empty_home();
    let status = || run(&mut honcho(&shared, &home, &["status", "--json"]));
    let (code, printed) = status();
    let sent: Value = serde_json::from_str(&printed).unwrap();
    let grant = &sent["grants"][0];
    assert_eq!((code, &grant["credential"], &grant["state"]), (Some(0), &json!("oauth"), &json!("fresh")), "{printed}");
    assert_eq!(
        (&grant["client_id"], &grant["scope"], &grant["host"]),
        (&json!("hermes-agent"), &json!("write"), &json!("hermes"))
    );
    shared.server.revoke();
    let (code, printed) = run(&mut honcho(&shared, &home, &["refresh", "--force"]));
    assert_eq!(code, Some(77), "{printed}");
    let (code, printed) = status();
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("reauth_required") && printed.contains("caduceus honcho login"), "{printed}");
    let (code, printed) = run(&mut honcho(&shared, &home, &["status"]));
    assert_eq!(code, Some(1));
    assert!(printed.contains("profile default") && printed.contains("OAuth grant"), "{printed}");
    let doctor = run(binary().args(["doctor", "--json", "--home"]).arg(home.path()).env("HOME", shared.user.path()));
    assert!(doctor.1.contains("grant_reauth_required"), "{}", doctor.1);
}

#[actix_web::test]
async fn a_manual_refresh_happens_when_due_or_forced_and_under_the_same_rules() {
    let shared = SharedGrant::expiring_in(3600);
    let home = empty_home();
    let refresh = |flags: &[&str]| run(&mut honcho(&shared, &home, &[&["refresh"], flags].concat()));
    let (code, printed) = refresh(&[]);
    assert_eq!((code, shared.server.presented().len()), (Some(0), 0), "{printed}");
    assert!(printed.contains("--force"), "{printed}");
    let (code, printed) = refresh(&["--force"]);
    assert_eq!((code, shared.token().as_str()), (Some(0), "hch-at-n1"), "{printed}");
    shared.expire();
    shared.server.script(OauthFault::Closed);
    let (code, printed) = refresh(&[]);
    assert_eq!(code, Some(75), "{printed}");
    assert!(printed.contains("may be spent") && printed.contains("60 s"), "{printed}");
    assert_eq!(refresh(&[]).0, Some(75));
    assert_eq!(shared.server.presented().len(), 2, "no burst");
    assert_eq!(refresh(&["--force"]).0, Some(0), "a forced refresh repairs the grant");
    assert_eq!(shared.server.replays(), 0);

    let none = SharedGrant::empty();
    let (code, printed) = run(&mut honcho(&none, &home, &["refresh"]));
    assert_eq!(code, Some(78), "{printed}");
    assert!(printed.contains("caduceus honcho login"), "{printed}");
}
