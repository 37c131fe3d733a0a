//! All histories of a link up to a length: never two sockets, no dial with revoked credentials, never without a next step.

use std::collections::BTreeSet;

use super::*;
use crate::exploration::{Explored, assert_value, explore};

/// Events per history, after the first handshake; the mutants are found with fewer.
const DEPTH: usize = 7;
/// No wait of the default times is longer.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// A possible defect of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum LinkMutant {
    /// It does not close the older socket.
    KeepsTheSocket,
    /// It does not record that credentials were revoked.
    DialsRevoked,
    /// It sets no timer while there is nothing to dial.
    SetsNoTimer,
    /// It treats an expired token as revoked.
    RevokesExpired,
}

/// The plan, the sockets, and the guarantees so far.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct LinkWorld {
    mutant: Option<LinkMutant>,
    plan: LinkPlan,
    now: Duration,
    /// Generations whose dial is running or whose socket is open.
    sockets: BTreeSet<u64>,
    /// An answer of the profile is pending.
    preparing: bool,
    /// Credentials of the last dial.
    credentials: u64,
    revoked: Option<u64>,
    /// The link was ordered to leave.
    leaving: bool,
}

#[derive(Debug, Clone)]
enum LinkEvent {
    Prepared(Prepared),
    Dialled(u64),
    Described(u64),
    Lost(u64, Loss),
    IdleAcked(u64),
    GoIdle(Idleness),
    Wake,
    Evicted,
    /// The time until the next tick passes; the connection is silent.
    Tick,
    /// A minute passes, and the connection is in use.
    Hold,
}

impl LinkWorld {
    /// A link after its first handshake.
    fn connected(mutant: Option<LinkMutant>) -> Self {
        let mut world = Self {
            mutant,
            plan: LinkPlan::new(LinkTimings::default(), Duration::ZERO),
            now: Duration::ZERO,
            sockets: BTreeSet::new(),
            preparing: true,
            credentials: 0,
            revoked: None,
            leaving: false,
        };
        assert_eq!(world.plan.start(world.at()), [LinkStep::Prepare]);
        let first = [
            LinkEvent::Prepared(Prepared::Dialable { credentials: 1 }),
            LinkEvent::Dialled(1),
            LinkEvent::Described(1),
        ];
        for event in first {
            world.apply(&event).expect("a first connection breaks nothing");
        }
        assert!(world.plan.is_up());
        world
    }

    fn at(&self) -> At {
        At { now: self.now, random: 1.0 }
    }

    /// Applies an event to the plan.
    fn decide(&mut self, event: &LinkEvent) -> LinkSteps {
        match event {
            LinkEvent::Prepared(answer) => {
                self.preparing = false;
                self.plan.prepared(answer.clone(), self.at())
            }
            LinkEvent::Dialled(generation) => self.plan.dialled(*generation, self.at()),
            LinkEvent::Described(generation) => {
                self.plan.described(*generation, self.at());
                Vec::new()
            }
            LinkEvent::Lost(generation, loss) => {
                self.sockets.remove(generation);
                let mistaken = self.mutant == Some(LinkMutant::RevokesExpired) && *loss == expired();
                let loss = if mistaken { refused() } else { loss.clone() };
                self.plan.lost(*generation, &loss, self.at())
            }
            LinkEvent::IdleAcked(generation) => self.plan.idle_acked(*generation, self.at()),
            LinkEvent::GoIdle(how) => {
                self.leaving |= *how == Idleness::Leaving;
                self.plan.go_idle(*how, self.at())
            }
            LinkEvent::Wake => self.plan.wake(self.at()),
            LinkEvent::Evicted => self.plan.evicted(self.at()),
            LinkEvent::Tick => {
                self.now = self.plan.next_tick().unwrap_or(self.now);
                self.plan.tick(self.at())
            }
            LinkEvent::Hold => {
                self.now += LONGEST_WAIT;
                self.plan.received(self.plan.generation(), self.now);
                self.plan.tick(self.at())
            }
        }
    }

    fn carry_out(&mut self, step: &LinkStep, event: &LinkEvent) -> Result<(), String> {
        match step {
            LinkStep::Prepare => self.preparing = true,
            LinkStep::Dial { generation } => {
                let LinkEvent::Prepared(Prepared::Dialable { credentials }) = event else {
                    return Err("a dial without an address".to_owned());
                };
                self.credentials = *credentials;
                if self.revoked == Some(self.credentials) {
                    return Err("a dial with revoked credentials".to_owned());
                }
                self.revoked = None;
                self.sockets.insert(*generation);
                if self.sockets.len() > 1 {
                    return Err("two sockets".to_owned());
                }
            }
            LinkStep::Close(_) if self.mutant == Some(LinkMutant::KeepsTheSocket) => {}
            LinkStep::Close(_) => self.sockets.clear(),
            LinkStep::Hello | LinkStep::Ping | LinkStep::SendGoingIdle | LinkStep::AnswerIdle(_) => {}
        }
        Ok(())
    }

    fn mutate(&mut self) {
        match (self.mutant, &mut self.plan.state) {
            (Some(LinkMutant::DialsRevoked), _) => self.plan.revoked = None,
            (Some(LinkMutant::SetsNoTimer), LinkPhase::Disabled { ask_at }) => *ask_at = None,
            _ => {}
        }
    }

    fn check(&mut self, before: LinkState, event: &LinkEvent) -> Result<(), String> {
        if self.plan.state() == LinkState::Revoked {
            let expires = matches!(event, LinkEvent::Lost(_, loss) if *loss == expired());
            if before != LinkState::Revoked && expires {
                return Err("an expired token counts as revoked".to_owned());
            }
            self.revoked = Some(self.credentials);
        }
        let has_left = self.leaving && self.plan.state() == LinkState::Idle;
        match self.plan.next_tick() {
            Some(due) if due > self.now + LONGEST_WAIT => Err("the next step is too far away".to_owned()),
            None if !(self.preparing || has_left) => Err("a link without a next step".to_owned()),
            _ => Ok(()),
        }
    }
}

/// A refusal without a reason.
fn refused() -> Loss {
    Loss::Unauthorized { reason: String::new() }
}

fn expired() -> Loss {
    Loss::Unauthorized { reason: EXPIRED.into() }
}

impl Explored for LinkWorld {
    type Event = LinkEvent;

    fn events(&self) -> Vec<LinkEvent> {
        let mut events = vec![LinkEvent::Wake, LinkEvent::Evicted, LinkEvent::Tick, LinkEvent::Hold];
        events.extend([Idleness::Leaving, Idleness::Dormant].map(LinkEvent::GoIdle));
        if self.preparing {
            let dialable = [1, 2].map(|credentials| Prepared::Dialable { credentials });
            events.extend(dialable.map(LinkEvent::Prepared));
            events.extend([Prepared::Nothing(None), Prepared::Silent].map(LinkEvent::Prepared));
        }
        // Reports of the present dial, and late ones of the dial before it.
        for generation in self.sockets.iter().copied().chain(self.plan.generation().checked_sub(1)) {
            events.extend([LinkEvent::Dialled(generation), LinkEvent::Described(generation)]);
            events.extend([refused(), expired(), Loss::TooBig].map(|loss| LinkEvent::Lost(generation, loss)));
            events.push(LinkEvent::IdleAcked(generation));
        }
        events
    }

    fn apply(&mut self, event: &LinkEvent) -> Result<(), String> {
        let before = self.plan.state();
        for step in self.decide(event) {
            self.carry_out(&step, event)?;
        }
        self.mutate();
        self.check(before, event)
    }
}

#[test]
fn the_plan_is_a_value() {
    assert_value::<LinkPlan>();
}

#[test]
fn no_history_opens_two_sockets_dials_revoked_credentials_or_ends_without_a_next_step() {
    let states = explore(LinkWorld::connected(None), DEPTH).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{states} states");
    assert!(states > 1_000, "the exploration covers little: {states} states");
}

#[test]
fn every_mutant_of_the_link_is_found() {
    let mutants =
        [LinkMutant::KeepsTheSocket, LinkMutant::DialsRevoked, LinkMutant::SetsNoTimer, LinkMutant::RevokesExpired];
    for mutant in mutants {
        let broken = explore(LinkWorld::connected(Some(mutant)), DEPTH).expect_err("a mutant breaks a guarantee");
        println!("{mutant:?}: {broken}");
    }
}
