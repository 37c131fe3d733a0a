//! Beginning, cancelling and watching a drain.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse};
use caduceus_contract::api::control::GatewayAction;
use caduceus_contract::api::drain::{BeginDrainResponse, CancelDrainResponse, DrainProgress};
use caduceus_contract::messages::drain::{AwaitDrained, BeginDrain, CancelDrain, DrainView, GetDrain};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::turn_id::TurnId;
use tracing::info;

use super::ask::{TIMEOUT, ask, ask_within};
use super::auth::{self, TokenPrincipal};
use super::body::BodyFields;
use super::caller::HttpCaller;
use super::code::ApiErrorCode;
use super::error::ApiError;
use super::operation_doc::{Access, AnswerDoc, FieldKind, OperationDoc, field, optional};
use super::registry::RouteRegistry;
use super::state::{ServerState, SharedState};

/// Longest a client may wait for the turns to end in one request.
const MAX_WAIT: Duration = Duration::from_mins(5);

/// Longest deadline of a drain.
const MAX_DEADLINE: Duration = Duration::from_hours(366 * 24);

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const CHANGE: OperationDoc = OperationDoc::new("Begins or cancels a drain; an empty body begins one")
        .body(&[
            optional("action", FieldKind::Word(&["drain", "cancel"]), "drain by default; case and blanks are ignored"),
            optional("profile", FieldKind::Text, "only this profile"),
            optional(
                "suppress_notification",
                FieldKind::Flag,
                "the shutdown that ends the drain is not announced in the home channel",
            ),
            optional("deadline_s", FieldKind::Number, "the drain ends after this many seconds, at most a year"),
            optional("turn_id", FieldKind::Text, "the turn that makes the request; the drain does not wait for it"),
        ])
        .answer(AnswerDoc::Fields(
            200,
            &[
                field("ok", FieldKind::Flag, "always true"),
                field("action", FieldKind::Word(&["drain", "cancel"]), "the action that was carried out"),
                optional("was_draining", FieldKind::Flag, "of a cancel: whether there was a drain"),
                optional("requested_at", FieldKind::Text, "of a drain, as all fields below: when it was requested"),
                optional("draining", FieldKind::Flag, "true: from now on no turn starts"),
                optional("suppress_notification", FieldKind::Flag, "as requested"),
                optional("active_agents", FieldKind::Count, "turns in flight at this moment"),
                optional("durable", FieldKind::Flag, "false if the marker is not on disk: a restart ends the drain"),
            ],
        ))
        .errors(&[
            ApiErrorCode::UnknownAction,
            ApiErrorCode::ProfileIsGateway,
            ApiErrorCode::UnknownProfile,
            ApiErrorCode::MarkerNotRemoved,
            ApiErrorCode::Stopping,
            ApiErrorCode::ActorUnavailable,
            ApiErrorCode::ActorTimeout,
        ]);
    const PROGRESS: OperationDoc = OperationDoc::new("The progress of the drain, at once or when no turn is left")
        .parameters(&[optional(
            "wait",
            FieldKind::Number,
            "answer when no turn is left, or after this many seconds; at most 300",
        )])
        .answer(AnswerDoc::Fields(
            200,
            &[
                field("draining", FieldKind::Flag, "whether a drain or a shutdown is in progress"),
                field("active_agents", FieldKind::Count, "turns in flight"),
                field("drained", FieldKind::Flag, "draining, and no turn is left that the drain waits for"),
                field("oldest_turn_s", FieldKind::NumberOrNull, "age of the oldest turn"),
            ],
        ))
        .errors(&[ApiErrorCode::BadRequest, ApiErrorCode::ActorUnavailable, ApiErrorCode::ActorTimeout]);
    registry
        .at("/api/gateway/drain", Access::Scope(auth::DRAIN))
        .get(get_progress, PROGRESS)
        .post(change, CHANGE)
        .done();
}

/// The parsed request of a client.
#[derive(Debug, PartialEq)]
enum DrainAction {
    Begin {
        profile: Option<ProfileName>,
        suppress_notification: bool,
        deadline: Option<Duration>,
        turn: Option<TurnId>,
    },
    Cancel {
        profile: Option<ProfileName>,
    },
}

async fn change(
    request: HttpRequest,
    caller: TokenPrincipal,
    state: SharedState,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let action = DrainAction::parse(&BodyFields::read(&request, payload).await?)?;
    let principal = caller.principal;
    let (DrainAction::Begin { profile, .. } | DrainAction::Cancel { profile }) = &action;
    state.serves(profile.as_ref())?;
    let peer = HttpCaller::of(&request).address;
    info!(principal, %peer, ?action, "drain request");
    Ok(match action {
        DrainAction::Begin { profile, suppress_notification, deadline, turn } => {
            let message = BeginDrain { principal, profile, suppress_notification, deadline, turn };
            let begun = ask(&state.ports.drain.begin, message).await?;
            HttpResponse::Ok().json(BeginDrainResponse {
                ok: true,
                action: GatewayAction::Drain,
                requested_at: begun.requested_at,
                draining: true,
                suppress_notification,
                active_agents: begun.active_agents,
                durable: begun.durable,
            })
        }
        DrainAction::Cancel { profile } => {
            let cancelled = ask(&state.ports.drain.cancel, CancelDrain { principal, profile }).await??;
            HttpResponse::Ok().json(CancelDrainResponse {
                ok: true,
                action: GatewayAction::Cancel,
                was_draining: cancelled.was_draining,
            })
        }
    })
}

async fn get_progress(request: HttpRequest, state: SharedState) -> Result<HttpResponse, ApiError> {
    let Some(timeout) = wait(request.query_string())? else {
        return Ok(HttpResponse::Ok().json(progress(&ask(&state.ports.drain.view, GetDrain).await?)));
    };
    let question = AwaitDrained { timeout, including_requesters: false };
    let view = ask_within(&state.ports.drain.await_drained, question, timeout.saturating_add(TIMEOUT)).await?;
    Ok(HttpResponse::Ok().json(progress(&view)))
}

/// Without a drain a turn may start at any time, so an idle gateway is not drained.
fn progress(view: &DrainView) -> DrainProgress {
    DrainProgress {
        draining: view.draining,
        active_agents: view.active_agents,
        drained: view.draining && view.waited_for == 0,
        oldest_turn_s: view.oldest_turn_ms.map(|age| Duration::from_millis(age).as_secs_f64()),
    }
}

/// The wait in the query.
fn wait(query: &str) -> Result<Option<Duration>, ApiError> {
    let bad = ApiError::BadRequest("wait must be a number of seconds");
    let Ok(fields) = web::Query::<BTreeMap<String, String>>::from_query(query) else { return Err(bad) };
    let Some(text) = fields.get("wait") else { return Ok(None) };
    let length = text.trim().parse::<f64>().ok().filter(|length| *length >= 0.0).ok_or(bad)?;
    Ok(Some(Duration::try_from_secs_f64(length).unwrap_or(MAX_WAIT).min(MAX_WAIT)))
}

impl DrainAction {
    fn parse(fields: &BodyFields) -> Result<Self, ApiError> {
        let action = fields.text("action")?.unwrap_or("drain").trim().to_lowercase();
        let profile = fields.text("profile")?.map(profile).transpose()?;
        let suppress_notification = fields.flag("suppress_notification")?.unwrap_or(false);
        let deadline = fields.seconds("deadline_s", MAX_DEADLINE)?;
        let wrong = ApiError::WrongField { field: "turn_id", expected: "the name of a turn" };
        let turn = fields.text("turn_id")?.map(|text| text.trim().parse()).transpose().map_err(|_| wrong)?;
        match action.as_str() {
            "drain" => Ok(Self::Begin { profile, suppress_notification, deadline, turn }),
            "cancel" => Ok(Self::Cancel { profile }),
            _ => Err(ApiError::UnknownAction),
        }
    }
}

/// A text that is not a valid name is a profile that is not served.
fn profile(text: &str) -> Result<ProfileName, ApiError> {
    let name = ProfileName::parse(&text.trim().to_lowercase()).map_err(|_| ApiError::UnknownProfile)?;
    if name.is_default() { Err(ApiError::ProfileIsGateway) } else { Ok(name) }
}

impl ServerState {
    fn serves(&self, profile: Option<&ProfileName>) -> Result<(), ApiError> {
        let Some(profile) = profile else { return Ok(()) };
        drainable(profile, &self.feed.latest()?.snapshot.profiles)
    }
}

/// Whether a profile can be drained separately.
fn drainable(profile: &ProfileName, served: &[ProfileName]) -> Result<(), ApiError> {
    match served.iter().position(|name| name == profile) {
        // The first is the gateway's own, also when its home is that of a named profile.
        Some(0) => Err(ApiError::ProfileIsGateway),
        Some(_) => Ok(()),
        None => Err(ApiError::UnknownProfile),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use caduceus_actors::turn::id::fresh_turn_id;
    use caduceus_contract::api::drain::DrainRequest;

    fn parse(body: &str) -> Result<DrainAction, ApiError> {
        DrainAction::parse(&BodyFields::parse(body.as_bytes())?)
    }

    fn refused(body: &str) -> String {
        format!("{:?}", parse(body).unwrap_err())
    }

    #[test]
    fn an_empty_body_begins_a_drain() {
        let plain = DrainAction::Begin { profile: None, suppress_notification: false, deadline: None, turn: None };
        for body in ["", " \n", "{}", r#"{"action":" DRAIN "}"#, r#"{"force":true}"#] {
            assert_eq!(parse(body).unwrap(), plain, "{body}");
        }
    }

    #[test]
    fn every_field_is_parsed() {
        let turn = fresh_turn_id();
        let body = format!(
            r#"{{"action":"drain","profile":" Work ","suppress_notification":true,"deadline_s":1.5,"turn_id":"{turn}"}}"#
        );
        let expected = DrainAction::Begin {
            profile: Some(ProfileName::parse("work").unwrap()),
            suppress_notification: true,
            deadline: Some(Duration::from_millis(1500)),
            turn: Some(turn),
        };
        assert_eq!(parse(&body).unwrap(), expected);
        let sent = DrainRequest {
            suppress_notification: true,
            deadline_s: Some(1.5),
            turn_id: Some(turn.to_string()),
            ..DrainRequest::new(GatewayAction::Drain, ProfileName::parse("work").ok())
        };
        assert_eq!(parse(&serde_json::to_string(&sent).unwrap()).unwrap(), expected, "as the command sends it");
        let sent = DrainRequest::new(GatewayAction::Cancel, None);
        assert_eq!(parse(&serde_json::to_string(&sent).unwrap()).unwrap(), DrainAction::Cancel { profile: None });
        assert_eq!(parse(r#"{"action":"Cancel"}"#).unwrap(), DrainAction::Cancel { profile: None });
    }

    #[test]
    fn an_invalid_request_is_refused() {
        let cases = [
            ("{", "InvalidJson"),
            ("[]", "NotAnObject"),
            ("null", "NotAnObject"),
            ("\"drain\"", "NotAnObject"),
            (r#"{"action":"stop"}"#, "UnknownAction"),
            (r#"{"action":""}"#, "UnknownAction"),
            (r#"{"action":1}"#, "action"),
            (r#"{"action":null}"#, "action"),
            (r#"{"suppress_notification":"false"}"#, "suppress_notification"),
            (r#"{"profile":null}"#, "profile"),
            (r#"{"profile":["work"]}"#, "profile"),
            (r#"{"profile":"../x"}"#, "UnknownProfile"),
            (r#"{"profile":"Default"}"#, "ProfileIsGateway"),
            (r#"{"action":"cancel","profile":"default"}"#, "ProfileIsGateway"),
            (r#"{"deadline_s":"60"}"#, "deadline_s"),
            (r#"{"deadline_s":0}"#, "deadline_s"),
            (r#"{"deadline_s":-1}"#, "deadline_s"),
            (r#"{"deadline_s":1e300}"#, "deadline_s"),
            (r#"{"turn_id":"x"}"#, "turn_id"),
        ];
        for (body, why) in cases {
            assert!(refused(body).contains(why), "{body}: {}", refused(body));
        }
        let deep = format!("{}{}", r#"{"a":"#.repeat(4_000), "}".repeat(4_000));
        assert!(refused(&deep).contains("InvalidJson"));
    }

    #[test]
    fn the_profile_of_the_gateways_home_cannot_be_drained_separately() {
        let [work, play, ghost] = ["work", "play", "ghost"].map(|name| ProfileName::parse(name).unwrap());
        let served = [work.clone(), play.clone()];
        assert!(matches!(drainable(&work, &served), Err(ApiError::ProfileIsGateway)));
        assert!(drainable(&play, &served).is_ok());
        assert!(matches!(drainable(&ghost, &served), Err(ApiError::UnknownProfile)));
    }

    #[test]
    fn a_wait_is_bounded_and_an_invalid_one_refused() {
        assert_eq!(wait("").unwrap(), None);
        assert_eq!(wait("wait=0.5").unwrap(), Some(Duration::from_millis(500)));
        assert_eq!(wait("wait=0").unwrap(), Some(Duration::ZERO));
        assert_eq!(wait("wait=1e9").unwrap(), Some(MAX_WAIT));
        assert_eq!(wait("wait=inf").unwrap(), Some(MAX_WAIT));
        for query in ["wait=", "wait=soon", "wait=-1", "wait=NaN"] {
            assert!(wait(query).is_err(), "{query}");
        }
    }

    #[test]
    fn an_idle_gateway_that_admits_turns_is_not_drained() {
        let idle = DrainView::default();
        assert!(!progress(&idle).drained);
        assert!(progress(&DrainView { draining: true, ..idle }).drained);
    }

    #[test]
    fn a_drain_does_not_wait_for_the_turn_that_requested_it() {
        let own_turn_left = DrainView { draining: true, active_agents: 1, ..DrainView::default() };
        assert!(progress(&own_turn_left).drained);
        assert!(!progress(&DrainView { waited_for: 1, ..own_turn_left }).drained);
    }
}
