//! Declares the relevance policies to the connector, once a connection is open.

use actix::prelude::*;
use tracing::{info, warn};

use super::actor::RelayActor;
use super::post;
use caduceus_contract::wire::url::RelayUrl;

impl RelayActor {
    /// Declares to the connector which messages may wake the gateway. The connector keeps the last declaration, so a failure only
    /// leaves the former one in force.
    pub(super) fn declare_policies(&mut self, ctx: &mut Context<Self>) {
        // The token that opened this connection expires in minutes.
        let Some(params) = &mut self.params else { return };
        let Some(token) = params.token.take().filter(|_| !params.policies.is_empty()) else { return };
        let (url, policies) = (RelayUrl::new(&params.url).policy(), params.policies.clone());
        let (client, link) = (self.client.clone(), self.link.clone());
        let declaring = async move {
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
        };
        ctx.spawn(declaring.into_actor(self));
    }
}
