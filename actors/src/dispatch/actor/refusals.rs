//! After a drain that refused messages, reports to each chat once how many of its messages were not read.
//!
//! The ledger lists the chats that are left, also those whose messages a previous run of the process refused.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tracing::{info, warn};

use super::super::notice;
use super::DispatchActor;
use crate::hand_over::LEDGER_TIMEOUT;
use caduceus_contract::link::Target;
use caduceus_contract::messages::ledger::{ListRefusals, RecordRefusalNotices};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::action::Action;

/// Chats notified at once.
const CHATS: usize = 50;
/// Pause before a request that the ledger did not answer is repeated.
const PAUSE: Duration = Duration::from_secs(1);

impl DispatchActor {
    /// Notifies every chat whose profile is no longer drained. One round at a time.
    pub(super) fn report_refusals(&mut self, ctx: &mut Context<Self>) {
        if self.is_early() || self.gate.stopping {
            return;
        }
        if let Some(more) = &mut self.reporting_refusals {
            *more = true;
            return;
        }
        self.reporting_refusals = Some(false);
        let found = self.ports.ledger.list_refusals.ask(ListRefusals, LEDGER_TIMEOUT);
        ctx.spawn(found.into_actor(self).map(|found, actor, ctx| match found {
            Ok(Ok(profiles)) => actor.report_profiles(profiles, ctx),
            Ok(Err(error)) => Self::report_later(&error.to_string(), ctx),
            Err(error) => Self::report_later(&error.to_string(), ctx),
        }));
    }

    fn report_profiles(&mut self, mut profiles: Vec<ProfileName>, ctx: &mut Context<Self>) {
        // The gate may have closed again meanwhile.
        profiles.retain(|profile| self.plan.is_open(profile));
        let Some(profile) = profiles.last().cloned() else {
            if self.reporting_refusals.take() == Some(true) {
                self.report_refusals(ctx);
            }
            return;
        };
        let request = RecordRefusalNotices { profile, chats: CHATS, make_action: refusal_notice };
        let notified = self.ports.ledger.record_refusal_notices.ask(request, LEDGER_TIMEOUT);
        ctx.spawn(notified.into_actor(self).map(move |notified, actor, ctx| match notified {
            Ok(Ok(links)) => {
                if links.is_empty() {
                    profiles.pop();
                } else {
                    info!(chats = links.len(), "chats notified of messages that a drain refused");
                }
                for link in links {
                    actor.resend_replies(link, ctx);
                }
                actor.report_profiles(profiles, ctx);
            }
            Ok(Err(error)) => Self::report_later(&error.to_string(), ctx),
            Err(error) => Self::report_later(&error.to_string(), ctx),
        }));
    }

    fn report_later(error: &str, ctx: &mut Context<Self>) {
        warn!(error, "chats not notified yet of messages that a drain refused");
        ctx.run_later(PAUSE, |actor, ctx| {
            actor.reporting_refusals = None;
            actor.report_refusals(ctx);
        });
    }
}

/// The action that notifies the chat of `target`, as the ledger keeps it.
fn refusal_notice(target: &Target, count: u64) -> String {
    let action = Action::Send {
        chat_id: target.chat_id.clone(),
        content: notice::refused(count),
        reply_to: None,
        metadata: target.metadata(),
    };
    serde_json::to_string(&action).expect("an action always has a JSON form")
}
