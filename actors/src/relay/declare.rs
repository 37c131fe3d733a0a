//! Declares the relevance policies to the connector, once a connection is open.

use tracing::{info, warn};

use super::params::PolicyDeclaration;
use super::post;
use crate::http_client::HttpClient;
use caduceus_contract::link::LinkId;

/// Declares to the connector which messages may wake the gateway. The connector keeps the last declaration, so a failure only
/// leaves the former one in force.
pub(super) async fn declare(client: HttpClient, link: LinkId, declaration: PolicyDeclaration) {
    let PolicyDeclaration { url, token, policies } = declaration;
    for policy in policies {
        let platform = policy.platform.clone();
        match post::json(&client, &url, &token, &policy).await {
            Ok(answer) if answer.is_success() => info!(link = %link.0, platform, "relevance policy declared"),
            Ok(answer) => {
                let (status, reason) = (answer.status, answer.sentence());
                warn!(link = %link.0, platform, status, reason, "relevance policy refused, the former one stays in force");
            }
            Err(reason) => {
                warn!(link = %link.0, platform, %reason, "relevance policy not declared, the former one stays in force");
            }
        }
    }
}
