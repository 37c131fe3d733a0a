//! The file breaks during an exchange and is restored: the grant that was kept beside it is valid, and no process exchanges it.

use std::fs;
use std::time::Duration;

use caduceus_actors::honcho::lock::ConfigLock;
use serde_json::Value;

use crate::grants::{HonchoGateway, SharedGrant, empty_home, is_new};
use crate::login::{honcho, run};
use crate::oauth_server::OauthFault;
use crate::support::{SOON, wait_for};

/// Time to break the file while the exchange runs, also on a busy machine.
const EXCHANGE: Duration = Duration::from_secs(4);

/// Whether a refresh runs, or waits for the lock.
fn refreshing(grant: &Value) -> bool {
    grant["state"] == "refreshing"
}

/// A gateway that has exchanged the token and kept the new grant beside the file, which is broken; and the file before that.
async fn kept_beside(shared: &SharedGrant) -> (HonchoGateway, Value) {
    let before = shared.json();
    shared.server.script(OauthFault::Delay(EXCHANGE));
    let gateway = HonchoGateway::start(shared, &[]);
    wait_for("the exchange", SOON, || async { (shared.server.presented().len() == 1).then_some(()) }).await;
    fs::write(shared.path(), "{\"hosts\": ").unwrap();
    gateway.until("kept beside the file", |grant| grant["state"] == "unreadable").await;
    assert_eq!(shared.leftover_files(), ["config.json.kept-hermes"]);
    (gateway, before)
}

/// Waits until the kept grant is in the file and no longer beside it.
async fn restored(shared: &SharedGrant) {
    let is_restored = || shared.token() == "hch-at-n1" && shared.leftover_files().is_empty();
    wait_for("the kept grant in the file", SOON, || async { is_restored().then_some(()) }).await;
}

#[actix_web::test]
async fn a_kept_grant_that_another_gateway_restores_first_is_not_exchanged() {
    let shared = SharedGrant::expiring_in(60);
    let (first, before) = kept_beside(&shared).await;
    let lock = ConfigLock::take(&shared.path(), SOON).unwrap();
    shared.write(&before);
    first.until("waiting for the lock", refreshing).await;
    let second = HonchoGateway::start(&shared, &[]);
    second.until("waiting for the lock", refreshing).await;
    // The second gateway is then the first that takes the lock.
    first.process.signal("STOP");
    drop(lock);
    restored(&shared).await;
    first.process.signal("CONT");
    for gateway in [&first, &second] {
        gateway.until("valid", is_new).await;
    }
    assert_eq!((shared.server.presented().len(), shared.server.replays()), (1, 0));
    assert_eq!((shared.token().as_str(), first.grant().await["exchanges"].as_u64()), ("hch-at-n1", Some(1)));
    // A person's request exchanges it nevertheless.
    let (code, printed) = run(&mut honcho(&shared, &empty_home(), &["refresh", "--force"]));
    assert_eq!((code, shared.token().as_str()), (Some(0), "hch-at-n2"), "{printed}");
    assert_eq!((shared.server.presented().len(), shared.server.replays()), (2, 0));
}

#[actix_web::test]
async fn a_gateway_restores_its_kept_grant_without_an_exchange() {
    let shared = SharedGrant::expiring_in(60);
    let (gateway, before) = kept_beside(&shared).await;
    shared.write(&before);
    restored(&shared).await;
    gateway.until("valid", is_new).await;
    assert_eq!((shared.server.presented().len(), shared.server.replays()), (1, 0));
}
