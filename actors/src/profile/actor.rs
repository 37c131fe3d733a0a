//! One profile: owns its secrets, starts or calls its agent, mints its tokens.
//!
//! Owns the scope, the file watch and a copy of the grant's token. Turns, links and the status send it requests; it sends requests to the
//! actor of the grants. A restart loses the token and the counts; `.env` is read again, and running agents continue, but receive no
//! new token.

mod credentials; // Carries out the steps of provisioning.
mod env; // Reads `.env` and applies its values.
mod handlers; // Answers messages.

use std::path::PathBuf;
use std::sync::Arc;

use actix::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;
use tracing::warn;

use super::agent::AgentSettings;
use super::call::Caller;
use super::dial::Link;
use super::env_source;
use super::input::TokenSender;
use super::launch::GuardCommand;
use super::messages::ProfileConfig;
use super::plan::{self, Health};
use super::provisioning::Provisioning;
use super::redact::Redactor;
use super::scope::Scope;
use crate::counts::CountBy;
use crate::files::{FileEvents, FileStamp, Listening};
use crate::http_client::HttpClient;
use crate::relay::claims::Claims;
use crate::settings::ProfileSettings;
use crate::status::changes::StatusChanges;
use caduceus_contract::messages::honcho::FreshToken;
use caduceus_contract::messages::relay::Wake;
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::{Incarnation, Port};

/// Owns the secrets of one profile, and does the work that needs them.
#[derive(Debug)]
pub struct ProfileActor {
    config: Arc<ProfileConfig>,
    guard: GuardCommand,
    redactor: Redactor,
    ports: ProfileDependencies,
    incarnation: Incarnation,
    agent: Arc<AgentSettings>,
    scope: Scope,
    provisioning: Provisioning,
    /// The current attempt at credentials, or the wait before the next.
    provision_task: Option<SpawnHandle>,
    health: Health,
    token: Option<SecretString>,
    token_sender: TokenSender,
    /// The issue time in the last upgrade token, in seconds since 1970.
    minted_s: u64,
    /// The last contents; `None` before the first read.
    stamp: Option<FileStamp>,
    /// Another input of the values has changed: the next check reads the file in any case.
    stale: bool,
    /// Reads of the file that were begun; a slow read must not overwrite the result of a later one.
    reads: u64,
    /// The number of the last read whose values were applied.
    read_applied: u64,
    touched: Arc<Notify>,
    /// Dropped with the actor.
    listening: Option<Listening>,
}

/// The dependencies of a profile's actor: other actors, clients, and counts that outlive it.
#[derive(Debug, Clone)]
pub struct ProfileDependencies {
    /// The actor of the grants, if there is one.
    pub fresh_token: Option<Port<FreshToken>>,
    /// Notified when the status has changed.
    pub status: StatusChanges,
    /// Carries out its calls.
    pub caller: Caller,
    /// The link of the process, notified of new credentials.
    pub link: Option<Port<Wake>>,
    /// Which link serves which gateway.
    pub claims: Claims,
    /// The client for its calls to its connector and its identity provider.
    pub client: HttpClient,
    /// Notifies when its `.env` may have changed.
    pub events: FileEvents,
    /// Children started, by profile; they outlive the actors.
    pub children: CountBy<ProfileName>,
}

impl ProfileActor {
    /// A profile that has not read its file yet; it is ready once it has.
    #[must_use]
    pub fn new(
        config: Arc<ProfileConfig>,
        guard: GuardCommand,
        redactor: Redactor,
        ports: ProfileDependencies,
        incarnation: Incarnation,
    ) -> Self {
        let mut actor = Self {
            agent: Arc::new(config.profile.agent.clone()),
            health: Health::default(),
            config,
            guard,
            redactor,
            ports,
            incarnation,
            scope: Scope::default(),
            provisioning: Provisioning::default(),
            provision_task: None,
            token: None,
            token_sender: TokenSender::new(),
            minted_s: 0,
            stamp: None,
            stale: false,
            reads: 0,
            read_applied: 0,
            touched: Arc::new(Notify::new()),
            listening: None,
        };
        actor.check_agent();
        actor
    }

    fn profile(&self) -> &ProfileSettings {
        &self.config.profile
    }

    fn file(&self) -> PathBuf {
        self.profile().home.join(env_source::FILE_NAME)
    }

    /// Whether this profile's home is the gateway's own.
    fn is_home(&self) -> bool {
        self.config.inherited.is_some()
    }

    /// The parts of the agent's state that need no secrets.
    fn check_agent(&mut self) {
        self.health.problems = self.profile().problems.clone();
        self.health.agent =
            self.agent.process().and_then(|exec| plan::command(exec).err().map(|error| error.to_string()));
    }

    fn link(&self) -> Link {
        if self.is_home() { Link::Process } else { Link::Own }
    }

    fn set_token(&mut self, token: Option<SecretString>) {
        let text = ExposeSecret::expose_secret;
        if self.token.as_ref().map(text) != token.as_ref().map(text) {
            self.token = token;
            self.update_redactor();
            self.token_sender.send(self.token.as_ref(), &self.redactor);
        }
    }

    fn set_agent_problem(&mut self, problem: Option<String>) {
        if self.health.agent != problem {
            if let Some(problem) = &problem {
                warn!(profile = %self.profile().name, problem, "agent of the profile cannot be run");
            }
            self.health.agent = problem;
            self.ports.status.report_profile(&self.profile().name);
        }
    }
}

impl Actor for ProfileActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.listening = Some(env_source::listen(&self.ports.events, &self.profile().home, Arc::clone(&self.touched)));
        self.ports.claims.notify(&self.owner(), Arc::clone(&self.touched));
        self.watch_env(ctx);
    }
}
