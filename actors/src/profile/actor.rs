//! One profile: holds its secrets, starts its agents or calls them, mints its tokens.
//!
//! Owns the scope, the file watch and the copy of the grant's token. Asked by turns, links and the status; asks the
//! grant's keeper. A restart loses the token and the counts; `.env` is read again, and running agents are not touched, but hear of no
//! token any more.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix::prelude::*;
use actix::{ActorFutureExt, WrapFuture};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::agent::AgentSettings;
use super::call::{self, Caller};
use super::child_env::{self, Facts, HONCHO_API_KEY, child_env};
use super::dial::{self, Link};
use super::env_source::{self, Content};
use super::input::TokenNews;
use super::launch::{GuardCommand, Launch};
use super::messages::{
    AuthorisedCall, Call, CallError, Dial, GetAgent, GetProfile, NoDial, PrepareDial, ProfileTerms, ProfileView,
    ReadEnvAgain, SpawnChild, SpawnError, SpawnedChild, TermsChanged, TokenChanged, VerifyDelivery,
};
use super::name::ProfileName;
use super::plan::{self, Health};
use super::provisioning::Provisioning;
use super::redact::Redactor;
use super::scope::{Lent, Scope};
use super::shown;
use crate::counts::CountBy;
use crate::files::{FileEvents, FileWorker, Listening, NoAnswer, Purpose, Stamp, workers};
use crate::honcho::messages::FreshToken;
use crate::http_client::HttpClient;
use crate::relay::claims::{Claims, Owner};
use crate::relay::delivery::{self, DeliveryError};
use crate::relay::messages::Wake;
use crate::settings::ProfileSettings;
use crate::status::messages::StatusTouched;
use caduceus_supervision::{Incarnation, Port};

/// Names the keys of deliveries, with commas between.
const DELIVERY_KEY: &str = "GATEWAY_RELAY_DELIVERY_KEY";
/// How often the file is looked at where no event tells of it.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for one look at the file; a turn then starts with what is known.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a fresh token; a turn then starts with the one there is. The keeper answers after 15 s by itself, with the token
/// in the file, which is more than a newborn profile has.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(17);

/// Longest wait of a dial for credentials that are being asked for; a link waits 5 s for us.
const PROVISION_TIMEOUT: Duration = Duration::from_secs(4);

/// Holds one profile's secrets and does with them what it is asked to.
#[derive(Debug)]
pub struct ProfileActor {
    pub(super) terms: Arc<ProfileTerms>,
    guard: GuardCommand,
    pub(super) redactor: Redactor,
    pub(super) ports: ProfilePorts,
    incarnation: Incarnation,
    agent: Arc<AgentSettings>,
    pub(super) scope: Scope,
    pub(super) provisioning: Provisioning,
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

/// Whom a profile asks and tells.
#[derive(Debug, Clone)]
pub struct ProfilePorts {
    /// The grant's keeper, where there is one.
    pub fresh_token: Option<Port<FreshToken>>,
    /// Told when the status has something new to show.
    pub status: Port<StatusTouched>,
    /// Carries out its calls.
    pub caller: Caller,
    /// The process's link: told when there are new credentials to dial with.
    pub link: Option<Port<Wake>>,
    /// Which link fronts which gateway.
    pub claims: Claims,
    /// Makes its calls to its connector and its identity provider.
    pub trust: HttpClient,
    /// Tells that its `.env` may have changed.
    pub events: FileEvents,
    /// Children started, by profile; they outlive the actors.
    pub children: CountBy<ProfileName>,
}

type Later<R> = ResponseActFuture<ProfileActor, R>;

impl ProfileActor {
    /// A profile that has not read its file yet; it says that it is ready once it has.
    #[must_use]
    pub fn new(
        terms: Arc<ProfileTerms>,
        guard: GuardCommand,
        redactor: Redactor,
        ports: ProfilePorts,
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
    pub(super) fn is_home(&self) -> bool {
        self.terms.lent.is_some()
    }

    /// What can be said of the agent without the secrets.
    fn judge_agent(&mut self) {
        self.health.problems = self.profile().problems.clone();
        self.health.agent = match &*self.agent {
            AgentSettings::Exec(exec) => plan::command(exec).err().map(|error| error.to_string()),
            AgentSettings::OpenAi(_) | AgentSettings::Echo | AgentSettings::None => None,
        };
    }

    fn link(&self) -> Link {
        if self.is_home() { Link::Process } else { Link::Own }
    }

    /// Reads the file if it has changed. Off the arbiter.
    fn look(&mut self) -> impl ActorFuture<Self, Output = ()> + use<> {
        self.looks += 1;
        let last = self.stamp.clone().filter(|_| !self.stale);
        let (look, path) = (self.looks, self.file());
        let owner = if self.is_home() { workers::Owner::Gateway } else { workers::Owner::Profile };
        let worker = FileWorker::of(&self.profile().home, Purpose::Secrets, owner);
        let reading = async move { worker.run(READ_TIMEOUT, move || env_source::read(&path, last.as_ref())).await };
        reading.into_actor(self).map(move |read, actor, ctx| match read {
            Ok(Some((stamp, content))) if look > actor.applied => {
                actor.note_disk(None);
                actor.applied = look;
                actor.stale = false;
                actor.apply(stamp, content, ctx);
            }
            Ok(_) => {
                actor.note_disk(None);
                actor.note_objection();
            }
            Err(error) => actor.note_disk(Some(error)),
        })
    }

    /// Whether the disk under the home answers; said once for each time that it does not.
    fn note_disk(&mut self, error: Option<NoAnswer>) {
        let trouble = error.map(|error| error.to_string());
        if trouble == self.health.disk {
            return;
        }
        let name = &self.terms.profile.name;
        if let Some(reason) = &trouble {
            warn!(profile = %name, %reason, ".env stays as it was read last, and no agent is started");
        } else {
            info!(profile = %name, "the disk under the profile's home answers again");
        }
        self.health.disk = trouble;
        // Degraded is a state to be in; to wait for this disk would hold up the tree.
        self.incarnation.ready();
        self.touch_status();
    }

    /// Looks for as long as the actor lives: at every event, and once a second.
    fn keep_looking(&mut self, ctx: &mut Context<Self>) {
        let looking = self.look().then(|(), actor: &mut Self, _| {
            let touched = Arc::clone(&actor.touched);
            let waiting = async move {
                // Told or not, it is looked at.
                let _ = tokio::time::timeout(POLL_EVERY, touched.notified()).await;
            };
            waiting.into_actor(actor)
        });
        ctx.spawn(looking.map(|(), actor, ctx| actor.keep_looking(ctx)));
    }

    fn apply(&mut self, stamp: Stamp, content: Content, ctx: &mut Context<Self>) {
        let (values, trouble) = match content {
            Content::Values(values) => (values, None),
            Content::Unusable(reason) => (super::env_file::EnvFile::default(), Some(reason)),
        };
        let lent = self.terms.lent.as_ref();
        let lent =
            lent.map(|lent| Lent { environment: &self.terms.environment, relay: &lent.relay, shared: lent.shared });
        let before = std::mem::replace(&mut self.scope, Scope::new(&values, lent));
        self.provision(ctx);
        // Before anybody can use the new values, and so before anything can write one to a log.
        self.feed_redactor();
        let name = &self.terms.profile.name;
        if let Some(reason) = &trouble {
            warn!(profile = %name, %reason, ".env cannot be used; the profile has no secret of its own");
        } else if self.stamp.is_none() {
            info!(profile = %name, names = values.len(), ".env read");
        } else {
            let [added, changed, removed] = before.changes(&self.scope).map(|names| shown::listed(&names));
            info!(profile = %name, names = values.len(), added, changed, removed, ".env read again");
        }
        let missing = plan::missing(&self.agent, &self.scope);
        for missing in missing.iter().filter(|missing| !self.health.missing.contains(missing)) {
            warn!(profile = %name, key = missing.key, name = missing.name, "a name the configuration needs is not set");
        }
        self.health.file = trouble;
        self.health.missing = missing;
        self.health.relay = dial::oddities(&self.scope);
        self.declare_gateway();
        self.stamp = Some(stamp);
        self.incarnation.ready();
        self.touch_status();
    }

    /// Whose link it is.
    fn owner(&self) -> Owner {
        (!self.is_home()).then(|| self.profile().name.clone())
    }

    /// Says which gateway the settings name, so that one gateway has one link.
    pub(super) fn declare_gateway(&mut self) {
        self.ports.claims.declare(&self.owner(), dial::gateway(&self.scope, self.link()));
        self.note_objection();
    }

    /// What stands against a link of its own changes with the settings of others, too.
    fn note_objection(&mut self) {
        let objection = self.ports.claims.objection(&self.owner()).map(|reason| reason.to_string());
        if self.health.link == objection {
            return;
        }
        let profile = &self.terms.profile.name;
        if let Some(reason) = &objection {
            warn!(%profile, reason, "profile has no link of its own");
        } else {
            info!(%profile, "nothing stands against a link of its own any more");
        }
        self.health.link = objection;
        self.touch_status();
    }

    pub(super) fn feed_redactor(&self) {
        // Several, of which each is a secret.
        let lists = self.scope.secrets().filter(|(name, _)| *name == DELIVERY_KEY);
        let keys: Vec<SecretString> =
            lists.flat_map(|(_, list)| list.expose_secret().split(',').map(SecretString::from)).collect();
        let token = self.token.as_ref().map(|token| (HONCHO_API_KEY, token));
        let passed = match &*self.agent {
            AgentSettings::Exec(exec) => &*exec.env_pass,
            AgentSettings::OpenAi(_) | AgentSettings::Echo | AgentSettings::None => &[],
        };
        // What an agent is given it may write.
        let passed = child_env::passed(&self.terms.environment, passed);
        let values = self.scope.secrets().chain(token).chain(passed).chain(keys.iter().map(|key| (DELIVERY_KEY, key)));
        self.redactor.replace(self.profile().name.as_str(), values);
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

    /// The grant's token, fresh if its keeper answers in time. A turn never fails for it.
    fn fresh_token(&mut self) -> impl ActorFuture<Self, Output = ()> + use<> {
        let profile = self.profile().name.clone();
        let asked = self.ports.fresh_token.as_ref().map(|port| port.ask(FreshToken { profile }, TOKEN_TIMEOUT));
        let asking = async move {
            match asked {
                Some(asked) => Some(asked.await),
                None => None,
            }
        };
        asking.into_actor(self).map(|answer, actor, _| match answer {
            Some(Ok(Ok(answer))) => actor.set_token(answer.map(|answer| answer.token)),
            Some(Ok(Err(error))) => warn!(%error, "no fresh token; the last one is used"),
            Some(Err(error)) => warn!(profile = %actor.profile().name, %error, "no fresh token; the last one is used"),
            None => {}
        })
    }

    /// Everything that the start of one agent needs, as of now.
    fn launch(&self, order: &SpawnChild) -> Result<Launch, SpawnError> {
        let AgentSettings::Exec(exec) = &*order.agent else { return Err(SpawnError::NotACommand) };
        if let Some(trouble) = &self.health.disk {
            return Err(SpawnError::System(trouble.clone()));
        }
        if self.stamp.is_none() {
            return Err(SpawnError::System("the profile's .env has not been read yet".to_owned()));
        }
        let command = plan::command(exec)?;
        let shown = exec.command.first().cloned().unwrap_or_default();
        let cwd = plan::cwd(exec, &self.profile().home, &self.scope).map_err(|name| SpawnError::CommandNotFound {
            command: shown.clone(),
            reason: format!("agent.cwd needs {name}, which is not set"),
        })?;
        let facts = Facts {
            profile: &self.profile().name,
            home: &self.profile().home,
            turn: &order.turn.to_string(),
            session: &order.session.text(),
            attempt: order.attempt,
            token: self.token.as_ref(),
        };
        let environment = child_env(&self.terms.environment, &exec.env_pass, &self.scope, &facts);
        let secrets = self.redactor.lease(self.profile().name.as_str());
        let token = order.agent.hears_of_tokens().then(|| self.token_news.listen(&secrets));
        Ok(Launch { guard: self.guard.clone(), command, shown, cwd, environment, token, secrets })
    }
}

impl Actor for ProfileActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.listening = Some(env_source::listen(&self.ports.events, &self.profile().home, Arc::clone(&self.touched)));
        self.keep_looking(ctx);
    }
}

impl Handler<GetAgent> for ProfileActor {
    type Result = Arc<AgentSettings>;

    fn handle(&mut self, _: GetAgent, _: &mut Self::Context) -> Self::Result {
        Arc::clone(&self.agent)
    }
}

impl Handler<SpawnChild> for ProfileActor {
    type Result = Later<Result<SpawnedChild, SpawnError>>;

    fn handle(&mut self, order: SpawnChild, _: &mut Self::Context) -> Self::Result {
        // Looked at once more, so that a value written a moment ago holds for this turn.
        let ready = self.look().then(|(), actor: &mut Self, _| actor.fresh_token());
        let started = ready.then(move |(), actor, _| {
            let launch = actor.launch(&order);
            let starting = async move {
                let launch = launch?;
                launch.reach().await?;
                let started = tokio::task::spawn_blocking(move || launch.run()).await;
                started.unwrap_or_else(|error| Err(SpawnError::System(error.to_string())))
            };
            starting.into_actor(actor)
        });
        Box::pin(started.map(|started, actor, _| {
            match &started {
                Ok(_) => {
                    actor.ports.children.of(&actor.profile().name).one();
                    actor.set_agent_trouble(None);
                }
                Err(error @ SpawnError::CommandNotFound { .. }) => actor.set_agent_trouble(Some(error.to_string())),
                Err(SpawnError::NotACommand | SpawnError::System(_)) => {}
            }
            started
        }))
    }
}

impl Handler<AuthorisedCall> for ProfileActor {
    type Result = Later<Result<Call, CallError>>;

    fn handle(&mut self, order: AuthorisedCall, _: &mut Self::Context) -> Self::Result {
        // Looked at once more, so that a key written a moment ago holds for this turn.
        Box::pin(self.look().map(move |(), actor, _| {
            if actor.stamp.is_none() {
                return Err(CallError::NotNow("the profile's .env has not been read yet".to_owned()));
            }
            let prepared = call::prepare(&order.agent, &actor.scope, order.body);
            match &prepared {
                Ok(_) => actor.set_agent_trouble(None),
                // What is missing is reported with its key already.
                Err(CallError::Unusable(trouble)) if actor.health.missing.is_empty() => {
                    actor.set_agent_trouble(Some(trouble.clone()));
                }
                Err(_) => {}
            }
            debug!(profile = %actor.profile().name, turn = %order.turn, ready = prepared.is_ok(), "a call is asked for");
            let secrets = actor.redactor.lease(actor.profile().name.as_str());
            actor.ports.caller.call(prepared?, secrets)
        }))
    }
}

impl Handler<PrepareDial> for ProfileActor {
    type Result = Later<Result<Dial, NoDial>>;

    fn handle(&mut self, _: PrepareDial, _: &mut Self::Context) -> Self::Result {
        // Credentials that are being asked for are better than none.
        let settled = self.look().then(|(), actor: &mut Self, _| {
            let settled = tokio::time::timeout(PROVISION_TIMEOUT, actor.provisioning.settled());
            settled.into_actor(actor)
        });
        Box::pin(settled.map(|_, actor, _| {
            // A clock before 1970 makes tokens that have expired, which the connector says.
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            actor.minted_s = dial::mint_at(now.as_secs(), actor.minted_s);
            dial::prepare(&actor.scope, actor.link(), &actor.profile().relevance, actor.minted_s)
        }))
    }
}

impl Handler<VerifyDelivery> for ProfileActor {
    type Result = Later<Result<(), DeliveryError>>;

    fn handle(&mut self, delivery: VerifyDelivery, _: &mut Self::Context) -> Self::Result {
        Box::pin(self.look().then(move |(), actor, _| {
            let keys = dial::delivery_keys(&actor.scope, actor.link());
            let verifying = async move {
                if keys.is_empty() {
                    return Err(DeliveryError::NoKey);
                }
                // Off the arbiter: whoever cannot sign can still send megabytes.
                let verified = tokio::task::spawn_blocking(move || {
                    let VerifyDelivery { body, timestamp, signature } = delivery;
                    let now_s = jiff::Timestamp::now().as_second();
                    let (timestamp, signature) = (timestamp.as_deref(), signature.as_deref());
                    delivery::verify(&body, timestamp, signature, &keys, delivery::MAX_SKEW_S, now_s).map(|_| ())
                });
                verified.await.unwrap_or(Err(DeliveryError::Signature))
            };
            verifying.into_actor(actor)
        }))
    }
}

impl Handler<TokenChanged> for ProfileActor {
    type Result = ();

    fn handle(&mut self, news: TokenChanged, _: &mut Self::Context) {
        self.set_token(news.token);
    }
}

impl Handler<TermsChanged> for ProfileActor {
    type Result = ();

    fn handle(&mut self, TermsChanged(terms): TermsChanged, _: &mut Self::Context) {
        info!(profile = %terms.profile.name, agent = terms.profile.agent.kind(), "the profile's settings changed");
        for problem in terms.profile.problems.iter().filter(|problem| !self.health.problems.contains(problem)) {
            warn!(profile = %terms.profile.name, problem, "the profile's own configuration is wrong");
        }
        self.agent = Arc::new(terms.profile.agent.clone());
        self.terms = terms;
        self.judge_agent();
        // Another directory may have taken the place of the one that we listened to.
        self.listening = Some(env_source::listen(&self.ports.events, &self.profile().home, Arc::clone(&self.touched)));
        self.health.missing = plan::missing(&self.agent, &self.scope);
        // What the process lends may be another now.
        self.stale = true;
        self.touched.notify_one();
        self.touch_status();
    }
}

impl Handler<ReadEnvAgain> for ProfileActor {
    type Result = Later<()>;

    fn handle(&mut self, _: ReadEnvAgain, _: &mut Self::Context) -> Self::Result {
        self.stale = true;
        Box::pin(self.look())
    }
}

impl Handler<GetProfile> for ProfileActor {
    type Result = MessageResult<GetProfile>;

    fn handle(&mut self, _: GetProfile, _: &mut Self::Context) -> Self::Result {
        let mut missing: Vec<String> = self.health.missing.iter().map(|missing| missing.name.clone()).collect();
        missing.dedup();
        MessageResult(ProfileView {
            name: self.profile().name.clone(),
            state: self.health.state(),
            troubles: self.health.troubles(),
            secrets: self.scope.len(),
            missing,
            agent: self.agent.kind(),
            children_started: self.ports.children.of(&self.profile().name).get(),
        })
    }
}
