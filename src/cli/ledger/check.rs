//! `caduceus ledger check`.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use actix_web::rt::time::sleep;
use caduceus_contract::api::ledger_changes::LedgerCheck;
use caduceus_contract::messages::ledger_control::CheckLedger;
use serde_json::json;

use super::access::LedgerAccess;
use crate::cli::contact::{CommandError, GatewaySelector};
use crate::out::{print, print_json};
use crate::terminal::one_line;

/// Interval of questions whether it has ended.
const POLL: Duration = Duration::from_millis(100);
/// Exit code: something is damaged.
const DAMAGED: u8 = 1;

#[derive(Debug, clap::Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    pub(super) gateway: GatewaySelector,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
    /// Of a running gateway: print what its last check found, and begin none. This needs no token.
    #[arg(long)]
    pub(super) last: bool,
}

pub(super) async fn run(ledger: &LedgerAccess, json: bool, last: bool) -> Result<ExitCode, CommandError> {
    let first = if last { CheckLedger::Show } else { CheckLedger::Begin };
    let mut check = ledger.check(first).await?;
    while check.runs {
        sleep(POLL).await;
        check = ledger.check(CheckLedger::Show).await?;
    }
    if json {
        print_json(&json!(check), false);
    } else {
        print(&lines(&check));
    }
    if let Some(error) = &check.error {
        return Err(CommandError::NoAnswer(format!("the check ended before all was read: {}", one_line(error))));
    }
    let is_whole = check.corrupt == 0 && check.damage.is_empty();
    Ok(if is_whole { ExitCode::SUCCESS } else { DAMAGED.into() })
}

fn lines(check: &LedgerCheck) -> String {
    let LedgerCheck { rows, corrupt, damage, .. } = check;
    let mut text = format!("{rows} events and replies\n");
    if *corrupt > 0 {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{corrupt} rows are corrupt: `ledger list --state corrupt` names them");
    }
    for damage in damage {
        let _ = writeln!(text, "damaged: {}", one_line(damage));
    }
    if *corrupt == 0 && damage.is_empty() && check.error.is_none() {
        text.push_str("everything is whole\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_named_in_a_line_of_its_own() {
        let whole = LedgerCheck { rows: 3, ..LedgerCheck::default() };
        assert_eq!(lines(&whole), "3 events and replies\neverything is whole\n");
        let damaged = LedgerCheck { corrupt: 2, damage: vec!["page 7".to_owned()], ..whole };
        let expected =
            "3 events and replies\n2 rows are corrupt: `ledger list --state corrupt` names them\ndamaged: page 7\n";
        assert_eq!(lines(&damaged), expected);
    }
}
