//! The facts about a home. Plain data.

use std::net::SocketAddr;
use std::path::PathBuf;

use caduceus_actors::honcho::inspect::GrantInspection;
use caduceus_actors::ledger::peek::Peek;
use caduceus_actors::profile::inspect::Missing;
use caduceus_actors::profile::strength::Weakness;
use caduceus_actors::relay::gateway_key::GatewayKey;
use caduceus_actors::relay::probe::ProbeResult;

use super::agent::AgentFact;
use super::events::EventsFact;
use crate::cli::files::FileFact;
use crate::cli::finding::Finding;

/// All facts. A fact that could not be read keeps its default.
#[derive(Debug)]
pub(super) struct HomeFacts {
    pub(super) home: HomeFact,
    /// In the configuration, one sentence each; with one of them a gateway does not start.
    pub(super) errors: Vec<String>,
    /// In the configuration, one sentence each; a gateway starts anyway.
    pub(super) warnings: Vec<String>,
    /// The proxies in force, one sentence each.
    pub(super) proxies: Vec<String>,
    /// Files that hold secrets.
    pub(super) files: Vec<FileFact>,
    /// Whether a gateway holds the home, or why that is unknown.
    pub(super) lock: Result<bool, String>,
    pub(super) events: Option<EventsFact>,
    pub(super) ledger: LedgerFact,
    pub(super) profiles: Vec<ProfileFact>,
    pub(super) link: Option<LinkFact>,
    pub(super) drain: Option<DrainFact>,
    pub(super) network: NetworkFact,
    pub(super) unserved: UnservedFact,
}

/// The addresses to listen on.
#[derive(Debug, Default)]
pub(super) struct NetworkFact {
    /// Key, address, and why it cannot be listened on; checked only if no gateway holds the home.
    pub(super) unusable: Vec<(&'static str, SocketAddr, String)>,
    /// Other machines reach it, and there is no secret.
    pub(super) public_without_secret: bool,
}

/// Parts that exist and have no effect.
#[derive(Debug, Default)]
pub(super) struct UnservedFact {
    /// Directories of profiles beside `multiplex_profiles: false`.
    pub(super) profiles: Vec<String>,
    /// Routes and the profile that each leads to.
    pub(super) routes: Vec<(String, String)>,
}

/// The home itself.
#[derive(Debug)]
pub(super) enum HomeFact {
    Missing,
    Unusable(String),
    There { mode: u32, writable: bool },
}

/// The ledger's file.
#[derive(Debug)]
pub(super) struct LedgerFact {
    pub(super) path: PathBuf,
    pub(super) peek: Result<Peek, String>,
    /// That of an earlier version, beside it.
    pub(super) second: Option<PathBuf>,
    /// Paths of corrupt ledgers that were set aside.
    pub(super) set_aside: Vec<String>,
}

/// One profile.
#[derive(Debug)]
pub(super) struct ProfileFact {
    pub(super) name: String,
    pub(super) home: PathBuf,
    /// Whether its `.env` is all that it has, whatever the gateway's environment holds.
    pub(super) closed: bool,
    pub(super) problems: Vec<String>,
    pub(super) env_error: Option<String>,
    pub(super) missing: Vec<Missing>,
    /// The gateway that its settings name.
    pub(super) gateway: Option<GatewayKey>,
    /// Findings about the lines of its `.env`.
    pub(super) env: Vec<Finding>,
    pub(super) agent: AgentFact,
    pub(super) grant: GrantInspection,
}

/// The connector.
#[derive(Debug)]
pub(super) enum LinkFact {
    /// There is no address; whether there are credentials for one.
    NotSet { credentials: bool },
    /// There is one that cannot be dialled; why.
    Undialable(String),
    /// It was dialled.
    Probed { place: String, credentials: bool, sent: Sent, answer: ProbeResult },
}

/// Whether a dial sent the gateway's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It did, in a real upgrade.
    Token,
    /// There are none.
    None,
    /// A gateway holds the home, and a second link would supersede its own.
    Withheld,
}

/// The drain secret.
#[derive(Debug)]
pub(super) enum DrainFact {
    None,
    Strong,
    Weak(Weakness),
}

impl Default for HomeFacts {
    fn default() -> Self {
        Self {
            home: HomeFact::Missing,
            errors: Vec::new(),
            warnings: Vec::new(),
            proxies: Vec::new(),
            files: Vec::new(),
            lock: Ok(false),
            events: None,
            ledger: LedgerFact {
                path: "/h/caduceus/ledger.db".into(),
                peek: Ok(Peek::Missing),
                second: None,
                set_aside: Vec::new(),
            },
            profiles: Vec::new(),
            link: None,
            drain: None,
            network: NetworkFact::default(),
            unserved: UnservedFact::default(),
        }
    }
}
