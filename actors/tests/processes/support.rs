//! A home with its gate and its profiles, real agents under a real guard, and a stub for every other actor.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use actix::prelude::*;
use caduceus_actors::counts::CountBy;
use caduceus_actors::drain::actor::{DrainActor, DrainPorts, DrainSettings};
use caduceus_actors::drain::permit::messages::RequestPermits;
use caduceus_actors::drain::permit::{Gate, PermitRequest, TurnPermit};
use caduceus_actors::files::FileEvents;
use caduceus_actors::http_client::HttpClient;
use caduceus_actors::outbox::Outbox;
use caduceus_actors::profile::agent::AgentSettings;
use caduceus_actors::profile::agent::messages::AgentPorts;
use caduceus_actors::profile::messages::ProfileConfig;
use caduceus_actors::profile::{CallTimings, Caller, GuardCommand, ProfileActor, ProfileDependencies, Redactor};
use caduceus_actors::settings::{Environment, Settings};
use caduceus_actors::status::changes::StatusChanges;
use caduceus_actors::turn::id::fresh_turn_id;
use caduceus_actors::turn::order::TurnOrder;
use caduceus_actors::turn::{TurnActor, TurnPorts};
use caduceus_contract::json::RawJson;
use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::messages::drain::{Origin, TurnTicket};
use caduceus_contract::messages::ledger::{HistoryEntry, InboundId};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::descriptor::Descriptor;
use caduceus_contract::wire::event::{InboundEvent, Source};
use caduceus_contract::wire::received_event::ReceivedEvent;
use caduceus_contract::wire::session::{SessionKey, SessionRules};
use caduceus_supervision::{
    ChildSpec, Incarnation, Mailbox, Port, Root, RootHandle, RootOptions, Strategy, SupervisorSpec,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::turn_stub::TurnStub;
use super::wait::CEILING;

/// A home with its gate, its profiles and a stub.
pub(crate) struct Fixture {
    pub(crate) home: TempDir,
    pub(crate) stub: TurnStub,
    pub(crate) address: Addr<TurnStub>,
    pub(crate) gate: Gate,
    pub(crate) redactor: Redactor,
    pub(crate) call_timings: CallTimings,
    permits: Port<RequestPermits>,
    _root: RootHandle,
}

/// The parameters of a turn.
pub(crate) struct TurnParams {
    pub(crate) text: &'static str,
    pub(crate) raw: Value,
    pub(crate) descriptor: Descriptor,
    pub(crate) history: Vec<HistoryEntry>,
    pub(crate) context: Option<&'static str>,
}

impl Default for TurnParams {
    fn default() -> Self {
        Self {
            text: "hello",
            raw: json!({"text": "hello"}),
            descriptor: Descriptor::default(),
            history: Vec::new(),
            context: None,
        }
    }
}

impl Fixture {
    /// A home whose `caduceus.yaml` is `yaml`.
    pub(crate) fn new(yaml: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("caduceus.yaml"), yaml).unwrap();
        let stub = TurnStub::default();
        let address = stub.clone().start();
        let gate = Gate::default();
        let mailbox: Mailbox<DrainActor> = Mailbox::new();
        let ports = DrainPorts { changes: address.clone().into(), status: StatusChanges::new(address.clone().into()) };
        let settings = DrainSettings { home: home.path().to_owned(), profiles: BTreeMap::new(), events: None };
        let kept = gate.clone();
        let drain = ChildSpec::worker("drain", &mailbox, move |start: &_| {
            DrainActor::new(kept.clone(), settings.clone(), ports.clone(), start)
        });
        let spec = SupervisorSpec::new(Strategy::OneForOne).child(drain);
        let root = Root::start(spec, RootOptions::default()).expect("the tree starts");
        let (redactor, call_timings) = (Redactor::default(), CallTimings::default());
        Self { home, stub, address, gate, redactor, call_timings, permits: mailbox.port(), _root: root }
    }

    /// A home whose agent is this shell script.
    pub(crate) fn with_script(script: &str, rest: &str) -> Self {
        let command = serde_json::to_string(&["/bin/sh", "-c", script]).unwrap();
        Self::new(&format!("agent:\n  backend: exec\n  command: {command}\n{rest}"))
    }

    /// The default profile of this home, or a named one when the home serves several.
    pub(crate) fn profile(&self, name: &str, environment: &[(&str, &str)]) -> Addr<ProfileActor> {
        let path = std::env::split_paths("/usr/local/bin:/usr/bin:/bin").collect::<Vec<_>>();
        let path = std::env::join_paths(path).unwrap().into_string().unwrap();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables = environment.iter().map(owned).chain([("PATH".to_owned(), path)]);
        let settings = Settings::load(self.home.path(), Environment::sort(variables)).unwrap();
        let profile = settings.profiles.iter().find(|profile| profile.name.as_str() == name).unwrap();
        let config = Arc::new(ProfileConfig::of(profile, &settings));
        let caller = Caller::new(HttpClient::default(), self.call_timings);
        let dependencies = ProfileDependencies {
            claims: caduceus_actors::relay::claims::Claims::new([]),
            children: CountBy::default(),
            fresh_token: Some(self.address.clone().into()),
            status: StatusChanges::new(self.address.clone().into()),
            caller,
            link: None,
            client: HttpClient::default(),
            events: FileEvents::default(),
        };
        let incarnation = Incarnation::new(format!("profiles/{name}"), 1);
        ProfileActor::new(config, guard_command(), self.redactor.clone(), dependencies, incarnation).start()
    }

    /// The configuration of the agent of the default profile.
    pub(crate) fn agent(&self) -> Arc<AgentSettings> {
        let settings = Settings::load(self.home.path(), Environment::sort([])).unwrap();
        Arc::new(settings.profiles[0].agent.clone())
    }

    pub(crate) async fn permit(&self, id: TurnId, session: &SessionKey) -> TurnPermit {
        let ticket = TurnTicket { id, profile: session.profile().clone(), session: session.clone() };
        let requests = RequestPermits(vec![PermitRequest { ticket, origin: Origin::External }]);
        self.permits.ask(requests, CEILING).await.unwrap().remove(0).unwrap()
    }

    /// Starts a turn of `profile`.
    pub(crate) async fn turn(&self, profile: &Addr<ProfileActor>, params: TurnParams) -> (TurnId, Addr<TurnActor>) {
        self.turn_on(&Arbiter::current(), profile, params).await
    }

    /// Starts a turn of `profile` on another thread.
    pub(crate) async fn turn_on(
        &self,
        arbiter: &ArbiterHandle,
        profile: &Addr<ProfileActor>,
        params: TurnParams,
    ) -> (TurnId, Addr<TurnActor>) {
        let id = fresh_turn_id();
        let source = Source {
            platform: "discord".into(),
            chat_id: "c1".into(),
            chat_type: "channel".into(),
            ..Source::default()
        };
        let session = session(&source);
        let order = TurnOrder {
            id,
            inbound: InboundId(1),
            profile: ProfileName::default_profile(),
            permit: self.permit(id, &session).await,
            session,
            attempt: 1,
            event: Arc::new(InboundEvent {
                text: params.text.into(),
                channel_context: params.context.map(str::to_owned),
                source,
                follow_up: ReceivedEvent::of(&params.raw).unwrap().event.follow_up.clone(),
                ..InboundEvent::default()
            }),
            raw_event: RawJson::of(&params.raw),
            target: Arc::new(Target {
                link: LinkId::process(),
                platform: "discord".into(),
                bot_id: None,
                chat_id: "c1".into(),
                scope_id: Some("guild".into()),
                user_id: Some("u1".into()),
                thread_id: None,
            }),
            descriptor: Arc::new(params.descriptor),
            agent: self.agent(),
        };
        self.stub.state().history = params.history;
        let (stub, profile) = (self.address.clone(), profile.clone());
        let redactor = self.redactor.clone();
        let turn = TurnActor::start_in_arbiter(arbiter, move |ctx| {
            let ports = TurnPorts {
                agent: AgentPorts::of(&profile),
                send: stub.clone().into(),
                load_history: stub.clone().into(),
                outbox: Outbox::of(&stub, &stub),
                ended: stub.clone().into(),
                stop: ctx.address().into(),
                redactor,
            };
            TurnActor::new(order, ports, Incarnation::new("turns/one", 1))
        });
        (id, turn)
    }
}

pub(crate) fn session(source: &Source) -> SessionKey {
    SessionKey::new(source, &ProfileName::default_profile(), SessionRules::default())
}

pub(crate) fn guard_command() -> GuardCommand {
    GuardCommand { program: PathBuf::from(env!("CARGO_BIN_EXE_caduceus-guard-alone")), arguments: vec!["guard".into()] }
}
