//! Waits that name the missing event, and the pause of a test whose subject is a pause.

use std::time::{Duration, Instant};

/// Far longer than anything here takes.
pub(crate) const CEILING: Duration = Duration::from_secs(30);

/// A pause that is itself under test, or that sets the rate of a load; it never stands for an event that a test waits for.
pub(crate) async fn pace(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// Repeats `query` until it finds something.
///
/// # Panics
/// If it finds nothing within the ceiling.
pub(crate) async fn until<T>(what: &str, mut query: impl FnMut() -> Option<T>) -> T {
    until_async(what, async || query()).await
}

/// As [`until`], with a query of an actor.
pub(crate) async fn until_async<T>(what: &str, mut query: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = query().await {
            return found;
        }
        assert!(begun.elapsed() < CEILING, "timed out waiting for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
