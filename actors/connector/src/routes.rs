//! The HTTP routes: each parses the request, sends one message to the hub, and maps the answer to a response.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL};
use actix_web::{HttpRequest, HttpResponse, Resource, Route, web};
use bytes::Bytes;
use caduceus_contract::wire::delivery::{EventDelivery, INTERRUPT_SUFFIX, InterruptDelivery};
use caduceus_contract::wire::lines::MAX_LINE_BYTES;
use caduceus_contract::wire::provisioning::{
    ENROLL_PATH, ErrorBody, OkBody, POLICY_PATH, PROVISION_PATH, RelevancePolicy,
};
use caduceus_contract::wire::url::RELAY_PATH;
use caduceus_supervision::Port;
use futures_util::stream;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::error::Problem;
use super::faults::Faults;
use super::guard::check_loopback;
use super::inbound::{ChatInput, Push, Pushed};
use super::messages::{
    Admit, Deprovision, Enroll, GetEndpoint, GetTraffic, HubPorts, ProvisionGateway, PushChat, PushTo, Register,
    Rotate, SetFaults, SetPolicy, WatchChat, WatchFrames,
};
use super::ports::{GatewayCall, GatewayCallError, Post, SignedDocument};
use super::socket::{self, SocketStart};
use super::steps::DialDecision;
use super::store::{ROTATION_WINDOW_S, sign_delivery};

/// Limit of a body, in bytes. A body with an event has the limit of a line, [`MAX_LINE_BYTES`].
const BODY_LIMIT: usize = 64 * 1024;
/// Timeout of the hub, which answers from memory.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of a delivery, which a gateway answers once it is in its ledger.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(15);

const CHAT_PAGE: &str = include_str!("chat.html");
/// The placeholder of the nonce in the page.
const NONCE_PLACEHOLDER: &str = "{{nonce}}";

type RouteResult = Result<HttpResponse, Problem>;

/// The addresses of the hub that the routes use.
#[derive(Clone)]
pub(super) struct RoutePorts {
    pub(super) post: Arc<dyn Post>,
    pub(super) admit: Port<Admit>,
    pub(super) register: Port<Register>,
    pub(super) enroll: Port<Enroll>,
    pub(super) provision: Port<ProvisionGateway>,
    pub(super) rotate: Port<Rotate>,
    pub(super) deprovision: Port<Deprovision>,
    pub(super) set_policy: Port<SetPolicy>,
    pub(super) push: Port<PushTo>,
    pub(super) push_chat: Port<PushChat>,
    pub(super) endpoint: Port<GetEndpoint>,
    pub(super) set_faults: Port<SetFaults>,
    pub(super) traffic: Port<GetTraffic>,
    pub(super) watch_chat: Port<WatchChat>,
    pub(super) watch_frames: Port<WatchFrames>,
    pub(super) hub: HubPorts,
}

/// Every route of the connector.
pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(single_method("/", web::get().to(page), "GET"))
        .service(single_method("/favicon.ico", web::get().to(HttpResponse::NoContent), "GET"))
        .service(single_method(RELAY_PATH, web::get().to(relay), "GET"))
        .service(single_method(ENROLL_PATH, web::post().to(enroll), "POST"))
        .service(single_method(PROVISION_PATH, web::post().to(provision), "POST"))
        .service(single_method(POLICY_PATH, web::post().to(policy), "POST"))
        .service(single_method("/manage/deprovision", web::post().to(deprovision), "POST"))
        .service(single_method("/manage/rotate", web::post().to(rotate), "POST"))
        .service(single_method("/chat/events", web::get().to(chat_events), "GET"))
        .service(single_method("/chat/messages", web::post().to(chat_message), "POST"))
        .service(single_method("/dev/gateways", web::post().to(dev_register), "POST"))
        .service(single_method("/dev/inbound", web::post().to(dev_inbound), "POST"))
        .service(single_method("/dev/outbound", web::get().to(dev_outbound), "GET"))
        .service(single_method("/dev/faults", web::post().to(dev_faults), "POST"))
        .service(single_method("/dev/account", web::get().to(dev_traffic), "GET"))
        .default_service(web::to(|| async {
            Err::<HttpResponse, _>(Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such route"))
        }));
}

/// A path with one method. Any other is answered 405 with the `Allow` header.
fn single_method(path: &str, route: Route, method: &'static str) -> Resource {
    web::resource(path).route(route).default_service(web::to(move || async move {
        let detail = format!("this path accepts {method} only");
        HttpResponse::MethodNotAllowed()
            .insert_header(("Allow", method))
            .json(ErrorBody { error: "method_not_allowed".into(), detail: detail.into() })
    }))
}

async fn page() -> HttpResponse {
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("Content-Security-Policy", policy))
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .insert_header(("Referrer-Policy", "no-referrer"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(CHAT_PAGE.replace(NONCE_PLACEHOLDER, &nonce))
}

async fn relay(
    request: HttpRequest,
    stream: web::Payload,
    ports: web::Data<RoutePorts>,
) -> actix_web::Result<HttpResponse> {
    if !socket::is_upgrade(&request) {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "websocket_required",
            "this path requires a WebSocket upgrade",
        )
        .into());
    }
    let token = bearer(&request);
    let admission = ports.admit.ask(Admit { token }, TIMEOUT).await.map_err(Problem::from)?;
    let start = match admission {
        DialDecision::Accept { connection, gateway_id } => SocketStart::Accepted { connection, gateway_id },
        DialDecision::Close { code, reason } => SocketStart::Refused { code, reason },
        DialDecision::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            return Err(Problem::new(status, "refused", "the dial was refused").into());
        }
    };
    socket::upgrade(&request, stream, start, ports.hub.clone())
}

async fn enroll(request: HttpRequest, payload: web::Payload, ports: web::Data<RoutePorts>) -> RouteResult {
    let message = Enroll { access_token: bearer(&request), request: body(payload, BODY_LIMIT).await? };
    Ok(HttpResponse::Ok().json(ports.enroll.ask(message, TIMEOUT).await??))
}

async fn provision(request: HttpRequest, payload: web::Payload, ports: web::Data<RoutePorts>) -> RouteResult {
    let message = ProvisionGateway { access_token: bearer(&request), request: body(payload, BODY_LIMIT).await? };
    Ok(HttpResponse::Ok().json(ports.provision.ask(message, TIMEOUT).await??))
}

async fn policy(request: HttpRequest, payload: web::Payload, ports: web::Data<RoutePorts>) -> RouteResult {
    let policy: RelevancePolicy = body(payload, BODY_LIMIT).await?;
    if policy.platform.is_empty() {
        return Err(Problem::invalid("a policy names its platform"));
    }
    ports.set_policy.ask(SetPolicy { token: bearer(&request), policy }, TIMEOUT).await??;
    Ok(HttpResponse::Ok().json(OkBody::YES))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeprovisionBody {
    gateway_id: String,
}

async fn deprovision(request: HttpRequest, payload: web::Payload, ports: web::Data<RoutePorts>) -> RouteResult {
    check_loopback(&request)?;
    let DeprovisionBody { gateway_id } = body(payload, BODY_LIMIT).await?;
    ports.deprovision.ask(Deprovision { gateway_id }, TIMEOUT).await??;
    Ok(HttpResponse::Ok().json(OkBody::YES))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RotateBody {
    gateway_id: String,
    /// Seconds for which the former secrets remain valid; 0 revokes them at once.
    window_s: Option<u32>,
}

async fn rotate(request: HttpRequest, payload: web::Payload, ports: web::Data<RoutePorts>) -> RouteResult {
    check_loopback(&request)?;
    let RotateBody { gateway_id, window_s } = body(payload, BODY_LIMIT).await?;
    let window_s = window_s.map_or(ROTATION_WINDOW_S, i64::from);
    Ok(HttpResponse::Ok().json(ports.rotate.ask(Rotate { gateway_id, window_s }, TIMEOUT).await??))
}

async fn chat_events(ports: web::Data<RoutePorts>) -> RouteResult {
    Ok(event_stream(ports.watch_chat.ask(WatchChat, TIMEOUT).await?))
}

async fn chat_message(payload: web::Payload, ports: web::Data<RoutePorts>) -> RouteResult {
    let mut input: ChatInput = body(payload, BODY_LIMIT).await?;
    let fits = |text: &str, limit: usize| !text.trim().is_empty() && text.chars().count() <= limit;
    if !fits(&input.user.id, 64) || !fits(&input.user.name, 64) {
        return Err(Problem::invalid("a user has an id and a name of 1 to 64 characters"));
    }
    if input.press.is_none() && !fits(&input.text, 8_000) {
        return Err(Problem::invalid("a message has 1 to 8000 characters"));
    }
    input.profile = input.profile.map(|profile| profile.trim().to_owned()).filter(|profile| !profile.is_empty());
    if input.profile.as_deref().is_some_and(|profile| !fits(profile, 64)) {
        return Err(Problem::invalid("a profile has at most 64 characters"));
    }
    let (message_id, pushed) = ports.push_chat.ask(PushChat(input), TIMEOUT).await??;
    Ok(HttpResponse::Accepted().json(json!({
        "messageId": message_id, "delivered": pushed.delivered, "bufferId": pushed.buffer_id,
    })))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RegisterBody {
    gateway_id: Option<String>,
}

async fn dev_register(request: HttpRequest, payload: web::Payload, ports: web::Data<RoutePorts>) -> RouteResult {
    check_loopback(&request)?;
    let bytes = read(payload, BODY_LIMIT).await?;
    let RegisterBody { gateway_id } = if bytes.is_empty() { RegisterBody::default() } else { parse(&bytes)? };
    Ok(HttpResponse::Ok().json(ports.register.ask(Register { gateway_id }, TIMEOUT).await??))
}

/// One of `event`, `forward`, `interrupt` and `raw`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InboundBody {
    gateway_id: Option<String>,
    event: Option<Value>,
    forward: Option<Value>,
    /// The session key under which the forward's interaction can be followed up; derived if absent.
    session_key: Option<String>,
    interrupt: Option<InterruptDelivery>,
    /// Written to the socket unchanged.
    raw: Option<String>,
    /// The buffer id; generated if absent.
    buffer_id: Option<String>,
    /// Written without a `bufferId`; lost if the gateway is not connected.
    #[serde(default)]
    live: bool,
    /// Delivered by a signed request to the gateway's endpoint instead of the socket.
    #[serde(default)]
    signed: bool,
    /// The endpoint; the provisioned one if absent.
    endpoint: Option<String>,
}

async fn dev_inbound(request: HttpRequest, payload: web::Payload, ports: web::Data<RoutePorts>) -> RouteResult {
    check_loopback(&request)?;
    let inbound: InboundBody = body(payload, MAX_LINE_BYTES).await?;
    if inbound.signed {
        return deliver_signed(inbound, &ports).await;
    }
    let InboundBody { gateway_id, session_key, buffer_id, live, .. } = inbound;
    let push = match (inbound.event, inbound.forward, inbound.interrupt, inbound.raw) {
        (Some(event), None, None, None) => Push::Event { event, buffer_id, live },
        (None, Some(forward), None, None) => Push::Forward { forward, session_key, buffer_id, live },
        (None, None, Some(InterruptDelivery { session_key, chat_id }), None) => {
            Push::Interrupt { session_key, chat_id }
        }
        (None, None, None, Some(raw)) => Push::Raw(raw),
        _ => return Err(Problem::invalid("name one of event, forward, interrupt and raw")),
    };
    let pushed: Pushed = ports.push.ask(PushTo { gateway_id, push }, TIMEOUT).await??;
    Ok(HttpResponse::Accepted().json(pushed))
}

async fn deliver_signed(inbound: InboundBody, ports: &RoutePorts) -> RouteResult {
    let (path, document) = match (inbound.event, inbound.interrupt) {
        (Some(event), None) => ("", serde_json::to_string(&EventDelivery { event })),
        (None, Some(interrupt)) => (INTERRUPT_SUFFIX, serde_json::to_string(&interrupt)),
        _ => return Err(Problem::invalid("a signed delivery has an event or an interrupt")),
    };
    let (provisioned, key) = ports.endpoint.ask(GetEndpoint { gateway_id: inbound.gateway_id }, TIMEOUT).await??;
    let endpoint = inbound.endpoint.or(provisioned);
    let endpoint = endpoint.ok_or_else(|| Problem::invalid("the gateway has no provisioned endpoint: name one"))?;
    let document = document.expect("a delivery is texts and JSON values");
    let timestamp = jiff::Timestamp::now().as_second();
    let url = format!("{}{path}", endpoint.trim_end_matches('/'));
    let signature = sign_delivery(&key, timestamp, &document);
    // The body of the response is ignored.
    let delivery = Some(SignedDocument { body: document, timestamp, signature });
    let status = match ports.post.send(GatewayCall { url, timeout: DELIVERY_TIMEOUT, delivery }).await {
        Ok(status) | Err(GatewayCallError::Redirect { status, .. }) => status,
        Err(error @ GatewayCallError::Failed(_)) => {
            let detail = format!("the endpoint did not answer: {error}");
            return Err(Problem::new(StatusCode::BAD_GATEWAY, "delivery_failed", detail));
        }
    };
    let delivered = u8::from((200..300).contains(&status));
    Ok(HttpResponse::Accepted().json(json!({"delivered": delivered, "status": status})))
}

#[derive(Deserialize)]
struct OutboundQuery {
    /// Number of the last frame received; 0 requests all that are kept.
    after: Option<u64>,
}

async fn dev_outbound(
    request: HttpRequest,
    query: Result<web::Query<OutboundQuery>, actix_web::Error>,
    ports: web::Data<RoutePorts>,
) -> RouteResult {
    check_loopback(&request)?;
    let query = query.map_err(|_| Problem::invalid("after is a number"))?;
    let last_event = request.headers().get("Last-Event-ID").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = last_event.or(query.after);
    Ok(event_stream(ports.watch_frames.ask(WatchFrames { after }, TIMEOUT).await?))
}

async fn dev_faults(request: HttpRequest, payload: web::Payload, ports: web::Data<RoutePorts>) -> RouteResult {
    check_loopback(&request)?;
    let faults: Faults = body(payload, BODY_LIMIT).await?;
    faults.check().map_err(Problem::invalid)?;
    Ok(HttpResponse::Ok().json(ports.set_faults.ask(SetFaults(faults), TIMEOUT).await??))
}

async fn dev_traffic(request: HttpRequest, ports: web::Data<RoutePorts>) -> RouteResult {
    check_loopback(&request)?;
    Ok(HttpResponse::Ok().json(ports.traffic.ask(GetTraffic, TIMEOUT).await?))
}

fn event_stream(receiver: mpsc::Receiver<Bytes>) -> HttpResponse {
    let events = stream::unfold(receiver, |mut receiver| async move {
        let event = receiver.recv().await?;
        Some((Ok::<_, Problem>(event), receiver))
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .streaming(events)
}

fn bearer(request: &HttpRequest) -> Option<String> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

async fn body<T: DeserializeOwned>(payload: web::Payload, limit: usize) -> Result<T, Problem> {
    parse(&read(payload, limit).await?)
}

async fn read(payload: web::Payload, limit: usize) -> Result<Bytes, Problem> {
    match payload.to_bytes_limited(limit).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Problem::invalid("the body is incomplete")),
        Err(_) => Err(Problem::too_large(limit)),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| Problem::invalid(format!("the body is invalid: {error}")))
}
