//! Waits with a timeout that names the missing event.

use std::time::Duration;

/// Timeout of every wait, also on a busy machine.
const CEILING: Duration = Duration::from_secs(10);

/// Long enough for an unwanted effect to appear.
const MOMENT: Duration = Duration::from_millis(150);

pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(done) = tokio::time::timeout(CEILING, future).await else { panic!("{what} never came") };
    done
}

pub(super) async fn never<T: std::fmt::Debug>(what: &str, future: impl Future<Output = T>) {
    if let Ok(done) = tokio::time::timeout(MOMENT, future).await {
        panic!("{what} came: {done:?}");
    }
}

pub(super) fn run(test: impl Future<Output = ()>) {
    actix::System::new().block_on(test);
}
