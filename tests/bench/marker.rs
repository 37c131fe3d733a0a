//! Time from the rename of a drain marker to the first refused turn, a thousand times: `cargo bench --bench marker`.
//!
//! The gate is the real one on threads of its own, its home a real directory. Permits are requested without a pause, so what is
//! measured is the file event, the reading of the marker and one question through the mailbox.

#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]
#![allow(dead_code, reason = "the tree is shared with the tests of the gate")]

#[path = "../../actors/tests/gate/engage.rs"]
mod engage;
#[path = "../../actors/tests/gate/tree.rs"]
mod tree;

use std::time::Duration;

const TIMES: usize = 1_000;
/// The original polls once a second.
const GOAL: Duration = Duration::from_millis(5);

fn main() {
    let mut latencies = actix::System::new().block_on(async {
        let tree = tree::Tree::start().await;
        let latencies = engage::engage(&tree, TIMES, Duration::ZERO).await;
        tree.stop().await;
        latencies
    });
    latencies.sort_unstable();
    // The smallest time that this percentage of all times does not exceed.
    let percentile = |percent: usize| latencies[(TIMES * percent).div_ceil(100) - 1];
    let met = if percentile(99) <= GOAL { "met" } else { "missed" };
    println!(
        "marker renamed to first refused turn, {TIMES} times: p50 {:?}, p99 {:?}, worst {:?}; goal p99 at most {GOAL:?}, {met}",
        percentile(50),
        percentile(99),
        percentile(100),
    );
}
