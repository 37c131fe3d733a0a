//! The document of the status page, and the policy that names its parts.

use actix_web::http::header::{HeaderValue, InvalidHeaderValue};
use actix_web::web::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

const SHELL: &str = include_str!("index.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("app.js");

/// The document as it is sent.
#[derive(Debug, Clone)]
pub(in crate::http) struct StatusPage {
    pub(super) plain: Bytes,
    /// With a button to crash each actor.
    pub(super) with_faults: Bytes,
    pub(super) allow_faults: bool,
    policy: String,
}

impl StatusPage {
    pub(in crate::http) fn new(allow_faults: bool) -> Self {
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

    pub(super) fn policy(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        HeaderValue::from_str(&self.policy)
    }
}

/// The source expression of a text in the content security policy.
fn digest(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_has_the_digests_of_the_document() {
        let page = StatusPage::new(true);
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
    fn the_page_loads_nothing_from_elsewhere() {
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
