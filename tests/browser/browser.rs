//! Headless Chromium through chromedriver: tabs, widths, screenshots, and the errors of the console.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::support::{SOON, post, target, wait_for};

/// Widths of a phone and of a desktop, in CSS pixels.
pub(crate) const NARROW: u32 = 400;
pub(crate) const WIDE: u32 = 1400;

/// As root Chromium runs only without its sandbox; the other flags disable requests to the network.
const FLAGS: [&str; 11] = [
    "--headless",
    // A page that grows while it is measured would get one, and be narrower for a picture.
    "--hide-scrollbars",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
];

/// The sections of a page whose content overflows, or that overlap another.
const OVERFLOWING: &str = "
    const all = [...document.querySelectorAll('header, main, footer, section, .scroll')];
    const box = (node) => node.getBoundingClientRect();
    const on = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
    const over = (node) => all.some((other) => other !== node && !other.contains(node) && !node.contains(other) && on(box(node), box(other)));
    return all.filter((node) => node.scrollWidth > node.clientWidth + 1 || over(node)).map((node) => node.id || node.className || node.tagName);
";

/// A browser with an empty profile of its own, killed when dropped.
pub(crate) struct Browser {
    pub(crate) client: Client,
    /// The URL of this session at chromedriver.
    session: String,
    driver: Driver,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// As [`Browser::start`], with further flags.
    pub(crate) async fn start_with(more: &[&str]) -> Self {
        let driver = Driver::start();
        let mut flags: Vec<String> = FLAGS.iter().chain(more).map(|flag| (*flag).to_owned()).collect();
        flags.push(format!("--user-data-dir={}", driver.folder.path().display()));
        let wanted = json!({
            "goog:chromeOptions": {"args": flags},
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let Value::Object(wanted) = wanted else { unreachable!("it is an object") };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(wanted)
            .connect(&driver.url)
            .await
            .expect("chromedriver opens a session");
        let session = client.session_id().await.unwrap().expect("the session has an id");
        let session = format!("{}/session/{session}", driver.url);
        Self { client, session, driver }
    }

    /// Opens a page in a new tab, which becomes the current one.
    pub(crate) async fn open(&self, url: &str) -> Tab {
        let tab = self.client.new_window(true).await.unwrap().handle;
        self.client.switch_to_window(tab.clone()).await.unwrap();
        self.resize(WIDE, 900).await;
        self.client.goto(url).await.unwrap();
        Tab(tab)
    }

    /// Makes another tab the current one.
    pub(crate) async fn switch_to(&self, tab: &Tab) {
        self.client.switch_to_window(tab.0.clone()).await.unwrap();
    }

    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Waits until an element exists and is visible.
    pub(crate) async fn find(&self, css: &str) -> Element {
        wait_for(css, SOON, || async {
            let element = self.client.find(Locator::Css(css)).await.ok()?;
            element.is_displayed().await.is_ok_and(|shown| shown).then_some(element)
        })
        .await
    }

    /// Clicks an element, once it can be clicked.
    pub(crate) async fn press(&self, css: &str) {
        wait_for(&format!("{css} to be clickable"), SOON, || async {
            let element = self.client.find(Locator::Css(css)).await.ok()?;
            if !element.is_enabled().await.ok()? {
                return None;
            }
            element.click().await.ok()
        })
        .await;
    }

    /// Waits until the text of an element satisfies `is`; returns the text.
    pub(crate) async fn text(&self, css: &str, what: &str, is: impl Fn(&str) -> bool) -> String {
        wait_for(&format!("{css} to show {what}"), SOON, || async {
            let text = self.client.find(Locator::Css(css)).await.ok()?.text().await.ok()?;
            is(&text).then_some(text)
        })
        .await
    }

    /// An attribute of an existing element.
    pub(crate) async fn attribute(&self, css: &str, name: &str) -> Option<String> {
        self.client.find(Locator::Css(css)).await.ok()?.attr(name).await.ok()?
    }

    /// Saves a screenshot of the whole page at a width; no section may overflow or overlap.
    pub(crate) async fn picture(&self, name: &str, width: u32) {
        self.resize(width, 900).await;
        let size = "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]";
        let size = self.client.execute(size, Vec::new()).await.unwrap();
        let height = u32::try_from(size[1].as_u64().unwrap()).unwrap();
        self.resize(width, height.max(700)).await;
        let taken = self.devtools("Page.captureScreenshot", json!({"format": "png", "optimizeForSpeed": false})).await;
        let picture = STANDARD.decode(taken["data"].as_str().expect("a picture")).unwrap();
        let folder = target().join("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
        assert!(
            size[0].as_u64().unwrap() <= u64::from(width),
            "{name} is {} pixels wide on a screen of {width}",
            size[0]
        );
        let out = self.client.execute(OVERFLOWING, Vec::new()).await.unwrap();
        assert_eq!(out, json!([]), "{name} at {width} pixels: these sections overlap or overflow");
        self.resize(WIDE, 900).await;
    }

    /// A command of the `DevTools` protocol, for what `WebDriver` does not offer.
    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        let (status, answer) = post(&format!("{}/goog/cdp/execute", self.session), &body).await;
        assert_eq!(status, 200, "{command}: {answer}");
        answer["value"].clone()
    }

    /// Console errors since the last call.
    pub(crate) async fn console_errors(&self) -> Vec<String> {
        let (status, log) = post(&format!("{}/se/log", self.session), &json!({"type": "browser"})).await;
        assert_eq!(status, 200, "{log}");
        let entries = log["value"].as_array().expect("a list of entries");
        let bad = entries.iter().filter(|entry| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING")));
        bad.map(|entry| entry["message"].to_string()).collect()
    }

    /// Fails if a page logged an error, or if the check does not find a planted one.
    pub(crate) async fn close_without_console_errors(self) {
        let console_errors = self.console_errors().await;
        assert!(console_errors.is_empty(), "console errors:\n{}", console_errors.join("\n"));
        for tab in self.client.windows().await.unwrap() {
            self.client.switch_to_window(tab).await.unwrap();
            self.client.execute("console.error('planted error')", Vec::new()).await.unwrap();
            let found = self.console_errors().await;
            assert!(
                found.iter().any(|text| text.contains("planted error")),
                "the planted error is not in the console log: {found:?}"
            );
        }
        self.client.close().await.expect("the session closes");
        drop(self.driver);
    }
}

/// A tab that stays open.
pub(crate) struct Tab(fantoccini::wd::WindowHandle);

/// chromedriver on a free port, and the folder of its browser.
struct Driver {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
}

/// Most drivers started until one has its port.
const MAX_DRIVERS: usize = 10;

impl Driver {
    /// With `--port=0`, chromedriver takes a free port of IPv4 and then the same one of IPv6, where another process may have it; then
    /// it exits. So one that exits without a port is replaced.
    fn start() -> Self {
        let driver = std::iter::repeat_with(Self::spawn).take(MAX_DRIVERS).find_map(Self::with_port);
        driver.expect("one of several chromedrivers prints its port")
    }

    fn spawn() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the browser");
        let child = Command::new("chromedriver")
            .arg("--port=0")
            // The files of the browser are removed with the folder.
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts; Debian's packages are chromium and chromium-driver");
        Self { child, url: String::new(), folder }
    }

    /// The driver with the port that it prints; `None` if it exits first.
    fn with_port(mut self) -> Option<Self> {
        let output = self.child.stdout.take().expect("standard output is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        loop {
            match lines.recv_timeout(SOON) {
                Ok(line) => {
                    if let Some((_, port)) = line.split_once("started successfully on port ") {
                        self.url = format!("http://127.0.0.1:{}", port.trim_end_matches('.'));
                        return Some(self);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("chromedriver neither prints its port nor exits"),
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A killed driver does not end its browser; only this browser has this folder.
        for process in browsers_of(self.folder.path()) {
            let _ = Command::new("kill").args(["-s", "KILL", &process]).stderr(Stdio::null()).status();
        }
    }
}

/// The processes with `folder` in their arguments.
fn browsers_of(folder: &Path) -> Vec<String> {
    let flag = format!("--user-data-dir={}", folder.display());
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_one = |process: &String| {
        process.bytes().all(|byte| byte.is_ascii_digit())
            && std::fs::read(format!("/proc/{process}/cmdline"))
                .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == flag.as_bytes()))
    };
    processes.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_one).collect()
}
