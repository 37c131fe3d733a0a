//! One profile: holds its secrets, starts its agents or calls them, mints its tokens.
//!
//! Owns the scope, the file watch and the copy of the grant's token. Asked by turns, links and the status; asks the
//! grant's keeper. A restart loses the token and the counts; `.env` is read again, and running agents are not touched, but get no
//! new token any more.

mod credentials; // Carries out what provisioning decides.
mod env; // Reads `.env` and puts its values in force.
mod handlers; // Answers messages.

use std::path::PathBuf;
use std::sync::Arc;

use actix::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;
use tracing::{debug, warn};

use super::agent::AgentSettings;
use super::call::Caller;
use super::dial::Link;
use super::env_source;
use super::input::TokenNews;
use super::launch::GuardCommand;
use super::messages::ProfileTerms;
use super::plan::{self, Health};
use super::provisioning::Provisioning;
use super::redact::Redactor;
use super::scope::Scope;
use crate::counts::CountBy;
use crate::files::{FileEvents, Listening, Stamp};
use crate::http_client::HttpClient;
use crate::relay::claims::Claims;
use crate::settings::ProfileSettings;
use caduceus_contract::messages::honcho::FreshToken;
use caduceus_contract::messages::relay::Wake;
use caduceus_contract::messages::status::StatusTouched;
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::{Incarnation, Port};

/// Holds one profile's secrets and does with them what it is asked to.
#[derive(Debug)]
pub struct ProfileActor {
    terms: Arc<ProfileTerms>,
    guard: GuardCommand,
    redactor: Redactor,
    ports: ProfileDependencies,
    incarnation: Incarnation,
    agent: Arc<AgentSettings>,
    scope: Scope,
    provisioning: Provisioning,
    /// The attempt at credentials that is under way, or the wait before the next.
    provision_task: Option<SpawnHandle>,
    health: Health,
    token: Option<SecretString>,
    token_news: TokenNews,
    /// When the last upgrade token says that it was minted, in seconds since 1970.
    minted_s: u64,
    /// What was last read; `None` before the first time.
    stamp: Option<Stamp>,
    /// What the values are made of besides the file has changed: the next look reads it in any case.
    stale: bool,
    /// Numbers the looks at the file, so that a slow one cannot undo a later one.
    looks: u64,
    applied: u64,
    touched: Arc<Notify>,
    /// Ends with the actor.
    listening: Option<Listening>,
}

/// What a profile's actor depends on: other actors, clients, and counts that outlive it.
#[derive(Debug, Clone)]
pub struct ProfileDependencies {
    /// The grant's keeper, where there is one.
    pub fresh_token: Option<Port<FreshToken>>,
    /// Notified when the status has something new to show.
    pub status: Port<StatusTouched>,
    /// Carries out its calls.
    pub caller: Caller,
    /// The process's link, notified when there are new credentials to dial with.
    pub link: Option<Port<Wake>>,
    /// Which link fronts which gateway.
    pub claims: Claims,
    /// Makes its calls to its connector and its identity provider.
    pub trust: HttpClient,
    /// Notifies when its `.env` may have changed.
    pub events: FileEvents,
    /// Children started, by profile; they outlive the actors.
    pub children: CountBy<ProfileName>,
}

impl ProfileActor {
    /// A profile that has not read its file yet; it says that it is ready once it has.
    #[must_use]
    pub fn new(
        terms: Arc<ProfileTerms>,
        guard: GuardCommand,
        redactor: Redactor,
        ports: ProfileDependencies,
        incarnation: Incarnation,
    ) -> Self {
        let mut actor = Self {
            agent: Arc::new(terms.profile.agent.clone()),
            health: Health::default(),
            terms,
            guard,
            redactor,
            ports,
            incarnation,
            scope: Scope::default(),
            provisioning: Provisioning::default(),
            provision_task: None,
            token: None,
            token_news: TokenNews::new(),
            minted_s: 0,
            stamp: None,
            stale: false,
            looks: 0,
            applied: 0,
            touched: Arc::new(Notify::new()),
            listening: None,
        };
        actor.judge_agent();
        actor
    }

    fn profile(&self) -> &ProfileSettings {
        &self.terms.profile
    }

    fn file(&self) -> PathBuf {
        self.profile().home.join(env_source::FILE_NAME)
    }

    /// Whether this profile's home is the gateway's own.
    fn is_home(&self) -> bool {
        self.terms.lent.is_some()
    }

    /// What can be said of the agent without the secrets.
    fn judge_agent(&mut self) {
        self.health.problems = self.profile().problems.clone();
        self.health.agent =
            self.agent.process().and_then(|exec| plan::command(exec).err().map(|error| error.to_string()));
    }

    fn link(&self) -> Link {
        if self.is_home() { Link::Process } else { Link::Own }
    }

    fn touch_status(&self) {
        if let Err(error) = self.ports.status.tell(StatusTouched) {
            debug!(profile = %self.profile().name, %error, "the status was not told");
        }
    }

    fn set_token(&mut self, token: Option<SecretString>) {
        let text = ExposeSecret::expose_secret;
        if self.token.as_ref().map(text) != token.as_ref().map(text) {
            self.token = token;
            self.feed_redactor();
            self.token_news.tell(self.token.as_ref(), &self.redactor);
        }
    }

    fn set_agent_trouble(&mut self, trouble: Option<String>) {
        if self.health.agent != trouble {
            if let Some(trouble) = &trouble {
                warn!(profile = %self.profile().name, trouble, "the profile's agent cannot be run");
            }
            self.health.agent = trouble;
            self.touch_status();
        }
    }
}

impl Actor for ProfileActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.listening = Some(env_source::listen(&self.ports.events, &self.profile().home, Arc::clone(&self.touched)));
        self.keep_looking(ctx);
    }
}
