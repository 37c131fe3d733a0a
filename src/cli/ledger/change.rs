//! `caduceus ledger retry` and `caduceus ledger drop`.

use std::process::ExitCode;

use caduceus_contract::api::ledger::{RowId, RowState};
use caduceus_contract::api::ledger_changes::{DropRowResponse, RetryRowResponse, WaitsFor};
use caduceus_contract::messages::ledger_control::{DropNotice, FinishedRows};

use super::access::LedgerAccess;
use crate::cli::contact::{CommandError, GatewaySelector};
use crate::out::print;

#[derive(Debug, clap::Args)]
pub(super) struct RetryArguments {
    #[command(flatten)]
    pub(super) gateway: GatewaySelector,
    /// The row: in-N is an event, out-N a reply.
    #[arg(value_name = "ID")]
    pub(super) id: RowId,
    /// Also an event that is done, and a reply that was delivered: the chat may get a second answer.
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct DropArguments {
    #[command(flatten)]
    pub(super) gateway: GatewaySelector,
    /// The row: in-N is an event, out-N a reply.
    #[arg(value_name = "ID")]
    pub(super) id: RowId,
}

pub(super) async fn retry(ledger: &LedgerAccess, id: RowId, finished: FinishedRows) -> Result<ExitCode, CommandError> {
    let retried = ledger.retry(id, finished).await?;
    print(&retried_line(&retried, ledger.is_file()));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn drop_row(ledger: &LedgerAccess, id: RowId) -> Result<ExitCode, CommandError> {
    let dropped = ledger.drop_row(id, DropNotice::IfUnanswered).await?;
    print(&dropped_line(&dropped, ledger.is_file()));
    Ok(ExitCode::SUCCESS)
}

fn retried_line(retried: &RetryRowResponse, at_next_start: bool) -> String {
    let RetryRowResponse { id, was, row, state, waits_for, .. } = retried;
    let when = match (at_next_start, waits_for) {
        (true, _) => " at the next start of a gateway",
        (false, Some(WaitsFor::Drain)) => " after the drain",
        (false, Some(WaitsFor::Link)) => " once its link is up",
        (false, None) => "",
    };
    let was = was.word();
    match row {
        RowId::Event(_) => format!("{id} was {was} and runs again{when}, in the order of its session\n"),
        RowId::Reply(_) => {
            let mark = if *state == RowState::Ambiguous { ", marked as a possible repeat" } else { "" };
            format!("{id} was {was} and is sent again{when} as {row}{mark}\n")
        }
    }
}

fn dropped_line(dropped: &DropRowResponse, at_next_start: bool) -> String {
    let notice = match (dropped.notified, at_next_start) {
        (true, true) => "; its chat is notified at the next start of a gateway",
        (true, false) => "; its chat is notified",
        (false, _) => "",
    };
    format!("{} was {} and is dropped{notice}\n", dropped.id, dropped.was.word())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_said_in_one_line() {
        let event = RetryRowResponse {
            ok: true,
            id: "in-5".parse().unwrap(),
            was: RowState::Dead,
            row: "in-5".parse().unwrap(),
            state: RowState::Received,
            waits_for: Some(WaitsFor::Drain),
        };
        assert_eq!(
            retried_line(&event, false),
            "in-5 was dead and runs again after the drain, in the order of its session\n"
        );
        let reply = RetryRowResponse {
            id: "out-7".parse().unwrap(),
            row: "out-9".parse().unwrap(),
            state: RowState::Ambiguous,
            waits_for: None,
            ..event
        };
        let expected =
            "out-7 was dead and is sent again at the next start of a gateway as out-9, marked as a possible repeat\n";
        assert_eq!(retried_line(&reply, true), expected);
        let dropped = DropRowResponse { ok: true, id: reply.id, was: RowState::Held, notified: true };
        assert_eq!(dropped_line(&dropped, false), "out-7 was held and is dropped; its chat is notified\n");
    }
}
