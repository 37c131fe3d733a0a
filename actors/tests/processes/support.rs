//! A stub for every actor that a turn sends to, real agents under a real guard, and functions that read `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use actix::prelude::*;
use caduceus_actors::counts::CountBy;
use caduceus_actors::drain::actor::{DrainActor, DrainPorts, DrainSettings};
use caduceus_actors::drain::permit::messages::RequestPermit;
use caduceus_actors::drain::permit::{Gate, TurnPermit};
use caduceus_actors::files::FileEvents;
use caduceus_actors::http_client::HttpClient;
use caduceus_actors::profile::agent::messages::AgentPorts;
use caduceus_actors::profile::messages::ProfileConfig;
use caduceus_actors::profile::{CallTimings, Caller, GuardCommand, ProfileActor, ProfileDependencies, Redactor};
use caduceus_actors::relay::NOT_CONNECTED;
use caduceus_actors::settings::{Environment, Settings};
use caduceus_actors::turn::id::fresh_turn_id;
use caduceus_actors::turn::order::TurnOrder;
use caduceus_actors::turn::{TurnActor, TurnDispatchPorts, TurnLedgerPorts, TurnPorts};
use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::messages::dispatch::ReplyPending;
use caduceus_contract::messages::drain::{DrainChanged, Origin, TurnTicket};
use caduceus_contract::messages::honcho::{FreshAnswer, FreshToken};
use caduceus_contract::messages::ledger::{
    HistoryEntry, InboundId, LedgerError, LoadHistory, MarkOutbound, OutboundId, OutboundState, RecordOutbound,
};
use caduceus_contract::messages::relay::SendAction;
use caduceus_contract::messages::status::StatusTouched;
use caduceus_contract::messages::turn::{TooEarly, TurnEnded};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::action::{Action, ActionResult};
use caduceus_contract::wire::descriptor::Descriptor;
use caduceus_contract::wire::event::{InboundEvent, Source};
use caduceus_contract::wire::session::{SessionKey, SessionRules};
use caduceus_supervision::{
    ChildSpec, Incarnation, Mailbox, Port, Root, RootHandle, RootOptions, Strategy, SupervisorSpec,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Far longer than anything here takes.
pub(crate) const CEILING: Duration = Duration::from_secs(30);

/// What the stub received, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    Recorded(OutboundId, Value, OutboundState),
    Sent(Value),
    Marked(OutboundId, OutboundState, Option<String>),
    Ended(TurnEnded),
}

/// The records of the stub, and the faults that it plays.
#[derive(Debug, Default)]
pub(crate) struct StubState {
    pub(crate) seen: Vec<Seen>,
    pub(crate) link_down: bool,
    /// Characters of the longest text that the connector takes.
    pub(crate) takes: Option<usize>,
    /// Answers of the ledger that are refusals.
    pub(crate) ledger_refusals: u32,
    pub(crate) token: Option<&'static str>,
    /// What the ledger holds of the session, oldest first.
    pub(crate) history: Vec<HistoryEntry>,
    /// The messages in the chat by id, the last edited last.
    shown: Vec<(String, String)>,
    rows: i64,
    messages: u64,
}

/// Stands in for every actor that a turn or a profile sends to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stub(Arc<Mutex<StubState>>);

impl Stub {
    pub(crate) fn state(&self) -> MutexGuard<'_, StubState> {
        self.0.lock().unwrap()
    }

    /// How the turn ended, once it has.
    pub(crate) async fn ended(&self) -> TurnEnded {
        let end = || {
            self.state().seen.iter().find_map(|seen| match seen {
                Seen::Ended(ended) => Some(ended.clone()),
                _ => None,
            })
        };
        until("the end of the turn", end).await
    }

    /// The actions sent, without typing indicators.
    pub(crate) fn sent(&self) -> Vec<Value> {
        let sent = |seen: &Seen| match seen {
            Seen::Sent(action) if action["op"] != "typing" => Some(action.clone()),
            _ => None,
        };
        self.state().seen.iter().filter_map(sent).collect()
    }

    /// The texts of the messages posted.
    pub(crate) fn posted(&self) -> Vec<String> {
        let content = |action: Value| action["content"].as_str().unwrap_or_default().to_owned();
        self.sent().into_iter().filter(|action| action["op"] == "send").map(content).collect()
    }

    /// What the chat shows at last: the accepted messages, as last edited.
    pub(crate) fn shown(&self) -> Vec<String> {
        self.state().shown.iter().map(|(_, text)| text.clone()).collect()
    }

    /// The last state of each obligation.
    pub(crate) fn ledger(&self) -> BTreeMap<OutboundId, OutboundState> {
        let mut rows = BTreeMap::new();
        for seen in &self.state().seen {
            match seen {
                Seen::Recorded(id, _, state) | Seen::Marked(id, state, _) => {
                    rows.insert(*id, *state);
                }
                Seen::Sent(_) | Seen::Ended(_) => {}
            }
        }
        rows
    }
}

impl Actor for Stub {
    type Context = Context<Self>;
}

impl Handler<RecordOutbound> for Stub {
    type Result = Result<OutboundId, LedgerError>;

    fn handle(&mut self, record: RecordOutbound, _: &mut Self::Context) -> Self::Result {
        let mut state = self.state();
        if state.ledger_refusals > 0 {
            state.ledger_refusals -= 1;
            return Err(LedgerError::Unwritable("no space left".into()));
        }
        state.rows += 1;
        let id = OutboundId(state.rows);
        state.seen.push(Seen::Recorded(id, serde_json::from_str(&record.action).unwrap(), record.state));
        Ok(id)
    }
}

impl Handler<MarkOutbound> for Stub {
    type Result = Result<(), LedgerError>;

    fn handle(&mut self, mark: MarkOutbound, _: &mut Self::Context) -> Self::Result {
        self.state().seen.push(Seen::Marked(mark.id, mark.state, mark.error));
        Ok(())
    }
}

impl Handler<SendAction> for Stub {
    type Result = MessageResult<SendAction>;

    fn handle(&mut self, send: SendAction, _: &mut Self::Context) -> Self::Result {
        let mut state = self.state();
        state.seen.push(Seen::Sent(serde_json::to_value(&send.action).unwrap()));
        if state.link_down {
            return MessageResult(ActionResult::never_left(NOT_CONNECTED));
        }
        let length = send.action.content().map_or(0, |content| content.chars().count());
        if state.takes.is_some_and(|most| length > most) {
            return MessageResult(ActionResult::failed("message too long"));
        }
        state.messages += 1;
        let message_id = match &send.action {
            Action::Edit { message_id, .. } => message_id.clone(),
            _ => format!("m{}", state.messages),
        };
        if let Some(text) = send.action.content() {
            state.shown.retain(|(name, _)| *name != message_id || !matches!(send.action, Action::Edit { .. }));
            state.shown.push((message_id.clone(), text.to_owned()));
        }
        MessageResult(ActionResult { success: true, message_id: Some(message_id), ..ActionResult::default() })
    }
}

impl Handler<LoadHistory> for Stub {
    type Result = Result<Vec<HistoryEntry>, LedgerError>;

    fn handle(&mut self, question: LoadHistory, _: &mut Self::Context) -> Self::Result {
        let state = self.state();
        Ok(state.history[state.history.len().saturating_sub(question.limit)..].to_vec())
    }
}

impl Handler<TurnEnded> for Stub {
    type Result = Result<(), TooEarly>;

    fn handle(&mut self, ended: TurnEnded, _: &mut Self::Context) -> Self::Result {
        self.state().seen.push(Seen::Ended(ended));
        Ok(())
    }
}

impl Handler<ReplyPending> for Stub {
    type Result = ();

    fn handle(&mut self, _: ReplyPending, _: &mut Self::Context) {}
}

impl Handler<FreshToken> for Stub {
    type Result = MessageResult<FreshToken>;

    fn handle(&mut self, _: FreshToken, _: &mut Self::Context) -> Self::Result {
        let token = self.state().token;
        MessageResult(Ok(token.map(|token| FreshAnswer { token: token.into(), refreshed: false })))
    }
}

impl Handler<StatusTouched> for Stub {
    type Result = ();

    fn handle(&mut self, _: StatusTouched, _: &mut Self::Context) {}
}

impl Handler<DrainChanged> for Stub {
    type Result = ();

    fn handle(&mut self, _: DrainChanged, _: &mut Self::Context) {}
}

/// A home with its gate, its profiles and a stub.
pub(crate) struct Fixture {
    pub(crate) home: TempDir,
    pub(crate) stub: Stub,
    pub(crate) address: Addr<Stub>,
    pub(crate) gate: Gate,
    pub(crate) redactor: Redactor,
    pub(crate) call_timings: CallTimings,
    permits: Port<RequestPermit>,
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
        let stub = Stub::default();
        let address = stub.clone().start();
        let gate = Gate::default();
        let mailbox: Mailbox<DrainActor> = Mailbox::new();
        let ports = DrainPorts { changes: address.clone().into(), status: address.clone().into() };
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
            status: self.address.clone().into(),
            caller,
            link: None,
            client: HttpClient::default(),
            events: FileEvents::default(),
        };
        let incarnation = Incarnation::new(format!("profiles/{name}"), 1);
        ProfileActor::new(config, guard_command(), self.redactor.clone(), dependencies, incarnation).start()
    }

    pub(crate) async fn permit(&self, id: TurnId, session: &SessionKey) -> TurnPermit {
        let ticket = TurnTicket { id, profile: session.profile().clone(), session: session.clone() };
        let request = RequestPermit { ticket, origin: Origin::External };
        self.permits.ask(request, CEILING).await.unwrap().unwrap()
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
                ..InboundEvent::default()
            }),
            raw_event: Arc::new(params.raw),
            target: Target {
                link: LinkId::process(),
                platform: "discord".into(),
                bot_id: None,
                chat_id: "c1".into(),
                scope_id: Some("guild".into()),
                user_id: Some("u1".into()),
                thread_id: None,
            },
            descriptor: params.descriptor,
        };
        self.stub.state().history = params.history;
        let (stub, profile) = (self.address.clone(), profile.clone());
        let redactor = self.redactor.clone();
        let turn = TurnActor::start_in_arbiter(arbiter, move |ctx| {
            let ports = TurnPorts {
                agent: AgentPorts::of(&profile),
                send: stub.clone().into(),
                ledger: TurnLedgerPorts::of(&stub),
                dispatch: TurnDispatchPorts::of(&stub),
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

/// Waits until `look` finds something.
///
/// # Panics
/// If it finds nothing within the ceiling.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < CEILING, "timed out waiting for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The running processes whose environment holds `mark`.
pub(crate) fn marked(mark: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let holds = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|window| window == mark.as_bytes())
    };
    pids.filter(holds).collect()
}

/// The environment of a process, as other processes of its user can read it.
pub(crate) fn environment_of(pid: i32) -> BTreeMap<String, String> {
    let text = String::from_utf8(fs::read(format!("/proc/{pid}/environ")).unwrap()).unwrap();
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The arguments of a process.
pub(crate) fn arguments_of(pid: i32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned()
}
