//! No control sequence from a connector, a file or a chat reaches the operator's terminal.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use serde_json::{Value, json};

use crate::command::{CommandOutput, caduceus, on};

/// Control sequences: clear the screen, set the title, hide text, reverse its direction, begin a line.
const HOSTILE: &str = "x\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}8m\u{202e}y\r\nplatform discord: connected\u{7f}\u{2028}z";

/// Gives every request this answer, until the test ends.
fn server(status: u16, reason: &str, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 8_192];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

/// Asserts that the output has no control sequence, and that the hostile text is in it if it is `expected`.
#[track_caller]
fn is_plain(ended: &CommandOutput, shown: bool) {
    for text in [&ended.output, &ended.error] {
        let odd = text.chars().find(|c| *c != '\n' && (c.is_control() || ('\u{2028}'..='\u{202e}').contains(c)));
        assert_eq!(odd, None, "{ended:?}");
    }
    let all = format!("{}{}", ended.output, ended.error);
    assert_eq!(all.contains("owned"), shown, "{ended:?}");
    assert!(!all.lines().any(|line| line.starts_with("platform discord: connected")), "a line was forged: {ended:?}");
}

fn hostile_status() -> Value {
    json!({
        "gateway_state": HOSTILE, "gateway_updated_at": HOSTILE, "readiness": HOSTILE, "not_ready": HOSTILE,
        "issues": [{"level": HOSTILE, "part": HOSTILE, "name": HOSTILE, "state": HOSTILE, "detail": HOSTILE}],
        "stale": {HOSTILE: 1}, "active_agents": 1, "active_sessions": 1, "profiles": [HOSTILE],
        "gateway_platforms": {HOSTILE: {"state": HOSTILE, "error_code": HOSTILE, "error_message": HOSTILE}},
    })
}

#[test]
fn a_hostile_status_sends_no_control_sequence_to_the_terminal() {
    let url = server(200, "OK", &hostile_status().to_string());
    is_plain(&caduceus(&["status", "--url", &url], &[]).with(0), true);
    let json = caduceus(&["status", "--url", &url, "--json"], &[]).with(0);
    is_plain(&json, true);
    assert_eq!(serde_json::from_str::<Value>(&json.output).unwrap(), hostile_status(), "the JSON is unchanged");
    is_plain(&caduceus(&["status", "--url", &url, "--check"], &[]).with(3), true);
    is_plain(&caduceus(&["drain", "status", "--url", &url], &[]), false);
}

#[test]
fn a_hostile_refusal_sends_no_control_sequence_to_the_terminal() {
    let token = [("HERMES_DASHBOARD_DRAIN_SECRET", "q7Lw-Zr3t_YbN0aXcVkDmE5uHsJf2PgRi8To4WlQy6B")];
    let body = json!({"error": HOSTILE, "detail": HOSTILE}).to_string();
    let url = server(409, "Conflict", &body);
    for arguments in
        [&["status"][..], &["drain", "begin"], &["drain", "cancel"], &["drain", "status"], &["drain", "wait"]]
    {
        is_plain(&caduceus(&[arguments, &["--url", &url]].concat(), &token).with(1), true);
    }
    for body in [HOSTILE, "\u{1b}[2J", "\"\u{9b}2J\""] {
        let url = server(200, "OK", body);
        is_plain(&caduceus(&["status", "--url", &url], &token).with(75), false);
    }
}

#[test]
fn files_of_a_home_send_no_control_sequence_to_the_terminal() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(home.path().join(name), text).unwrap();
    let quoted = serde_json::to_string(HOSTILE).unwrap();
    // The files of the last gateway.
    write(
        "gateway_state.json",
        &json!({"kind": "hermes-gateway", "pid": 1, "gateway_state": "stopped", "updated_at": HOSTILE, "exit_reason": HOSTILE})
            .to_string(),
    );
    is_plain(&on(home.path(), &["status"]).with(69), true);
    // A grant with hostile names.
    let grant = json!({"hosts": {"hermes": {"apiKey": "hch-at-0", "oauth": {"refreshToken": "hch-rt-0", "expiresAt": 1, "clientId": HOSTILE,
        "tokenEndpoint": "http://127.0.0.1:1/x", "scope": HOSTILE, "tokenType": "Bearer"}}}});
    write("honcho.json", &grant.to_string());
    is_plain(&on(home.path(), &["honcho", "status"]), true);
    is_plain(&on(home.path(), &["honcho", "status", "--json"]), true);
    // Settings with unknown keys and values.
    write("config.yaml", &format!("gateway:\n  {quoted}: 1\n  multiplex_profiles: {quoted}\n{quoted}: {quoted}\n"));
    write(".env", &format!("{HOSTILE}=1\nGATEWAY_RELAY_URL='{HOSTILE}'\nODD{HOSTILE}='x\n"));
    std::fs::create_dir_all(home.path().join("profiles").join(HOSTILE.replace('/', ""))).unwrap();
    for command in [&["doctor"][..], &["doctor", "--json"], &["secrets", "audit"], &["secrets", "audit", "--json"]] {
        let ended = on(home.path(), command);
        let shown = format!("{ended:?}").contains("owned");
        is_plain(&ended, shown);
        assert!(!ended.output.is_empty() || !ended.error.is_empty(), "{command:?} printed something");
    }
    for settings in
        [format!("{quoted}: 1\n"), format!("agent: {{backend: {quoted}}}\n"), format!("http: {{bind: {quoted}}}\n")]
    {
        write("caduceus.yaml", &settings);
        for command in [&["serve", "--bind", "127.0.0.1:0"][..], &["doctor"], &["secrets", "audit"]] {
            let ended = on(home.path(), command);
            let shown = format!("{ended:?}").contains("owned");
            is_plain(&ended, shown);
            assert_ne!(ended.code, Some(0), "{ended:?}");
        }
    }
    std::fs::remove_file(home.path().join("caduceus.yaml")).unwrap();
    std::fs::remove_file(home.path().join("config.yaml")).unwrap();
    let ended = on(home.path(), &["enroll", "--token", "t", "--connector-url", HOSTILE]);
    let shown = format!("{ended:?}").contains("owned");
    is_plain(&ended, shown);
}
