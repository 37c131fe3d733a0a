//! `caduceus ledger erase`.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use actix_web::rt::time::sleep;
use caduceus_contract::api::ledger::{RowId, RowState};
use caduceus_contract::api::ledger_data::{ErasedPart, ErasurePlace, LedgerPart, Person};
use caduceus_contract::messages::ledger_control::{DropNotice, ErasePerson, ListRows};
use caduceus_contract::profile_name::ProfileName;

use super::access::LedgerAccess;
use crate::cli::contact::{CommandError, GatewaySelector};
use crate::out::{self, print};

/// Rows of a page.
const PAGE: usize = 500;
/// How often the log is tried to be cleared, a second apart: something reads it, such as a check.
const TRIES: u32 = 60;
/// Rows that an error names.
const NAMED: usize = 10;

/// What is not done: it would be needed, or would be written again.
const OPEN: [RowState; 6] =
    [RowState::Received, RowState::Held, RowState::Running, RowState::Pending, RowState::Sending, RowState::Ambiguous];

#[derive(Debug, clap::Args)]
pub(super) struct EraseArguments {
    #[command(flatten)]
    pub(super) gateway: GatewaySelector,
    #[command(flatten)]
    pub(super) person: ErasedPerson,
}

#[derive(Debug, clap::Args)]
pub(super) struct ErasedPerson {
    /// The person, by the platform's id, which `ledger show` prints.
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    user: String,
    /// Only on this platform.
    #[arg(long, value_name = "NAME")]
    platform: Option<String>,
    /// Only what belongs to this profile.
    #[arg(long, value_name = "NAME", value_parser = ProfileName::parse)]
    profile: Option<ProfileName>,
    /// Drop what waits of this person first, without a notice to its chat. A turn that runs has to be stopped.
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(ledger: &LedgerAccess, person: ErasedPerson) -> Result<ExitCode, CommandError> {
    let ErasedPerson { user, platform, profile, force } = person;
    let person = Person { user, platform };
    let open = open_rows(ledger, &person, profile.as_ref()).await?;
    if !open.is_empty() && !force {
        let rows: Vec<_> = open.iter().take(NAMED).map(|(id, state)| format!("{id} ({})", state.word())).collect();
        let more = if open.len() > NAMED { ", …" } else { "" };
        let rows = format!("{} rows of this person wait or run: {}{more}", open.len(), rows.join(", "));
        let hint = "wait until they are done, or drop what waits with --force";
        return Err(CommandError::NotReached(format!("nothing is erased: {rows}; {hint}")));
    }
    for (id, _) in &open {
        // A notice would be one more reply to this person.
        ledger.drop_row(*id, DropNotice::Never).await?;
    }
    let mut from = ErasurePlace::BEGINNING;
    let mut all = ErasedPart::default();
    loop {
        let step = ErasePerson { person: person.clone(), profile: profile.clone(), from };
        let part =
            if from.at.part == LedgerPart::Log { clear_log(ledger, &step).await? } else { ledger.erase(step).await? };
        all.events += part.events;
        all.replies += part.replies;
        all.conversations += part.conversations;
        all.shared_conversations += part.shared_conversations;
        all.open += part.open;
        all.left.extend(part.left);
        match part.next {
            Some(next) => from = next,
            None => break,
        }
    }
    print(&format!("dropped: {}\n{}", open.len(), lines(&all)));
    if all.open > 0 {
        let why = "not everything is erased: what is not done was left; run this again when it is";
        return Err(CommandError::NotReached(why.to_owned()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The last step, which waits for what reads the log.
async fn clear_log(ledger: &LedgerAccess, step: &ErasePerson) -> Result<ErasedPart, CommandError> {
    let mut tries = 1;
    loop {
        match ledger.erase(step.clone()).await {
            Err(error) if error.is_temporary() && tries < TRIES => {
                if tries == 1 {
                    out::print_error(&format!("the log is not cleared yet: {error}; trying again"));
                }
                tries += 1;
                sleep(Duration::from_secs(1)).await;
            }
            outcome => return outcome,
        }
    }
}

/// The rows of the person that are not done.
async fn open_rows(
    ledger: &LedgerAccess,
    person: &Person,
    profile: Option<&ProfileName>,
) -> Result<Vec<(RowId, RowState)>, CommandError> {
    let (mut open, mut after) = (Vec::new(), None);
    loop {
        let list = ListRows {
            states: OPEN.to_vec(),
            profile: profile.cloned(),
            person: Some(person.clone()),
            recorded_before_ms: None,
            after,
            limit: PAGE,
        };
        let page = ledger.list(list).await?;
        // Whose a corrupt row is is not known, except by its columns, which the erasure reads.
        let known = page.rows.iter().filter(|row| row.state != RowState::Corrupt);
        open.extend(known.map(|row| (row.id, row.state)));
        after = page.next;
        if after.is_none() {
            return Ok(open);
        }
    }
}

fn lines(erased: &ErasedPart) -> String {
    let ErasedPart { events, replies, conversations, shared_conversations, open, left, .. } = erased;
    let mut text = format!(
        "erased: {events} events, {replies} replies, {conversations} conversations ({shared_conversations} of them shared)\n"
    );
    if *open > 0 {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "left, because it is not done: {open}");
    }
    for file in left {
        let _ = writeln!(text, "{file} may still have texts of this person: remove it when it is not needed");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_erased_and_what_is_left_is_said() {
        let erased = ErasedPart { events: 3, replies: 2, conversations: 1, ..ErasedPart::default() };
        assert_eq!(lines(&erased), "erased: 3 events, 2 replies, 1 conversations (0 of them shared)\n");
        let left = ErasedPart { open: 1, left: vec!["ledger.db.damaged-1".to_owned()], ..erased };
        let text = lines(&left);
        assert!(text.contains("not done: 1\n") && text.contains("ledger.db.damaged-1 may still"), "{text}");
    }
}
