//! After a drain that refused messages each chat is told once how many of its own were not read.
//!
//! Which are still to be told the ledger knows, so it does not matter which life of the process refused them.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tracing::{info, warn};

use super::super::notice;
use super::super::ports::LEDGER_TIMEOUT;
use super::DispatchActor;
use crate::ledger::messages::{ListUnread, TellUnread};
use crate::profile::name::ProfileName;
use crate::relay::action::Action;
use crate::relay::messages::Target;

/// Chats told at once.
const CHATS: usize = 50;
/// Pause before a ledger that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);

impl DispatchActor {
    /// Has every chat told whose profile is no longer drained. One round at a time.
    pub(super) fn tell_unread(&mut self, ctx: &mut Context<Self>) {
        if self.is_early() || self.gate.stopping {
            return;
        }
        if let Some(more) = &mut self.telling {
            *more = true;
            return;
        }
        self.telling = Some(false);
        let found = self.ports.list_unread.ask(ListUnread, LEDGER_TIMEOUT);
        ctx.spawn(found.into_actor(self).map(|found, actor, ctx| match found {
            Ok(Ok(profiles)) => actor.tell_profiles(profiles, ctx),
            Ok(Err(error)) => Self::tell_later(&error.to_string(), ctx),
            Err(error) => Self::tell_later(&error.to_string(), ctx),
        }));
    }

    fn tell_profiles(&mut self, mut profiles: Vec<ProfileName>, ctx: &mut Context<Self>) {
        // The gate may have closed again meanwhile.
        profiles.retain(|profile| self.plan.is_open(profile));
        let Some(profile) = profiles.last().cloned() else {
            if self.telling.take() == Some(true) {
                self.tell_unread(ctx);
            }
            return;
        };
        let order = TellUnread { profile, chats: CHATS, words };
        let told = self.ports.tell_unread.ask(order, LEDGER_TIMEOUT);
        ctx.spawn(told.into_actor(self).map(move |told, actor, ctx| match told {
            Ok(Ok(links)) => {
                if links.is_empty() {
                    profiles.pop();
                } else {
                    info!(chats = links.len(), "chats are told how many of their messages a drain refused");
                }
                for link in links {
                    actor.catch_up(link, ctx);
                }
                actor.tell_profiles(profiles, ctx);
            }
            Ok(Err(error)) => Self::tell_later(&error.to_string(), ctx),
            Err(error) => Self::tell_later(&error.to_string(), ctx),
        }));
    }

    fn tell_later(error: &str, ctx: &mut Context<Self>) {
        warn!(error, "the chats whose messages a drain refused cannot be told yet");
        ctx.run_later(PAUSE, |actor, ctx| {
            actor.telling = None;
            actor.tell_unread(ctx);
        });
    }
}

/// The action that tells the chat of `target`, as the ledger keeps it.
fn words(target: &Target, count: u64) -> String {
    let action = Action::Send {
        chat_id: target.chat_id.clone(),
        content: notice::unread(count),
        reply_to: None,
        metadata: target.metadata(),
    };
    serde_json::to_string(&action).expect("an action always has a JSON form")
}
