//! Lists of rows, and single rows.

use actix_web::HttpRequest;
use actix_web::web::{Json, Path, Query};
use caduceus_actors::time::now_ms;
use caduceus_contract::api::ledger::{RowDetail, RowId, RowState, RowTextResponse, RowsPage};
use caduceus_contract::api::ledger_data::Person;
use caduceus_contract::messages::ledger_control::{ListRows, ShowRow};
use caduceus_contract::profile_name::ProfileName;
use tracing::info;

use super::fields;
use crate::http::ask::ask;
use crate::http::auth::{self, TokenPrincipal};
use crate::http::code::ApiErrorCode;
use crate::http::error::ApiError;
use crate::http::operation_doc::{Access, AnswerDoc, Field, FieldKind, OperationDoc, field, optional};
use crate::http::registry::RouteRegistry;
use crate::http::state::SharedState;

/// Rows of a page, if a request names no limit.
const LIMIT: usize = 100;

/// The path of a route for one row.
pub(super) const ROW: &[Field] = &[field("id", FieldKind::Text, "the row: in-N is an event, out-N a reply")];

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const LIST: OperationDoc = OperationDoc::new("The rows of the ledger in some states, without what people wrote")
        .parameters(&[
            optional("state", FieldKind::Text, "a state; may be repeated. By default all that is open or dead"),
            optional("profile", FieldKind::Text, "only rows of this profile"),
            optional("user", FieldKind::Text, "only rows of this person"),
            optional("platform", FieldKind::Text, "of the person: only on this platform"),
            optional("older_than_s", FieldKind::Number, "only rows that were recorded so many seconds ago or earlier"),
            optional("after", FieldKind::Text, "only rows after this one: `next` of the page before"),
            optional("limit", FieldKind::Count, "most rows of a page; 100 by default, at most 1000"),
        ])
        .answer(AnswerDoc::Fields(200, fields::PAGE))
        .errors(READS);
    const SHOW: OperationDoc = OperationDoc::new("One row of the ledger, without what people wrote")
        .parameters(ROW)
        .answer(AnswerDoc::Fields(200, fields::DETAIL))
        .errors(READS_ROW);
    const TEXT: OperationDoc = OperationDoc::new("What one row of the ledger says, with known secrets redacted")
        .parameters(ROW)
        .answer(AnswerDoc::Fields(200, fields::TEXT))
        .errors(READS_ROW);
    registry.at("/api/ledger/rows", Access::Authenticated).get(list, LIST).done();
    registry.at("/api/ledger/rows/{id}", Access::Authenticated).get(show, SHOW).done();
    registry.at("/api/ledger/rows/{id}/text", Access::TokenScope(auth::DRAIN)).get(text, TEXT).done();
}

const READS: &[ApiErrorCode] = &[
    ApiErrorCode::BadRequest,
    ApiErrorCode::LedgerUnavailable,
    ApiErrorCode::ActorUnavailable,
    ApiErrorCode::ActorTimeout,
];
const READS_ROW: &[ApiErrorCode] = &[
    ApiErrorCode::BadRequest,
    ApiErrorCode::NoSuchRow,
    ApiErrorCode::LedgerUnavailable,
    ApiErrorCode::ActorUnavailable,
    ApiErrorCode::ActorTimeout,
];

async fn list(request: HttpRequest, state: SharedState) -> Result<Json<RowsPage>, ApiError> {
    let list = parse_list(request.query_string(), now_ms())?;
    Ok(Json(ask(&state.ports.ledger.control.list, list).await??))
}

async fn show(id: Path<String>, state: SharedState) -> Result<Json<RowDetail>, ApiError> {
    let show = ShowRow { id: parse_row(&id)?, with_text: false };
    let detail = ask(&state.ports.ledger.control.show, show).await??;
    // The words of a connector may have anything.
    let error = detail.error.map(|error| state.redactor.redact(&error).into_owned());
    Ok(Json(RowDetail { error, ..detail }))
}

async fn text(caller: TokenPrincipal, id: Path<String>, state: SharedState) -> Result<Json<RowTextResponse>, ApiError> {
    let show = ShowRow { id: parse_row(&id)?, with_text: true };
    info!(principal = caller.principal, row = %show.id, "text of a row requested");
    let detail = ask(&state.ports.ledger.control.show, show).await??;
    let text = detail.text.map(|text| state.redactor.redact(&text).into_owned());
    Ok(Json(RowTextResponse { id: show.id, text }))
}

pub(super) fn parse_row(id: &str) -> Result<RowId, ApiError> {
    id.parse().map_err(|_| ApiError::BadRequest("a row is named in-N (an event) or out-N (a reply)"))
}

/// The list that a query asks for.
fn parse_list(query: &str, now_ms: i64) -> Result<ListRows, ApiError> {
    let fields = Query::<Vec<(String, String)>>::from_query(query);
    let fields = fields.map_err(|_| ApiError::BadRequest("the query cannot be read"))?.into_inner();
    let mut list = ListRows {
        states: Vec::new(),
        profile: None,
        person: None,
        recorded_before_ms: None,
        after: None,
        limit: LIMIT,
    };
    let (mut user, mut platform) = (None, None);
    for (name, value) in fields {
        match name.as_str() {
            "state" => {
                let state = RowState::parse(&value).ok_or(ApiError::BadRequest("no such state of a row"))?;
                list.states.push(state);
            }
            "profile" => {
                let profile =
                    ProfileName::parse(&value).map_err(|_| ApiError::BadRequest("not the name of a profile"))?;
                list.profile = Some(profile);
            }
            "user" => user = Some(value).filter(|user| !user.is_empty()),
            "platform" => platform = Some(value),
            "older_than_s" => {
                let seconds = value.parse::<f64>().ok().filter(|seconds| (0.0..MOST_SECONDS).contains(seconds));
                let age = seconds.ok_or(ApiError::BadRequest("older_than_s must be a number of seconds"))?;
                #[expect(clippy::cast_possible_truncation, reason = "it is below 2^53")]
                let age_ms = (age * 1_000.0) as i64;
                list.recorded_before_ms = Some(now_ms.saturating_sub(age_ms));
            }
            "after" => list.after = Some(parse_row(&value)?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| *limit > 0);
                list.limit = limit.ok_or(ApiError::BadRequest("limit must be a number above 0"))?;
            }
            _ => return Err(ApiError::BadRequest("the query has a field that this route does not know")),
        }
    }
    list.person = match (user, platform) {
        (Some(user), platform) => Some(Person { user, platform }),
        (None, None) => None,
        (None, Some(_)) => return Err(ApiError::BadRequest("platform is given with a user only")),
    };
    if list.states.is_empty() {
        list.states = RowState::OPEN_OR_DEAD.to_vec();
    }
    Ok(list)
}

/// A thousand years: an age above it is a mistake.
const MOST_SECONDS: f64 = 3.2e10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_fields_is_of_all_that_is_open_or_dead() {
        let list = parse_list("", 5_000).unwrap();
        assert_eq!((list.states, list.limit), (RowState::OPEN_OR_DEAD.to_vec(), LIMIT));
    }

    #[test]
    fn a_list_has_each_field_of_its_query() {
        let query =
            "state=dead&state=failed&profile=work&user=%2B49%201&platform=whatsapp&older_than_s=1.5&after=in-3&limit=7";
        let list = parse_list(query, 5_000).unwrap();
        let expected = ListRows {
            states: vec![RowState::Dead, RowState::Failed],
            profile: Some(ProfileName::parse("work").unwrap()),
            person: Some(Person { user: "+49 1".to_owned(), platform: Some("whatsapp".to_owned()) }),
            recorded_before_ms: Some(3_500),
            after: Some("in-3".parse().unwrap()),
            limit: 7,
        };
        assert_eq!(list, expected);
    }

    #[test]
    fn a_query_with_a_mistake_is_refused() {
        for query in [
            "state=",
            "state=Dead",
            "state=dead%00",
            "profile=",
            "profile=../x",
            "older_than_s=",
            "older_than_s=-1",
            "older_than_s=NaN",
            "older_than_s=1e99",
            "after=3",
            "after=turn-3",
            "limit=0",
            "limit=-1",
            "limit=x",
            "limit=99999999999999999999999",
            "states=dead",
            "platform=x",
        ] {
            assert!(matches!(parse_list(query, 0), Err(ApiError::BadRequest(_))), "{query}");
        }
    }
}
