//! What the ledger holds of people: its export, and the erasure of one person.

use std::str::FromStr;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::{Json, Payload};
use caduceus_contract::api::ledger_data::{ErasedPart, ErasurePlace, ExportPage, LedgerPart, Person};
use caduceus_contract::messages::ledger_control::{ClearLog, ErasePerson, ExportRows};
use caduceus_contract::profile_name::ProfileName;
use tracing::info;

use super::fields;
use crate::http::ask::ask_within;
use crate::http::auth::{self, TokenPrincipal};
use crate::http::body::BodyFields;
use crate::http::code::ApiErrorCode;
use crate::http::error::ApiError;
use crate::http::operation_doc::{Access, AnswerDoc, Field, FieldKind, OperationDoc, field, optional};
use crate::http::registry::RouteRegistry;
use crate::http::state::SharedState;

/// A step takes some ten milliseconds, and waits for the disk.
const TIMEOUT: Duration = Duration::from_secs(10);

const PLATFORM: Field = optional("platform", FieldKind::Text, "only on this platform");
const PROFILE: Field = optional("profile", FieldKind::Text, "only what belongs to this profile");
const FROM: Field = optional("from", FieldKind::Text, "`next` of the answer before");

const FAILS: &[ApiErrorCode] =
    &[ApiErrorCode::LedgerUnavailable, ApiErrorCode::ActorUnavailable, ApiErrorCode::ActorTimeout];

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const EXPORT: OperationDoc =
        OperationDoc::new("One page of all rows with their texts: events, replies, conversations")
            .body(&[
                optional(
                    "user",
                    FieldKind::Text,
                    "only rows of this person, and conversations that are named after the person",
                ),
                PLATFORM,
                PROFILE,
                optional("session", FieldKind::Text, "only the conversation with this stored name"),
                FROM,
            ])
            .answer(AnswerDoc::Fields(200, fields::EXPORTED))
            .errors(FAILS);
    const ERASE: OperationDoc = OperationDoc::new("One step of the erasure of what a person wrote and got")
        .body(&[field("user", FieldKind::Text, "the person, as events name their author"), PLATFORM, PROFILE, FROM])
        .answer(AnswerDoc::Fields(200, fields::ERASED))
        .errors(FAILS);
    registry.at("/api/ledger/export", Access::TokenScope(auth::DRAIN)).post(export, EXPORT).done();
    registry.at("/api/ledger/erase", Access::TokenScope(auth::DRAIN)).post(erase, ERASE).done();
}

async fn export(
    request: HttpRequest,
    caller: TokenPrincipal,
    state: SharedState,
    payload: Payload,
) -> Result<Json<ExportPage>, ApiError> {
    let fields = BodyFields::read(&request, payload).await?;
    let session = fields.text("session")?.map(str::to_owned);
    let from = from(&fields)?;
    let export = ExportRows { profile: profile(&fields)?, person: person(&fields)?, session, from };
    let (principal, expected) = (caller.principal.as_str(), &state.continuations.exports);
    let continues = expected.take(principal, &export);
    if !continues {
        let from = export.from.map(|from| from.to_string());
        info!(principal, profile = ?export.profile, from, "export of the ledger begins");
    }
    let answer = ask_within(&state.ports.ledger.control.export, export.clone(), TIMEOUT).await;
    match &answer {
        Ok(Ok(ExportPage { next: Some(from), .. })) => {
            expected.expect(principal, ExportRows { from: Some(*from), ..export });
        }
        // The caller tries again.
        Ok(Err(_)) | Err(_) if continues => expected.expect(principal, export),
        Ok(Ok(ExportPage { next: None, .. }) | Err(_)) | Err(_) => {}
    }
    Ok(Json(answer??))
}

async fn erase(
    request: HttpRequest,
    caller: TokenPrincipal,
    state: SharedState,
    payload: Payload,
) -> Result<Json<ErasedPart>, ApiError> {
    let fields = BodyFields::read(&request, payload).await?;
    let expected = "the id of a person";
    let person = person(&fields)?.ok_or(ApiError::WrongField { field: "user", expected })?;
    let from = from(&fields)?.unwrap_or(ErasurePlace::BEGINNING);
    let step = ErasePerson { person, profile: profile(&fields)?, from };
    let (principal, expected) = (caller.principal.as_str(), &state.continuations.erasures);
    let continues = expected.take(principal, &step);
    if !continues {
        info!(principal, profile = ?step.profile, %from, "erasure of a person begins");
    }
    let answer = erase_step(&state, step.clone()).await;
    match &answer {
        Ok(ErasedPart { next: Some(from), .. }) => expected.expect(principal, ErasePerson { from: *from, ..step }),
        // The caller tries again.
        Err(_) if continues => expected.expect(principal, step),
        Ok(ErasedPart { next: None, .. }) | Err(_) => {}
    }
    answer.map(Json)
}

async fn erase_step(state: &SharedState, step: ErasePerson) -> Result<ErasedPart, ApiError> {
    if step.from.at.part == LedgerPart::Log {
        let left = ask_within(&state.ports.ledger.control.clear_log, ClearLog, TIMEOUT).await??;
        return Ok(ErasedPart { left, ..ErasedPart::default() });
    }
    Ok(ask_within(&state.ports.ledger.control.erase, step, TIMEOUT).await??)
}

fn person(fields: &BodyFields) -> Result<Option<Person>, ApiError> {
    let platform = fields.text("platform")?.map(str::to_owned);
    let Some(user) = fields.text("user")? else {
        let expected = "given with a user only";
        return platform.map_or(Ok(None), |_| Err(ApiError::WrongField { field: "platform", expected }));
    };
    // Without an id it would be everyone whose id is not known.
    let user = Some(user).filter(|user| !user.is_empty());
    let user = user.ok_or(ApiError::WrongField { field: "user", expected: "the id of a person" })?;
    Ok(Some(Person { user: user.to_owned(), platform }))
}

fn profile(fields: &BodyFields) -> Result<Option<ProfileName>, ApiError> {
    let named = |name| {
        ProfileName::parse(name)
            .map_err(|_| ApiError::WrongField { field: "profile", expected: "the name of a profile" })
    };
    fields.text("profile")?.map(named).transpose()
}

/// The place of a step, or of a page.
fn from<P: FromStr>(fields: &BodyFields) -> Result<Option<P>, ApiError> {
    let wrong = |_| ApiError::WrongField { field: "from", expected: "`next` of the answer before" };
    fields.text("from")?.map(|place| place.parse().map_err(wrong)).transpose()
}
