//! A server with scripted answers, which records its requests.

use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

/// A request: the path, the `Authorization`, the body.
pub(crate) type StubRequest = (String, Option<String>, String);

/// The answer to a path and a body.
type Script = dyn Fn(&str, &str) -> (u16, String) + Send + Sync;

/// The recorded requests and the scripted answers.
type StubServerState = (Arc<Mutex<Vec<StubRequest>>>, Arc<Script>);

/// A listening stub.
pub(crate) struct StubServer {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<StubRequest>>>,
    server: ServerHandle,
}

impl StubServer {
    pub(crate) fn new(script: impl Fn(&str, &str) -> (u16, String) + Send + Sync + 'static) -> Self {
        let requests: Arc<Mutex<Vec<StubRequest>>> = Arc::default();
        let script: Arc<Script> = Arc::new(script);
        let state: StubServerState = (Arc::clone(&requests), script);
        let server = HttpServer::new(move || {
            App::new().app_data(web::Data::new(state.clone())).default_service(web::to(answer))
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        caduceus_supervision::spawn(server);
        Self { url, requests, server: handle }
    }

    /// All requests to a path.
    pub(crate) fn requests(&self, path: &str) -> Vec<StubRequest> {
        self.requests.lock().unwrap().iter().filter(|request| request.0 == path).cloned().collect()
    }
}

impl Drop for StubServer {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

async fn answer(request: HttpRequest, body: web::Payload, state: web::Data<StubServerState>) -> HttpResponse {
    let (requests, script) = &**state;
    // A dial has no body that ends.
    let dials = request.headers().contains_key("upgrade");
    let bytes = if dials { web::Bytes::new() } else { body.to_bytes().await.unwrap() };
    let body = String::from_utf8(bytes.to_vec()).unwrap();
    let bearer = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    requests.lock().unwrap().push((request.path().to_owned(), bearer, body.clone()));
    let (status, answer) = script(request.path(), &body);
    HttpResponse::build(StatusCode::from_u16(status).unwrap()).content_type("application/json").body(answer)
}
