//! `caduceus enroll`: every outcome.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::command::{CommandOutput, run_with_input};
use crate::stub::StubServer;
use crate::support::binary;
use crate::support::original::original_python;
use crate::world::World;
use crate::{credentials, text};

/// Runs `enroll` on another thread, because the test's own thread may run a stub.
async fn enroll(world: &World, arguments: &[&str], variables: &[(&str, &str)], input: &str) -> CommandOutput {
    let mut command = binary();
    command.args(["enroll", "--home", &world.home().display().to_string()]).args(arguments);
    for name in ["HERMES_MANAGED", "GATEWAY_RELAY_ENROLL_TOKEN", "GATEWAY_RELAY_ACCESS_TOKEN", "GATEWAY_RELAY_URL"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    let input = input.to_owned();
    actix_web::web::block(move || run_with_input(&mut command, input.as_bytes())).await.unwrap()
}

/// Arguments, variables, the exit code and words of the output.
type EnrollCase<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32, &'a str);

const ODD: &str = "# mine\r\nOTHER='x y'\n\n  GATEWAY_RELAY_SECRET = old \nbroken line\n";

#[actix_web::test]
async fn an_enrolled_gateway_serves_and_the_original_reads_its_env_file() {
    let mut world = World::prepare().await;
    let credentials = credentials(&world).await;
    world.write(".env", ODD);
    fs::set_permissions(world.path(".env"), fs::Permissions::from_mode(0o644)).unwrap();
    let url = format!("{}/", world.connector.url);
    let arguments =
        ["--token", "-", "--connector-url", &url, "--gateway-id", "enrolled", "--wake-url", "http://w.example/"];
    let variables = [("GATEWAY_RELAY_ACCESS_TOKEN", text(&credentials, "accessToken"))];
    let run = enroll(&world, &arguments, &variables, &format!("{}\n", text(&credentials, "enrollmentToken"))).await;
    assert_eq!(run.code, Some(0), "{}", run.error);

    let written = fs::read_to_string(world.path(".env")).unwrap();
    assert_eq!(fs::metadata(world.path(".env")).unwrap().permissions().mode() & 0o777, 0o600);
    let script = "import json,sys; from pathlib import Path; from agent.secret_scope import load_env_file; \
                  print(json.dumps(load_env_file(Path(sys.argv[1]))))";
    let python = actix_web::web::block(original_python).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let read = Command::new(python)
        .args(["-c", script])
        .arg(world.path(".env"))
        .envs([("HOME", home.path()), ("HERMES_HOME", home.path())])
        .output()
        .unwrap();
    let read: Value = serde_json::from_slice(&read.stdout).expect("the original reads it");
    let secret = read["GATEWAY_RELAY_SECRET"].as_str().unwrap();
    assert_eq!(read["GATEWAY_RELAY_ID"], "enrolled");
    assert_eq!(read["GATEWAY_RELAY_DELIVERY_KEY"], credentials["deliveryKey"]);
    assert_eq!(read["GATEWAY_RELAY_URL"], world.connector.url, "without its trailing slash");
    assert_eq!((&read["GATEWAY_RELAY_WAKE_URL"], &read["OTHER"]), (&json!("http://w.example"), &json!("x y")));
    // Every other byte is unchanged.
    let expected = format!(
        "{}GATEWAY_RELAY_ID=enrolled\r\nGATEWAY_RELAY_DELIVERY_KEY={}\r\nGATEWAY_RELAY_URL={}\r\n\
         GATEWAY_RELAY_WAKE_URL=http://w.example\r\n",
        ODD.replace("= old ", &format!("= {secret}")),
        text(&credentials, "deliveryKey"),
        world.connector.url
    );
    assert_eq!(written, expected);

    assert!(run.output.contains("enrolled for tenant tenant-"), "{}", run.output);
    assert_eq!(run.output.matches("=<hidden>").count(), 2, "{}", run.output);
    let printed = format!("{}{}", run.output, run.error);
    for hidden in [secret, text(&credentials, "deliveryKey"), text(&credentials, "enrollmentToken")] {
        assert!(!printed.contains(hidden), "{printed}");
    }
    world.serve().await;
}

#[actix_web::test]
async fn missing_input_is_named_and_nothing_is_changed() {
    let world = World::prepare().await;
    world.write(".env", ODD);
    let token = ("GATEWAY_RELAY_ENROLL_TOKEN", "t");
    let url = world.connector.url.clone();
    let url = ["--connector-url", &url];
    let odd_url = ["--connector-url", "c.example"];
    let cases: [EnrollCase<'_>; 6] = [
        (&url, &[], 1, "there is no enrollment token"),
        (&[], &[token], 1, "there is no address of a connector"),
        (&odd_url, &[token], 1, "has to begin with wss://"),
        (&url, &[token, ("HERMES_MANAGED", "1")], 1, "managed installation"),
        (&url, &[token], 3, "not logged in"),
        (
            &url,
            &[token, ("GATEWAY_RELAY_IDP_TOKEN_URL", "http://127.0.0.1:1/")],
            3,
            "its client id or client secret is not",
        ),
    ];
    for (arguments, variables, code, words) in cases {
        let run = enroll(&world, arguments, variables, "").await;
        assert_eq!(run.code, Some(code), "{words}: {}", run.error);
        assert!(run.error.contains(words), "{words}: {}", run.error);
    }
    world.write("auth.json", r#"{"providers": {"nous": {"access_token": "a", "expires_at": "2020-01-01T00:00:00Z"}}}"#);
    let run = enroll(&world, &url, &[token], "").await;
    assert!(run.code == Some(3) && run.error.contains("the portal login has expired"), "{}", run.error);
    world.write(".managed", "");
    assert_eq!(enroll(&world, &url, &[token], "").await.code, Some(1));
    assert_eq!(fs::read_to_string(world.path(".env")).unwrap(), ODD);
}

#[actix_web::test]
async fn each_answer_of_a_connector_has_its_message_and_exit_code() {
    let world = World::prepare().await;
    world.write(".env", ODD);
    let variables = [("GATEWAY_RELAY_ENROLL_TOKEN", "spent"), ("GATEWAY_RELAY_ACCESS_TOKEN", "a")];
    let cases = [
        (401, json!({"error": "x"}), 4, "did not accept your identity (401)"),
        (403, json!({"error": "this token is another's"}), 4, "this token is another's"),
        (403, json!("x"), 4, "invalid, expired, used already, or another tenant's (403)"),
        (500, json!({"error": "out of order"}), 4, "status 500: out of order"),
        (302, json!({}), 4, "status 302"),
        (200, json!({"gatewayId": "x"}), 4, "holds no secret"),
        (200, json!({"secret": "a\nB=1"}), 78, "could not be written"),
    ];
    for (status, answer, code, words) in cases {
        let connector = StubServer::new(move |_, _| (status, answer.to_string()));
        let run = enroll(&world, &["--connector-url", &connector.url], &variables, "").await;
        assert_eq!(run.code, Some(code), "{words}: {}", run.error);
        assert!(run.error.contains(words), "{words}: {}", run.error);
        let (_, bearer, body) = connector.requests("/relay/enroll").remove(0);
        assert_eq!(bearer.as_deref(), Some("Bearer a"));
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["enrollmentToken"], "spent");
        assert!(body["gatewayId"].as_str().unwrap().starts_with("gw-"), "{body}");
    }
    let run = enroll(&world, &["--connector-url", "http://127.0.0.1:1"], &variables, "").await;
    assert!(run.code == Some(75) && run.error.contains("cannot be reached"), "{}", run.error);
    assert_eq!(fs::read_to_string(world.path(".env")).unwrap(), ODD);
}

#[actix_web::test]
async fn a_token_in_the_arguments_gets_a_warning_and_one_in_a_file_does_not() {
    let world = World::prepare().await;
    let connector = StubServer::new(|_, _| (200, json!({"secret": "s", "gatewayId": ""}).to_string()));
    let variables = [("GATEWAY_RELAY_ACCESS_TOKEN", "a")];
    world.write("token", " from-a-file\n");
    let file = world.path("token").display().to_string();
    for (flag, value, warned) in [("--token", "given", true), ("--token-file", file.as_str(), false)] {
        let arguments = [flag, value, "--connector-url", &connector.url, "--gateway-id", "mine"];
        let run = enroll(&world, &arguments, &variables, "").await;
        assert_eq!(run.code, Some(0), "{}", run.error);
        assert_eq!(run.error.contains("every user of this machine"), warned, "{}", run.error);
        assert!(!run.error.contains("given"), "{}", run.error);
        // Empty values are not written.
        assert!(run.output.contains("GATEWAY_RELAY_ID=mine") && !run.output.contains("DELIVERY_KEY"));
    }
    let tokens: Vec<Value> = connector
        .requests("/relay/enroll")
        .iter()
        .map(|(_, _, body)| serde_json::from_str::<Value>(body).unwrap()["enrollmentToken"].clone())
        .collect();
    assert_eq!(tokens, ["given", "from-a-file"]);
}
