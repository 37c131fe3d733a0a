//! A tree with the real gate in it, its marker on a real file system, and ears for its news.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use actix::{Actor, Context, Handler};
use caduceus_actors::drain::actor::{DrainActor, DrainPorts, DrainSettings};
use caduceus_actors::drain::marker::FILE_NAME;
use caduceus_actors::drain::messages::{BeginDrain, CancelDrain, DrainChanged, GetDrain, RequestPermit};
use caduceus_actors::drain::permit::Gate;
use caduceus_actors::files::FileEvents;
use caduceus_actors::status::messages::StatusTouched;
use caduceus_actors::supervision::{
    ChildSpec, Lane, Mailbox, Port, Readiness, Root, RootHandle, RootOptions, Strategy, SupervisorSpec,
};

/// How long one answer may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The ways into a gate, real or not.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) permits: Port<RequestPermit>,
    pub(crate) begin: Port<BeginDrain>,
    pub(crate) cancel: Port<CancelDrain>,
    pub(crate) look: Port<GetDrain>,
}

pub(crate) struct Tree {
    root: RootHandle,
    doors: Doors,
    home: tempfile::TempDir,
}

/// Whoever is told that the gate moved.
struct Ear;

impl Tree {
    pub(crate) async fn start() -> Self {
        let home = home();
        let (drain, ear) = (Mailbox::new(), Mailbox::new());
        let settings = DrainSettings {
            home: home.path().to_owned(),
            profiles: BTreeMap::new(),
            events: Some(FileEvents::default()),
        };
        let ports = DrainPorts { changes: ear.port(), status: ear.port() };
        let gate = Gate::default();
        let factory = move |birth: &_| DrainActor::new(gate.clone(), settings.clone(), ports.clone(), birth);
        let spec = SupervisorSpec::new(Strategy::OneForOne)
            .child(ChildSpec::worker("ear", &ear, |_: &_| Ear).on(&Lane::new("data")))
            .child(
                ChildSpec::worker("drain", &drain, factory)
                    .on(&Lane::new("control"))
                    .readiness(Readiness::Said { within: PATIENCE }),
            );
        let options = RootOptions { wedge_after: PATIENCE, ..RootOptions::default() };
        let doors = Doors { permits: drain.port(), begin: drain.port(), cancel: drain.port(), look: drain.port() };
        let tree = Self { root: Root::start(spec, options), doors, home };
        tree.doors.look.ask(GetDrain, PATIENCE).await.expect("the gate is up");
        tree
    }

    pub(crate) fn doors(&self) -> Doors {
        self.doors.clone()
    }

    /// Whether the gateway's marker lies on disk.
    pub(crate) fn has_marker(&self) -> bool {
        self.home.path().join(FILE_NAME).exists()
    }

    pub(crate) async fn stop(self) {
        self.root.stop().await;
        assert_eq!(self.root.join_lanes(PATIENCE).await, 0, "no thread is left behind");
    }
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
    fn handle(&mut self, _: DrainChanged, _: &mut Self::Context) {}
}

impl Handler<StatusTouched> for Ear {
    type Result = ();
    fn handle(&mut self, _: StatusTouched, _: &mut Self::Context) {}
}
