//! A login in a browser: the address opened in headless Chromium, the consent page, the page with the result.

use fantoccini::Locator;

use crate::browser::Browser;
use crate::grants::SharedGrant;
use crate::login::RunningLogin;

async fn press(browser: &Browser, login: &RunningLogin, button: &str) -> String {
    browser.open(login.address.as_str()).await;
    browser.press(&format!("#{button}")).await;
    browser.text("h1", "how it ended", |text| text.contains("ogged in")).await
}

#[actix_web::test]
async fn a_login_in_the_browser_ends_on_a_page_with_its_result() {
    let shared = SharedGrant::empty();
    let browser = Browser::start().await;
    for (button, heading, expected) in
        [("agree", "Logged in", 0), ("deny", "Not logged in", 77), ("forge", "Not logged in", 76)]
    {
        let login = RunningLogin::begin(&shared, &[]);
        assert_eq!(press(&browser, &login, button).await, heading);
        let body = browser.client.find(Locator::Css("main")).await.unwrap().text().await.unwrap();
        assert!(body.contains("close this page"), "{body}");
        browser.picture(&format!("login-{button}"), 700).await;
        let (code, printed) = login.ended();
        assert_eq!(code, Some(expected), "{printed}");
    }
    assert_eq!((shared.server.logins(), shared.token().as_str()), (1, "hch-at-n2"));
    browser.close_without_console_errors().await;
}
