//! Random events: one dial at a time, and always a next step.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum PlanEvent {
    Prepared(u64),
    NotSet,
    Dialled(u64),
    Described(u64),
    Cut(u64),
    Refused(u64),
    Acked(u64),
    GoDormant,
    Wake,
    Pass(u64),
}

fn plan_event() -> impl Strategy<Value = PlanEvent> {
    prop_oneof![
        (1_u64..3).prop_map(PlanEvent::Prepared),
        Just(PlanEvent::NotSet),
        (0_u64..3).prop_map(PlanEvent::Dialled),
        (0_u64..3).prop_map(PlanEvent::Described),
        (0_u64..3).prop_map(PlanEvent::Cut),
        (0_u64..3).prop_map(PlanEvent::Refused),
        (0_u64..3).prop_map(PlanEvent::Acked),
        Just(PlanEvent::GoDormant),
        Just(PlanEvent::Wake),
        (0_u64..90_000).prop_map(PlanEvent::Pass),
    ]
}

proptest! {
    /// Generations in the events count back from the present one, so most of them hit.
    #[test]
    fn for_any_events_there_is_one_dial_at_a_time_and_always_a_next_step(
        events in prop::collection::vec(plan_event(), 1..200),
    ) {
        let mut bench = LinkPlanBench::new();
        let mut requested = 0;
        // Whether a dial or a connection is open.
        let mut open = false;
        let mut steps = bench.plan.start(bench.at());
        for event in events {
            for step in steps {
                match step {
                    LinkStep::Prepare => requested += 1,
                    LinkStep::Dial { .. } => {
                        prop_assert!(!open, "a second dial");
                        open = true;
                    }
                    LinkStep::Close(_) => open = false,
                    _ => {}
                }
            }
            prop_assert!(requested <= 1, "two questions at a time");
            prop_assert!(requested == 1 || bench.plan.next_tick().is_some(), "stuck in {:?}", bench.plan);
            prop_assert_eq!(bench.plan.is_up() && !open, false);
            let back = |by: u64| bench.plan.generation().wrapping_sub(by);
            let at = bench.at();
            steps = match event {
                PlanEvent::Prepared(_) | PlanEvent::NotSet if requested == 0 => Vec::new(),
                PlanEvent::Prepared(credentials) => { requested = 0; bench.prepared(credentials) }
                PlanEvent::NotSet => { requested = 0; bench.plan.prepared(Prepared::Nothing(None), at) }
                PlanEvent::Dialled(by) => { let generation = back(by); bench.plan.dialled(generation, at) }
                PlanEvent::Described(by) => { let generation = back(by); bench.plan.described(generation, at); Vec::new() }
                PlanEvent::Cut(by) => { let generation = back(by); bench.plan.lost(generation, &cut(), at) }
                PlanEvent::Refused(by) => {
                    let generation = back(by);
                    bench.plan.lost(generation, &Loss::Unauthorized { reason: String::new() }, at)
                }
                PlanEvent::Acked(by) => { let generation = back(by); bench.plan.idle_acked(generation, at) }
                PlanEvent::GoDormant => bench.go_idle(Idleness::Dormant),
                PlanEvent::Wake => bench.plan.wake(at),
                PlanEvent::Pass(millis) => bench.pass(Duration::from_millis(millis)),
            };
            prop_assert!(bench.plan.since() <= bench.now && bench.plan.since() >= bench.start);
        }
    }
}
