//! Finds the profile whose key signed a body, at a bounded cost.
//!
//! Each key costs a pass over the whole body, so a body without a signature costs as many passes as there are keys. For a peer that signed before
//! its last key is tried first: one pass. All others share one queue: one body is checked by one profile at a time, and small bodies
//! overtake a large one between two profiles. So unknown peers use one thread at most, and delay each other only by the time of small bodies.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use caduceus_actors::locked::locked;
use caduceus_contract::messages::profile::VerifyDelivery;
use caduceus_contract::wire::delivery::DeliveryError;
use caduceus_supervision::AskError;
use futures_util::future::LocalBoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ports::DeliveryRoute;
use crate::http::admission::KeyOwner;
use crate::http::error::ApiError;

/// A body of at most this many bytes is verified between two steps of a larger one; chat messages are smaller.
const SMALL: usize = 64 * 1024;
/// A profile that takes longer releases the queue after this time; its answer is still awaited.
const MAX_STEP: Duration = Duration::from_millis(250);
/// The next profile is queried after this time, even if the answer is outstanding.
const SHORT: Duration = Duration::from_secs(1);
/// Longest wait for a profile: it may have to read its file first.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The queue of bodies whose signature is unknown. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct VerificationQueue {
    step: Arc<Semaphore>,
    large: Arc<Semaphore>,
    /// Until when no large body is checked.
    paused_until: Arc<Mutex<Option<Instant>>>,
}

/// One profile's verdict on a body.
#[derive(Clone, Copy)]
enum SignatureVerdict {
    Signed,
    NotSigned,
    /// No profile's key can have signed this.
    Refused,
    Unanswered(AskError),
}

impl Default for VerificationQueue {
    fn default() -> Self {
        let one = || Arc::new(Semaphore::new(1));
        Self { step: one(), large: one(), paused_until: Arc::default() }
    }
}

impl VerificationQueue {
    /// The first profile whose key signed the body; `likely` is queried first, outside the queue. Keys stay with the profiles.
    ///
    /// # Errors
    /// [`ApiError::Unsigned`] when no key did, [`ApiError::Ask`] when a profile that may have the key did not answer.
    pub(super) async fn verified_by(
        &self,
        mut candidates: Vec<DeliveryRoute>,
        delivery: VerifyDelivery,
        likely: Option<KeyOwner>,
    ) -> Result<DeliveryRoute, ApiError> {
        let mut search = KeySearch::default();
        let place = likely.and_then(|KeyOwner(owner)| candidates.iter().position(|candidate| candidate.owner == owner));
        if let Some(place) = place
            && let (Some(found), _) = search.step(None, candidates.remove(place), &delivery).await
        {
            return found;
        }
        let small = delivery.body.len() <= SMALL;
        let large_permit = if small { None } else { permit(&self.large).await };
        let paused_until = if small { None } else { *self.paused_until() };
        if let Some(until) = paused_until {
            tokio::time::sleep_until(until.into()).await;
        }
        let begun = Instant::now();
        let found = self.search(search, candidates, &delivery, small).await;
        if found.is_err() && !small {
            // Large bodies without a signature take half of one thread at most.
            *self.paused_until() = Some(Instant::now() + begun.elapsed().min(TIMEOUT));
        }
        drop(large_permit);
        found
    }

    fn paused_until(&self) -> MutexGuard<'_, Option<Instant>> {
        // Every critical section leaves it valid, so a poisoned lock can be used.
        locked(&self.paused_until)
    }

    async fn search(
        &self,
        mut search: KeySearch,
        candidates: Vec<DeliveryRoute>,
        delivery: &VerifyDelivery,
        small: bool,
    ) -> Result<DeliveryRoute, ApiError> {
        let mut held = None;
        for candidate in candidates {
            // A small body keeps the permit from profile to profile, unless one was slow.
            if held.is_none() {
                held = permit(&self.step).await;
            }
            let (found, kept) = search.step(held.take(), candidate, delivery).await;
            held = kept.filter(|_| small);
            if let Some(found) = found {
                return found;
            }
        }
        drop(held);
        search.rest().await
    }
}

/// The search for the key of one body.
#[derive(Default)]
struct KeySearch {
    /// Profiles that have not answered yet: one of them may have the key.
    slow: Vec<(DeliveryRoute, LocalBoxFuture<'static, SignatureVerdict>)>,
    /// Why one did not answer.
    unanswered: Option<AskError>,
}

impl KeySearch {
    /// Queries one profile. A permit that is passed in is held for [`MAX_STEP`] at most, and returned if it is still held. A
    /// result ends the search.
    async fn step(
        &mut self,
        held: Option<OwnedSemaphorePermit>,
        candidate: DeliveryRoute,
        delivery: &VerifyDelivery,
    ) -> (Option<Result<DeliveryRoute, ApiError>>, Option<OwnedSemaphorePermit>) {
        let (port, delivery) = (candidate.verify.clone(), delivery.clone());
        let mut answer: LocalBoxFuture<'static, SignatureVerdict> =
            Box::pin(async move { SignatureVerdict::of(port.ask(delivery, TIMEOUT).await) });
        if held.is_some()
            && let Ok(verdict) = tokio::time::timeout(MAX_STEP, &mut answer).await
        {
            return (self.ended(verdict, candidate), held);
        }
        drop(held);
        let Ok(verdict) = tokio::time::timeout(SHORT, &mut answer).await else {
            self.slow.push((candidate, answer));
            return (None, None);
        };
        (self.ended(verdict, candidate), None)
    }

    /// Waits for those that were slow.
    async fn rest(mut self) -> Result<DeliveryRoute, ApiError> {
        for (candidate, answer) in std::mem::take(&mut self.slow) {
            let verdict = answer.await;
            if let Some(end) = self.ended(verdict, candidate) {
                return end;
            }
        }
        Err(self.unanswered.map_or(ApiError::Unsigned, ApiError::Ask))
    }

    /// How a verdict ends the search, if it does.
    fn ended(
        &mut self,
        verdict: SignatureVerdict,
        candidate: DeliveryRoute,
    ) -> Option<Result<DeliveryRoute, ApiError>> {
        match verdict {
            SignatureVerdict::Signed => return Some(Ok(candidate)),
            SignatureVerdict::Refused => return Some(Err(ApiError::Unsigned)),
            SignatureVerdict::NotSigned => {}
            SignatureVerdict::Unanswered(error) => self.unanswered = Some(error),
        }
        None
    }
}

impl SignatureVerdict {
    fn of(answer: Result<Result<(), DeliveryError>, AskError>) -> Self {
        match answer {
            Ok(Ok(())) => Self::Signed,
            // Another profile's key may have signed it.
            Ok(Err(DeliveryError::NoKey | DeliveryError::Signature)) => Self::NotSigned,
            Ok(Err(DeliveryError::Unsigned | DeliveryError::Malformed | DeliveryError::OutsideWindow)) => Self::Refused,
            Err(error) => Self::Unanswered(error),
        }
    }
}

/// A permit; the semaphores are never closed.
async fn permit(semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(semaphore).acquire_owned().await.ok()
}
