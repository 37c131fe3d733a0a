//! Beginning and cancelling: over HTTP, or by the marker alone.

use std::path::PathBuf;
use std::time::Duration;

use caduceus_actors::drain::{epoch, store};
use caduceus_contract::api::control::GatewayAction;
use caduceus_contract::api::drain::{BeginDrainResponse, CancelDrainResponse, DrainRequest};
use caduceus_contract::files::marker::Marker;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::target::DrainTarget;
use crate::cli::contact::{CommandError, Presence};
use crate::cli::each_home::is_directory;
use crate::out::{self, print};

/// The principal that the marker records.
const PRINCIPAL: &str = "cli";

pub(super) async fn begin(drain: &DrainTarget, suppress: bool, deadline: Option<Duration>) -> Result<(), CommandError> {
    let request = DrainRequest {
        suppress_notification: suppress,
        deadline_s: deadline.map(|deadline| deadline.as_secs_f64()),
        turn_id: drain.contact.turn.clone(),
        ..DrainRequest::new(GatewayAction::Drain, drain.profile.clone())
    };
    if let Some(begun) = drain.over_http::<BeginDrainResponse>(&request).await? {
        print(&format!("the drain has begun, turns left: {}\n", begun.active_agents));
        if !begun.durable {
            out::print_error("the marker could not be written; a restart of the gateway ends this drain");
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
    let request = DrainRequest::new(GatewayAction::Cancel, drain.profile.clone());
    let was_draining = if let Some(cancelled) = drain.over_http::<CancelDrainResponse>(&request).await? {
        cancelled.was_draining
    } else {
        let home = drain.marker()?;
        store::remove(&home).map_err(|source| CommandError::Marker { path: home, source })?
    };
    print(if was_draining { "the drain is cancelled\n" } else { "there was no drain\n" });
    Ok(())
}

impl DrainTarget {
    /// The gateway's answer; `None` where the marker is used: there is no token, or no gateway that answers.
    async fn over_http<T: DeserializeOwned>(&self, request: &DrainRequest) -> Result<Option<T>, CommandError> {
        let marker_is_left = self.contact.home.is_some();
        if marker_is_left && !self.contact.has_token() {
            return Ok(None);
        }
        let Some(client) = self.contact.client().await? else { return Ok(None) };
        match client.post("/api/gateway/drain", request).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error @ (CommandError::NoGateway(_) | CommandError::NoAnswer(_))) if marker_is_left => {
                out::print_error(&format!("{error}; using the marker"));
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
