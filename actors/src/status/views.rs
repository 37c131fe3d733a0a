//! The last view of every actor. Outlives every incarnation of the status, because an actor may be down when the next one starts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use super::answer::LastAnswer;
use super::limit::SnapshotLimit;
use super::profiles::ProfileViews;
use crate::locked::locked;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::config::ConfigView;
use caduceus_contract::messages::dispatch::DispatchView;
use caduceus_contract::messages::drain::DrainView;
use caduceus_contract::messages::honcho::GrantView;
use caduceus_contract::messages::ledger::LedgerView;
use caduceus_contract::messages::relay::LinkView;
use caduceus_contract::status::lifecycle::GatewayState;
use caduceus_contract::status::snapshot::{PlatformView, ProcessView};
use caduceus_supervision::Tree;

/// The last views; outlive every incarnation of the status. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct ViewMemory(Arc<Mutex<Views>>);

impl ViewMemory {
    pub(super) fn lock(&self) -> MutexGuard<'_, Views> {
        locked(&self.0)
    }
}

/// The last view of every actor.
#[derive(Debug, Default)]
pub(super) struct Views {
    pub(super) drain: LastAnswer<DrainView>,
    /// Of each dispatcher, by path.
    pub(super) dispatch: BTreeMap<String, LastAnswer<DispatchView>>,
    pub(super) ledger: LastAnswer<LedgerView>,
    pub(super) grants: LastAnswer<Vec<GrantView>>,
    pub(super) config: LastAnswer<ConfigView>,
    pub(super) profiles: ProfileViews,
    pub(super) links: BTreeMap<LinkId, LastAnswer<Option<LinkView>>>,
    pub(super) process: Option<ProcessView>,
    pub(super) limit: SnapshotLimit,
    pub(super) shown_since: ShownSince,
}

/// Since when the last snapshot shows its states.
#[derive(Debug, Default)]
pub(super) struct ShownSince {
    /// The state of the gateway, and the time of its last change.
    pub(super) gateway: Option<(GatewayState, String)>,
    /// The platforms, each with the time of its last change.
    pub(super) platforms: BTreeMap<String, PlatformView>,
}

impl Views {
    /// The parts that do not answer, with the age of what is shown of them in milliseconds. `dispatchers`: their paths.
    pub(super) fn stale<'a>(
        &self,
        dispatchers: impl Iterator<Item = &'a String>,
        actors: &Tree,
        now: Instant,
        started: Instant,
    ) -> BTreeMap<String, u64> {
        let (node, not_reported) = (|path: &str| actors.find(path), LastAnswer::default());
        let parts = [
            ("drain", self.drain.stale_ms(node("drain"), now, started)),
            ("ledger", self.ledger.stale_ms(node("ledger"), now, started)),
            ("honcho", self.grants.stale_ms(node("honcho"), now, started)),
            ("config", self.config.stale_ms(node("config"), now, started)),
        ];
        let dispatchers = dispatchers.map(|path| {
            let known = self.dispatch.get(path).unwrap_or(&not_reported);
            (path.as_str(), known.stale_ms(node(path), now, started))
        });
        let ages = parts.into_iter().chain(dispatchers);
        ages.filter_map(|(name, age)| Some((name.to_owned(), age?))).collect()
    }
}
