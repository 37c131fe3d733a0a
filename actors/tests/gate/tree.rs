//! A tree with the real gate, its marker on a real file system, and a recorder of its notifications.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::clock::sleep;
use actix::{Actor, Context, Handler};
use caduceus_actors::config::messages::{InForce, Served, SettingsChanged};
use caduceus_actors::drain::actor::{DrainActor, DrainPorts, DrainSettings};
use caduceus_actors::drain::permit::messages::RequestPermits;
use caduceus_actors::drain::permit::{Gate, PermitRequest, TurnPermit};
use caduceus_actors::files::FileEvents;
use caduceus_actors::profile::ProfileActor;
use caduceus_actors::profile::agent::AgentSettings;
use caduceus_actors::profile::messages::ProfilePorts;
use caduceus_actors::settings::OpenSettings;
use caduceus_actors::status::changes::StatusChanges;
use caduceus_actors::turn::id::fresh_turn_id;
use caduceus_contract::files::marker::FILE_NAME;
use caduceus_contract::messages::drain::{
    BeginDrain, BeginShutdown, CancelDrain, DrainChanged, GetDrain, Origin, Refusal, TurnTicket,
};
use caduceus_contract::messages::status::StatusTouched;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::event::Source;
use caduceus_contract::wire::session::{SessionKey, SessionRules};
use caduceus_supervision::{
    ChildSpec, Fault, InjectFault, Mailbox, Port, Readiness, Root, RootHandle, RootOptions, Strategy, SupervisorSpec,
    WorkerThread,
};

/// How long one answer may take on a loaded machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// Repeats `query` until it finds something; for what sends no event. Fails at the timeout, and names the missing event.
pub(crate) async fn wait_for<T>(what: &str, mut query: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = query().await {
            return found;
        }
        assert!(Instant::now() < deadline, "timed out after {TIMEOUT:?} waiting for {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

/// The ports of a gate, real or planted.
#[derive(Clone)]
pub(crate) struct TestGatePorts {
    pub(crate) permits: Port<RequestPermits>,
    pub(crate) begin: Port<BeginDrain>,
    pub(crate) cancel: Port<CancelDrain>,
    pub(crate) view: Port<GetDrain>,
    pub(crate) shutdown: Port<BeginShutdown>,
    /// The gate itself, from which a dispatcher takes permits.
    pub(crate) gate: Gate,
}

impl TestGatePorts {
    /// Requests a permit for one turn.
    pub(crate) async fn request(&self, ticket: TurnTicket, origin: Origin) -> Result<TurnPermit, Refusal> {
        let requests = RequestPermits(vec![PermitRequest { ticket, origin }]);
        let answers = self.permits.ask(requests, TIMEOUT).await.expect("the gate answers");
        answers.into_iter().next().expect("each request has an answer")
    }

    /// Takes a permit for one turn without a message; `None` if the gate's actor has to be asked.
    pub(crate) fn take(&self, ticket: TurnTicket, origin: Origin) -> Option<Result<TurnPermit, Refusal>> {
        let taken = self.gate.take_permits([((), PermitRequest { ticket, origin })]);
        taken.answered.into_iter().next().map(|((), answer)| answer)
    }
}

pub(crate) struct Tree {
    root: RootHandle,
    ports: TestGatePorts,
    home: tempfile::TempDir,
    changes: DrainChanges,
    settings: Port<SettingsChanged>,
    in_force: Arc<InForce>,
}

/// The notifications of the gate, in order.
pub(crate) type DrainChanges = Arc<Mutex<Vec<DrainChanged>>>;

/// Records the notifications.
struct ChangeRecorder(DrainChanges);

impl Tree {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[], true).await
    }

    /// As [`Tree::start`], with named profiles; without file events the poll finds the markers.
    pub(crate) async fn start_with(profiles: &[&str], file_events: bool) -> Self {
        let home = home();
        let (drain, recorder) = (Mailbox::new(), Mailbox::new());
        let named = profiles.iter().map(|name| {
            let own = home.path().join("profiles").join(name);
            std::fs::create_dir_all(&own).expect("the profile's home is created");
            served(ProfileName::parse(name).expect("the name is valid"), own)
        });
        let in_force = Arc::new(in_force(home.path(), named.collect()));
        let settings = DrainSettings::of(&in_force, file_events.then(FileEvents::default));
        let ports = DrainPorts { changes: recorder.port(), status: StatusChanges::new(recorder.port()) };
        let gate = Gate::default();
        let changes = DrainChanges::default();
        let record = Arc::clone(&changes);
        let own_gate = gate.clone();
        let factory = move |start: &_| DrainActor::new(own_gate.clone(), settings.clone(), ports.clone(), start);
        let spec = SupervisorSpec::new(Strategy::OneForOne)
            .child(
                ChildSpec::worker("recorder", &recorder, move |_: &_| ChangeRecorder(Arc::clone(&record)))
                    .on(&WorkerThread::new("data")),
            )
            .child(
                ChildSpec::worker("drain", &drain, factory)
                    .on(&WorkerThread::new("control"))
                    .readiness(Readiness::Reported { within: TIMEOUT }),
            );
        let options = RootOptions { unresponsive_after: TIMEOUT, faults_allowed: true, ..RootOptions::default() };
        let ports = TestGatePorts {
            permits: drain.port(),
            begin: drain.port(),
            cancel: drain.port(),
            view: drain.port(),
            shutdown: drain.port(),
            gate,
        };
        let root = Root::start(spec, options).expect("the tree starts");
        let tree = Self { root, ports, home, changes, settings: drain.port(), in_force };
        tree.ports.view.ask(GetDrain, TIMEOUT).await.expect("the gate is running");
        tree
    }

    pub(crate) fn ports(&self) -> TestGatePorts {
        self.ports.clone()
    }

    pub(crate) fn changes(&self) -> DrainChanges {
        Arc::clone(&self.changes)
    }

    /// Makes the gate's actor panic.
    pub(crate) async fn crash(&self) {
        let fault = InjectFault { path: "drain".to_owned(), fault: Fault::PanicInTimer };
        self.root.port().ask(fault, TIMEOUT).await.expect("the root answers").expect("faults are allowed");
    }

    /// Waits until every marker has been read by a reading that began after this moment: then the gate answers `SettingsChanged`.
    pub(crate) async fn all_read(&self) {
        let changed = SettingsChanged(Arc::clone(&self.in_force));
        self.settings.ask(changed, TIMEOUT).await.expect("the gate reads its markers");
    }

    /// Path of the marker of the gateway, or of a profile.
    pub(crate) fn marker(&self, profile: Option<&str>) -> PathBuf {
        let home = self.home.path();
        profile.map_or_else(|| home.to_owned(), |name| home.join("profiles").join(name)).join(FILE_NAME)
    }

    /// Whether the gateway's marker is on disk.
    pub(crate) fn has_marker(&self) -> bool {
        self.marker(None).exists()
    }

    pub(crate) async fn stop(self) {
        self.root.stop().await;
        assert_eq!(self.root.join_threads(TIMEOUT).await, 0, "no thread is left behind");
    }
}

fn in_force(home: &Path, profiles: Vec<Served>) -> InForce {
    let settings = OpenSettings { home: home.to_owned(), ..OpenSettings::default() };
    InForce { settings: Arc::new(settings), profiles }
}

/// A profile without an actor, which the gate does not need.
fn served(name: ProfileName, home: PathBuf) -> Served {
    let mailbox: Mailbox<ProfileActor> = Mailbox::new();
    Served { name, home, agent: Arc::new(AgentSettings::NONE), ports: ProfilePorts::of(&mailbox) }
}

/// A ticket for a turn that does not run.
pub(crate) fn ticket() -> TurnTicket {
    let profile = ProfileName::default_profile();
    let source = Source { platform: "discord".to_owned(), chat_id: "c".to_owned(), ..Source::default() };
    let session = SessionKey::new(&source, &profile, SessionRules::default());
    TurnTicket { id: fresh_turn_id(), profile, session }
}

/// In memory if possible: the marker is written, synced and renamed for every drain, and the speed of the disk is not
/// under test.
fn home() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let home = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    home.expect("a temporary home")
}

impl Actor for ChangeRecorder {
    type Context = Context<Self>;
}

impl Handler<DrainChanged> for ChangeRecorder {
    type Result = ();
    fn handle(&mut self, change: DrainChanged, _: &mut Self::Context) {
        self.0.lock().expect("no holder of the lock panics").push(change);
    }
}

impl Handler<StatusTouched> for ChangeRecorder {
    type Result = ();
    fn handle(&mut self, _: StatusTouched, _: &mut Self::Context) {}
}
