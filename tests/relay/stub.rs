//! A server with scripted answers, which records its requests.

use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

/// A request: the path, the `Authorization`, the body.
pub(crate) type Asked = (String, Option<String>, String);

/// The answer to a path and a body.
type Script = dyn Fn(&str, &str) -> (u16, String) + Send + Sync;

/// The recorded requests and the scripted answers.
type State = (Arc<Mutex<Vec<Asked>>>, Arc<Script>);

/// A listening stub.
pub(crate) struct Stub {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    server: ServerHandle,
}

impl Stub {
    pub(crate) fn new(script: impl Fn(&str, &str) -> (u16, String) + Send + Sync + 'static) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let script: Arc<Script> = Arc::new(script);
        let state: State = (Arc::clone(&asked), script);
        let server = HttpServer::new(move || {
            App::new().app_data(web::Data::new(state.clone())).default_service(web::to(answer))
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        caduceus_supervision::spawn(server);
        Self { url, asked, server: handle }
    }

    /// All requests to a path.
    pub(crate) fn asked(&self, path: &str) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.0 == path).cloned().collect()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

async fn answer(request: HttpRequest, body: web::Payload, state: web::Data<State>) -> HttpResponse {
    let (asked, script) = &**state;
    // A dial has no body that ends.
    let dials = request.headers().contains_key("upgrade");
    let bytes = if dials { web::Bytes::new() } else { body.to_bytes().await.unwrap() };
    let body = String::from_utf8(bytes.to_vec()).unwrap();
    let bearer = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    asked.lock().unwrap().push((request.path().to_owned(), bearer, body.clone()));
    let (status, answer) = script(request.path(), &body);
    HttpResponse::build(StatusCode::from_u16(status).unwrap()).content_type("application/json").body(answer)
}
