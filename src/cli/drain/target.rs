//! The drain that a command is about: its progress, and the wait for its end.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use actix_web::rt::time::sleep;
use caduceus_actors::drain::{epoch, store};
use caduceus_contract::api::drain::DrainProgress;
use caduceus_contract::api::status::StatusResponse;
use caduceus_contract::profile_name::ProfileName;

use super::progress::{Progress, ProgressStep};
use crate::cli::contact::{CommandError, Contact, GatewayClient, Presence};
use crate::out::print;

/// How long the gateway may delay one answer while turns run.
const POLL: Duration = Duration::from_secs(1);
/// After this time unchanged progress is printed again.
const REPEAT_AFTER: Duration = Duration::from_secs(10);

/// The drain that a command refers to.
pub(super) struct DrainTarget {
    pub(super) contact: Contact,
    pub(super) profile: Option<ProfileName>,
}

impl DrainTarget {
    /// The directory of the marker.
    pub(super) fn marker_home(&self) -> Option<PathBuf> {
        let home = self.contact.home.as_deref()?;
        Some(self.profile.as_ref().map_or_else(|| home.to_owned(), |name| profile_home(home, name)))
    }

    /// The progress of the drain; the gateway may delay its answer for `timeout`.
    pub(super) async fn progress(&self, timeout: Duration) -> Result<Progress, CommandError> {
        match self.contact.client().await? {
            Some(client) => self.query(&client, timeout).await,
            None => self.without_gateway(),
        }
    }

    async fn query(&self, client: &GatewayClient, timeout: Duration) -> Result<Progress, CommandError> {
        if self.profile.is_none() && self.contact.has_token() {
            // The gateway's answer does not count the turn that is not waited for.
            let path = format!("/api/gateway/drain?wait={}", timeout.as_secs_f64());
            return Ok(client.get::<DrainProgress>(&path, timeout).await?.into());
        }
        let status: StatusResponse = client.get("/api/status", Duration::ZERO).await?;
        let progress = Progress::of_status(&status, self.profile.as_ref(), self.contact.turn.as_deref());
        let progress =
            progress.ok_or_else(|| CommandError::NoAnswer("it does not contain the state of the drain".to_owned()))?;
        if progress.step() == ProgressStep::Again {
            sleep(timeout).await;
        }
        Ok(progress)
    }

    fn without_gateway(&self) -> Result<Progress, CommandError> {
        match self.contact.presence()? {
            Presence::Absent if self.contact.home.is_some() => Ok(Progress::no_gateway(self.marker_requests())),
            _ => Err(self.contact.no_gateway()),
        }
    }

    /// Whether a marker in the home requests this drain.
    fn marker_requests(&self) -> bool {
        let own = self.marker_home();
        let markers =
            own.iter().chain(&self.contact.home).filter_map(|home| store::read(home, epoch::current().as_ref()));
        markers.into_iter().any(|marker| marker.draining)
    }

    pub(super) async fn wait(&self, timeout: Option<Duration>) -> Result<(), CommandError> {
        // A limit too large for the clock is no limit.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut printed: Option<(Progress, Instant)> = None;
        loop {
            let progress = self.progress(POLL).await?;
            let changed =
                printed.as_ref().is_none_or(|(last, at)| progress.differs(last) || at.elapsed() >= REPEAT_AFTER);
            if changed {
                print(&format!("{progress}\n"));
                printed = Some((progress.clone(), Instant::now()));
            }
            match progress.step() {
                ProgressStep::Done => return Ok(()),
                // The marker exists, and the gateway has not read it yet.
                ProgressStep::NoDrain if self.marker_requests() => sleep(POLL / 4).await,
                ProgressStep::NoDrain => {
                    return Err(CommandError::NotReached("there is no drain to wait for".to_owned()));
                }
                ProgressStep::Again if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    return Err(CommandError::NotReached("time limit reached, turns are left".to_owned()));
                }
                ProgressStep::Again => {}
            }
        }
    }
}

fn profile_home(home: &Path, name: &ProfileName) -> PathBuf {
    home.join("profiles").join(name.as_str())
}
