//! The server is unreachable while turns run.

use std::time::{Duration, Instant};

use crate::grants::{SharedGrant, is_new, until_grant};
use crate::support::{SOON, wait_for};
use crate::world::World;

/// Turns during the outage.
const TURNS: usize = 100;
/// The waits of a backoff, in seconds; the jitter only makes them longer.
const BACKOFF_S: [u64; 6] = [5, 10, 20, 40, 80, 160];
/// The log text of a failed try.
const FAILED: &str = "grant not refreshed";

/// Most tries after this time.
fn tries_within(elapsed: Duration) -> usize {
    let mut at = 0;
    let later = BACKOFF_S.iter().filter(|wait| {
        at += **wait;
        at <= elapsed.as_secs()
    });
    1 + later.count()
}

#[actix_web::test]
async fn while_the_server_is_unreachable_turns_start_at_once_and_there_is_one_try_per_step() {
    let shared = SharedGrant::expiring_in(60);
    shared.server.stop_listening();
    let mut world = World::prepare().await;
    world.variable("HOME", &shared.user.path().display().to_string());
    world.serve().await;
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    for turn in 0..TURNS {
        let id = format!("m{turn}");
        let pushed = Instant::now();
        world.push(&id, "hello", "chat", None).await;
        world.answer(&id).await;
        if turn > 0 {
            slowest = slowest.max(pushed.elapsed());
        }
    }
    let took = begun.elapsed();
    let tries = world.gateway().log().matches(FAILED).count();
    println!("{TURNS} turns in {took:?}, the slowest in {slowest:?}; {tries} tries");
    // A caller that waits for a refresh waits for up to 15 s.
    assert!(slowest < Duration::from_secs(10), "a turn took {slowest:?}");
    assert!((1..=tries_within(world_age(&world).await)).contains(&tries), "{tries} tries in {took:?}");
    assert_eq!(shared.server.presented().len(), 0);
    let grant = until_grant(&world.gateway().url, "waiting", SOON, |grant| grant["state"] == "backoff").await;
    assert!(grant["last_error"].as_str().unwrap().contains("not sent"), "{grant}");

    shared.server.listen_again();
    // The next step of the backoff, with time for a busy machine.
    until_grant(&world.gateway().url, "new", Duration::from_mins(3), is_new).await;
    world.push("after", "hello", "chat", None).await;
    world.answer("after").await;
    assert_eq!((shared.server.presented().len(), shared.server.replays()), (1, 0));
}

/// How long the gateway has run: its first try may precede the first turn.
async fn world_age(world: &World) -> Duration {
    Duration::from_millis(world.status().await["process"]["uptime_ms"].as_u64().unwrap())
}

/// Gateways that share the grant.
const GATEWAYS: usize = 8;

#[actix_web::test]
async fn eight_gateways_present_the_token_to_a_busy_server_once_per_step() {
    use crate::oauth_server::OauthFault;
    let shared = SharedGrant::expiring_in(60);
    shared.server.script(OauthFault::Status(503, String::new()));
    let gateways: Vec<_> = (0..GATEWAYS).map(|_| crate::grants::HonchoGateway::start(&shared, &[])).collect();
    for gateway in &gateways {
        until_grant(&gateway.process.url, "new", 3 * SOON, is_new).await;
    }
    let gaps = shared.server.gaps();
    println!("{GATEWAYS} gateways, a server busy once: {} presentations, {gaps:?} apart", gaps.len() + 1);
    assert_eq!((gaps.len(), shared.server.replays()), (1, 0));
    assert!(gaps[0] >= Duration::from_secs(5), "{gaps:?}");
}

#[actix_web::test]
async fn after_a_server_error_with_rotation_the_token_is_not_presented_again_at_once() {
    use crate::oauth_server::OauthFault;
    let shared = SharedGrant::expiring_in(60);
    shared.server.script(OauthFault::RotatedThen(500));
    let gateways: Vec<_> = (0..GATEWAYS / 2).map(|_| crate::grants::HonchoGateway::start(&shared, &[])).collect();
    for gateway in &gateways {
        gateway.until("uncertain", |grant| grant["state"] == "uncertain").await;
    }
    assert_eq!((shared.server.presented().len(), shared.server.replays()), (1, 0));
}

#[actix_web::test]
async fn a_refusal_for_the_servers_own_reasons_spends_no_token() {
    use crate::oauth_server::OauthFault;
    let shared = SharedGrant::expiring_in(60);
    shared.server.script(OauthFault::Status(503, String::new()));
    let gateway = crate::grants::HonchoGateway::start(&shared, &[]);
    gateway.until("waiting", |grant| grant["state"] == "backoff").await;
    // Without intervention, at the end of its step.
    wait_for("the second try", SOON, || async { Some(gateway.grant().await).filter(is_new) }).await;
    assert_eq!((shared.server.presented().len(), shared.server.replays()), (2, 0));
}
