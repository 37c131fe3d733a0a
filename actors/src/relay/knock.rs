//! One knock at the connector's door, for a person who asks whether it is there.

use super::dial::{DialError, dial};
use super::url::RelayUrl;
use crate::http_client::HttpClient;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Knock {
    /// It took the link without a token. Nothing was said on it, and it was closed.
    Opened,
    /// It answered the upgrade with this status.
    Answered(u16),
    /// There was no answer; one sentence says why.
    Unreachable(String),
}

/// Asks for the upgrade as a link does, but sends no token and no frame. Waits as long as it takes; the caller drops it when
/// that is too long.
pub async fn knock(trust: &HttpClient, url: &RelayUrl) -> Knock {
    match dial(trust.clone(), url.dial().to_owned(), None).await {
        Ok(_) => Knock::Opened,
        Err(DialError::Refused(refused)) => Knock::Answered(refused.status.as_u16()),
        Err(error @ (DialError::Unreachable(_) | DialError::Token)) => Knock::Unreachable(error.to_string()),
    }
}
