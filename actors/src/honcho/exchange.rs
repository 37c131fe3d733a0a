//! The exchange of a refresh token, or of the code of a login, at the server, and the meaning of its answers.
//!
//! Without the `oauth2` crate: the deciding question is whether the token can have reached the server, which only
//! the HTTP client can answer, and the server's mistakes (`expires_in` as text, `null` for a scope, no new refresh token) must
//! not cost a token that is spent by then; that crate answers all of them with the same parse error. See `authorize` too.

use std::time::Duration;

use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::form_urlencoded;

use super::authorize::{Endpoints, LoginAttempt};
use super::grant::{Grant, is_access_token};
use super::secret_json::SecretJson;
use crate::http_client::{Collected, HttpCall, HttpClient, HttpError, HttpLimits};

/// Answers are some hundred bytes.
const MAX_BODY: usize = 64 * 1024;
/// A lifetime beyond this is a mistake of the server; ten years.
const MAX_LIFE_S: f64 = 315_360_000.0;
/// The error code for a refresh token that is spent, revoked or expired.
const INVALID_GRANT: &str = "invalid_grant";

/// A successful answer.
#[derive(Debug)]
pub struct TokenResponse {
    /// The new access token.
    pub access_token: SecretString,
    /// The new refresh token, if there is one.
    pub refresh_token: Option<SecretString>,
    /// Lifetime of the access token in seconds; 0 if the server gives no plausible one.
    pub life_s: i64,
    /// The scope, if the answer has one.
    pub scope: Option<String>,
    /// The type of the token, if the answer has one.
    pub token_type: Option<String>,
    /// Settings that a login returns; an object or null.
    pub config: Option<SecretJson>,
}

/// Why there is no successful answer. No text in it is from the server unchecked.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The token has not left this machine; worth retrying.
    #[error("the token was not sent: {0}")]
    NotSent(String),
    /// The token may have arrived and be spent.
    #[error("the token was sent without an answer: {0}")]
    NoAnswer(String),
    /// The server accepted the token, but its answer is not usable.
    #[error("the answer cannot be used: {0}")]
    Unusable(&'static str),
    /// The token is spent, revoked or expired: only a login helps.
    #[error("the server refused the token ({INVALID_GRANT})")]
    InvalidGrant,
    /// The server refused for another reason; the token remains valid.
    #[error("the server answered {status}{}", code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Status {
        /// The status code.
        status: u16,
        /// The server's error code, if it is one.
        code: Option<String>,
        /// The wait that the server requests.
        retry_after: Option<Duration>,
    },
    /// The server or a proxy failed during the request or redirected it: the token may be spent.
    #[error("the server answered {0}, which leaves open whether the token is spent")]
    Unclear(u16),
}

/// Presents the refresh token of `grant`, within `limit` in all. Follows no redirect: the token is for one endpoint.
///
/// Requires a tokio runtime.
///
/// # Errors
/// [`ExchangeError`]
pub async fn exchange(client: &HttpClient, grant: &Grant, limit: Duration) -> Result<TokenResponse, ExchangeError> {
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", grant.client_id.as_str()),
        ("refresh_token", grant.refresh_token.expose_secret()),
    ];
    post(client, &grant.token_endpoint, &form, limit).await
}

/// Presents the `code` of a login, within `limit` in all. [`ExchangeError`] applies to the code as it does to a token.
///
/// Requires a tokio runtime.
///
/// # Errors
/// [`ExchangeError`]
pub async fn redeem(
    client: &HttpClient,
    endpoints: &Endpoints,
    attempt: &LoginAttempt,
    code: &SecretString,
    limit: Duration,
) -> Result<TokenResponse, ExchangeError> {
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", endpoints.client_id.as_str()),
        ("code", code.expose_secret()),
        ("redirect_uri", attempt.redirect()),
        ("code_verifier", attempt.verifier().expose_secret()),
    ];
    post(client, endpoints.token.as_str(), &form, limit).await
}

async fn post(
    client: &HttpClient,
    endpoint: &str,
    form: &[(&str, &str)],
    limit: Duration,
) -> Result<TokenResponse, ExchangeError> {
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let call = HttpCall::post(endpoint, "application/x-www-form-urlencoded", form, HttpLimits::within(limit, MAX_BODY));
    match client.send(call.accept("application/json")).await {
        Ok(answer) => {
            let retry_after = answer.retry_after();
            outcome_of(answer.collect().await, retry_after)
        }
        // A redirect elsewhere answers a request that was carried out.
        Err(HttpError::Redirect { status: 303, .. }) => Err(ExchangeError::Unclear(303)),
        Err(HttpError::Redirect { status, .. }) => Err(ExchangeError::Status { status, code: None, retry_after: None }),
        Err(error) if error.is_sent() => Err(ExchangeError::NoAnswer(error.to_string())),
        Err(error) => Err(ExchangeError::NotSent(error.to_string())),
    }
}

/// The meaning of an answer for the token. Only answers that certainly precede the exchange leave it valid: of a
/// server that is busy or unavailable, or that reports another error of the client. A server can fail after it has rotated.
fn outcome_of(answer: Collected, retry_after: Option<Duration>) -> Result<TokenResponse, ExchangeError> {
    let status = StatusCode::from_u16(answer.status).unwrap_or_default();
    let json = answer.json().or_else(|| form(&answer)).map(SecretJson::new);
    if status.is_success() {
        return match (json, answer.broken) {
            (Some(body), _) => good(&body),
            (None, None) => Err(ExchangeError::Unusable("it is not JSON")),
            (None, Some(HttpError::TooLarge(_))) => Err(ExchangeError::Unusable("it is too long")),
            (None, Some(broken)) => Err(ExchangeError::NoAnswer(broken.to_string())),
        };
    }
    let is_refusal = status.is_client_error();
    match (answer.status, &answer.broken) {
        (100..200, _) => return Err(ExchangeError::NoAnswer("an interim answer, and no other".to_owned())),
        // For these the status is enough. With other redirects than 303 the request has not been carried out.
        (429 | 503 | 300..=302 | 304..400, _) => {}
        // The missing part may be the code that the token is refused.
        (_, Some(broken)) if is_refusal => return Err(ExchangeError::NoAnswer(broken.to_string())),
        _ if is_refusal => {}
        (code, _) => return Err(ExchangeError::Unclear(code)),
    }
    let code = json.and_then(|body| error_code(&body));
    let names_the_code = |body: &[u8]| body.windows(INVALID_GRANT.len()).any(|part| part == INVALID_GRANT.as_bytes());
    let refused = code.as_deref() == Some(INVALID_GRANT) && is_refusal;
    if refused || (matches!(answer.status, 400 | 401) && names_the_code(&answer.body)) {
        return Err(ExchangeError::InvalidGrant);
    }
    Err(ExchangeError::Status { status: answer.status, code, retry_after })
}

/// Some servers answer URL-encoded. A truncated answer has no visible end.
fn form(answer: &Collected) -> Option<Value> {
    let is_form = answer.broken.is_none() && answer.body.starts_with(b"access_token=");
    is_form.then(|| {
        form_urlencoded::parse(&answer.body).map(|(name, value)| (name.into_owned(), Value::from(value))).collect()
    })
}

fn good(body: &SecretJson) -> Result<TokenResponse, ExchangeError> {
    if error_code(body).as_deref() == Some(INVALID_GRANT) {
        return Err(ExchangeError::InvalidGrant);
    }
    let text = |name| body.get(name).and_then(Value::as_str).filter(|text: &&str| !text.is_empty());
    let access = text("access_token").filter(|token| is_access_token(token));
    Ok(TokenResponse {
        access_token: access.ok_or(ExchangeError::Unusable("it has no access token of the right kind"))?.into(),
        refresh_token: text("refresh_token").map(Into::into),
        life_s: body.get("expires_in").and_then(seconds).unwrap_or(0),
        scope: text("scope").map(str::to_owned),
        token_type: text("token_type").map(str::to_owned),
        config: body.get("config").filter(|config| config.is_object()).cloned().map(SecretJson::new),
    })
}

/// A number or a number as text, if it is plausible.
#[expect(clippy::cast_possible_truncation, reason = "it is below MAX_LIFE_S")]
fn seconds(value: &Value) -> Option<i64> {
    let seconds: f64 = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    (seconds.is_finite() && seconds > 0.0 && seconds <= MAX_LIFE_S).then_some(seconds as i64)
}

/// The server's error code, if it has the form of one: anything else might repeat the request.
fn error_code(body: &Value) -> Option<String> {
    let word = |text: &&str| text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    body.get("error").and_then(Value::as_str).filter(word).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str) -> Result<TokenResponse, ExchangeError> {
        outcome_of(Collected { status, body: body.as_bytes().to_vec().into(), broken: None }, None)
    }

    #[test]
    fn a_lifetime_may_be_a_number_or_text_and_nothing_else() {
        let life = |value: &str| {
            answered(200, &format!(r#"{{"access_token":"hch-at-1","expires_in":{value}}}"#)).unwrap().life_s
        };
        assert_eq!((life("3600"), life("\" 3600.9 \"")), (3600, 3600));
        for odd in ["null", "-5", "0", "\"soon\"", "\"inf\"", "1e300", "[]", "true"] {
            assert_eq!(life(odd), 0, "{odd}");
        }
    }

    #[test]
    fn a_url_encoded_answer_is_read() {
        let answer = answered(200, "access_token=hch-at-1&refresh_token=hch%2Drt-2&expires_in=3600").unwrap();
        assert_eq!(answer.refresh_token.unwrap().expose_secret(), "hch-rt-2");
        assert_eq!(answer.life_s, 3_600);
    }

    #[test]
    fn null_counts_as_missing() {
        let answer =
            answered(200, r#"{"access_token":"hch-at-1","refresh_token":null,"scope":null,"token_type":null}"#)
                .unwrap();
        assert!(answer.refresh_token.is_none() && answer.scope.is_none() && answer.token_type.is_none());
    }

    #[test]
    fn a_refused_token_is_distinguished_from_every_other_refusal() {
        for (status, body) in [
            (400, r#"{"error":"invalid_grant"}"#),
            (401, "the token is bad: invalid_grant"),
            (403, r#"{"error":"invalid_grant"}"#),
            (200, r#"{"error":"invalid_grant"}"#),
            (400, r#"{"detail":{"error":"invalid_grant"}}"#),
        ] {
            assert!(matches!(answered(status, body), Err(ExchangeError::InvalidGrant)), "{status} {body}");
        }
        for (status, body) in [
            (400, r#"{"error":"invalid_client"}"#),
            (401, "no"),
            (429, ""),
            (408, ""),
            (302, ""),
            (307, ""),
            (503, "<html>"),
            (503, r#"{"error":"invalid_grant"}"#),
        ] {
            assert!(matches!(answered(status, body), Err(ExchangeError::Status { .. })), "{status} {body}");
        }
    }

    #[test]
    fn an_answer_that_a_server_may_give_after_it_has_rotated_leaves_the_token_in_doubt() {
        for status in [300 + 3, 500, 501, 502, 504, 505, 507, 520, 599] {
            for body in ["", "<html>", r#"{"error":"invalid_grant"}"#, r#"{"error":"server_error"}"#] {
                assert!(
                    matches!(answered(status, body), Err(ExchangeError::Unclear(code)) if code == status),
                    "{status}"
                );
            }
        }
        for status in [100, 103, 199] {
            assert!(matches!(answered(status, ""), Err(ExchangeError::NoAnswer(_))), "{status}");
        }
        let cut = |status: u16| {
            let broken = Some(HttpError::Cut(String::new()));
            outcome_of(Collected { status, body: zeroize::Zeroizing::default(), broken }, None)
        };
        for status in [200, 400, 401, 403] {
            assert!(matches!(cut(status), Err(ExchangeError::NoAnswer(_))), "{status}");
        }
        for status in [429, 503] {
            assert!(matches!(cut(status), Err(ExchangeError::Status { .. })), "{status}");
        }
    }

    #[test]
    fn a_success_with_an_unusable_body_is_an_error() {
        for body in ["", "[]", "{}", r#"{"access_token":"sk-other","refresh_token":"r"}"#, r#"{"access_token":7}"#] {
            assert!(matches!(answered(200, body), Err(ExchangeError::Unusable(_))), "{body}");
        }
        let broken = |why| outcome_of(Collected { status: 200, body: Vec::new().into(), broken: Some(why) }, None);
        assert!(matches!(broken(HttpError::TooLarge(1)), Err(ExchangeError::Unusable(_))));
        assert!(matches!(broken(HttpError::Cut(String::new())), Err(ExchangeError::NoAnswer(_))));
    }

    #[test]
    fn a_truncated_body_counts_if_its_object_is_complete() {
        let whole = r#"{"access_token":"hch-at-1","refresh_token":"hch-rt-1"}"#;
        let cut = |body: &str| {
            outcome_of(
                Collected {
                    status: 200,
                    body: body.as_bytes().to_vec().into(),
                    broken: Some(HttpError::Cut(String::new())),
                },
                None,
            )
        };
        assert!(cut(whole).unwrap().refresh_token.is_some());
        assert!(matches!(cut(&whole[..whole.len() - 1]), Err(ExchangeError::NoAnswer(_))));
    }

    #[test]
    fn errors_contain_no_text_of_the_server() {
        let error = answered(403, r#"{"error":"hch-rt-secret"}"#).unwrap_err();
        assert_eq!(error.to_string(), "the server answered 403");
        assert_eq!(
            answered(400, r#"{"error":"invalid_client"}"#).unwrap_err().to_string(),
            "the server answered 400 (invalid_client)"
        );
    }
}
