//! The web chat: messages are typed, answered over the real wire, and grow in the page.

use fantoccini::Locator;

use crate::BrowserStage;
use crate::browser::{Browser, NARROW, WIDE};
use crate::support::{SOON, wait_for};

/// Opens the chat and waits until it shows the gateway as connected.
pub(crate) async fn open(stage: &BrowserStage) -> crate::browser::Tab {
    let tab = stage.browser.open(&stage.demo.chat).await;
    stage.browser.text("#status", "that the gateway is connected", |text| text.contains("connected")).await;
    tab
}

/// Types a message, key by key, then Enter.
pub(crate) async fn type_message(browser: &Browser, text: &str) {
    browser.press("#message").await;
    browser.find("#message").await.send_keys(&format!("{text}\u{e007}")).await.unwrap();
    wait_for(&format!("{text:?} in the chat"), SOON, || newest(browser, "article.own", |shown| shown == text)).await;
}

/// Waits for an answer that contains `words`; returns its text.
pub(crate) async fn answered(browser: &Browser, words: &str) -> String {
    let what = format!("an answer with {words:?}");
    wait_for(&what, SOON, || newest(browser, "article.agent", |text| text.contains(words))).await
}

/// The text of the newest message of a kind, if it satisfies `is`.
async fn newest(browser: &Browser, kind: &str, is: impl Fn(&str) -> bool) -> Option<String> {
    let messages = browser.client.find_all(Locator::Css(&format!("#log {kind} .text"))).await.ok()?;
    messages.last()?.text().await.ok().filter(|text| is(text))
}

async fn choose_profile(browser: &Browser, profile: &str) {
    let field = browser.find("#profile").await;
    field.clear().await.unwrap();
    field.send_keys(profile).await.unwrap();
}

#[actix_web::test]
async fn a_typed_message_is_answered_over_the_real_wire_and_the_answer_grows() {
    let stage = BrowserStage::start().await;
    let browser = &stage.browser;
    open(&stage).await;
    type_message(browser, "Are you there?").await;
    let answer = answered(browser, "process of its own").await;
    assert!(answer.contains("You said: Are you there?"), "{answer}");

    type_message(browser, "sleep 3").await;
    let begun = answered(browser, "Working for 3 s").await;
    let whole = answered(browser, "Done after 3 s.").await;
    assert!(!begun.contains("Done") && whole.starts_with(&begun), "the text grows at its end: {begun:?} {whole:?}");
    let messages = browser.client.find_all(Locator::Css("#log article.agent")).await.unwrap();
    assert_eq!(messages.len(), 2, "one message for each answer");
    let edits: u32 = messages[1].attr("data-edits").await.unwrap().expect("a count of edits").parse().unwrap();
    assert!(edits >= 1, "the answer grew by edits of one message");
    stage.close().await;
}

#[actix_web::test]
async fn each_profile_answers_with_its_own_secrets_and_no_others() {
    let stage = BrowserStage::start().await;
    let browser = &stage.browser;
    open(&stage).await;
    for (profile, own, other) in [("default", "DEFAULT", "WORK"), ("work", "WORK", "DEFAULT")] {
        choose_profile(browser, profile).await;
        type_message(browser, "whoami").await;
        let answer = answered(browser, &format!("profile \"{profile}\"")).await;
        let answer = if answer.contains("Secrets") { answer } else { answered(browser, "Secrets").await };
        assert!(answer.contains(&format!("DEMO_{own}_KEY")), "{answer}");
        assert!(!answer.contains(&format!("DEMO_{other}_KEY")), "{answer}");
    }
    type_message(browser, "Good. Now write me a line or two.").await;
    answered(browser, "process of its own").await;
    browser.picture("chat", WIDE).await;
    browser.picture("chat-400", NARROW).await;
    stage.close().await;
}
