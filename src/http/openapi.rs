//! Renders the registered routes as an `OpenAPI` document.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use actix_web::http::{Method, StatusCode};
use actix_web::web::Bytes;
use caduceus_contract::wire::delivery::{SIGNATURE_HEADER, TIMESTAMP_HEADER};
use utoipa::openapi::path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, Schema, SchemaType};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HttpMethod, InfoBuilder, LicenseBuilder, Object, ObjectBuilder, OpenApiBuilder,
    PathsBuilder, Ref, RefOr, Required, Response, ResponseBuilder, Type,
};

use super::code::ApiErrorCode;
use super::operation_doc::{Access, AnswerDoc, Field, FieldKind, RouteEntry};
use super::views::{NODE, NOT_ANSWERING};

const JSON: &str = "application/json";
/// The name of the token among the security schemes.
const TOKEN: &str = "token";
/// The name of the signature of the body among the security schemes.
const SIGNATURE: &str = "signature";

/// The name of a node of the tree among the schemas.
const ACTOR: &str = "Actor";

/// The description of the whole document.
const ABOUT: &str = "The control plane of one gateway. Every error has a body {\"error\": code, \"detail\": sentence}, except where \
    the request could not be read as HTTP. Every answer has an x-request-id; one that the client sends is kept if it is 1 to 64 \
    letters, digits, dots, dashes or underscores. HEAD is answered wherever GET is. A foreign Host or Origin is answered with 403. \
    On loopback, operations for authenticated clients need no token.";

/// The errors of every operation.
const EVERYWHERE: [ApiErrorCode; 4] = [
    ApiErrorCode::ForbiddenHost,
    ApiErrorCode::ForbiddenOrigin,
    ApiErrorCode::MethodNotAllowed,
    ApiErrorCode::Internal,
];
/// The errors of authentication.
const AUTHENTICATION: [ApiErrorCode; 3] =
    [ApiErrorCode::Unauthenticated, ApiErrorCode::ProviderUnreachable, ApiErrorCode::TooManyAttempts];
/// The errors of a request body.
const BODY: [ApiErrorCode; 7] = [
    ApiErrorCode::BodyTooLarge,
    ApiErrorCode::BodyTooSlow,
    ApiErrorCode::BrokenBody,
    ApiErrorCode::InvalidJson,
    ApiErrorCode::NotAnObject,
    ApiErrorCode::UnsupportedMediaType,
    ApiErrorCode::WrongField,
];

/// The text of the document, rendered at the first request: at the start of a process it would take milliseconds and megabytes for each
/// worker, and few processes are asked for it. Cheap to clone; clones share the text.
#[derive(Clone, Default)]
pub(super) struct ApiDocument(Arc<OnceLock<Bytes>>);

impl ApiDocument {
    /// The text that describes `entries`, which are the same for every worker.
    pub(super) fn text(&self, entries: &[RouteEntry]) -> Bytes {
        self.0.get_or_init(|| render(entries).into()).clone()
    }
}

fn render(entries: &[RouteEntry]) -> String {
    let paths = entries.iter().fold(PathsBuilder::new(), |paths, entry| {
        let method = if entry.method == Method::POST { HttpMethod::Post } else { HttpMethod::Get };
        let item = utoipa::openapi::PathItem::new(method, operation(entry));
        paths.path(without_patterns(&entry.path), item)
    });
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The drain secret.")).build();
    let description_text = format!("A signature of the body and {TIMESTAMP_HEADER}, with a profile's delivery key.");
    let signature = ApiKey::Header(ApiKeyValue::with_description(SIGNATURE_HEADER, &description_text));
    let schemes = ComponentsBuilder::new()
        .security_scheme(TOKEN, SecurityScheme::Http(token))
        .security_scheme(SIGNATURE, SecurityScheme::ApiKey(signature))
        .schema(ACTOR, object(NODE));
    let info = InfoBuilder::new()
        .title("Caduceus")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(LicenseBuilder::new().name(env!("CARGO_PKG_LICENSE")).build()));
    let document = OpenApiBuilder::new().info(info).paths(paths).components(Some(schemes.build())).build();
    let mut text = document.to_pretty_json().expect("the document has keys of text only");
    text.push('\n');
    text
}

/// The answer with the document.
pub(super) fn answer(text: Bytes) -> HttpResponse {
    HttpResponse::Ok().insert_header(ContentType::json()).body(text)
}

/// All errors of an operation, by status.
fn errors(entry: &RouteEntry) -> BTreeMap<StatusCode, Vec<&'static str>> {
    let doc = &entry.doc;
    let mut codes = [&EVERYWHERE[..], doc.errors].concat();
    if entry.path.contains('{') {
        // A path parameter that is not UTF-8 matches no route.
        codes.push(ApiErrorCode::NotFound);
    }
    match entry.access {
        Access::Public => {}
        Access::PublicSummary | Access::Authenticated => codes.extend(AUTHENTICATION),
        Access::Loopback => codes.push(ApiErrorCode::LoopbackOnly),
        Access::Scope(_) => codes.extend(AUTHENTICATION.into_iter().chain([ApiErrorCode::MissingScope])),
        Access::TokenScope(_) => {
            let more = [ApiErrorCode::MissingScope, ApiErrorCode::TokenRequired];
            codes.extend(AUTHENTICATION.into_iter().chain(more));
        }
        Access::Signed => codes.push(ApiErrorCode::UnsignedDelivery),
    }
    if doc.body.is_some() {
        codes.extend(BODY);
    }
    codes.sort_unstable_by_key(|code| code.word());
    codes.dedup();
    let mut by_status: BTreeMap<StatusCode, Vec<&'static str>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status()).or_default().push(code.word());
    }
    by_status
}

fn operation(entry: &RouteEntry) -> Operation {
    let (doc, name) = (&entry.doc, operation_id(entry));
    let (status, success) = success_response(doc.answer);
    let mut operation = OperationBuilder::new()
        .summary(Some(doc.summary))
        .description(Some(access(entry.access)))
        .operation_id(Some(name))
        .response(status.to_string(), success);
    for parameter in doc.parameters {
        operation = operation.parameter(self::parameter(&entry.path, parameter));
    }
    if let Some(fields) = doc.body {
        let content = ContentBuilder::new().schema(Some(object(fields))).build();
        operation = operation.request_body(Some(
            RequestBodyBuilder::new().content(JSON, content).required(Some(Required::False)).build(),
        ));
    }
    for (status, words) in errors(entry) {
        operation = operation.response(status.as_str(), error_response(&words));
    }
    let token = SecurityRequirement::new(TOKEN, [""; 0]);
    match entry.access {
        Access::Public | Access::Loopback => operation,
        Access::PublicSummary | Access::Authenticated => {
            operation.securities(Some([token, SecurityRequirement::default()]))
        }
        Access::Scope(_) | Access::TokenScope(_) => operation.security(token),
        Access::Signed => operation.security(SecurityRequirement::new(SIGNATURE, [""; 0])),
    }
    .build()
}

fn access(access: Access) -> String {
    match access {
        Access::Public => "Open to every client.".to_owned(),
        Access::PublicSummary => {
            "A public summary for every client; the full answer on loopback or with a token.".to_owned()
        }
        Access::Authenticated => "On loopback or with a token.".to_owned(),
        Access::Loopback => "On loopback only.".to_owned(),
        Access::Scope(scope) => format!("With a token of the scope {scope}."),
        Access::TokenScope(scope) => {
            format!("With a token of the scope {scope}, also under --insecure-loopback-drain.")
        }
        Access::Signed => "Signed with a profile's delivery key, under any Host.".to_owned(),
    }
}

fn success_response(answer: AnswerDoc) -> (u16, Response) {
    match answer {
        AnswerDoc::Fields(status, fields) => {
            let content = ContentBuilder::new().schema(Some(object(fields))).build();
            (status, ResponseBuilder::new().description("Success").content(JSON, content).build())
        }
        AnswerDoc::Other(204, _) => (204, Response::new("No content")),
        AnswerDoc::Other(status, media) => {
            let content = ContentBuilder::new().build();
            (status, ResponseBuilder::new().description("Success").content(media, content).build())
        }
        AnswerDoc::Node(status) => {
            let content = ContentBuilder::new().schema(Some(node())).build();
            (status, ResponseBuilder::new().description("Success").content(JSON, content).build())
        }
        AnswerDoc::Document => {
            let content = ContentBuilder::new().schema(Some(Object::with_type(Type::Object))).build();
            (200, ResponseBuilder::new().description("Success").content(JSON, content).build())
        }
        // Media types are of bodies; here they are those of the messages.
        AnswerDoc::WebSocket(fields) => {
            let content = ContentBuilder::new().schema(Some(object(fields))).build();
            let description_text =
                "The current status as a text message, then every change; each is an object of this form";
            (101, ResponseBuilder::new().description(description_text).content(JSON, content).build())
        }
    }
}

fn error_response(words: &[&'static str]) -> Response {
    let schema = ObjectBuilder::new()
        .property("error", ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.iter().copied())))
        .property("detail", Object::with_type(Type::String))
        .required("error")
        .required("detail")
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(words.join(", ")).content(JSON, content).build()
}

fn object(fields: &[Field]) -> Object {
    let shape = fields.iter().fold(ObjectBuilder::new(), |shape, field| {
        let shape = shape.property(field.name, kind(field.kind, field.description));
        if field.required { shape.required(field.name) } else { shape }
    });
    shape.build()
}

/// The schema of a field; `description` may be empty.
fn kind(kind: FieldKind, description: &str) -> RefOr<Schema> {
    let described = |object: ObjectBuilder| -> RefOr<Schema> {
        object.description(Some(description).filter(|description| !description.is_empty())).into()
    };
    let plain = |kind: Type| ObjectBuilder::new().schema_type(kind);
    let or_null = |kind: Type| ObjectBuilder::new().schema_type(SchemaType::from_iter([kind, Type::Null]));
    described(match kind {
        FieldKind::Text => plain(Type::String),
        FieldKind::Flag => plain(Type::Boolean),
        FieldKind::Count => plain(Type::Integer).minimum(Some(0)),
        FieldKind::CountOrNull => or_null(Type::Integer).minimum(Some(0)),
        FieldKind::IntegerOrNull => or_null(Type::Integer),
        FieldKind::Number => plain(Type::Number),
        FieldKind::NumberOrNull => or_null(Type::Number),
        FieldKind::TextOrNull => or_null(Type::String),
        FieldKind::Object => plain(Type::Object),
        FieldKind::Fields(fields) => ObjectBuilder::from(object(fields)),
        FieldKind::FieldsOrNull(fields) => {
            ObjectBuilder::from(object(fields)).schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        }
        FieldKind::Map(values) => plain(Type::Object).additional_properties(Some(self::kind(*values, ""))),
        FieldKind::Word(words) => plain(Type::String).enum_values(Some(words.iter().copied())),
        FieldKind::PartState(states) => {
            let not_answering = NOT_ANSWERING.iter().filter(|state| !states.contains(state));
            plain(Type::String).enum_values(Some(states.iter().chain(not_answering).copied()))
        }
        FieldKind::List(items) => {
            let description_text = Some(description).filter(|description| !description.is_empty());
            return ArrayBuilder::new().items(self::kind(*items, "")).description(description_text).into();
        }
        FieldKind::Node => return node(),
    })
}

fn node() -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(ACTOR))
}

fn parameter(path: &str, field: &Field) -> Parameter {
    let in_path = path.contains(&format!("{{{}", field.name));
    ParameterBuilder::new()
        .name(field.name)
        .parameter_in(if in_path { ParameterIn::Path } else { ParameterIn::Query })
        .required(if in_path { Required::True } else { Required::False })
        .description(Some(field.description))
        .schema(Some(kind(field.kind, "")))
        .build()
}

/// A path without the patterns of its parts.
fn without_patterns(path: &str) -> String {
    let mut parts = path.split('{');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |without_patterns, part| match part.split_once('}') {
        Some((name, rest)) => format!("{without_patterns}{{{}}}{rest}", name.split(':').next().unwrap_or_default()),
        None => without_patterns,
    })
}

/// The operation id, from which generated clients name their functions.
fn operation_id(entry: &RouteEntry) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let path: String = without_patterns(&entry.path).chars().filter(|c| !matches!(c, '{' | '}')).map(plain).collect();
    let path = path.trim_start_matches("_api").trim_matches('_');
    let method = entry.method.as_str().to_lowercase();
    if path.is_empty() { method } else { format!("{method}_{path}") }
}
