//! The queries of the status: one per actor, all at the same time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use actix::Message;
use futures_util::future::join_all;

use super::answer::is_down;
use super::process;
use super::profiles::ProfileQuery;
use super::views::Views;
use crate::counts::CountBy;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::config::{ConfigView, GetConfig};
use caduceus_contract::messages::dispatch::{DispatchView, GetDispatch};
use caduceus_contract::messages::drain::{DrainView, GetDrain};
use caduceus_contract::messages::honcho::{GetGrants, GrantView};
use caduceus_contract::messages::ledger::{GetLedger, LedgerView};
use caduceus_contract::messages::profile::{GetProfile, ProfileView};
use caduceus_contract::messages::relay::{GetLink, LinkState, LinkView};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::status::snapshot::ProcessView;
use caduceus_supervision::{AskError, Port, Tree, TreeNode};

/// Timeout of an actor's view; after that its last view is shown.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Where the status sends its queries.
#[derive(Clone)]
pub struct StatusPorts {
    /// The gate.
    pub drain: Port<GetDrain>,
    /// The dispatchers, by path.
    pub dispatch: Vec<(String, Port<GetDispatch>)>,
    /// The ledger.
    pub ledger: Port<GetLedger>,
    /// The grants.
    pub honcho: Port<GetGrants>,
    /// The settings.
    pub config: Port<GetConfig>,
    /// The links.
    pub links: Vec<(LinkId, Port<GetLink>)>,
    /// Children started, counted by the profiles.
    pub agents_started: CountBy<ProfileName>,
    /// Tokens exchanged, counted by the actor of the grants.
    pub exchanges: CountBy<(PathBuf, String)>,
}

/// The answers of all actors, each with the queried incarnation.
pub(super) struct ViewAnswers {
    drain: ViewAnswer<DrainView>,
    dispatch: Vec<(String, ViewAnswer<DispatchView>)>,
    ledger: ViewAnswer<LedgerView>,
    grants: ViewAnswer<Vec<GrantView>>,
    config: ViewAnswer<ConfigView>,
    profiles: Vec<(ProfileName, ViewAnswer<ProfileView>)>,
    links: Vec<(LinkId, ViewAnswer<LinkView>)>,
    process: Option<ProcessView>,
}

type ViewAnswer<T> = (Result<T, AskError>, u64);

/// Queries the actor at `node`, unless it is down: the query would wait for its successor.
async fn ask<M>(port: &Port<M>, message: M, node: Option<&TreeNode>) -> ViewAnswer<M::Result>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    let generation = node.map_or(0, |node| node.generation);
    match node {
        Some(node) if is_down(node) => (Err(AskError::Closed), generation),
        _ => (port.ask(message, TIMEOUT).await, generation),
    }
}

/// Queries the actors of `tree` and these `profiles`, and the system for the data of the process.
pub(super) async fn query_all(
    ports: StatusPorts,
    profiles: Vec<ProfileQuery>,
    started: Instant,
    tree: Tree,
) -> ViewAnswers {
    let node = |path: &str| tree.find(path);
    let profiles = profiles.into_iter().map(|query| async move {
        let answer = match query.port {
            Some(port) => port.ask(GetProfile, TIMEOUT).await,
            None => Err(AskError::Closed),
        };
        (query.profile, (answer, query.generation))
    });
    let links = ports.links.iter().map(|(id, port)| async {
        let node = node(&format!("relays/{}", id.0));
        (id.clone(), ask(port, GetLink, node).await)
    });
    let dispatch = ports.dispatch.iter().map(|(path, port)| {
        let node = node(path);
        async move { (path.clone(), ask(port, GetDispatch, node).await) }
    });
    let (drain, dispatch, ledger, grants, config, profiles, links, process) = futures_util::join!(
        ask(&ports.drain, GetDrain, node("drain")),
        join_all(dispatch),
        ask(&ports.ledger, GetLedger, node("ledger")),
        ask(&ports.honcho, GetGrants, node("honcho")),
        ask(&ports.config, GetConfig, node("config")),
        join_all(profiles),
        join_all(links),
        tokio::task::spawn_blocking(move || process::view(started)),
    );
    ViewAnswers { drain, dispatch, ledger, grants, config, profiles, links, process: process.ok() }
}

impl ViewAnswers {
    /// Stores the answers. An actor that did not answer keeps its last view.
    pub(super) fn store(self, views: &mut Views) {
        views.drain.store(self.drain.0, self.drain.1);
        for (path, (answer, generation)) in self.dispatch {
            views.dispatch.entry(path).or_default().store(answer, generation);
        }
        views.ledger.store(self.ledger.0, self.ledger.1);
        views.grants.store(self.grants.0, self.grants.1);
        views.config.store(self.config.0, self.config.1);
        for (name, (answer, generation)) in self.profiles {
            views.profiles.store(&name, answer, generation);
        }
        for (id, (answer, generation)) in self.links {
            let known = views.links.entry(id).or_default();
            let answer = answer.map(|mut view| {
                // A new incarnation does not have its configuration yet.
                if view.platforms.is_empty()
                    && view.state != LinkState::Disabled
                    && let Some(before) = known.value()
                {
                    view.platforms.clone_from(&before.platforms);
                }
                Some(view)
            });
            known.store(answer, generation);
        }
        views.process = self.process.or(views.process);
    }
}
