//! `caduceus ledger export`.

use std::collections::{BTreeSet, HashSet};
use std::fs::{File, remove_file};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use caduceus_actors::error_chain::error_chain;
use caduceus_actors::files::own;
use caduceus_contract::api::ledger_data::{ExportedRow, Person};
use caduceus_contract::messages::ledger_control::ExportRows;
use caduceus_contract::profile_name::ProfileName;
use serde_json::json;

use super::access::LedgerAccess;
use crate::cli::contact::{CommandError, GatewaySelector};
use crate::out;
use crate::stream::Stream;

#[derive(Debug, clap::Args)]
pub(super) struct ExportArguments {
    #[command(flatten)]
    pub(super) gateway: GatewaySelector,
    #[command(flatten)]
    pub(super) wanted: Wanted,
}

#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// Only rows of this profile.
    #[arg(long, value_name = "NAME", value_parser = ProfileName::parse)]
    profile: Option<ProfileName>,
    /// Only rows and conversations of this person, by the platform's id, which `ledger show` prints.
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    user: Option<String>,
    /// Of the person: only on this platform.
    #[arg(long, value_name = "NAME", requires = "user")]
    platform: Option<String>,
    /// Write to this new file, with mode 0600, instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// How many rows were written.
#[derive(Debug, Default)]
struct Exported {
    events: u64,
    replies: u64,
    /// The rows of conversations, so that one that is found twice is written once.
    history: HashSet<i64>,
}

/// Where the rows go.
enum Destination {
    Output,
    File(PathBuf, File),
}

pub(super) async fn run(ledger: &LedgerAccess, wanted: Wanted) -> Result<ExitCode, CommandError> {
    let mut destination = Destination::open(wanted.out.as_deref())?;
    let exported = write_all(ledger, &wanted, &mut destination).await;
    let exported = exported.and_then(|exported| destination.finish().map(|()| exported));
    let Exported { events, replies, history } = match exported {
        Ok(exported) => exported,
        Err(error) => {
            destination.remove();
            return Err(error);
        }
    };
    out::print_error(&format!(
        "exported {events} events, {replies} replies and {} parts of conversations",
        history.len()
    ));
    Ok(ExitCode::SUCCESS)
}

async fn write_all(
    ledger: &LedgerAccess,
    wanted: &Wanted,
    destination: &mut Destination,
) -> Result<Exported, CommandError> {
    let person = wanted.user.clone().map(|user| Person { user, platform: wanted.platform.clone() });
    let all = ExportRows { profile: wanted.profile.clone(), person, session: None, from: None };
    let mut exported = Exported::default();
    let sessions = write_pages(ledger, &all, destination, &mut exported).await?;
    // The conversations in which a person took part are not all named after the person.
    for session in sessions.into_iter().filter(|_| all.person.is_some()) {
        let conversation = ExportRows { session: Some(session), ..all.clone() };
        write_pages(ledger, &conversation, destination, &mut exported).await?;
    }
    Ok(exported)
}

/// Writes all pages of an export. Returns the names of the sessions that they had.
async fn write_pages(
    ledger: &LedgerAccess,
    request: &ExportRows,
    destination: &mut Destination,
    exported: &mut Exported,
) -> Result<BTreeSet<String>, CommandError> {
    let (mut sessions, mut from) = (BTreeSet::new(), request.from);
    loop {
        let page = ledger.export(ExportRows { from, ..request.clone() }).await?;
        for row in page.rows {
            let is_new = match &row {
                ExportedRow::Event(_) => {
                    exported.events += 1;
                    true
                }
                ExportedRow::Reply(_) => {
                    exported.replies += 1;
                    true
                }
                ExportedRow::History(history) => exported.history.insert(history.row),
            };
            if is_new {
                destination.write(&row)?;
            }
        }
        // Of all people they are not needed, and there may be many.
        sessions.extend(page.sessions.into_iter().filter(|_| request.person.is_some()));
        from = page.next;
        // Without a reader nothing more is of use.
        if from.is_none() || !destination.has_reader() {
            return Ok(sessions);
        }
    }
}

impl Destination {
    fn open(path: Option<&Path>) -> Result<Self, CommandError> {
        let Some(path) = path else { return Ok(Self::Output) };
        let file = own::create_new(path, own::OpenMode::ReadWrite, 0o600)
            .map_err(|error| CommandError::NotReached(format!("no export: {}", error_chain(&error))))?;
        Ok(Self::File(path.to_owned(), file))
    }

    fn write(&mut self, row: &ExportedRow) -> Result<(), CommandError> {
        match self {
            Self::Output => {
                out::print_json(&json!(row), false);
                Ok(())
            }
            Self::File(path, file) => {
                let line = format!("{}\n", json!(row));
                file.write_all(line.as_bytes()).map_err(|error| not_written(path, &error))
            }
        }
    }

    fn has_reader(&self) -> bool {
        match self {
            Self::Output => Stream::Output.has_reader(),
            Self::File(..) => true,
        }
    }

    fn finish(&mut self) -> Result<(), CommandError> {
        match self {
            Self::Output => Ok(()),
            Self::File(path, file) => file.sync_all().map_err(|error| not_written(path, &error)),
        }
    }

    /// Removes a file that is not complete.
    fn remove(&self) {
        if let Self::File(path, _) = self
            && let Err(error) = remove_file(path)
        {
            out::print_error(&format!("{} is not complete, and cannot be removed: {error}", path.display()));
        }
    }
}

fn not_written(path: &Path, error: &io::Error) -> CommandError {
    CommandError::NotReached(format!("{} cannot be written: {error}", path.display()))
}
