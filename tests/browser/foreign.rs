//! A foreign page in the operator's browser: its requests are refused.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::ONE_AT_A_TIME;
use crate::browser::Browser;
use crate::demo::Demo;
use crate::support::{get, post};

/// Resolves to this machine, as any foreign name may.
const NAME: &str = "evil.test";

/// Tries every read and order at the given origin; the result is a list of what succeeded.
const EVERY_REQUEST: &str = "
    const [target, done] = [arguments[0], arguments[arguments.length - 1]];
    const read = (path, options) => fetch(target + path, options).then(
        async (answer) => path + ' ' + (answer.ok ? 'read ' + (await answer.text()).slice(0, 40) : 'refused'),
        () => path + ' refused');
    const watch = new Promise((resolve) => {
        const socket = new WebSocket(target.replace('http', 'ws') + '/api/status/ws');
        socket.onmessage = () => resolve('socket read');
        socket.onclose = socket.onerror = () => resolve('socket refused');
    });
    const form = new Promise((resolve) => {
        const frame = document.createElement('iframe');
        frame.name = 'hidden';
        frame.onload = () => frame.dataset.sent ? resolve('form sent') : 0;
        document.body.append(frame);
        const form = document.createElement('form');
        Object.assign(form, { method: 'POST', action: target + '/api/gateway/drain', target: 'hidden' });
        document.body.append(form);
        frame.dataset.sent = 'yes';
        form.submit();
        setTimeout(() => resolve('form sent'), 3000);
    });
    Promise.all([
        read('/api/status'), read('/api/actors'), read('/metrics'), read('/'),
        read('/api/gateway/drain', { method: 'POST', body: '{}' }),
        read('/api/gateway/drain', { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } }),
        watch, form,
    ]).then(done);
";

/// A foreign site, readable from every origin.
fn site() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            while lines.next().is_some_and(|line| !line.is_empty()) {}
            let page = "<!doctype html><title>a foreign page</title><p>no content";
            let _ = write!(
                &stream,
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\naccess-control-allow-origin: *\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{page}",
                page.len()
            );
        }
    });
    port
}

async fn try_every_request(browser: &Browser, target: &str) -> Vec<String> {
    let got = browser.client.execute_async(EVERY_REQUEST, vec![json!(target)]).await.unwrap();
    let got: Vec<String> = serde_json::from_value(got).unwrap();
    got.into_iter().filter(|what| what.contains(" read")).collect()
}

async fn draining(gateway: &str) -> Value {
    let (code, status) = get(&format!("{gateway}/api/status")).await;
    assert_eq!(code, 200);
    status["drain"]["draining"].clone()
}

#[actix_web::test]
async fn a_page_of_another_origin_and_a_foreign_name_for_this_address_are_refused() {
    let _guard = ONE_AT_A_TIME.lock().await;
    let demo = Demo::start();
    let rule = format!("--host-resolver-rules=MAP {NAME} 127.0.0.1");
    let browser = Browser::start_with(&[&rule]).await;
    let gateway = demo.status.trim_end_matches('/').to_owned();
    let port = gateway.rsplit(':').next().unwrap().to_owned();
    let site = format!("http://{NAME}:{}", site());

    // What the page gets from an unprotected site.
    browser.open(&site).await;
    let open = try_every_request(&browser, &site).await;
    assert!(open.iter().any(|what| what.starts_with("/api/status read")), "{open:?}");

    let got = try_every_request(&browser, &gateway).await;
    assert!(got.is_empty(), "another origin got {got:?}");
    assert_eq!(draining(&gateway).await, false, "another origin drained the gateway");

    // The name now resolves to the gateway itself, so that the browser sees one origin.
    let rebound = format!("http://{NAME}:{port}");
    browser.open(&format!("{rebound}/api/status")).await;
    browser.text("body", "the refusal of the name", |text| text.contains("forbidden_host")).await;
    let got = try_every_request(&browser, &rebound).await;
    assert!(got.is_empty(), "a foreign name for this address got {got:?}");
    assert_eq!(draining(&gateway).await, false, "a foreign name for this address drained the gateway");

    // Without a browser, and under the gateway's own name, the same order is carried out.
    let (code, _) = post(&format!("{gateway}/api/gateway/drain"), &json!({})).await;
    assert_eq!(code, 200);
    // The status changes shortly after the answer.
    crate::support::wait_for("a drain", crate::support::SOON, || async {
        (draining(&gateway).await == json!(true)).then_some(())
    })
    .await;
    browser.client.close().await.unwrap();
    demo.interrupt();
}
