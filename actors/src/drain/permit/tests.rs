//! The gate: what counts, what never started, and who takes permits.

use actix::{Actor, Context, Handler};

use super::*;
use crate::turn::id::fresh_turn_id;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::event::Source;
use caduceus_contract::wire::session::{SessionKey, SessionRules};

struct StoppableTurn;

impl Actor for StoppableTurn {
    type Context = Context<Self>;
}

impl Handler<StopTurn> for StoppableTurn {
    type Result = ();
    fn handle(&mut self, _: StopTurn, _: &mut Self::Context) {}
}

fn ticket() -> TurnTicket {
    ticket_in("")
}

fn ticket_in(chat: &str) -> TurnTicket {
    let profile = ProfileName::default_profile();
    let source = Source { chat_id: chat.to_owned(), ..Source::default() };
    let session = SessionKey::new(&source, &profile, SessionRules::default());
    TurnTicket { id: fresh_turn_id(), profile, session }
}

#[actix::test]
async fn a_turn_whose_incarnation_was_fenced_no_longer_counts() {
    let gate = Gate::default();
    let (lost, kept) = (Incarnation::new("turns/1", 1), Incarnation::new("turns/2", 1));
    let permits = [&lost, &kept].map(|incarnation| {
        let permit = gate.admit(0, ticket(), Origin::External).unwrap();
        assert!(incarnation.enter(|| permit.attach(Port::from(StoppableTurn.start()))));
        permit
    });
    let _not_started = gate.admit(0, ticket(), Origin::External).unwrap();
    assert_eq!((gate.count(), gate.turns().len()), (3, 3));

    lost.fence();
    assert_eq!((gate.count(), gate.turns().len()), (2, 2));
    assert!(gate.turns().iter().all(|turn| turn.ticket.id != permits[0].turn()));

    drop(permits);
    assert_eq!(gate.count(), 1);
}

#[actix::test]
async fn a_turn_whose_end_is_not_on_disk_is_shown_only_if_none_works() {
    let gate = Gate::default();
    let admit = || gate.admit(0, ticket(), Origin::External).unwrap();
    let [first, second] = [1, 2].map(|_| admit());
    let ids = || {
        let turns = gate.turns();
        assert_eq!(gate.count(), shown(&turns).count());
        shown(&turns).map(|turn| turn.ticket.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(), [first.turn(), second.turn()]);
    // There are two slots: the next turn has that of the first, whose end is not on disk.
    first.end_of_work()();
    let third = admit();
    assert_eq!(ids(), [second.turn(), third.turn()], "not more than there are slots");
    assert_eq!(gate.turns().len(), 3, "a drain waits for all");
    second.end_of_work()();
    third.end_of_work()();
    assert_eq!(ids(), [first.turn()], "it is not idle while an end is not on disk");
    drop(first);
    assert_eq!(ids(), [second.turn()]);
    drop((second, third));
    assert_eq!(ids(), []);
}

#[actix::test]
async fn a_turn_that_left_or_was_forgotten_before_its_start_is_known_and_never_starts() {
    let gate = Gate::default();
    let [started, left, forgotten] = [1, 2, 3].map(|_| gate.admit(0, ticket(), Origin::External).unwrap());
    let turns = [&started, &left, &forgotten].map(TurnPermit::turn);
    assert!(started.attach(Port::from(StoppableTurn.start())));
    assert!(turns.iter().all(|turn| !gate.never_started(*turn)));
    assert!(gate.forget(forgotten.turn()) && !gate.forget(started.turn()), "a turn that runs is not forgotten");
    assert_eq!(gate.count(), 2);
    assert!(!forgotten.attach(Port::from(StoppableTurn.start())), "it must not run");
    drop([started, left, forgotten]);
    assert_eq!(turns.map(|turn| gate.never_started(turn)), [false, true, true]);
}

#[test]
fn turns_of_one_dispatcher_that_never_start_remove_none_of_another() {
    let gate = Gate::of_dispatchers(2);
    let admit = |ticket| gate.admit(0, ticket, Origin::External).unwrap().turn();
    let of = |number| {
        let chats = (0..100).map(|chat| ticket_in(&chat.to_string()));
        chats.into_iter().find(|ticket| DispatchShare::number_of_session(&ticket.session, 2) == number).unwrap()
    };
    let (kept, removed) = (admit(of(0)), admit(of(1)));
    for _ in 0..NEVER_STARTED {
        admit(TurnTicket { id: fresh_turn_id(), ..of(1) });
    }
    assert!(gate.never_started(kept) && !gate.never_started(removed));
}

fn take(gate: &Gate, profile: &str) -> Result<Result<(), Refusal>, &'static str> {
    let profile = ProfileName::parse(profile).unwrap();
    let request = PermitRequest { ticket: TurnTicket { profile, ..ticket() }, origin: Origin::External };
    let taken = gate.take_permits([((), request)]);
    match taken.answered.into_iter().next() {
        Some(((), permit)) => Ok(permit.map(drop)),
        None => Err("unread"),
    }
}

#[test]
fn permits_are_taken_without_a_message_only_once_the_markers_are_read_by_the_present_owner() {
    let gate = Gate::default();
    let work = DrainScope::Profile(ProfileName::parse("work").unwrap());
    for owner in [1, 2] {
        gate.adopt(owner, || ());
        assert_eq!(take(&gate, "default"), Err("unread"), "owner {owner} has read nothing");
        gate.set_read(owner, &DrainScope::Gateway);
        assert_eq!(take(&gate, "default"), Err("unread"), "only the first set of homes opens it");
        gate.set_unread(owner, [work.clone()].into());
        assert_eq!((take(&gate, "default"), take(&gate, "work")), (Ok(Ok(())), Err("unread")));
        gate.set_read(owner - 1, &work);
        gate.set_unread(owner - 1, BTreeSet::new());
        assert_eq!(take(&gate, "work"), Err("unread"), "an earlier owner changes nothing");
        gate.set_read(owner, &work);
        assert_eq!(take(&gate, "work"), Ok(Ok(())));
    }
    gate.change(2, GatePlan::stop);
    assert_eq!(take(&gate, "work"), Ok(Err(Refusal::Stopping)));
    assert_eq!(gate.count(), 0);
}
