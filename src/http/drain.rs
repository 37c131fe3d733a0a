//! Beginning, cancelling and watching a drain.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse};
use caduceus_contract::messages::drain::{AwaitDrained, BeginDrain, CancelDrain, DrainView, GetDrain};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::turn_id::TurnId;
use serde_json::{Value, json};
use tracing::info;

use super::ask::{TIMEOUT, ask, ask_within};
use super::auth::{self, TokenPrincipal};
use super::body::BodyFields;
use super::caller::HttpCaller;
use super::code::Code;
use super::error::ApiError;
use super::operation_doc::{AnswerDoc, FieldKind, OperationDoc, Who, field, maybe};
use super::registry::RouteRegistry;
use super::state::{ServerState, SharedState};

/// Longest a client may wait for the turns to end in one request.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// Longest drain that ends by itself; a longer one must be cancelled.
const LONGEST_DEADLINE: Duration = Duration::from_hours(366 * 24);

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    const CHANGE: OperationDoc = OperationDoc::new("Begins or cancels a drain; an empty body begins one")
        .takes(&[
            maybe("action", FieldKind::Word(&["drain", "cancel"]), "drain by default; case and blanks are ignored"),
            maybe("profile", FieldKind::Text, "only this profile"),
            maybe(
                "suppress_notification",
                FieldKind::Flag,
                "the shutdown that ends the drain is not announced in the home channel",
            ),
            maybe("deadline_s", FieldKind::Number, "the drain ends after so many seconds, at most a year"),
            maybe("turn_id", FieldKind::Text, "the turn that asks, which is not waited for"),
        ])
        .answers(AnswerDoc::Fields(
            200,
            &[
                field("ok", FieldKind::Flag, "always true"),
                field("action", FieldKind::Word(&["drain", "cancel"]), "what was done"),
                maybe("was_draining", FieldKind::Flag, "of a cancel: whether there was a drain"),
                maybe("requested_at", FieldKind::Text, "of a drain, as all that follows: when it was requested"),
                maybe("draining", FieldKind::Flag, "true: from now on no turn starts"),
                maybe("suppress_notification", FieldKind::Flag, "as requested"),
                maybe("active_agents", FieldKind::Count, "turns in flight at this moment"),
                maybe("durable", FieldKind::Flag, "false if the marker is not on disk: a restart forgets the drain"),
            ],
        ))
        .fails(&[
            Code::UnknownAction,
            Code::ProfileIsGateway,
            Code::UnknownProfile,
            Code::MarkerNotRemoved,
            Code::Stopping,
            Code::ActorUnavailable,
            Code::ActorTimeout,
        ]);
    const LOOK: OperationDoc = OperationDoc::new("The progress of the drain, at once or when no turn is left")
        .asks(&[maybe("wait", FieldKind::Number, "answer when no turn is left, or after so many seconds; at most 300")])
        .answers(AnswerDoc::Fields(
            200,
            &[
                field("draining", FieldKind::Flag, "whether a drain is on, or a shutdown"),
                field("active_agents", FieldKind::Count, "turns in flight"),
                field("drained", FieldKind::Flag, "draining, and no turn is left that counts"),
                field("oldest_turn_s", FieldKind::NumberOrNull, "age of the oldest turn"),
            ],
        ))
        .fails(&[Code::BadRequest, Code::ActorUnavailable, Code::ActorTimeout]);
    registry.at("/api/gateway/drain", Who::Scope(auth::DRAIN)).get(look, LOOK).post(change, CHANGE).done();
}

/// The order of a client, as parsed.
#[derive(Debug, PartialEq)]
enum DrainOrder {
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
    asker: TokenPrincipal,
    state: SharedState,
    payload: Payload,
) -> Result<web::Json<Value>, ApiError> {
    let order = DrainOrder::parse(&BodyFields::read(&request, payload).await?)?;
    let principal = asker.principal;
    let (DrainOrder::Begin { profile, .. } | DrainOrder::Cancel { profile }) = &order;
    state.serves(profile.as_ref())?;
    let peer = HttpCaller::of(&request).address;
    info!(principal, %peer, order = ?order, "drain order");
    Ok(web::Json(match order {
        DrainOrder::Begin { profile, suppress_notification, deadline, turn } => {
            let order = BeginDrain { principal, profile, suppress_notification, deadline, turn };
            let begun = ask(&state.ports.drain.begin, order).await?;
            let mut answer = json!({
                "ok": true,
                "action": "drain",
                "requested_at": begun.requested_at,
                "draining": true,
                "suppress_notification": suppress_notification,
                "active_agents": begun.active_agents,
            });
            if !begun.durable {
                answer["durable"] = Value::Bool(false);
            }
            answer
        }
        DrainOrder::Cancel { profile } => {
            let cancelled = ask(&state.ports.drain.cancel, CancelDrain { principal, profile }).await??;
            json!({"ok": true, "action": "cancel", "was_draining": cancelled.was_draining})
        }
    }))
}

async fn look(request: HttpRequest, state: SharedState) -> Result<HttpResponse, ApiError> {
    let Some(timeout) = wait(request.query_string())? else {
        return Ok(HttpResponse::Ok().json(progress(&ask(&state.ports.drain.view, GetDrain).await?)));
    };
    let question = AwaitDrained { timeout, including_requesters: false };
    let view = ask_within(&state.ports.drain.await_drained, question, timeout.saturating_add(TIMEOUT)).await?;
    Ok(HttpResponse::Ok().json(progress(&view)))
}

/// Without a drain a turn may start at any moment; so an idle gateway is not drained.
fn progress(view: &DrainView) -> Value {
    json!({
        "draining": view.draining,
        "active_agents": view.active_agents,
        "drained": view.draining && view.waited_for == 0,
        "oldest_turn_s": view.oldest_turn_ms.map(|age| Duration::from_millis(age).as_secs_f64()),
    })
}

/// The wait that the query asks for.
fn wait(query: &str) -> Result<Option<Duration>, ApiError> {
    let bad = ApiError::BadRequest("wait must be a number of seconds");
    let Ok(fields) = web::Query::<BTreeMap<String, String>>::from_query(query) else { return Err(bad) };
    let Some(text) = fields.get("wait") else { return Ok(None) };
    let length = text.trim().parse::<f64>().ok().filter(|length| *length >= 0.0).ok_or(bad)?;
    Ok(Some(Duration::try_from_secs_f64(length).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)))
}

impl DrainOrder {
    fn parse(fields: &BodyFields) -> Result<Self, ApiError> {
        let action = fields.text("action")?.unwrap_or("drain").trim().to_lowercase();
        let profile = fields.text("profile")?.map(profile).transpose()?;
        let suppress_notification = fields.flag("suppress_notification")?.unwrap_or(false);
        let deadline = fields.seconds("deadline_s", LONGEST_DEADLINE)?;
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

/// Whether a profile has a marker of its own.
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

    fn parse(body: &str) -> Result<DrainOrder, ApiError> {
        DrainOrder::parse(&BodyFields::parse(body.as_bytes())?)
    }

    fn refused(body: &str) -> String {
        format!("{:?}", parse(body).unwrap_err())
    }

    #[test]
    fn saying_nothing_begins_a_drain() {
        let plain = DrainOrder::Begin { profile: None, suppress_notification: false, deadline: None, turn: None };
        for body in ["", " \n", "{}", r#"{"action":" DRAIN "}"#, r#"{"force":true}"#] {
            assert_eq!(parse(body).unwrap(), plain, "{body}");
        }
    }

    #[test]
    fn every_field_reaches_the_order() {
        let turn = fresh_turn_id();
        let body = format!(
            r#"{{"action":"drain","profile":" Work ","suppress_notification":true,"deadline_s":1.5,"turn_id":"{turn}"}}"#
        );
        let expected = DrainOrder::Begin {
            profile: Some(ProfileName::parse("work").unwrap()),
            suppress_notification: true,
            deadline: Some(Duration::from_millis(1500)),
            turn: Some(turn),
        };
        assert_eq!(parse(&body).unwrap(), expected);
        assert_eq!(parse(r#"{"action":"Cancel"}"#).unwrap(), DrainOrder::Cancel { profile: None });
    }

    #[test]
    fn a_garbled_order_stops_nothing() {
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
    fn the_profile_whose_home_is_the_gateways_is_the_gateway() {
        let [work, play, ghost] = ["work", "play", "ghost"].map(|name| ProfileName::parse(name).unwrap());
        let served = [work.clone(), play.clone()];
        assert!(matches!(drainable(&work, &served), Err(ApiError::ProfileIsGateway)));
        assert!(drainable(&play, &served).is_ok());
        assert!(matches!(drainable(&ghost, &served), Err(ApiError::UnknownProfile)));
    }

    #[test]
    fn a_wait_is_bounded_and_a_bad_one_refused() {
        assert_eq!(wait("").unwrap(), None);
        assert_eq!(wait("wait=0.5").unwrap(), Some(Duration::from_millis(500)));
        assert_eq!(wait("wait=0").unwrap(), Some(Duration::ZERO));
        assert_eq!(wait("wait=1e9").unwrap(), Some(LONGEST_WAIT));
        assert_eq!(wait("wait=inf").unwrap(), Some(LONGEST_WAIT));
        for query in ["wait=", "wait=soon", "wait=-1", "wait=NaN"] {
            assert!(wait(query).is_err(), "{query}");
        }
    }

    #[test]
    fn an_idle_gateway_that_takes_turns_is_not_drained() {
        let idle = DrainView::default();
        assert_eq!(progress(&idle)["drained"], false);
        assert_eq!(progress(&DrainView { draining: true, ..idle })["drained"], true);
    }

    #[test]
    fn the_turn_that_asked_for_the_drain_is_not_waited_for() {
        let asker_left = DrainView { draining: true, active_agents: 1, ..DrainView::default() };
        assert_eq!(progress(&asker_left)["drained"], true);
        assert_eq!(progress(&DrainView { waited_for: 1, ..asker_left })["drained"], false);
    }
}
