//! The routes of the ledger.

use actix::{Addr, Handler, MessageResult};
use actix_web::http::Method;
use caduceus_actors::profile::Redactor;
use caduceus_contract::api::ledger::{RowDetail, RowId, RowState, RowSummary, RowWriter, RowsPage};
use caduceus_contract::api::ledger_changes::{DropRowResponse, LedgerCheck, RetryRowResponse, RowRefusal, WaitsFor};
use caduceus_contract::api::ledger_data::{ErasedPart, ExportPage, ExportedHistory, ExportedRow};
use caduceus_contract::messages::dispatch::{DropRow, RetryRow, RowError};
use caduceus_contract::messages::ledger::{InboundId, LedgerError};
use caduceus_contract::messages::ledger_control::{
    CheckLedger, ClearLog, ErasePerson, ExportRows, LedgerControlPorts, ListRows, ShowRow,
};
use serde_json::Value;

use super::support::{SECRET, Setting, Stub, TestAnswer, TestServer};
use crate::http::HttpLedgerPorts;

/// Replaces [`SECRET`].
pub(super) fn redactor() -> Redactor {
    let redactor = Redactor::default();
    redactor.replace("test", [("SECRET", &SECRET.into())]);
    redactor
}

/// The ports of the ledger.
pub(super) fn ports(stub: &Addr<Stub>) -> HttpLedgerPorts {
    let control = LedgerControlPorts::of(stub);
    HttpLedgerPorts { control, retry: stub.clone().into(), drop: stub.clone().into() }
}

/// The row that is not there, is corrupt, and cannot be read.
const MISSING: RowId = RowId::Event(InboundId(404));
const CORRUPT: RowId = RowId::Event(InboundId(409));
const UNREADABLE: RowId = RowId::Event(InboundId(503));

impl Handler<ListRows> for Stub {
    type Result = Result<RowsPage, LedgerError>;

    fn handle(&mut self, list: ListRows, _: &mut Self::Context) -> Self::Result {
        self.received.note(&list);
        let row = RowSummary { state: list.states[0], ..RowSummary::corrupt(RowId::Event(InboundId(1))) };
        Ok(RowsPage { rows: vec![row], next: Some(RowId::Event(InboundId(1))) })
    }
}

impl Handler<ShowRow> for Stub {
    type Result = Result<RowDetail, LedgerError>;

    fn handle(&mut self, show: ShowRow, _: &mut Self::Context) -> Self::Result {
        self.received.note(&show);
        let writer = RowWriter { term: 3, host: Some("host".to_owned()), started_at_ms: Some(1) };
        match show.id {
            MISSING => Err(LedgerError::Missing { table: "inbound", row: 404 }),
            CORRUPT => Ok(RowDetail::corrupt(CORRUPT)),
            UNREADABLE => Err(LedgerError::Unwritable("EIO /home/x".to_owned())),
            id => Ok(RowDetail {
                recorded_by: Some(writer),
                text_bytes: Some(5),
                text: show.with_text.then(|| format!("my key is {SECRET}")),
                ..RowDetail::corrupt(id)
            }),
        }
    }
}

/// Answers as the dispatcher of the row does; the number of the row says what.
fn changed<T>(id: RowId, done: T) -> Result<T, RowError> {
    match id {
        MISSING => Err(RowError::Ledger(LedgerError::Missing { table: "inbound", row: 404 })),
        CORRUPT => Err(RowError::Ledger(LedgerError::Corrupt { table: "inbound", row: 409 })),
        UNREADABLE => Err(RowError::OtherDispatcher),
        RowId::Event(InboundId(7)) => Err(RowError::Refused(RowRefusal::Waits(id, RowState::Held))),
        _ => Ok(done),
    }
}

impl Handler<RetryRow> for Stub {
    type Result = Result<RetryRowResponse, RowError>;

    fn handle(&mut self, order: RetryRow, _: &mut Self::Context) -> Self::Result {
        self.received.note(&order);
        let (id, was, state) = (order.id, RowState::Dead, RowState::Received);
        changed(id, RetryRowResponse { ok: true, id, was, row: id, state, waits_for: Some(WaitsFor::Drain) })
    }
}

impl Handler<DropRow> for Stub {
    type Result = Result<DropRowResponse, RowError>;

    fn handle(&mut self, order: DropRow, _: &mut Self::Context) -> Self::Result {
        self.received.note(&order);
        changed(order.id, DropRowResponse { ok: true, id: order.id, was: RowState::Held, notified: true })
    }
}

impl Handler<CheckLedger> for Stub {
    type Result = MessageResult<CheckLedger>;

    fn handle(&mut self, check: CheckLedger, _: &mut Self::Context) -> Self::Result {
        let begins = check == CheckLedger::Begin;
        if begins {
            self.received.note(&check);
        }
        let damage = vec!["index history_session: made again".to_owned()];
        MessageResult(LedgerCheck { runs: begins, begun_at_ms: Some(1), rows: 3, damage, ..LedgerCheck::default() })
    }
}

impl Handler<ExportRows> for Stub {
    type Result = Result<ExportPage, LedgerError>;

    fn handle(&mut self, export: ExportRows, _: &mut Self::Context) -> Self::Result {
        self.received.note(&export);
        let history = ExportedHistory { row: 4, session: None, profile: None, entries: None };
        let rows = vec![ExportedRow::Event(RowDetail::corrupt(CORRUPT)), ExportedRow::History(history)];
        Ok(ExportPage { rows, sessions: vec!["{}".to_owned()], next: Some("replies-0".parse().unwrap()) })
    }
}

impl Handler<ErasePerson> for Stub {
    type Result = Result<ErasedPart, LedgerError>;

    fn handle(&mut self, erase: ErasePerson, _: &mut Self::Context) -> Self::Result {
        self.received.note(&erase);
        Ok(ErasedPart { events: 2, next: Some("log-0.7".parse().unwrap()), ..ErasedPart::default() })
    }
}

impl Handler<ClearLog> for Stub {
    type Result = Result<Vec<String>, LedgerError>;

    fn handle(&mut self, clear: ClearLog, _: &mut Self::Context) -> Self::Result {
        self.received.note(&clear);
        Ok(vec!["ledger.db.damaged-1".to_owned()])
    }
}

#[actix_web::test]
async fn an_export_is_read_in_pages_with_a_token_only() {
    let server = TestServer::start().await;
    let refused = TestAnswer::of(server.request(Method::POST, "/api/ledger/export"), "").await.error();
    assert_eq!(refused, (401, "unauthenticated".into()));
    assert!(server.received.no_command());
    let page = server.post("/api/ledger/export", r#"{"user":"ann","profile":"work","from":"events-7"}"#).await.json();
    assert_eq!((&page["rows"][0]["type"], &page["next"]), (&"event".into(), &"replies-0".into()));
    assert!(server.received.has(&["ExportRows", "\"ann\"", "work", "Events", "after: 7"]));
    for bad in [r#"{"user":""}"#, r#"{"user":7}"#, r#"{"platform":"x"}"#, r#"{"profile":".."}"#, r#"{"from":"in-1"}"#] {
        assert_eq!(server.post("/api/ledger/export", bad).await.error(), (400, "wrong_field".into()), "{bad}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn a_person_is_erased_in_steps_of_which_the_last_clears_the_log() {
    let server = TestServer::start().await;
    let erase = async |body: &str| server.post("/api/ledger/erase", body).await;
    let refused = TestAnswer::of(server.request(Method::POST, "/api/ledger/erase"), r#"{"user":"ann"}"#).await;
    assert_eq!(refused.error(), (401, "unauthenticated".into()));
    for bad in ["", "{}", r#"{"user":""}"#, r#"{"user":null}"#, r#"{"user":"ann","from":"x"}"#] {
        assert_eq!(erase(bad).await.error(), (400, "wrong_field".into()), "{bad}");
    }
    assert!(server.received.no_command(), "without a name no request reaches the ledger");
    let first = erase(r#"{"user":"ann","platform":"slack"}"#).await.json();
    assert_eq!((&first["events"], &first["next"]), (&2.into(), &"log-0.7".into()));
    assert!(server.received.has(&["ErasePerson", "\"ann\"", "slack", "Events"]) && !server.received.has(&["ClearLog"]));
    let last = erase(r#"{"user":"ann","from":"log-0.7"}"#).await.json();
    assert_eq!((&last["left"][0], &last["next"]), (&"ledger.db.damaged-1".into(), &Value::Null));
    server.stop().await;
}

#[actix_web::test]
async fn the_last_check_is_shown_and_another_begins_with_a_token_only() {
    let server = TestServer::start().await;
    let last = server.get("/api/ledger/check").await.json();
    assert_eq!((&last["runs"], &last["rows"], &last["ended_at_ms"]), (&false.into(), &3.into(), &Value::Null));
    let begin = "/api/ledger/check/begin";
    let refused = TestAnswer::of(server.request(Method::POST, begin), "").await.error();
    assert_eq!(refused, (401, "unauthenticated".into()));
    assert!(server.received.no_command());
    assert_eq!(server.post(begin, "").await.json()["runs"], true);
    assert!(server.received.has(&["Begin"]));
    server.stop().await;
}

#[actix_web::test]
async fn a_row_is_sent_again_or_dropped_with_a_token_only() {
    let server = TestServer::start().await;
    for path in ["/api/ledger/rows/in-5/retry", "/api/ledger/rows/in-5/drop"] {
        let refused = TestAnswer::of(server.request(Method::POST, path), "").await.error();
        assert_eq!(refused, (401, "unauthenticated".into()), "{path}");
    }
    assert!(server.received.no_command());
    let retried = server.post("/api/ledger/rows/in-5/retry", r#"{"force":true}"#).await.json();
    assert_eq!((&retried["row"], &retried["waits_for"]), (&"in-5".into(), &"drain".into()));
    assert!(server.received.has(&["RetryRow", "InboundId(5)", "finished: Repeat"]));
    let dropped = server.post("/api/ledger/rows/out-5/drop", "").await.json();
    assert_eq!((&dropped["was"], &dropped["notified"]), (&"held".into(), &true.into()));
    assert!(server.received.has(&["DropRow", "OutboundId(5)", "notice: IfUnanswered"]));
    server.post("/api/ledger/rows/in-5/drop", r#"{"notify":false}"#).await;
    assert!(server.received.has(&["DropRow", "InboundId(5)", "notice: Never"]));
    server.stop().await;
}

#[actix_web::test]
async fn a_change_that_is_refused_says_why() {
    let server = TestServer::start().await;
    for action in ["retry", "drop"] {
        let refused = async |id: &str| server.post(&format!("/api/ledger/rows/{id}/{action}"), "").await;
        assert_eq!(refused("in-404").await.error(), (404, "no_such_row".into()));
        assert_eq!(refused("in-409").await.error(), (409, "row_corrupt".into()));
        assert_eq!(refused("in-503").await.error(), (503, "not_now".into()));
        let waits = refused("in-7").await;
        assert_eq!(waits.error(), (409, "row_refused".into()));
        assert!(waits.json()["detail"].as_str().unwrap().contains("waits already"));
        assert_eq!(refused("7").await.error(), (400, "bad_request".into()));
    }
    let bad = server.post("/api/ledger/rows/in-5/retry", r#"{"force":"yes"}"#).await;
    assert_eq!(bad.error(), (400, "wrong_field".into()));
    server.stop().await;
}

#[actix_web::test]
async fn rows_are_listed_as_the_query_says_and_by_default_what_is_open_or_dead() {
    let server = TestServer::start().await;
    let page = server.get("/api/ledger/rows").await;
    assert_eq!((page.status, &page.json()["next"]), (200, &"in-1".into()));
    assert!(server.received.has(&["ListRows", "[Received, Held, Running, Interrupted", "limit: 100"]));
    let query = "state=dead&state=failed&profile=work&after=out-7&limit=3&older_than_s=60";
    assert_eq!(server.get(&format!("/api/ledger/rows?{query}")).await.json()["rows"][0]["state"], "dead");
    assert!(server.received.has(&["ListRows", "[Dead, Failed]", "work", "Reply(OutboundId(7))", "limit: 3", "Some("]));
    for bad in ["state=x", "limit=0", "after=7", "profile=..", "older_than_s=x", "x=1"] {
        assert_eq!(server.get(&format!("/api/ledger/rows?{bad}")).await.error(), (400, "bad_request".into()), "{bad}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn a_row_is_shown_without_its_text_and_its_text_only_with_a_token_and_without_secrets() {
    let server = TestServer::start().await;
    let shown = server.get("/api/ledger/rows/out-5").await;
    assert_eq!((shown.status, &shown.json()["id"]), (200, &"out-5".into()));
    assert!(!shown.body.windows(3).any(|part| part == b"key") && !server.received.has(&["with_text: true"]));

    assert_eq!(server.get("/api/ledger/rows/out-5/text").await.error(), (401, "unauthenticated".into()));
    assert!(!server.received.has(&["with_text: true"]), "no text leaves the ledger without a token");
    let request = server.request(Method::GET, "/api/ledger/rows/out-5/text").bearer_auth(SECRET);
    let text = TestAnswer::of(request, "").await;
    let said = text.json()["text"].as_str().unwrap().to_owned();
    assert!(text.status == 200 && said.starts_with("my key is") && !said.contains(SECRET), "{said}");
    server.stop().await;
}

#[actix_web::test]
async fn a_row_that_cannot_be_shown_is_an_error_that_says_why_and_shows_no_path() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/api/ledger/rows/in-404").await.error(), (404, "no_such_row".into()));
    assert_eq!(server.get("/api/ledger/rows/in-409").await.json()["state"], "corrupt");
    let unreadable = server.get("/api/ledger/rows/in-503").await;
    assert_eq!(unreadable.error(), (503, "ledger_unavailable".into()));
    assert!(!String::from_utf8_lossy(&unreadable.body).contains("/home"));
    for bad in ["5", "in-", "in-x", "turn-5", "in-+5", "in-99999999999999999999"] {
        let error = server.get(&format!("/api/ledger/rows/{bad}")).await.error();
        assert_eq!(error, (400, "bad_request".into()), "{bad}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn from_afar_the_rows_need_a_token() {
    let server = TestServer::with(Setting::default()).await;
    for path in ["/api/ledger/rows", "/api/ledger/rows/in-1"] {
        let afar = server.request(Method::GET, path).insert_header(("x-forwarded-for", "203.0.113.9"));
        assert_eq!(TestAnswer::of(afar, "").await.error(), (401, "unauthenticated".into()), "{path}");
    }
    assert!(server.received.no_command());
    server.stop().await;
}
