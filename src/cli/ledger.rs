//! `caduceus ledger`: the rows of the ledger, through the gateway that runs, or in the file while none does.

mod access;
mod change;
mod check;
mod erase;
mod export;
mod list;
mod show;
mod shown;

use std::process::ExitCode;

use caduceus_contract::messages::ledger_control::FinishedRows;

use self::access::LedgerAccess;
use super::contact::{CommandError, GatewaySelector, conclude_with};

/// List, show, repeat and drop what the ledger holds: received messages and replies to send.
///
/// While a gateway runs it is asked over HTTP, and what changes something needs its token. While none holds the home, the file is opened under
/// its lock, as a start of a gateway does; a gateway that is started meanwhile waits a second for that and then gives up with 69.
#[derive(Debug, clap::Args)]
pub(crate) struct LedgerArguments {
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(Debug, clap::Subcommand)]
enum LedgerCommand {
    /// List events and replies that are not done, without what people wrote.
    List(list::ListArguments),
    /// Show one event or reply with its times and the processes that wrote it.
    Show(show::ShowArguments),
    /// Run an event again that has ended, in the order of its session, or send a reply again that was given up or refused.
    ///
    /// Refused for what waits or runs already; for what is done or delivered without --force.
    Retry(change::RetryArguments),
    /// Drop an event or a reply that waits, was interrupted or is dead. A chat whose message is not answered is notified.
    ///
    /// Refused for an event whose turn runs: stop the turn first.
    Drop(change::DropArguments),
    /// Read all rows and indexes and verify them.
    ///
    /// Exits with 0 if everything is whole, with 1 if something is damaged, with 75 if not all could be read. A running gateway checks in the
    /// background; without one the file is opened as a start does, which also verifies its keys and its log and repairs what it can.
    Check(check::CheckArguments),
    /// Write every event, reply and conversation as a line of JSON, with what people wrote.
    Export(export::ExportArguments),
    /// Erase what one person wrote and got, from the rows, the free room of the file and its log.
    ///
    /// The rows stay without text and person, so that a message that is delivered again is not run again. Conversations in which the person
    /// took part are deleted. Refused while something of the person waits or runs. May be repeated.
    Erase(erase::EraseArguments),
}

pub(crate) fn run(arguments: LedgerArguments) -> ExitCode {
    conclude_with(async {
        match arguments.command {
            LedgerCommand::List(list) => {
                with_ledger(list.gateway, async |ledger| list::run(ledger, &list.rows).await).await
            }
            LedgerCommand::Check(check::CheckArguments { gateway, json, last }) => {
                with_ledger(gateway, async |ledger| check::run(ledger, json, last).await).await
            }
            LedgerCommand::Export(export::ExportArguments { gateway, wanted }) => {
                with_ledger(gateway, async |ledger| export::run(ledger, wanted).await).await
            }
            LedgerCommand::Erase(erase::EraseArguments { gateway, person }) => {
                with_ledger(gateway, async |ledger| erase::run(ledger, person).await).await
            }
            LedgerCommand::Retry(change::RetryArguments { gateway, id, force }) => {
                with_ledger(gateway, async |ledger| change::retry(ledger, id, FinishedRows::with_force(force)).await)
                    .await
            }
            LedgerCommand::Drop(change::DropArguments { gateway, id }) => {
                with_ledger(gateway, async |ledger| change::drop_row(ledger, id).await).await
            }
            LedgerCommand::Show(show) => {
                with_ledger(show.gateway, async |ledger| show::run(ledger, &show.row).await).await
            }
        }
    })
}

/// Runs a command on the ledger, and closes the file afterwards.
async fn with_ledger(
    gateway: GatewaySelector,
    command: impl AsyncFnOnce(&LedgerAccess) -> Result<ExitCode, CommandError>,
) -> Result<ExitCode, CommandError> {
    let ledger = LedgerAccess::find(&gateway.find()?).await?;
    let outcome = command(&ledger).await;
    ledger.close()?;
    outcome
}
