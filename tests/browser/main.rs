//! `caduceus demo` as a user runs it: the real binary, headless Chromium, real input events.
//!
//! Needs `chromium` and `chromedriver`; `tests/run` installs them.

#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod browser;
mod chat;
mod demo;
mod drain;
mod foreign;
mod status;
#[path = "../support/mod.rs"]
mod support;
mod token;
#[path = "../support/world.rs"]
mod world;

use browser::Browser;
use demo::Demo;
use tokio::sync::{Mutex, MutexGuard};

/// Two browsers at once are too slow on two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A demonstration and a browser, in which each page is a tab.
struct BrowserStage {
    demo: Demo,
    browser: Browser,
    _guard: MutexGuard<'static, ()>,
}

impl BrowserStage {
    async fn start() -> Self {
        let guard = ONE_AT_A_TIME.lock().await;
        let (demo, browser) = (Demo::start(), Browser::start().await);
        Self { demo, browser, _guard: guard }
    }

    /// Fails on any console error of a page, then ends the demonstration as Ctrl-C does.
    async fn close(self) {
        self.browser.close_without_console_errors().await;
        self.demo.interrupt();
    }
}
