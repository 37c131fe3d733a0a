//! A tree with the real gate in it, its marker on a real file system, and ears for its news.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler};
use caduceus_actors::config::messages::{InForce, Served, SettingsChanged};
use caduceus_actors::drain::actor::{DrainActor, DrainPorts, DrainSettings};
use caduceus_actors::drain::marker::FILE_NAME;
use caduceus_actors::drain::messages::{BeginDrain, BeginShutdown, CancelDrain, DrainChanged, GetDrain, TurnTicket};
use caduceus_actors::drain::permit::Gate;
use caduceus_actors::drain::permit::messages::RequestPermit;
use caduceus_actors::files::FileEvents;
use caduceus_actors::profile::ProfileActor;
use caduceus_actors::profile::messages::ProfilePorts;
use caduceus_actors::profile::name::ProfileName;
use caduceus_actors::relay::event::Source;
use caduceus_actors::relay::session::{SessionKey, SessionRules};
use caduceus_actors::settings::OpenSettings;
use caduceus_actors::status::messages::StatusTouched;
use caduceus_actors::turn::id::TurnId;
use caduceus_supervision::{
    ChildSpec, Fault, InjectFault, Mailbox, Port, Readiness, Root, RootHandle, RootOptions, Strategy, SupervisorSpec,
    WorkerThread,
};

/// How long one answer may take on a loaded machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// The ways into a gate, real or not.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) permits: Port<RequestPermit>,
    pub(crate) begin: Port<BeginDrain>,
    pub(crate) cancel: Port<CancelDrain>,
    pub(crate) look: Port<GetDrain>,
    pub(crate) shutdown: Port<BeginShutdown>,
}

pub(crate) struct Tree {
    root: RootHandle,
    doors: Doors,
    home: tempfile::TempDir,
    news: News,
    settings: Port<SettingsChanged>,
    in_force: Arc<InForce>,
}

/// What was told of the gate, in order.
pub(crate) type News = Arc<Mutex<Vec<DrainChanged>>>;

/// Whoever is told that the gate moved.
struct Ear(News);

impl Tree {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[], true).await
    }

    /// A gate for named profiles, too; without file events its markers are found by the poll.
    pub(crate) async fn start_with(profiles: &[&str], file_events: bool) -> Self {
        let home = home();
        let (drain, ear) = (Mailbox::new(), Mailbox::new());
        let named = profiles.iter().map(|name| {
            let own = home.path().join("profiles").join(name);
            std::fs::create_dir_all(&own).expect("a home of its own");
            served(ProfileName::parse(name).expect("a name"), own)
        });
        let in_force = Arc::new(in_force(home.path(), named.collect()));
        let settings = DrainSettings::of(&in_force, file_events.then(FileEvents::default));
        let ports = DrainPorts { changes: ear.port(), status: ear.port() };
        let gate = Gate::default();
        let news = News::default();
        let heard = Arc::clone(&news);
        let factory = move |start: &_| DrainActor::new(gate.clone(), settings.clone(), ports.clone(), start);
        let spec = SupervisorSpec::new(Strategy::OneForOne)
            .child(ChildSpec::worker("ear", &ear, move |_: &_| Ear(Arc::clone(&heard))).on(&WorkerThread::new("data")))
            .child(
                ChildSpec::worker("drain", &drain, factory)
                    .on(&WorkerThread::new("control"))
                    .readiness(Readiness::Reported { within: TIMEOUT }),
            );
        let options = RootOptions { unresponsive_after: TIMEOUT, faults_allowed: true, ..RootOptions::default() };
        let doors = Doors {
            permits: drain.port(),
            begin: drain.port(),
            cancel: drain.port(),
            look: drain.port(),
            shutdown: drain.port(),
        };
        let root = Root::start(spec, options).expect("the tree starts");
        let tree = Self { root, doors, home, news, settings: drain.port(), in_force };
        tree.doors.look.ask(GetDrain, TIMEOUT).await.expect("the gate is up");
        tree
    }

    pub(crate) fn doors(&self) -> Doors {
        self.doors.clone()
    }

    pub(crate) fn news(&self) -> News {
        Arc::clone(&self.news)
    }

    /// Has the gate's actor panic.
    pub(crate) async fn fall(&self) {
        let fault = InjectFault { path: "drain".to_owned(), fault: Fault::PanicInTimer };
        self.root.port().ask(fault, TIMEOUT).await.expect("the root answers").expect("faults are allowed");
    }

    /// Waits until every marker has been read by a reading that began after this moment: the gate answers news of its homes then.
    pub(crate) async fn all_read(&self) {
        let news = SettingsChanged(Arc::clone(&self.in_force));
        self.settings.ask(news, TIMEOUT).await.expect("the gate reads its markers");
    }

    /// Where the marker of the gateway, or of a profile, lies.
    pub(crate) fn marker(&self, profile: Option<&str>) -> PathBuf {
        let home = self.home.path();
        profile.map_or_else(|| home.to_owned(), |name| home.join("profiles").join(name)).join(FILE_NAME)
    }

    /// Whether the gateway's marker lies on disk.
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

/// A profile whose actor is nowhere: the gate does not ask it.
fn served(name: ProfileName, home: PathBuf) -> Served {
    let mailbox: Mailbox<ProfileActor> = Mailbox::new();
    let ports = ProfilePorts {
        agent: mailbox.port(),
        spawn: mailbox.port(),
        call: mailbox.port(),
        dial: mailbox.port(),
        verify: mailbox.port(),
        token: mailbox.port(),
        view: mailbox.port(),
        terms: mailbox.port(),
        read_again: mailbox.port(),
    };
    Served { name, home, ports }
}

/// For a turn that nobody runs.
pub(crate) fn ticket() -> TurnTicket {
    let profile = ProfileName::default_profile();
    let source = Source { platform: "discord".to_owned(), chat_id: "c".to_owned(), ..Source::default() };
    let session = SessionKey::new(&source, &profile, SessionRules::default());
    TurnTicket { id: TurnId::fresh(), profile, session }
}

/// In memory where that is possible: the marker is written, synced and renamed for every drain, and the disk is not what is
/// raced here.
fn home() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let home = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    home.expect("a temporary home")
}

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<DrainChanged> for Ear {
    type Result = ();
    fn handle(&mut self, news: DrainChanged, _: &mut Self::Context) {
        self.0.lock().expect("nobody panics with the news in hand").push(news);
    }
}

impl Handler<StatusTouched> for Ear {
    type Result = ();
    fn handle(&mut self, _: StatusTouched, _: &mut Self::Context) {}
}
