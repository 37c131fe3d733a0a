//! What a link is to other actors: its name and owner, its ports with the timeouts of their answers, its HTTP client, and its
//! counters. Nothing here changes while the link runs, except the counters.

use std::sync::Arc;
use std::time::Instant;

use tracing::{debug, error, info, warn};

use super::arrival::{Arrival, ArrivalContent};
use super::counts::LinkCounts;
use super::dead_letter::DeadLetter;
use super::offers::{self, OfferedAnswer};
use super::ports::RelayPorts;
use super::settings::LinkSettings;
use super::timings::LinkTimings;
use crate::http_client::HttpClient;
use crate::profile::messages::{ConnectParams, NoConnectParams, PrepareDial};
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::dispatch::{OfferedEvent, StopSession};
use caduceus_contract::messages::ledger::{LedgerError, Recorded};
use caduceus_contract::messages::relay::{LinkChanged, LinkState};
use caduceus_contract::messages::turn::StopCause;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::descriptor::Descriptor;
use caduceus_contract::wire::session::names_session_of;
use caduceus_supervision::AskError;

/// The profile's answer what to dial.
pub(super) type ParamsAnswer = Result<Result<ConnectParams, NoConnectParams>, AskError>;
/// The ledger's answer for a dead letter.
pub(super) type DeadLetterAnswer = Result<Result<Recorded, LedgerError>, AskError>;

/// A link among the other actors.
#[derive(Debug)]
pub(super) struct LinkContext {
    link: LinkId,
    owner: Option<ProfileName>,
    profile: ProfileName,
    ports: RelayPorts,
    client: HttpClient,
    timings: LinkTimings,
    counts: LinkCounts,
}

impl LinkContext {
    /// The link of `settings`, with the ports to the other actors.
    pub(super) fn new(ports: RelayPorts, settings: &LinkSettings) -> Self {
        let LinkSettings { link, owner, profile, client, timings, counts, .. } = settings.clone();
        Self { link, owner, profile, ports, client, timings, counts }
    }

    pub(super) fn link(&self) -> &LinkId {
        &self.link
    }

    pub(super) fn owner(&self) -> Option<&ProfileName> {
        self.owner.as_ref()
    }

    pub(super) fn client(&self) -> &HttpClient {
        &self.client
    }

    pub(super) fn timings(&self) -> &LinkTimings {
        &self.timings
    }

    pub(super) fn counts(&self) -> &LinkCounts {
        &self.counts
    }

    /// Asks the profile what to dial.
    pub(super) fn request_params(&self) -> impl Future<Output = ParamsAnswer> + use<> {
        self.ports.profile.ask(PrepareDial, self.timings.prepare)
    }

    /// Offers events to their dispatchers, in one message to each.
    pub(super) fn offer<T>(
        &self,
        events: Vec<(T, OfferedEvent)>,
    ) -> Vec<(Vec<T>, impl Future<Output = OfferedAnswer> + use<T>)> {
        offers::offer(&self.ports.dispatch, events, self.timings.take)
    }

    /// Whether each event offered to one dispatcher was taken; none was if there is no answer.
    pub(super) fn taken(&self, answer: OfferedAnswer) -> Vec<bool> {
        match answer {
            Ok(answers) => answers.iter().map(Result::is_ok).collect(),
            Err(reason) => {
                debug!(link = %self.link.0, %reason, "dispatcher did not answer");
                Vec::new()
            }
        }
    }

    /// Stores a dead letter in the ledger, under the profile that the link belongs to.
    pub(super) fn record(
        &self,
        letter: &DeadLetter,
        arrival: &Arrival,
    ) -> impl Future<Output = DeadLetterAnswer> + use<> {
        let (link, buffer_id) = (self.link.clone(), arrival.buffer_id.clone());
        let record = letter.record(link, arrival.receipt(), self.profile.clone(), buffer_id, arrival.digest);
        self.ports.ledger.ask(record, self.timings.take)
    }

    /// Whether a dead letter is in the ledger.
    pub(super) fn was_recorded(&self, arrival: &Arrival, answer: DeadLetterAnswer) -> bool {
        let error = match answer {
            Ok(Ok(recorded)) => {
                if let (Recorded::New(row), ArrivalContent::Dead(letter)) = (recorded, &arrival.content) {
                    self.counts.dead_letter();
                    let DeadLetter { reason, bytes, .. } = letter;
                    warn!(link = %self.link.0, row = row.0, bytes, reason, "frame kept as a dead letter");
                    self.report();
                }
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        debug!(link = %self.link.0, error, "dead letter not written, will be tried again");
        false
    }

    /// Orders the turn of a session to stop. A link of a profile's own reaches only that profile's sessions.
    pub(super) fn stop_session(&self, session_key: String) {
        if self.owner.as_ref().is_some_and(|owner| !names_session_of(&session_key, owner)) {
            return warn!(link = %self.link.0, "interrupt for another profile's session dropped");
        }
        let stop = StopSession { session_key, cause: StopCause::Interrupt };
        if let Err(error) = self.ports.stop_session.tell(stop) {
            warn!(link = %self.link.0, %error, "interrupt not delivered");
        }
    }

    /// Counts a line of the connector that was skipped, and logs it once in a while.
    pub(super) fn skipped(&self, reason: &str) {
        if let Some(skipped) = self.counts.skip(Instant::now()) {
            warn!(link = %self.link.0, reason, skipped, "line from the connector skipped");
        }
        self.report();
    }

    /// Logs a new state.
    pub(super) fn log_state(&self, state: LinkState, reason: Option<&str>) {
        let link = &self.link.0;
        match state {
            LinkState::Connected => info!(%link, "relay link is up"),
            LinkState::Revoked => error!(%link, reason, "relay credentials were revoked; no dial until they change"),
            LinkState::Disabled if reason.is_some() => warn!(%link, reason, "relay link is disabled"),
            LinkState::Waiting => warn!(%link, reason, "relay link is down"),
            LinkState::Disabled | LinkState::Connecting | LinkState::Handshaking | LinkState::Idle => {
                debug!(%link, ?state, "relay link changed");
            }
        }
    }

    /// Sends the state of the link to the listed ports. A receiver that missed it can send
    /// [`ResendLinkState`](caduceus_contract::messages::relay::ResendLinkState).
    ///
    /// `to`: the number of the only dispatcher that receives it.
    pub(super) fn send_change(&self, state: LinkState, descriptors: Option<Arc<[Arc<Descriptor>]>>, to: Option<usize>) {
        let change = LinkChanged { link: self.link.clone(), state, descriptors };
        let is_addressed = |(number, _): &(usize, _)| to.is_none_or(|to| to == *number);
        for (_, port) in self.ports.changes.iter().enumerate().filter(is_addressed) {
            if let Err(error) = port.tell(change.clone()) {
                debug!(link = %self.link.0, %error, "link change not delivered");
            }
        }
    }

    /// Reports that the status has changed.
    pub(super) fn report(&self) {
        self.ports.status.report();
    }
}
