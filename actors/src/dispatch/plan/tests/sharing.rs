//! Several dispatchers, and the slots that they share: no more turns than slots, no slot idle while an event may run, none lost, and
//! no dispatcher or link left out.

use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::exploration::{Explored, explore};

const DISPATCHERS: usize = 3;

/// All histories of the slots, without the dispatchers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SlotHistory {
    slots: SlotPlan,
    in_use: [usize; DISPATCHERS],
    /// For each that is in line: the slots that others got since it waits.
    passed_over: [Option<usize>; DISPATCHERS],
    /// A slot is reserved for it.
    reserved: [bool; DISPATCHERS],
    limit: usize,
}

#[derive(Debug, Clone, Copy)]
enum SlotOp {
    TakeOrWait(usize),
    Take(usize),
    GiveBack(usize),
    StopWaiting(usize),
    BeginRecovery(usize, usize),
    Adopt(usize, usize),
    SetLimit(usize),
}

impl Explored for SlotHistory {
    type Event = SlotOp;

    fn events(&self) -> Vec<SlotOp> {
        let each = |dispatcher: usize| {
            let give_back = (self.in_use[dispatcher] > 0).then_some(SlotOp::GiveBack(dispatcher));
            let always = [SlotOp::TakeOrWait(dispatcher), SlotOp::Take(dispatcher), SlotOp::StopWaiting(dispatcher)];
            let recovery = [SlotOp::BeginRecovery(dispatcher, 1), SlotOp::Adopt(dispatcher, 2)];
            always.into_iter().chain(give_back).chain(recovery)
        };
        (0..DISPATCHERS).flat_map(each).chain([SlotOp::SetLimit(1), SlotOp::SetLimit(2)]).collect()
    }

    fn apply(&mut self, event: &SlotOp) -> Result<(), String> {
        let taken =
            |history: &Self| history.in_use.iter().sum::<usize>() + history.reserved.iter().filter(|one| **one).count();
        match *event {
            SlotOp::TakeOrWait(dispatcher) | SlotOp::Take(dispatcher) => {
                let waits = matches!(event, SlotOp::TakeOrWait(_));
                self.reserved[dispatcher] = false;
                let expected = taken(self) < self.limit;
                let is_taken = if waits { self.slots.take_or_wait(dispatcher) } else { self.slots.take(dispatcher) };
                if is_taken != expected {
                    return Err(format!("taken: {is_taken}"));
                }
                if is_taken {
                    self.passed_over[dispatcher] = None;
                    self.in_use[dispatcher] += 1;
                } else if waits {
                    self.passed_over[dispatcher].get_or_insert(0);
                }
            }
            SlotOp::GiveBack(dispatcher) => {
                self.in_use[dispatcher] -= 1;
                self.slots.give_back(dispatcher);
            }
            SlotOp::StopWaiting(dispatcher) => {
                (self.reserved[dispatcher], self.passed_over[dispatcher]) = (false, None);
                self.slots.stop_waiting(dispatcher);
            }
            SlotOp::BeginRecovery(dispatcher, working) => {
                (self.reserved[dispatcher], self.passed_over[dispatcher]) = (false, None);
                self.in_use[dispatcher] = self.in_use[dispatcher].min(working);
                self.slots.begin_recovery(dispatcher, working);
            }
            SlotOp::Adopt(dispatcher, turns) => {
                self.in_use[dispatcher] = turns;
                self.slots.adopt(dispatcher, turns);
            }
            SlotOp::SetLimit(limit) => {
                self.limit = limit;
                self.slots.set_limit(0, limit);
            }
        }
        for next in self.slots.take_notified() {
            if self.passed_over[next].take().is_none() || self.reserved[next] {
                return Err(format!("a slot is reserved for {next}, which is not in line"));
            }
            self.reserved[next] = true;
            for passed_over in self.passed_over.iter_mut().flatten() {
                *passed_over += 1;
            }
        }
        if self.slots.in_use() != self.in_use.iter().sum::<usize>() {
            return Err(format!("{} slots in use", self.slots.in_use()));
        }
        if taken(self) < self.limit && self.passed_over.iter().any(Option::is_some) {
            return Err("a slot is free, and a dispatcher waits".to_owned());
        }
        if self.passed_over.iter().flatten().any(|passed_over| *passed_over >= DISPATCHERS) {
            return Err("another dispatcher got a second slot before one that waits".to_owned());
        }
        Ok(())
    }
}

#[test]
fn a_dispatcher_in_line_gets_a_slot_after_one_for_each_other_at_most() {
    let first = SlotHistory {
        slots: SlotPlan::new(1, DISPATCHERS),
        in_use: [0; DISPATCHERS],
        passed_over: [None; DISPATCHERS],
        reserved: [false; DISPATCHERS],
        limit: 1,
    };
    let states = explore(first, 7).unwrap();
    assert!(states > 500, "{states}");
}

/// The slots, and the dispatchers whose notification is on its way.
#[derive(Debug)]
struct NotifyingSlots {
    plan: SlotPlan,
    notified: BTreeSet<usize>,
}

/// The slots, as the dispatcher of this number has access to them.
#[derive(Debug, Clone)]
struct SharedSlots(Rc<RefCell<NotifyingSlots>>, usize);

impl SlotAccess for SharedSlots {
    // As in production, a dispatcher is not notified of a slot that its own change reserves for it.
    fn change<R>(&mut self, change: impl FnOnce(&mut SlotPlan, usize) -> R) -> Option<R> {
        let mut slots = self.0.borrow_mut();
        let result = change(&mut slots.plan, self.1);
        let notified = slots.plan.take_notified();
        slots.notified.extend(notified.into_iter().filter(|dispatcher| *dispatcher != self.1));
        Some(result)
    }
}

/// Dispatchers with all that runs under them.
struct Dispatchers {
    slots: Rc<RefCell<NotifyingSlots>>,
    plans: Vec<DispatchPlan<SharedSlots>>,
    /// Of each dispatcher, in the order of their starts.
    running: Vec<VecDeque<(TurnId, i64)>>,
    /// All that started, in order.
    started: Vec<i64>,
    limit: usize,
}

impl Dispatchers {
    /// Dispatchers whose two links are up.
    fn new(number: usize, limit: usize) -> Self {
        let plan = SlotPlan::new(limit, number);
        let slots = Rc::new(RefCell::new(NotifyingSlots { plan, notified: BTreeSet::new() }));
        let plan = |dispatcher| {
            let slots = SharedSlots(Rc::clone(&slots), dispatcher);
            let mut plan = DispatchPlan::new(&values(Busy::Queue, limit), ids(), slots);
            assert_eq!(plan.open(), []);
            assert_eq!((plan.link(&flooding(), true), plan.link(&quiet(), true)), (Vec::new(), Vec::new()));
            plan
        };
        let plans = (0..number).map(plan).collect();
        Self { slots: Rc::clone(&slots), plans, running: vec![VecDeque::new(); number], started: Vec::new(), limit }
    }

    fn take(&mut self, dispatcher: usize, steps: &[DispatchStep]) {
        for step in steps {
            let DispatchStep::RequestPermit(turn, event) = step else { continue };
            self.running[dispatcher].push_back((*turn, event.0));
            self.started.push(event.0);
        }
        assert!(self.in_use() <= self.limit, "more turns than slots");
    }

    fn in_use(&self) -> usize {
        self.running.iter().map(VecDeque::len).sum()
    }

    fn arrive(&mut self, dispatcher: usize, event: i64, chat: &str, over: &LinkId) {
        let steps = self.plans[dispatcher].arrived(InboundId(event), &session(chat), over, true);
        self.take(dispatcher, &steps);
    }

    fn end(&mut self, dispatcher: usize) {
        let Some((turn, _)) = self.running[dispatcher].pop_front() else { return };
        let steps = self.plans[dispatcher].ended(turn);
        self.take(dispatcher, &steps);
    }

    /// The slices that are due, and the notifications, are handled.
    fn settle(&mut self) {
        loop {
            let mut next = std::mem::take(&mut self.slots.borrow_mut().notified);
            next.extend((0..self.plans.len()).filter(|number| self.plans[*number].has_more()));
            if next.is_empty() {
                return;
            }
            for dispatcher in next {
                let steps = self.plans[dispatcher].start_next();
                self.take(dispatcher, &steps);
            }
        }
    }
}

fn flooding() -> LinkId {
    LinkId("relay-flooding".into())
}

fn quiet() -> LinkId {
    LinkId("relay-quiet".into())
}

#[test]
fn a_flood_over_all_dispatchers_does_not_hold_up_another_link() {
    for limit in [1, 2, 7] {
        let mut all = Dispatchers::new(DISPATCHERS, limit);
        for (event, dispatcher) in (0..300).zip((0..DISPATCHERS).cycle()) {
            all.arrive(dispatcher, event, &event.to_string(), &flooding());
        }
        all.settle();
        let before = all.started.len();
        all.arrive(1, 1_000, "quiet", &quiet());
        // Whichever dispatcher's turns end first, even if the turns of one never end.
        for dispatcher in [0, 2, 1].into_iter().cycle().take(2 * 2 * DISPATCHERS * limit) {
            all.end(dispatcher);
            all.settle();
        }
        let place = all.started.iter().position(|event| *event == 1_000).expect("it starts");
        // Each of its dispatcher's two links has a turn, once each dispatcher had a slot.
        assert!(place - before < 2 * DISPATCHERS, "{place} with {limit} slots, {before} before");
    }
}

#[test]
fn a_dispatcher_whose_turn_does_not_end_gets_the_slots_of_others() {
    let mut all = Dispatchers::new(2, 2);
    for (event, dispatcher) in (0..20).zip([0, 1].into_iter().cycle()) {
        all.arrive(dispatcher, event, &event.to_string(), &flooding());
    }
    all.settle();
    all.arrive(1, 1_000, "quiet", &quiet());
    let stuck = all.running[1].pop_front().expect("each has a slot");
    for _ in 0..6 {
        let dispatcher = usize::from(all.running[0].is_empty());
        all.end(dispatcher);
        all.settle();
    }
    assert!(all.started.contains(&1_000), "{stuck:?} holds up {:?}", all.started);
}

#[test]
fn the_limit_of_the_first_dispatcher_applies_and_a_higher_one_starts_turns_of_the_others() {
    let mut all = Dispatchers::new(2, 1);
    for event in 0..4 {
        all.arrive(1, event, &event.to_string(), &quiet());
    }
    all.limit = 3;
    assert_eq!(all.plans[1].configure(&values(Busy::Queue, 4)), [], "an older or a newer change");
    assert_eq!(all.plans[0].configure(&values(Busy::Queue, 3)), []);
    all.settle();
    assert_eq!(all.started, [0, 1, 2]);
}

#[derive(Debug, Clone)]
enum SharedOp {
    Arrive { dispatcher: usize, chat: u8, quiet: bool },
    Offer { dispatcher: usize, chat: u8, admitted: bool },
    End { dispatcher: usize },
    Link { dispatcher: usize, open: bool },
    Gate { dispatcher: usize, closed: bool },
    Notify,
    Limit { limit: usize },
}

fn shared_op() -> impl Strategy<Value = SharedOp> {
    let (dispatcher, chat, flag) = (0..DISPATCHERS, 0..6_u8, any::<bool>());
    prop_oneof![
        5 => (dispatcher.clone(), chat.clone(), flag).prop_map(|(dispatcher, chat, quiet)| SharedOp::Arrive { dispatcher, chat, quiet }),
        2 => (dispatcher.clone(), chat, flag).prop_map(|(dispatcher, chat, admitted)| SharedOp::Offer { dispatcher, chat, admitted }),
        5 => dispatcher.clone().prop_map(|dispatcher| SharedOp::End { dispatcher }),
        1 => (dispatcher.clone(), flag).prop_map(|(dispatcher, open)| SharedOp::Link { dispatcher, open }),
        1 => (dispatcher, flag).prop_map(|(dispatcher, closed)| SharedOp::Gate { dispatcher, closed }),
        2 => Just(SharedOp::Notify),
        1 => (1..4_usize).prop_map(|limit| SharedOp::Limit { limit }),
    ]
}

proptest! {
    #[test]
    fn every_event_runs_once_and_no_slot_is_lost(ops in prop::collection::vec(shared_op(), 0..80)) {
        let mut all = Dispatchers::new(DISPATCHERS, 2);
        let (mut arrived, mut last_limit) = (BTreeSet::new(), 2);
        for (event, op) in (0_i64..).zip(ops) {
            match op {
                SharedOp::Arrive { dispatcher, chat, quiet: over_quiet } => {
                    arrived.insert(event);
                    let over = if over_quiet { quiet() } else { flooding() };
                    let steps = all.plans[dispatcher].arrived(InboundId(event), &session(&chat.to_string()), &over, true);
                    if steps.contains(&DispatchStep::Overflow(InboundId(event))) {
                        arrived.remove(&event);
                    }
                    all.take(dispatcher, &steps);
                }
                SharedOp::Offer { dispatcher, chat, admitted } => {
                    let key = session(&chat.to_string());
                    let plan = &mut all.plans[dispatcher];
                    match plan.offered(&key, &quiet(), |turn| admitted.then_some(turn)) {
                        Some((turn, _)) => {
                            arrived.insert(event);
                            prop_assert!(plan.begun(turn, InboundId(event)));
                            all.running[dispatcher].push_back((turn, event));
                            all.started.push(event);
                        }
                        None => plan.recorded(&key, &link()),
                    }
                }
                SharedOp::End { dispatcher } => all.end(dispatcher),
                SharedOp::Link { dispatcher, open } => {
                    let steps = all.plans[dispatcher].link(&quiet(), open);
                    all.take(dispatcher, &steps);
                }
                SharedOp::Gate { dispatcher, closed } => {
                    let steps = all.plans[dispatcher].gate(closed, []);
                    all.take(dispatcher, &steps);
                }
                SharedOp::Notify => all.settle(),
                SharedOp::Limit { limit } => {
                    last_limit = limit;
                    // A lower limit stops nothing that runs.
                    all.limit = limit.max(all.in_use());
                    for dispatcher in 0..DISPATCHERS {
                        let steps = all.plans[dispatcher].configure(&values(Busy::Queue, limit));
                        all.take(dispatcher, &steps);
                    }
                }
            }
            let in_use: usize = all.plans.iter().map(DispatchPlan::slots_in_use).sum();
            prop_assert_eq!((all.slots.borrow().plan.in_use(), all.in_use()), (in_use, in_use));
        }
        // Everything may run now, and does.
        for dispatcher in 0..DISPATCHERS {
            let mut steps = all.plans[dispatcher].link(&quiet(), true);
            all.take(dispatcher, &steps);
            steps = all.plans[dispatcher].gate(false, []);
            all.take(dispatcher, &steps);
        }
        all.settle();
        while all.in_use() > 0 {
            (0..DISPATCHERS).for_each(|dispatcher| all.end(dispatcher));
            all.settle();
        }
        let mut started = all.started.clone();
        started.sort_unstable();
        prop_assert_eq!(started, arrived.into_iter().collect::<Vec<_>>());
        let slots = &mut all.slots.borrow_mut().plan;
        prop_assert_eq!(slots.in_use(), 0);
        let free = (0..=last_limit).take_while(|_| slots.take(0)).count();
        prop_assert_eq!(free, last_limit, "every slot is free again");
    }
}
