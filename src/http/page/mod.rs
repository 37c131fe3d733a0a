//! The status page: one document from the binary, without any data of the gateway's in it.
//!
//! Style and script stand in the document and are named by their digests in the policy, so nothing else can run.

use actix_web::http::header::{
    CONTENT_SECURITY_POLICY, ContentType, HeaderValue, InvalidHeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::Shared;
use super::caller::Caller;
use super::error::ApiError;
use super::registry::{self, AnswerDoc, RouteRegistry, Who};

const SHELL: &str = include_str!("index.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("app.js");

/// The document as it is sent.
#[derive(Debug, Clone)]
pub(super) struct OperationDoc {
    plain: Bytes,
    /// With a button to crash each actor.
    with_faults: Bytes,
    allow_faults: bool,
    policy: String,
}

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const PAGE: registry::OperationDoc =
        registry::OperationDoc::new("The status page; its data comes over the WebSocket")
            .answers(AnswerDoc::Other(200, "text/html"));
    const ICON: registry::OperationDoc = registry::OperationDoc::new("No icon").answers(AnswerDoc::Other(204, ""));
    registry.at("/", Who::Anyone).get(page, PAGE).done();
    registry.at("/favicon.ico", Who::Anyone).get(|| async { HttpResponse::NoContent().finish() }, ICON).done();
}

async fn page(request: HttpRequest, state: Shared) -> Result<HttpResponse, ApiError> {
    let page = &state.page;
    let breakable = page.allow_faults && Caller::of(&request).loopback;
    let policy = page.policy().map_err(|error| ApiError::Unanswerable(error.into()))?;
    Ok(HttpResponse::Ok()
        .insert_header(ContentType::html())
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .body(if breakable { page.with_faults.clone() } else { page.plain.clone() }))
}

impl OperationDoc {
    pub(super) fn new(allow_faults: bool) -> Self {
        let document = |faults: &str| {
            let shell = SHELL.replace("{{faults}}", faults);
            Bytes::from(shell.replace("{{style}}", STYLE).replace("{{script}}", SCRIPT))
        };
        let policy = format!(
            "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            digest(STYLE),
            digest(SCRIPT)
        );
        Self { plain: document("no"), with_faults: document("yes"), allow_faults, policy }
    }

    fn policy(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        HeaderValue::from_str(&self.policy)
    }
}

/// How the policy names a text.
fn digest(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_exactly_what_stands_in_the_document() {
        let page = OperationDoc::new(true);
        for document in [&page.plain, &page.with_faults] {
            let text = std::str::from_utf8(document).unwrap();
            assert!(!text.contains("{{"), "something was not filled in");
            for (open, close) in [("<style>", "</style>"), ("<script>", "</script>")] {
                let parts: Vec<_> = text.split(open).collect();
                assert_eq!(parts.len(), 2, "one {open}");
                let inside = parts[1].split(close).next().unwrap();
                assert!(page.policy.contains(&digest(inside)), "{open}");
            }
        }
        assert!(page.policy().is_ok());
    }

    #[test]
    fn the_page_asks_nobody_else_for_anything() {
        for part in [SHELL, STYLE, SCRIPT] {
            for foreign in ["http://", "https://", "@import", "url(", "//cdn"] {
                let found = part.replace("http://www.w3.org/2000/svg", "").contains(foreign);
                assert!(!found, "{foreign}");
            }
        }
        assert!(!SHELL.contains(" style=") && !SHELL.contains(" onclick="));
        assert!(!SCRIPT.contains("innerHTML") && !SCRIPT.contains("localStorage"));
    }
}
