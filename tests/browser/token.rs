//! The status page of a gateway with a secret: the buttons with and without the token, and the content security policy.

use serde_json::json;

use crate::ONE_AT_A_TIME;
use crate::browser::{Browser, NARROW, WIDE};
use crate::support::{SOON, wait_for};
use crate::world::World;

const SECRET: &str = "Wq3rT8yU1iO5pA7sD2fG9hJ4kL6zX0cV-bN_mQwErTy";

/// What an injected script would try.
const INJECTION: &str = "
    const script = document.createElement('script');
    script.textContent = 'window.injected = true';
    document.body.append(script);
    const styled = document.createElement('p');
    styled.setAttribute('style', 'position: fixed');
    document.body.append(styled);
    const image = new Image();
    image.src = 'http://127.0.0.1:1/stolen';
    const seen = getComputedStyle(styled).position;
    styled.remove();
    return [window.injected === undefined, seen];
";

#[actix_web::test]
async fn the_buttons_need_the_token_and_a_turn_is_stopped_by_its_own_button() {
    let _guard = ONE_AT_A_TIME.lock().await;
    let mut world = World::prepare().await;
    world.variable("HERMES_DASHBOARD_DRAIN_SECRET", SECRET);
    // A grant that is valid for another hour, so that it is not exchanged during the test.
    let expires_at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 3_600;
    let oauth = json!({"refreshToken": "hch-rt-1", "expiresAt": expires_at, "clientId": "hermes-agent", "tokenEndpoint": "http://127.0.0.1:1/token"});
    let grant = json!({"hosts": {"hermes": {"apiKey": "hch-at-1", "oauth": oauth}}});
    world.write("honcho.json", &grant.to_string());
    world.serve().await;
    let browser = Browser::start().await;
    let page = world.url("/");
    browser.open(&page).await;
    browser.text("#state", "running", |text| text == "running").await;

    browser.text("#honcho", "how long the grant has", |text| text.contains("fresh") && text.contains("left")).await;
    browser.text("#relay", "the frames by kind", |text| text.contains("hello")).await;

    browser.press("#drain-begin").await;
    browser.text("#result", "the request for a token", |text| text.contains("A token is required")).await;
    browser.find("#token").await.send_keys("a guess").await.unwrap();
    browser.press("#drain-begin").await;
    browser.text("#result", "the request for a token again", |text| text.contains("A token is required")).await;
    assert_eq!(world.status().await["drain"]["draining"], false);

    let field = browser.find("#token").await;
    field.clear().await.unwrap();
    field.send_keys(SECRET).await.unwrap();
    world.push("long", "sleep 600", "c1", None).await;
    browser.find("#turns tr button.stop").await;
    browser.press("#drain-begin").await;
    browser.text("#result", "the begun drain", |text| text.starts_with("Drain begun; 1 turn in flight")).await;
    browser.text("#state", "draining", |text| text == "draining").await;
    browser.picture("status-turn", WIDE).await;
    browser.picture("status-turn-400", NARROW).await;

    browser.press("#turns tr button.stop").await;
    browser.text("#result", "the stopped turn", |text| text.contains("stop requested")).await;
    browser.text("#active", "no turn", |text| text == "0").await;
    browser.press("#drain-cancel").await;
    browser.text("#state", "running", |text| text == "running").await;
    assert_eq!(world.status().await["turns"]["stopped"], 1);

    // In memory only: a reloaded page has no token.
    let kept = "return [localStorage.length, sessionStorage.length, document.cookie]";
    assert_eq!(browser.client.execute(kept, Vec::new()).await.unwrap(), json!([0, 0, ""]));
    browser.client.refresh().await.unwrap();
    browser.text("#state", "running", |text| text == "running").await;
    assert_eq!(browser.find("#token").await.prop("value").await.unwrap().as_deref(), Some(""));

    let console_errors = browser.console_errors().await;
    let expected = |complaint: &String| complaint.contains("/api/gateway/drain") && complaint.contains("401");
    assert!(console_errors.len() == 2 && console_errors.iter().all(expected), "{console_errors:?}");
    let held = browser.client.execute(INJECTION, Vec::new()).await.unwrap();
    assert_eq!(held, json!([true, "static"]), "the policy blocks every injection");
    let refused = wait_for("the refusals in the console", SOON, || async {
        let console_errors = browser.console_errors().await.join("\n");
        console_errors.contains("Content Security Policy").then_some(console_errors)
    })
    .await;
    assert!(refused.contains("script") && refused.contains("style"), "{refused}");
    browser.client.close().await.unwrap();
}
