//! Thousands of odd host blocks, read by the original and by Caduceus.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use caduceus_actors::honcho::grant::Grant;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::original::original_python;

const CASES: usize = 6_000;

/// Values for each field: mostly usual ones, some odd ones.
fn odd(good: &Value) -> Value {
    let others = [
        Value::Null,
        json!(""),
        json!(" "),
        json!(0),
        json!(7),
        json!(-1),
        json!(1.5),
        json!(true),
        json!(false),
        json!([]),
        json!(["a"]),
        json!({}),
        json!("text"),
        json!("ü"),
        json!("None"),
    ];
    if fastrand::u8(..) < 200 { good.clone() } else { others[fastrand::usize(..others.len())].clone() }
}

fn odd_expiry() -> Value {
    let written = [
        "1800000000",
        "1800000000.7",
        " 1800000000 ",
        "\t1800000000\n",
        "+1800000000",
        "-5",
        "1.8e9",
        "1_800_000_000",
        "1__8",
        "_1",
        "1_",
        "inf",
        "-inf",
        "Infinity",
        "nan",
        "NaN",
        "1e400",
        "-1e400",
        "0x10",
        "1,5",
        "soon",
        "",
        ".5",
        "5.",
        "1e",
        "٣",
        "１８００００００００",
        "1800000000\u{a0}",
        "1 8",
    ];
    match fastrand::u8(..8) {
        0 => json!(1_800_000_000),
        1 => json!(1_800_000_000.7),
        2 => json!(fastrand::i64(..)),
        3 => json!(fastrand::f64() * 4e9),
        4 => odd(&json!(1_800_000_119)),
        _ => json!(written[fastrand::usize(..written.len())]),
    }
}

fn random_case() -> Value {
    let mut oauth = json!({
        "refreshToken": odd(&json!("hch-rt-1")), "expiresAt": odd_expiry(), "clientId": odd(&json!("hermes-agent")),
        "tokenEndpoint": odd(&json!("http://127.0.0.1:1/")), "scope": odd(&json!("write")),
        "tokenType": odd(&json!("Bearer")),
    });
    for name in ["expiresAt", "scope", "tokenType", "refreshToken", "clientId"] {
        if fastrand::u8(..) < 12 {
            oauth.as_object_mut().unwrap().remove(name);
        }
    }
    let key = [json!("plain"), json!("hch-at-"), json!("hch-rt-1")];
    let key = if fastrand::u8(..) < 12 { key[fastrand::usize(..key.len())].clone() } else { odd(&json!("hch-at-1")) };
    let now = 1_800_000_000 - 121 + fastrand::i64(0..4);
    json!({"block": {"apiKey": key, "oauth": odd(&oauth)}, "now": now})
}

fn ours(case: &Value) -> Value {
    Grant::from_block(&case["block"]).map_or(Value::Null, |grant| {
        json!({
            "access_token": grant.access_token.expose_secret(),
            "expired": grant.is_expired(case["now"].as_i64().unwrap() * 1_000),
            "oauth_block": *grant.oauth_block(),
        })
    })
}

/// Intended differences. The specification requires whole grants of text, for `null` to count as missing, and for a bad
/// expiry to count as long past; the original writes Python's words for such values, or cannot write them back at all.
fn differs_on_purpose(case: &Value, theirs: &Value) -> bool {
    let oauth = &case["block"]["oauth"];
    let is_text = |name: &str| oauth[name].is_string();
    let incomplete = ["refreshToken", "clientId", "tokenEndpoint"].iter().any(|name| !is_text(name));
    let defaulted = ["scope", "tokenType"]
        .iter()
        .any(|name| oauth.get(name).is_some_and(|value| value.as_str().is_none_or(str::is_empty)));
    // No program writes numbers in the digits of other scripts.
    let foreign = oauth["expiresAt"]
        .as_str()
        .is_some_and(|text| text.chars().any(|letter| letter.is_numeric() && !letter.is_ascii()));
    incomplete || defaulted || foreign || theirs["raises"].is_string()
}

#[test]
fn thousands_of_odd_blocks_are_read_as_by_the_original() {
    let cases: Vec<Value> = (0..CASES).map(|_| random_case()).collect();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/original/blocks.py");
    let nowhere = tempfile::tempdir().unwrap();
    let mut child = Command::new(original_python())
        .arg(script)
        .env("HOME", nowhere.path())
        .env("HERMES_HOME", nowhere.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the original starts");
    let lines = cases.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let mut input = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success());
    let answers: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), cases.len());
    let differing: Vec<String> = cases
        .iter()
        .zip(&answers)
        .filter(|(case, theirs)| ours(case) != **theirs && !differs_on_purpose(case, theirs))
        .map(|(case, theirs)| format!("\n{case}\n  is     {}\n  not    {theirs}", ours(case)))
        .collect();
    let shown: String = differing.iter().take(8).cloned().collect();
    assert!(differing.is_empty(), "{} of {CASES} differ:{shown}", differing.len());
    let grants = answers.iter().filter(|answer| answer["access_token"].is_string()).count();
    assert!((500..CASES - 500).contains(&grants), "{grants} grants: the cases do not vary enough");
}
