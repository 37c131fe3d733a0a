//! A drain begun and cancelled by the buttons, seen from the chat.

use crate::browser::WIDE;
use crate::{BrowserStage, chat};

#[actix_web::test]
async fn a_drain_by_the_buttons_refuses_new_turns_finishes_the_running_one_and_can_be_cancelled() {
    let stage = BrowserStage::start().await;
    let browser = &stage.browser;
    let chat_tab = chat::open(&stage).await;
    chat::type_message(browser, "sleep 8").await;
    chat::answered(browser, "Working for 8 s").await;

    let page = browser.open(&stage.demo.status).await;
    browser.text("#active", "one turn", |text| text == "1").await;
    browser.press("#drain-begin").await;
    browser.text("#state", "draining", |text| text == "draining").await;
    browser.text("#result", "the begun drain", |text| text.starts_with("Drain begun; 1 turn in flight")).await;
    browser.find("#turns tr").await;
    browser.picture("status-draining", WIDE).await;

    browser.switch_to(&chat_tab).await;
    chat::type_message(browser, "And I?").await;
    chat::answered(browser, "maintenance").await;
    // The running turn finishes, and its answer is above the notice.
    browser.text("#log", "the end of the long turn", |text| text.contains("Done after 8 s.")).await;
    browser.picture("chat-draining", WIDE).await;

    browser.switch_to(&page).await;
    browser.text("#active", "no turn", |text| text == "0").await;
    browser.text("#state", "draining", |text| text == "draining").await;
    browser.press("#drain-cancel").await;
    browser.text("#state", "running", |text| text == "running").await;

    browser.switch_to(&chat_tab).await;
    chat::type_message(browser, "And now?").await;
    chat::answered(browser, "You said: And now?").await;
    stage.close().await;
}
