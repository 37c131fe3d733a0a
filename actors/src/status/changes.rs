//! The changes of the status since the last snapshot: a flag that the actors set and the status actor clears.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tracing::debug;

use crate::locked::locked;
use caduceus_contract::messages::status::StatusTouched;
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::{Incarnation, Port};

/// Where every actor reports a change of its view. Only the first change after a snapshot is begun sends a message; the others cost
/// two atomic operations.
///
/// Shared by the whole process; it outlives every incarnation of the status actor. The profiles of a snapshot that was never finished
/// are lost with it, and a new incarnation queries all of them.
#[derive(Debug, Clone)]
pub struct StatusChanges(Arc<ChangeCounts>);

#[derive(Debug)]
struct ChangeCounts {
    status: Port<StatusTouched>,
    /// Number of changes reported since the start of the process.
    reported: AtomicU64,
    /// The status actor was notified and has not begun a snapshot since.
    notified: AtomicBool,
    /// The profiles that reported a change since the last snapshot was begun.
    profiles: Mutex<BTreeSet<ProfileName>>,
    /// The limit of snapshots a second delayed one until then.
    delayed_until: Mutex<Option<Instant>>,
}

impl StatusChanges {
    /// Changes of which the actor behind `status` is notified.
    #[must_use]
    pub fn new(status: Port<StatusTouched>) -> Self {
        Self(Arc::new(ChangeCounts {
            status,
            reported: AtomicU64::new(0),
            notified: AtomicBool::new(false),
            profiles: Mutex::default(),
            delayed_until: Mutex::default(),
        }))
    }

    /// Reports a change. The caller's view shows it already.
    pub fn report(&self) {
        // Before the flag is read: a snapshot that is begun after that counts this one.
        self.0.reported.fetch_add(1, Ordering::SeqCst);
        self.notify();
    }

    /// Notifies the status actor, unless it is notified already. The snapshot that it makes may be the second with the same change.
    pub(super) fn notify(&self) {
        let counts = &*self.0;
        // A fenced incarnation could not send the message, and must not keep others from it.
        if Incarnation::current_is_fenced() || counts.notified.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Err(error) = counts.status.tell(StatusTouched) {
            // The next change tries again; a request sees the count and asks for a snapshot.
            counts.notified.store(false, Ordering::SeqCst);
            debug!(%error, "status not notified");
        }
    }

    /// Reports a change of the view of `profile`.
    pub fn report_profile(&self, profile: &ProfileName) {
        self.profiles().insert(profile.clone());
        self.report();
    }

    /// Number of changes reported since the start of the process. A snapshot with a smaller number is out of date.
    #[must_use]
    pub fn reported(&self) -> u64 {
        self.0.reported.load(Ordering::SeqCst)
    }

    /// Clears the flag: the number of changes, and the profiles among them, that a snapshot begun now includes.
    #[must_use]
    pub fn take(&self) -> (u64, BTreeSet<ProfileName>) {
        self.0.notified.store(false, Ordering::SeqCst);
        let reported = self.reported();
        (reported, std::mem::take(&mut *self.profiles()))
    }

    /// The limit of snapshots a second delays the next one until then.
    pub fn delay_until(&self, at: Instant) {
        *locked(&self.0.delayed_until) = Some(at);
    }

    /// Until when the limit delayed a snapshot last; it may be over.
    #[must_use]
    pub fn delayed_until(&self) -> Option<Instant> {
        *locked(&self.0.delayed_until)
    }

    fn profiles(&self) -> MutexGuard<'_, BTreeSet<ProfileName>> {
        locked(&self.0.profiles)
    }
}
