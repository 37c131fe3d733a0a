//! The loopback address to which a login redirects: one path, one use.
//!
//! The answer to the browser shows the result of the login, and waits for it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Mutex;

use actix_web::dev::ServerHandle;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use caduceus_actors::locked::locked;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

/// The port registered with the authorization server, which accepts any other loopback port as well.
const USUAL_PORT: u16 = 8765;
/// The path registered with it.
const PATH: &str = "/callback";
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:20vh auto;padding:0 1rem;\
color:#1d2330;background:#f7f8fa}@media(prefers-color-scheme:dark){body{color:#dfe3ea;background:#14171d}}";

/// The bound address, before it is served.
pub(super) struct Loopback {
    listener: TcpListener,
    address: SocketAddr,
}

/// The request of the redirect.
pub(super) struct Redirect {
    /// The query string.
    pub(super) query: String,
    /// Takes the page to show.
    pub(super) show: oneshot::Sender<Page>,
}

/// The last page of a login.
pub(super) struct Page {
    pub(super) good: bool,
    pub(super) sentence: String,
}

impl Loopback {
    /// Takes the usual port of loopback, or any other where that one is taken.
    pub(super) fn bind() -> io::Result<Self> {
        let at = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = at(USUAL_PORT).or_else(|_| at(0))?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The redirect address.
    pub(super) fn redirect(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Serves on the current runtime; the first redirect goes to the receiver, later ones are refused.
    pub(super) fn serve(self) -> io::Result<(ServerHandle, oneshot::Receiver<Redirect>)> {
        let (sender, redirects) = oneshot::channel();
        let route = web::Data::new(LoginRoute { host: self.address.to_string(), sender: Mutex::new(Some(sender)) });
        let app = move || App::new().app_data(route.clone()).default_service(web::to(handle_request));
        let server = HttpServer::new(app).workers(1).disable_signals().tcp_nodelay(true);
        let server = server.shutdown_timeout(2).listen(self.listener)?.run();
        let handle = server.handle();
        caduceus_supervision::spawn(server);
        Ok((handle, redirects))
    }
}

struct LoginRoute {
    /// What the `Host` of a request must be: a page of another site whose name resolves to loopback sends another one.
    host: String,
    sender: Mutex<Option<oneshot::Sender<Redirect>>>,
}

async fn handle_request(request: HttpRequest, route: web::Data<LoginRoute>) -> HttpResponse {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if host != Some(&*route.host) {
        return page(StatusCode::MISDIRECTED_REQUEST, "Not here", "This address is for a login on this machine only.");
    }
    if request.path() != PATH {
        return page(StatusCode::NOT_FOUND, "Not found", "There is no page at this address.");
    }
    if request.method() != Method::GET {
        return page(StatusCode::METHOD_NOT_ALLOWED, "Not allowed", "This address takes GET only.");
    }
    let sender = locked(&route.sender).take();
    let (show, shown) = oneshot::channel();
    let received = Redirect { query: request.query_string().to_owned(), show };
    if sender.is_none_or(|sender| sender.send(received).is_err()) {
        return page(StatusCode::GONE, "Ended", "This login has ended. You may close this page.");
    }
    match shown.await {
        Ok(Page { good: true, sentence }) => page(StatusCode::OK, "Logged in", &sentence),
        Ok(Page { good: false, sentence }) => page(StatusCode::OK, "Not logged in", &sentence),
        Err(_) => page(StatusCode::INTERNAL_SERVER_ERROR, "Not logged in", "The login was interrupted."),
    }
}

fn page(status: StatusCode, title: &str, sentence: &str) -> HttpResponse {
    let style = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let escaped = sentence.replace('&', "&amp;").replace('<', "&lt;");
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
<link rel=icon href='data:,'><title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1><p>{escaped}</p></main>"
    );
    HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .insert_header((
            header::CONTENT_SECURITY_POLICY,
            format!("default-src 'none'; img-src data:; style-src 'sha256-{style}'; frame-ancestors 'none'"),
        ))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(html)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::rt::time::timeout;
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(20);

    async fn status(url: &str, host: Option<&str>, method: Method) -> u16 {
        let mut request = awc::Client::default().request(method, url);
        if let Some(host) = host {
            request = request.insert_header((header::HOST, host));
        }
        request.send().await.expect("the server answers").status().as_u16()
    }

    #[actix_web::test]
    async fn only_the_first_request_with_the_right_path_and_host_is_the_redirect() {
        let loopback = Loopback::bind().unwrap();
        let (base, redirect) = (format!("http://{}", loopback.address), loopback.redirect());
        let (server, mut redirects) = loopback.serve().unwrap();
        assert_eq!(status(&format!("{base}/favicon.ico"), None, Method::GET).await, 404);
        assert_eq!(status(&redirect, Some("evil.example"), Method::GET).await, 421);
        assert_eq!(status(&redirect, None, Method::POST).await, 405);
        assert!(redirects.try_recv().is_err(), "none of these is a redirect");

        let first = caduceus_supervision::spawn(async move {
            let redirect = timeout(SOON, redirects).await.expect("a redirect").expect("the server is running");
            assert_eq!(redirect.query, "code=1&state=2");
            let page = Page { good: true, sentence: "Well <done>".to_owned() };
            assert!(redirect.show.send(page).is_ok());
        });
        let mut answer = awc::Client::default().get(format!("{redirect}?code=1&state=2")).send().await.unwrap();
        first.await.unwrap();
        let body = String::from_utf8(answer.body().await.unwrap().to_vec()).unwrap();
        assert!(body.contains("Logged in") && body.contains("Well &lt;done>"), "{body}");
        assert!(answer.headers().contains_key(header::CONTENT_SECURITY_POLICY));
        assert_eq!(status(&format!("{redirect}?code=1"), None, Method::GET).await, 410);
        server.stop(false).await;
    }

    #[test]
    fn another_port_is_used_if_the_usual_one_is_in_use() {
        let first = Loopback::bind().unwrap();
        let second = Loopback::bind().unwrap();
        assert_ne!(first.address, second.address);
        assert!(second.redirect().starts_with("http://127.0.0.1:") && second.redirect().ends_with("/callback"));
    }
}
