//! After a drain that refused messages, reports to each chat once how many of its messages were not read.
//!
//! Each dispatcher reports to its own chats: it refuses nothing more when it has received the end of the drain, while another may not have
//! received that yet, and would refuse a message of a chat that is notified already.
//!
//! The ledger lists the chats that are left, also those whose messages a previous run of the process refused.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler, Message};
use tracing::{info, warn};

use super::super::notice;
use super::DispatchActor;
use crate::hand_over::{HELD, LEDGER_TIMEOUT};
use caduceus_contract::json::RawJson;
use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::messages::dispatch::ReplyPending;
use caduceus_contract::messages::ledger::{LedgerError, ListRefusals, RecordRefusalNotices};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::action::Action;
use caduceus_supervision::{AskError, TellError};

/// Chats notified at once.
const CHATS: usize = 50;
/// Pause before a request that the ledger did not answer is repeated.
const PAUSE: Duration = Duration::from_secs(1);

/// The ledger has listed the profiles with chats to notify.
#[derive(Message)]
#[rtype(result = "()")]
struct RefusalsListed(Result<Result<Vec<ProfileName>, LedgerError>, AskError>);

/// The ledger has recorded notices to chats of the last of `profiles`.
#[derive(Message)]
#[rtype(result = "()")]
struct RefusalsNoted {
    profiles: Vec<ProfileName>,
    /// The links of these chats.
    links: Result<Result<Vec<LinkId>, LedgerError>, AskError>,
}

/// The pause after a request without an answer is over.
#[derive(Message)]
#[rtype(result = "()")]
struct RefusalReportsDue;

impl DispatchActor {
    /// Notifies every chat of this dispatcher whose profile is no longer drained. One round at a time. The ledger has what was refused
    /// before it lists it, because it receives requests in the order in which they are made.
    pub(super) fn report_refusals(&mut self) {
        if self.offers.is_early() || !self.gate.begin_refusal_reports() {
            return;
        }
        let found = self.ports.ledger.list_refusals.ask(ListRefusals, LEDGER_TIMEOUT);
        self.tasks.notify(async move { RefusalsListed(found.await) });
    }

    /// The notices to chats of a link are recorded, and the first dispatcher sends them.
    fn send_notices(&mut self, link: LinkId) {
        if self.settings.share().is_first() {
            return self.resend_replies(link);
        }
        let first = self.ports.reply_pending.clone();
        self.tasks.run(async move {
            while let Err(TellError::Full) = first.tell(ReplyPending { link: link.clone() }) {
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    fn report_profiles(&mut self, mut profiles: Vec<ProfileName>) {
        // The gate may have closed again meanwhile.
        profiles.retain(|profile| self.plan.is_open(profile));
        let Some(profile) = profiles.last().cloned() else {
            if self.gate.end_refusal_reports() {
                self.report_refusals();
            }
            return;
        };
        let share = self.settings.share();
        let request = RecordRefusalNotices { share, profile, chats: CHATS, make_action: refusal_notice };
        // Once they are recorded no later list has these chats: an answer that comes late has to be applied.
        let noted = self.ports.ledger.record_refusal_notices.ask(request, HELD);
        self.tasks.notify(async move { RefusalsNoted { profiles, links: noted.await } });
    }

    fn report_later(error: &str, ctx: &mut Context<Self>) {
        warn!(error, "chats not notified yet of messages that a drain refused");
        ctx.notify_later(RefusalReportsDue, PAUSE);
    }
}

impl Handler<RefusalsListed> for DispatchActor {
    type Result = ();

    fn handle(&mut self, RefusalsListed(found): RefusalsListed, ctx: &mut Self::Context) {
        match found {
            Ok(Ok(profiles)) => self.report_profiles(profiles),
            Ok(Err(error)) => Self::report_later(&error.to_string(), ctx),
            Err(error) => Self::report_later(&error.to_string(), ctx),
        }
    }
}

impl Handler<RefusalsNoted> for DispatchActor {
    type Result = ();

    fn handle(&mut self, RefusalsNoted { mut profiles, links }: RefusalsNoted, ctx: &mut Self::Context) {
        match links {
            Ok(Ok(links)) => {
                if links.is_empty() {
                    profiles.pop();
                } else {
                    info!(chats = links.len(), "chats notified of messages that a drain refused");
                }
                for link in links.into_iter().collect::<BTreeSet<_>>() {
                    self.send_notices(link);
                }
                self.report_profiles(profiles);
            }
            Ok(Err(error)) => Self::report_later(&error.to_string(), ctx),
            Err(error) => Self::report_later(&error.to_string(), ctx),
        }
    }
}

impl Handler<RefusalReportsDue> for DispatchActor {
    type Result = ();

    fn handle(&mut self, _: RefusalReportsDue, _: &mut Self::Context) {
        // The round starts again from the beginning.
        self.gate.end_refusal_reports();
        self.report_refusals();
    }
}

/// The action that notifies the chat of `target`, as the ledger keeps it.
fn refusal_notice(target: &Target, count: u64) -> RawJson {
    let action = Action::Send {
        chat_id: target.chat_id.clone(),
        content: notice::refused(count),
        reply_to: None,
        metadata: target.metadata(),
    };
    RawJson::of(&action)
}
