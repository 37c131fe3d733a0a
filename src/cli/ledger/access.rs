//! Where the ledger is reached: over HTTP while a gateway runs, in its file while none does. Never both: the file's lock admits one process.

use std::collections::BTreeSet;
use std::fs::symlink_metadata;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use caduceus_actors::error_chain::error_chain;
use caduceus_actors::gateway::configured_links;
use caduceus_actors::ledger::{LedgerWriter, SqliteStore, Work, place};
use caduceus_actors::profile::Redactor;
use caduceus_actors::profile::inspect::inspect;
use caduceus_actors::settings::{Environment, Settings};
use caduceus_actors::time::now_ms;
use caduceus_contract::api::ledger::{RowDetail, RowId, RowTextResponse, RowsPage};
use caduceus_contract::api::ledger_changes::{DropRowResponse, LedgerCheck, RetryRowResponse, RowRefusal};
use caduceus_contract::api::ledger_data::{ErasedPart, ExportPage, LedgerPart, Person};
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::ledger_control::{
    CheckLedger, DropNotice, ErasePerson, ExportRows, FinishedRows, LedgerHolder, ListRows, RecordDrop, RecordRetry,
    RecordedDrop, RecordedRetry, ShowRow,
};
use caduceus_contract::profile_name::ProfileName;
use serde_json::{Map, Value, json};

use crate::cli::contact::{CommandError, Contact, GatewayClient, Presence};
use crate::out;

/// In place of an error of a connector.
const UNREDACTED: &str = "(not shown: the secrets of the home cannot be read, so it cannot be redacted)";

/// How long the file may take to be closed: the log is written back.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A ledger that can be used.
pub(super) enum LedgerAccess {
    /// Through the gateway that has it.
    Gateway(GatewayClient),
    /// In its file, whose lock this process holds.
    File(LedgerFile),
}

/// Whether a row is shown with its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShownText {
    With,
    Without,
}

/// The open file of a home without a gateway.
pub(super) struct LedgerFile {
    home: PathBuf,
    writer: LedgerWriter<SqliteStore>,
}

impl LedgerAccess {
    /// The ledger of a gateway, or of a home without one.
    pub(super) async fn find(contact: &Contact) -> Result<Self, CommandError> {
        if let Some(client) = contact.client().await? {
            return Ok(Self::Gateway(client));
        }
        let (Some(home), Presence::Absent) = (&contact.home, contact.presence()?) else {
            return Err(contact.no_gateway());
        };
        if symlink_metadata(place::find(home)).is_err() {
            let why = format!("there is no ledger in {}: no gateway has run there", home.display());
            return Err(CommandError::NotReached(why));
        }
        let path = place::prepare(home).map_err(CommandError::OpenLedger)?;
        let writer = LedgerWriter::open(path).map_err(CommandError::OpenLedger)?;
        for damage in writer.view().damage {
            out::print_error(&format!("the ledger is damaged: {damage}"));
        }
        Ok(Self::File(LedgerFile { home: home.clone(), writer }))
    }

    /// Closes the file, if it is open.
    pub(super) fn close(&self) -> Result<(), CommandError> {
        match self {
            Self::Gateway(_) => Ok(()),
            Self::File(file) => {
                file.writer.close(CLOSE_TIMEOUT).map_err(|error| CommandError::NoAnswer(error.to_string()))
            }
        }
    }

    /// One page of a list.
    pub(super) async fn list(&self, list: ListRows) -> Result<RowsPage, CommandError> {
        match self {
            Self::Gateway(client) => {
                client.get(&format!("/api/ledger/rows?{}", query(&list, now_ms())), Duration::ZERO).await
            }
            Self::File(file) => file.ask(list).await,
        }
    }

    /// One row.
    pub(super) async fn show(&self, id: RowId, text: ShownText) -> Result<RowDetail, CommandError> {
        match self {
            Self::Gateway(client) => {
                let detail: RowDetail = client.get(&format!("/api/ledger/rows/{id}"), Duration::ZERO).await?;
                if text == ShownText::Without {
                    return Ok(detail);
                }
                let text: RowTextResponse = client.get(&format!("/api/ledger/rows/{id}/text"), Duration::ZERO).await?;
                Ok(RowDetail { text: text.text, ..detail })
            }
            Self::File(file) => {
                let detail = file.ask(ShowRow { id, with_text: text == ShownText::With }).await?;
                let text = detail.text.map(|text| file.redacted(&text)).transpose()?;
                // The words of a connector may have a secret. The row is shown without them if the secrets cannot be read.
                let error = detail.error.map(|error| file.redacted(&error).unwrap_or_else(|_| UNREDACTED.to_owned()));
                Ok(RowDetail { text, error, ..detail })
            }
        }
    }

    /// Has a row run or sent again.
    pub(super) async fn retry(&self, id: RowId, finished: FinishedRows) -> Result<RetryRowResponse, CommandError> {
        match self {
            Self::Gateway(client) => {
                client
                    .post(&format!("/api/ledger/rows/{id}/retry"), &json!({"force": finished == FinishedRows::Repeat}))
                    .await
            }
            Self::File(file) => {
                let retry = RecordRetry { id, finished, holder: LedgerHolder::Command, links: file.links_for(id)? };
                let RecordedRetry { was, row, state, .. } =
                    file.ask(retry).await?.map_err(|refusal| refused(&refusal))?;
                Ok(RetryRowResponse { ok: true, id, was, row, state, waits_for: None })
            }
        }
    }

    /// Drops a row.
    pub(super) async fn drop_row(&self, id: RowId, notice: DropNotice) -> Result<DropRowResponse, CommandError> {
        match self {
            Self::Gateway(client) => {
                client
                    .post(
                        &format!("/api/ledger/rows/{id}/drop"),
                        &json!({"notify": notice == DropNotice::IfUnanswered}),
                    )
                    .await
            }
            Self::File(file) => {
                let order = RecordDrop { id, holder: LedgerHolder::Command, process_started_ms: 0, notice };
                let RecordedDrop { was, notice } = file.ask(order).await?.map_err(|refusal| refused(&refusal))?;
                Ok(DropRowResponse { ok: true, id, was, notified: notice.is_some() })
            }
        }
    }

    /// What is known of the rows. Opening the file has begun a check.
    pub(super) async fn check(&self, check: CheckLedger) -> Result<LedgerCheck, CommandError> {
        match self {
            Self::Gateway(client) => match check {
                CheckLedger::Begin => client.post("/api/ledger/check/begin", &json!({})).await,
                CheckLedger::Show => client.get("/api/ledger/check", Duration::ZERO).await,
            },
            Self::File(file) => Ok(file.writer.check()),
        }
    }

    /// One page of an export.
    pub(super) async fn export(&self, export: ExportRows) -> Result<ExportPage, CommandError> {
        match self {
            Self::Gateway(client) => {
                let ExportRows { profile, person, session, from } = export;
                let mut body = Map::new();
                insert_person(&mut body, person, profile);
                body.extend(session.map(|session| ("session".to_owned(), json!(session))));
                body.extend(from.map(|from| ("from".to_owned(), json!(from))));
                client.post("/api/ledger/export", &body).await
            }
            Self::File(file) => file.ask(export).await,
        }
    }

    /// One step of the erasure of a person.
    pub(super) async fn erase(&self, step: ErasePerson) -> Result<ErasedPart, CommandError> {
        match self {
            Self::Gateway(client) => {
                let ErasePerson { person, profile, from } = step;
                let mut body = Map::new();
                insert_person(&mut body, Some(person), profile);
                body.insert("from".to_owned(), json!(from));
                client.post("/api/ledger/erase", &body).await
            }
            Self::File(file) if step.from.at.part == LedgerPart::Log => {
                let left = file.writer.clear_log().await.map_err(CommandError::Ledger)?;
                Ok(ErasedPart { left, ..ErasedPart::default() })
            }
            Self::File(file) => file.ask(step).await,
        }
    }

    /// Whether it is the file, so that what is to run or to be sent waits for a gateway.
    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

/// A list as the query of a route.
fn query(list: &ListRows, now_ms: i64) -> String {
    let mut fields: Vec<String> = list.states.iter().map(|state| format!("state={}", state.word())).collect();
    fields.extend(list.profile.as_ref().map(|profile| format!("profile={profile}")));
    if let Some(Person { user, platform }) = &list.person {
        fields.push(format!("user={}", encoded(user)));
        fields.extend(platform.as_ref().map(|platform| format!("platform={}", encoded(platform))));
    }
    // An age, because the clock of the gateway may be another one.
    let age_s = list.recorded_before_ms.map(|before| now_ms.saturating_sub(before) / 1_000);
    fields.extend(age_s.map(|age_s| format!("older_than_s={age_s}")));
    fields.extend(list.after.map(|after| format!("after={after}")));
    fields.push(format!("limit={}", list.limit));
    fields.join("&")
}

/// A text as a value in a query.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn insert_person(body: &mut Map<String, Value>, person: Option<Person>, profile: Option<ProfileName>) {
    if let Some(Person { user, platform }) = person {
        body.insert("user".to_owned(), json!(user));
        body.extend(platform.map(|platform| ("platform".to_owned(), json!(platform))));
    }
    body.extend(profile.map(|profile| ("profile".to_owned(), json!(profile))));
}

fn refused(refusal: &RowRefusal) -> CommandError {
    CommandError::NotReached(refusal.to_string())
}

impl LedgerFile {
    async fn ask<W: Work>(&self, work: W) -> Result<W::Answer, CommandError> {
        self.writer.ask(work).await.map_err(CommandError::Ledger)
    }

    /// The links that the next gateway of the home has. A reply is sent again whatever they are.
    fn links_for(&self, id: RowId) -> Result<Arc<BTreeSet<LinkId>>, CommandError> {
        let RowId::Event(_) = id else { return Ok(Arc::default()) };
        let settings = Settings::load(&self.home, Environment::capture()).map_err(|error| {
            let why = error_chain(&error);
            CommandError::NotReached(format!("nothing is changed, because the links of the home are not known: {why}"))
        })?;
        Ok(Arc::new(configured_links(&settings)))
    }

    /// A text without the secrets that the profiles of the home hold, as the gateway would answer it.
    fn redacted(&self, text: &str) -> Result<String, CommandError> {
        let settings = Settings::load(&self.home, Environment::capture()).map_err(|error| {
            let why = error_chain(&error);
            CommandError::NotReached(format!("no text is shown, because the secrets in it are not known: {why}"))
        })?;
        let redactor = Redactor::default();
        for profile in &settings.profiles {
            let inspection = inspect(profile, &settings);
            if let Some(problem) = &inspection.problem {
                let why = format!("no text is shown, because the secrets of profile {} are not known", profile.name);
                return Err(CommandError::NotReached(format!("{why}: {problem}")));
            }
            inspection.add_to(profile.name.as_str(), &redactor);
        }
        Ok(redactor.redact(text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use caduceus_contract::api::ledger::RowState;

    #[test]
    fn a_query_has_every_field_of_a_list() {
        let list = ListRows {
            states: vec![RowState::Dead, RowState::Held],
            profile: Some(ProfileName::parse("work").unwrap()),
            person: Some(Person { user: "+49 1&é".to_owned(), platform: Some("whatsapp".to_owned()) }),
            recorded_before_ms: Some(40_000),
            after: Some("in-3".parse().unwrap()),
            limit: 5,
        };
        let expected = "state=dead&state=held&profile=work&user=%2B49%201%26%C3%A9&platform=whatsapp&older_than_s=60&after=in-3&limit=5";
        assert_eq!(query(&list, 100_000), expected);
    }
}
