//! Sends replies that may not have arrived again when their link comes up, and gives up those whose link stays down for too long.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::ports::{DispatchPorts, MAX_ATTEMPTS};
use super::sending::{self, AfterResend};
use crate::hand_over::LEDGER_TIMEOUT;
use crate::time::now_ms;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::ledger::{ListOutbound, OutboundId, OutboundRow, OutboundState};

/// Rows per request.
const PAGE: usize = 500;
/// Older replies are given up.
const MAX_REPLY_AGE: Duration = Duration::from_hours(24);

/// Sends the replies that wait for `link`, until it is down.
pub(super) async fn resend_all(ports: Arc<DispatchPorts>, link: LinkId, process_started_ms: i64) {
    let mut after = None;
    loop {
        // However many replies of other links wait, those of this one are found.
        let rows = match list(&ports, after, PAGE).await {
            Ok(rows) => rows,
            Err(error) => return read_later(&ports, link, &error),
        };
        let is_last = rows.len() < PAGE;
        after = rows.last().map(|row| row.id);
        for row in rows.into_iter().filter(|row| row.target.link == link) {
            if is_being_sent(&row, process_started_ms) {
                continue;
            }
            if is_given_up(&row, now_ms()) {
                sending::give_up(&ports, row, None).await;
                continue;
            }
            let id = row.id;
            match sending::resend(&ports, row).await {
                AfterResend::Continue => {}
                // They are sent again when the link comes up.
                AfterResend::LinkDown => return,
                AfterResend::Pause => return ports.outbox.report_pending(Some(id), link),
            }
        }
        if is_last {
            return;
        }
    }
}

/// Gives up the replies that have become too old while their link is down or no longer configured. [`resend_all`] does the same for the
/// links that are `up`.
pub(super) async fn give_up_old(ports: Arc<DispatchPorts>, up: BTreeSet<LinkId>) {
    // Mostly the oldest one is young.
    let (mut after, mut limit) = (None, 1);
    loop {
        let rows = match list(&ports, after, limit).await {
            Ok(rows) => rows,
            // The next check finds them.
            Err(error) => return warn!(error, "old replies not read from the ledger yet"),
        };
        let is_last = rows.len() < limit;
        (after, limit) = (rows.last().map(|row| row.id), PAGE);
        for row in rows {
            if !is_too_old(&row, now_ms()) {
                // Later ones are younger.
                return;
            }
            if !up.contains(&row.target.link) {
                sending::give_up(&ports, row, None).await;
            }
        }
        if is_last {
            return;
        }
    }
}

/// Some replies that may have to be sent again.
async fn list(ports: &DispatchPorts, after: Option<OutboundId>, limit: usize) -> Result<Vec<OutboundRow>, String> {
    let request = ListOutbound { after, limit, ..list_waiting() };
    let rows = ports.ledger.list_outbound.ask(request, LEDGER_TIMEOUT).await.map_err(|error| error.to_string())?;
    rows.map_err(|error| error.to_string())
}

/// The request for the replies that may have to be sent again, of all links.
pub(super) fn list_waiting() -> ListOutbound {
    let states = vec![OutboundState::Pending, OutboundState::Sending, OutboundState::Ambiguous];
    ListOutbound { states, after: None, limit: PAGE }
}

/// Whether this process is sending the reply, and waits for the answer.
pub(super) fn is_being_sent(row: &OutboundRow, process_started_ms: i64) -> bool {
    row.state == OutboundState::Sending && row.recorded_at_ms >= process_started_ms
}

/// After a pause, because the link is up and reports no change.
fn read_later(ports: &DispatchPorts, link: LinkId, error: &str) {
    warn!(link = %link.0, error, "waiting replies of the link not read from the ledger yet");
    ports.outbox.report_pending(None, link);
}

/// Whether a reply is not sent again: it was sent too often, or it is too old.
pub(super) fn is_given_up(row: &OutboundRow, now_ms: i64) -> bool {
    row.attempts > MAX_ATTEMPTS || is_too_old(row, now_ms)
}

fn is_too_old(row: &OutboundRow, now_ms: i64) -> bool {
    let age = now_ms.saturating_sub(row.recorded_at_ms);
    u128::try_from(age).is_ok_and(|age| age > MAX_REPLY_AGE.as_millis())
}
