//! The status page: the tree, live, and an actor crashed by its button.

use crate::browser::{Browser, NARROW, WIDE};
use crate::support::{SOON, wait_for};
use crate::{BrowserStage, chat};

/// Every actor of a demonstration, as the tree names it.
const TREE: [&str; 11] = [
    "ledger",
    "status",
    "profiles",
    "profiles/default",
    "profiles/work",
    "drain",
    "honcho",
    "dispatch",
    "turns",
    "relays/relay",
    "http",
];

#[actix_web::test]
async fn an_actor_crashed_by_its_button_is_shown_as_restarted() {
    let stage = BrowserStage::start().await;
    let browser = &stage.browser;
    let chat_tab = chat::open(&stage).await;
    chat::type_message(browser, "A turn for the graph").await;
    chat::answered(browser, "process of its own").await;

    let page = browser.open(&stage.demo.status).await;
    browser.text("#state", "running", |text| text == "running").await;
    for actor in TREE {
        browser.find(&format!("#tree tr[data-actor='{actor}'][data-state='running']")).await;
    }
    on_the_graph(browser).await;
    for actor in ["dispatch", "relays/relay", "drain"] {
        let row = format!("#tree tr[data-actor='{actor}']");
        assert_eq!(browser.attribute(&row, "data-restarts").await.as_deref(), Some("0"), "{actor}");
        browser.press(&format!("{row} button.crash")).await;
        browser.find(&format!("{row}[data-restarts='1']")).await;
        browser.find(&format!("{row}[data-state='running']")).await;
    }
    // Actors without a crash were not restarted.
    assert_eq!(browser.attribute("#tree tr[data-actor='ledger']", "data-restarts").await.as_deref(), Some("0"));
    browser.text("#relay", "that the link is back", |text| text.contains("connected")).await;

    browser.switch_to(&chat_tab).await;
    chat::type_message(browser, "Still there?").await;
    chat::answered(browser, "Still there?").await;
    browser.switch_to(&page).await;
    on_the_graph(browser).await;
    browser.picture("status", WIDE).await;
    browser.picture("status-400", NARROW).await;
    stage.close().await;
}

/// Waits until the graph shows a turn; a restarted dispatcher does not show earlier turns.
async fn on_the_graph(browser: &Browser) {
    wait_for("a turn on the graph", SOON, || async {
        browser.attribute("#graph", "aria-label").await.filter(|label| label.contains("median"))
    })
    .await;
}
