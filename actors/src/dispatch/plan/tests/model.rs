//! For any events in any order: one turn per session, its events in order of arrival over each link, no turn through a closed gate
//! or over a link that is down, no more turns than slots, no session left out, and the counts match.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Arrive { chat: u8, other: bool, has_descriptor: bool },
    Offer { chat: u8, other: bool, admitted: bool },
    Record,
    RecordFails,
    Hold { chat: u8, other: bool },
    Restore { chat: u8, other: bool, internal: bool },
    End { which: usize },
    Refuse { which: usize },
    NoLink { which: usize },
    Gate { closed: bool, profile: bool },
    Link { other: bool, open: bool },
    Slots { slots: usize },
    StartNext,
}

fn op() -> impl Strategy<Value = Op> {
    let (chat, flag) = (0..4_u8, any::<bool>());
    prop_oneof![
        4 => (chat.clone(), flag, flag, ).prop_map(|(chat, other, has_descriptor)| Op::Arrive { chat, other, has_descriptor }),
        4 => (chat.clone(), flag, prop::bool::weighted(0.8)).prop_map(|(chat, other, admitted)| Op::Offer { chat, other, admitted }),
        3 => Just(Op::Record),
        1 => Just(Op::RecordFails),
        1 => (chat.clone(), flag).prop_map(|(chat, other)| Op::Hold { chat, other }),
        2 => (chat, flag, prop::bool::weighted(0.2)).prop_map(|(chat, other, internal)| Op::Restore { chat, other, internal }),
        5 => (0..8_usize).prop_map(|which| Op::End { which }),
        1 => (0..8_usize).prop_map(|which| Op::Refuse { which }),
        1 => (0..8_usize).prop_map(|which| Op::NoLink { which }),
        1 => (flag, flag).prop_map(|(closed, profile)| Op::Gate { closed, profile }),
        2 => (flag, prop::bool::weighted(0.7)).prop_map(|(other, open)| Op::Link { other, open }),
        1 => (1..4_usize).prop_map(|slots| Op::Slots { slots }),
        1 => Just(Op::StartNext),
    ]
}

fn link_of(other: bool) -> LinkId {
    if other { LinkId("relay-other".into()) } else { link() }
}

#[derive(Debug, Clone)]
struct ModelEvent {
    chat: u8,
    other: bool,
    internal: bool,
    /// It has waited, and is subject to the gates as last reported.
    waited: bool,
}

/// An event that is being recorded.
#[derive(Debug)]
struct OfferedEvent {
    event: ModelEvent,
    turn: Option<TurnId>,
}

#[derive(Debug, Default)]
struct Model {
    /// Recorded in this order.
    offered: VecDeque<OfferedEvent>,
    /// Turns that had their permit before their event was recorded: nothing stops their start.
    begun: BTreeSet<TurnId>,
    waiting: BTreeMap<i64, ModelEvent>,
    running: Vec<(TurnId, i64, ModelEvent)>,
    closed: bool,
    profile_closed: bool,
    up: [bool; 2],
    slots: usize,
}

impl Model {
    fn may_run(&self, known: &ModelEvent) -> bool {
        self.up[usize::from(known.other)] && (known.internal || !(self.closed || self.profile_closed))
    }

    /// The place among the running turns of one whose event is recorded, and may end.
    fn recorded(&self, which: usize) -> Option<usize> {
        let is_recorded =
            |(turn, ..): &(TurnId, i64, ModelEvent)| self.offered.iter().all(|offered| offered.turn != Some(*turn));
        self.running.get(which).filter(|running| is_recorded(running)).map(|_| which)
    }

    /// The place of one whose permit is requested after its event was recorded, so that it may not start.
    fn requested(&self, which: usize) -> Option<usize> {
        self.recorded(which).filter(|which| !self.begun.contains(&self.running[*which].0))
    }

    /// Applies the steps of the plan, and checks that they are allowed.
    fn take(&mut self, steps: &[DispatchStep], fresh: Option<(i64, bool)>) -> Result<(), TestCaseError> {
        for step in steps {
            let DispatchStep::RequestPermit(turn, event) = step else { continue };
            let known = self.waiting.remove(&event.0).expect("it waits");
            let is_fresh = fresh.is_some_and(|(row, has_descriptor)| {
                row == event.0 && (has_descriptor || self.up[usize::from(known.other)])
            });
            prop_assert!(is_fresh || self.may_run(&known), "{event:?} may not run");
            prop_assert!(self.running.iter().all(|(_, _, other)| other.chat != known.chat), "two at once in a session");
            prop_assert!(self.running.len() < self.slots, "more than there are slots");
            let before = self.waiting.iter().find(|(row, other)| {
                other.chat == known.chat
                    && other.other == known.other
                    && other.internal == known.internal
                    && **row < event.0
            });
            prop_assert!(before.is_none(), "{before:?} came before {event:?}");
            self.running.push((*turn, event.0, ModelEvent { waited: known.waited || !is_fresh, ..known }));
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn guarantees_hold_for_any_events(ops in prop::collection::vec(op(), 0..120)) {
        let mut plan = DispatchPlan::new(&values(Busy::Queue, 3), ids(), SoleSlots::default());
        let mut model = Model { slots: 3, ..Model::default() };
        plan.open();
        for (row, op) in (0_i64..).zip(ops) {
            let mut fresh = None;
            let steps = match op {
                Op::Arrive { chat, other, has_descriptor } => {
                    fresh = Some((row, has_descriptor));
                    model.waiting.insert(row, ModelEvent { chat, other, internal: false, waited: false });
                    let steps = plan.arrived(InboundId(row), &session(&chat.to_string()), &link_of(other), has_descriptor);
                    if steps.contains(&DispatchStep::Overflow(InboundId(row))) {
                        model.waiting.remove(&row);
                    }
                    steps
                }
                Op::Hold { chat, other } => {
                    model.waiting.insert(row, ModelEvent { chat, other, internal: false, waited: true });
                    plan.held(InboundId(row), &session(&chat.to_string()), &link_of(other))
                }
                Op::Restore { chat, other, internal } => {
                    model.waiting.insert(row, ModelEvent { chat, other, internal, waited: true });
                    let origin = if internal { Origin::Internal } else { Origin::External };
                    plan.restored(InboundId(row), &session(&chat.to_string()), &link_of(other), origin)
                }
                Op::Offer { chat, other, admitted } => {
                    let event = ModelEvent { chat, other, internal: false, waited: false };
                    let admit = |turn| admitted.then_some(turn);
                    let turn = plan.offered(&session(&chat.to_string()), &link_of(other), admit).map(|(turn, _)| turn);
                    if let Some(turn) = turn {
                        let same = |known: &ModelEvent| known.chat == chat;
                        prop_assert!(!model.offered.iter().any(|offered| same(&offered.event)), "it overtakes one that is being recorded");
                        prop_assert!(!model.waiting.values().any(same), "it overtakes one that waits");
                        prop_assert!(!model.running.iter().any(|(_, _, known)| same(known)), "two at once in a session");
                        prop_assert!(!(model.closed || model.profile_closed) && model.running.len() < model.slots);
                        model.running.push((turn, row, event.clone()));
                    }
                    model.offered.push_back(OfferedEvent { event, turn });
                    Vec::new()
                }
                Op::Record if !model.offered.is_empty() => {
                    let OfferedEvent { event, turn } = model.offered.pop_front().unwrap();
                    let key = session(&event.chat.to_string());
                    if let Some(turn) = turn {
                        prop_assert!(plan.begun(turn, InboundId(row)));
                        model.begun.insert(turn);
                        for running in model.running.iter_mut().filter(|running| running.0 == turn) {
                            running.1 = row;
                        }
                        Vec::new()
                    } else {
                        plan.recorded(&key, &link());
                        fresh = Some((row, true));
                        let over = link_of(event.other);
                        model.waiting.insert(row, event);
                        let steps = plan.arrived(InboundId(row), &key, &over, true);
                        if steps.contains(&DispatchStep::Overflow(InboundId(row))) {
                            model.waiting.remove(&row);
                        }
                        steps
                    }
                }
                Op::RecordFails if !model.offered.is_empty() => {
                    let OfferedEvent { event, turn, .. } = model.offered.pop_front().unwrap();
                    if let Some(turn) = turn {
                        model.running.retain(|(other, ..)| *other != turn);
                        plan.ended(turn)
                    } else {
                        plan.recorded(&session(&event.chat.to_string()), &link());
                        Vec::new()
                    }
                }
                Op::End { which } if model.recorded(which).is_some() => {
                    let (turn, ..) = model.running.remove(which);
                    plan.ended(turn)
                }
                Op::NoLink { which } if model.requested(which).is_some() && !model.up[usize::from(model.running[which].2.other)] => {
                    let (turn, row, known) = model.running.remove(which);
                    model.waiting.insert(row, ModelEvent { waited: true, ..known });
                    plan.no_link(turn)
                }
                Op::Refuse { which } if model.requested(which).is_some() && !model.running[which].2.internal => {
                    let (turn, row, known) = model.running.remove(which);
                    let was_open = plan.is_open(&ProfileName::default_profile());
                    model.waiting.insert(row, ModelEvent { waited: true, ..known });
                    let steps = plan.refused(turn, Refusal::Draining, true);
                    // The refusal closes the gate before the report does.
                    model.profile_closed |= was_open && !plan.is_open(&ProfileName::default_profile());
                    steps
                }
                Op::Gate { closed, profile } => {
                    (model.closed, model.profile_closed) = (closed, profile);
                    plan.gate(closed, profile.then(ProfileName::default_profile))
                }
                Op::Link { other, open } => {
                    model.up[usize::from(other)] = open;
                    plan.link(&link_of(other), open)
                }
                Op::Slots { slots } => {
                    model.slots = slots;
                    plan.configure(&values(Busy::Queue, slots))
                }
                Op::End { .. } | Op::NoLink { .. } | Op::Refuse { .. } | Op::Record | Op::RecordFails | Op::StartNext => {
                    plan.start_next()
                }
            };
            model.take(&steps, fresh)?;
            prop_assert!(!plan.has_more(), "a slot is free, and no permit was requested");
            let counts = plan.counts();
            let all = counts.queued + counts.held + counts.awaiting_link.values().sum::<usize>();
            prop_assert_eq!(all, model.waiting.len());
            prop_assert_eq!(plan.slots_in_use(), model.running.len());
            let idle = |known: &&ModelEvent| model.running.iter().all(|(_, _, other)| other.chat != known.chat);
            let left_out = model.waiting.values().filter(idle).any(|known| model.may_run(known));
            prop_assert!(!left_out || model.running.len() >= model.slots, "a session that may run is left out");
            let running = model.running.iter().map(|(_, _, known)| known);
            let known = model.waiting.values().chain(running).chain(model.offered.iter().map(|offered| &offered.event));
            let chats: BTreeSet<u8> = known.map(|known| known.chat).collect();
            prop_assert_eq!(plan.sessions(), chats.len());
        }
    }
}
