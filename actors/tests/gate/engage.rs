//! How long a marker takes to close the gate: from its rename to the first turn that is refused.

use std::fs;
use std::time::{Duration, Instant};

use actix::clock::sleep;
use caduceus_actors::turn::id::fresh_turn_id;
use caduceus_contract::messages::drain::{Origin, Refusal, TurnTicket};

use crate::tree::{TestGatePorts, Tree, ticket};

/// Ceiling for one opening or closing of the gate: the poll interval, on a loaded machine.
const SOON: Duration = Duration::from_secs(20);

/// Closes and opens the gate by the marker alone, with a pause between two requests: none where the latency is measured, and one that
/// leaves CPU time to the poll otherwise. Returns how long each closing took.
pub(crate) async fn engage(tree: &Tree, times: usize, pause: Duration) -> Vec<Duration> {
    let (ports, marker) = (tree.ports(), tree.marker(None));
    let other = marker.with_extension("new");
    let mut latencies = Vec::new();
    for _ in 0..times {
        until(&ports, true, pause).await;
        fs::write(&other, "{}").expect("the marker is written");
        let renamed = Instant::now();
        fs::rename(&other, &marker).expect("the marker is renamed into its place");
        until(&ports, false, pause).await;
        latencies.push(renamed.elapsed());
        fs::remove_file(&marker).expect("the marker is removed");
    }
    until(&ports, true, pause).await;
    latencies
}

/// Requests permits until one is admitted, or refused.
async fn until(ports: &TestGatePorts, admitted: bool, pause: Duration) {
    let deadline = Instant::now() + SOON;
    loop {
        let ticket = TurnTicket { id: fresh_turn_id(), ..ticket() };
        match ports.request(ticket, Origin::External).await {
            Ok(_) if admitted => return,
            Err(Refusal::Draining) if !admitted => return,
            Ok(_) | Err(Refusal::Draining) => {}
            Err(why) => panic!("{why}"),
        }
        assert!(Instant::now() < deadline, "the gate did not open or close in {SOON:?}");
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
}
