//! A refresh token is presented once: real gateways, the real command line, a real authorization server on loopback, and the
//! original beside them.
//!
//! `CADUCEUS_LONG=1` runs the full counts (200 expiries, 50 kills a step, the whole minute before a second try) instead of the short
//! ones; that takes about an hour on two cores: `CADUCEUS_LONG=1 cargo test --test honcho -- --nocapture --test-threads 1`.

#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod answers;
// Its one test takes longest, and its name sorts among the first, so that the others run beside it.
mod blocked;
#[path = "../browser/browser.rs"]
#[allow(dead_code, reason = "the tests of the pages use the rest")]
mod browser;
mod consent;
mod fleet;
mod grants;
mod kills;
mod leaks;
mod login;
#[path = "../../actors/tests/support/oauth_server.rs"]
#[expect(unreachable_pub, reason = "it is shared with tests of the crate below")]
mod oauth_server;
mod original;
mod outage;
mod restored;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/world.rs"]
mod world;

use futures_util::StreamExt as _;

/// Rounds that run at the same time.
const ABREAST: usize = 4;

/// Runs [`count`] rounds, several at the same time: each mostly waits.
async fn rounds<F: Future<Output = ()>>(short: usize, long: usize, round: impl Fn() -> F) {
    let rounds = (0..count(short, long)).map(|_| round());
    futures_util::stream::iter(rounds).for_each_concurrent(ABREAST, |round| round).await;
}

/// The count of a test: the full one with `CADUCEUS_LONG=1`.
#[expect(clippy::disallowed_methods, reason = "names how long to test, and no secret")]
fn count(short: usize, long: usize) -> usize {
    if std::env::var_os("CADUCEUS_LONG").is_some() { long } else { short }
}
