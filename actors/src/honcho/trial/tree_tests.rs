//! The grants' actor as a child of a real tree.

use std::collections::BTreeMap;
use std::sync::mpsc;

use actix::{Actor, Context, Handler};

use super::super::actor::{HonchoOwnPorts, HonchoPorts, HonchoProfile, HonchoRefreshActor, HonchoSettings};
use super::super::location::Homes;
use super::super::steps::RefreshStep;
use super::*;
use crate::status::changes::StatusChanges;
use caduceus_contract::messages::status::StatusTouched;
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::{ChildSpec, Mailbox, Readiness, Root, RootHandle, RootOptions, Strategy, SupervisorSpec};

struct UnreachableStatus;

impl Actor for UnreachableStatus {
    type Context = Context<Self>;
}

impl Handler<StatusTouched> for UnreachableStatus {
    type Result = ();
    fn handle(&mut self, _: StatusTouched, _: &mut Self::Context) {}
}

fn start(trial: &GrantTrial, steps: StepHook) -> RootHandle {
    let home = trial.home.path().to_owned();
    let homes = Homes { own: home.clone(), default: home, user: None };
    let profile = HonchoProfile { name: ProfileName::default_profile(), homes, host: None };
    let settings = HonchoSettings { steps, ..HonchoSettings::new(vec![profile]) };
    let ports = HonchoPorts { profiles: BTreeMap::new(), status: StatusChanges::new(UnreachableStatus.start().into()) };
    let mailbox = Mailbox::new();
    let grants = ChildSpec::worker("honcho", &mailbox, move |start| {
        HonchoRefreshActor::new(ports.clone(), settings.clone(), start.incarnation().clone(), HonchoOwnPorts::of(start))
    });
    let grants = grants.readiness(Readiness::Reported { within: SOON }).grace(SOON);
    Root::start(SupervisorSpec::new(Strategy::OneForOne).child(grants), RootOptions::default())
        .expect("the tree starts")
}

#[actix::test]
async fn a_stop_waits_for_the_exchange_in_flight_to_be_on_disk() {
    let trial = GrantTrial::expired();
    trial.server.script(Fault::Delay(Duration::from_millis(300)));
    let (steps, reached) = mpsc::channel();
    let steps = StepHook::new(move |step| {
        // There is no receiver for the later ones.
        let _ = steps.send(step);
    });
    let root = start(&trial, steps);
    let sending = move || while reached.recv_timeout(SOON).expect("the exchange begins") != RefreshStep::BeforeSend {};
    tokio::task::spawn_blocking(sending).await.unwrap();
    tokio::time::timeout(SOON, root.stop()).await.expect("the tree stops");
    assert_eq!(trial.json()["hosts"]["hermes"]["apiKey"], "hch-at-n1");
}

#[actix::test]
async fn a_stop_with_nothing_in_flight_is_immediate() {
    let trial = GrantTrial::with_life(3600);
    let root = start(&trial, StepHook::default());
    let begun = Instant::now();
    tokio::time::timeout(SOON, root.stop()).await.expect("the tree stops");
    assert!(begun.elapsed() < Duration::from_secs(3));
}
