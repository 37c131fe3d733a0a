//! Beginning and cancelling: over HTTP, or by the marker alone.

use std::path::PathBuf;
use std::time::Duration;

use caduceus_actors::drain::{epoch, store};
use caduceus_contract::files::marker::Marker;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::target::DrainTarget;
use crate::cli::contact::{CommandError, Presence};
use crate::cli::each_home::is_directory;
use crate::out::{self, print};

/// The principal that the marker records.
const PRINCIPAL: &str = "cli";

pub(super) async fn begin(drain: &DrainTarget, suppress: bool, deadline: Option<Duration>) -> Result<(), CommandError> {
    let mut body = drain.order("drain");
    if suppress {
        body.insert("suppress_notification".to_owned(), json!(true));
    }
    if let Some(deadline) = deadline {
        body.insert("deadline_s".to_owned(), json!(deadline.as_secs_f64()));
    }
    if let Some(turn) = &drain.contact.turn {
        body.insert("turn_id".to_owned(), json!(turn));
    }
    if let Some(answer) = drain.over_http(body).await? {
        let left = answer.get("active_agents").and_then(Value::as_u64).unwrap_or_default();
        print(&format!("the drain has begun, turns left: {left}\n"));
        if answer.get("durable") == Some(&Value::Bool(false)) {
            out::complain("the marker could not be written; a restart of the gateway ends this drain");
        }
        return Ok(());
    }
    let home = drain.marker()?;
    let now = Timestamp::now();
    let marker = Marker {
        requested_at: now,
        principal: PRINCIPAL.to_owned(),
        epoch: epoch::current(),
        suppress_notification: suppress,
        // A deadline too large for the clock is no deadline.
        deadline: deadline.and_then(|deadline| now.checked_add(deadline).ok()),
    };
    store::write(&home, &marker).map_err(|source| CommandError::Marker { path: home, source })?;
    let effect = match drain.contact.presence()? {
        Presence::Present { .. } => "the gateway drains as soon as it reads it",
        Presence::Absent => "a gateway that starts here will drain",
    };
    print(&format!("the marker is written; {effect}\n"));
    Ok(())
}

pub(super) async fn cancel(drain: &DrainTarget) -> Result<(), CommandError> {
    let was_draining = if let Some(answer) = drain.over_http(drain.order("cancel")).await? {
        answer.get("was_draining").and_then(Value::as_bool).unwrap_or_default()
    } else {
        let home = drain.marker()?;
        store::remove(&home).map_err(|source| CommandError::Marker { path: home, source })?
    };
    print(if was_draining { "the drain is cancelled\n" } else { "there was no drain\n" });
    Ok(())
}

impl DrainTarget {
    fn order(&self, action: &str) -> Map<String, Value> {
        let profile = self.profile.as_ref().map(|name| ("profile".to_owned(), json!(name.as_str())));
        [("action".to_owned(), json!(action))].into_iter().chain(profile).collect()
    }

    /// The gateway's answer; `None` where the marker is used: there is no token, or no gateway that answers.
    async fn over_http(&self, body: Map<String, Value>) -> Result<Option<Value>, CommandError> {
        let marker_is_left = self.contact.home.is_some();
        if marker_is_left && !self.contact.has_token() {
            return Ok(None);
        }
        let Some(client) = self.contact.client().await? else { return Ok(None) };
        match client.post("/api/gateway/drain", &Value::Object(body)).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error @ (CommandError::NoGateway(_) | CommandError::NoAnswer(_))) if marker_is_left => {
                out::complain(&format!("{error}; using the marker"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The home with the marker.
    fn marker(&self) -> Result<PathBuf, CommandError> {
        let home = self.marker_home().ok_or_else(|| self.contact.no_gateway())?;
        if self.profile.is_some() {
            match is_directory(&home) {
                Ok(true) => {}
                Ok(false) => {
                    return Err(CommandError::NotReached("there is no such profile in this home".to_owned()));
                }
                Err(error) => return Err(CommandError::NotReached(error.to_string())),
            }
        }
        Ok(home)
    }
}
