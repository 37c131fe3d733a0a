//! The link against a connector on a real socket.

mod inbound;
mod media;
mod outbound;
mod rig;

use std::time::Duration;

use serde_json::json;

use super::super::messages::{GoDormant, GoIdle, IdleAnswer, LinkState};
use super::super::timings::LinkTimings;
use super::*;
use crate::profile::messages::NoDial;
use crate::relay::action::Action;
use rig::{Bench, identity, quick, run, within};

#[test]
fn handshake_names_every_identity_and_keeps_what_the_connector_can_do() {
    run(async {
        let identities = vec![identity("discord", "b1"), identity("telegram", "")];
        let mut bench = Bench::with(quick(), identities).await;
        let mut peer = bench.connector.accept().await;
        assert_eq!(peer.authorization.as_deref(), Some("Bearer token-1"));
        assert_eq!(peer.frame().await, json!({"type": "hello", "platform": "discord", "botId": "b1"}));
        assert_eq!(peer.frame().await, json!({"type": "hello", "platform": "telegram", "botId": ""}));
        bench.until(LinkState::Handshaking).await;
        peer.describe("discord").await;
        bench.until(LinkState::Connected).await;
        peer.describe("telegram").await;
        peer.inbound("m", None).await;
        bench.offer().await;
        let platforms: Vec<_> = bench.view().await.descriptors.into_iter().map(|known| known.platform).collect();
        assert_eq!(platforms, ["discord", "telegram"]);
    });
}

#[test]
fn refused_descriptor_does_not_end_the_handshake() {
    run(async {
        let timings = LinkTimings { handshake: Duration::from_millis(100), ..quick() };
        let bench = Bench::with(timings, vec![identity("discord", "")]).await;
        let mut peer = bench.connector.accept().await;
        peer.say(json!({"type": "descriptor", "descriptor": {"platform": "discord"}})).await;
        let mut again = bench.connector.accept().await;
        assert_eq!(bench.view().await.skipped, 1);
        assert_eq!(again.frame().await["type"], "hello");
    });
}

#[test]
fn closed_link_is_redialled_with_a_fresh_token() {
    run(async {
        let (mut bench, mut peer) = Bench::connected().await;
        peer.close(1012, "restart").await;
        bench.until(LinkState::Waiting).await;
        let peer = bench.connector.serve().await;
        assert_eq!(peer.authorization.as_deref(), Some("Bearer token-2"));
        bench.until(LinkState::Connected).await;
        assert_eq!(bench.view().await.generation, 2);
    });
}

#[test]
fn superseded_socket_is_closed_before_the_next_one_is_opened() {
    run(async {
        let timings = LinkTimings { ping: Duration::from_secs(9), silence: Duration::from_millis(100), ..quick() };
        let bench = Bench::with(timings, vec![identity("discord", "")]).await;
        let mut first = bench.connector.serve().await;
        let _second = bench.connector.accept().await;
        // All that the first one still delivers lies in our own buffer: its end is there already.
        let end = within("the end of the first socket", async {
            loop {
                if let Err(code) = first.read().await {
                    return code;
                }
            }
        });
        assert_eq!(end.await, Some(1001));
    });
}

#[test]
fn peer_that_answers_no_ping_is_dead() {
    run(async {
        let timings = LinkTimings { ping: Duration::from_millis(40), silence: Duration::from_millis(200), ..quick() };
        let mut bench = Bench::with(timings, vec![identity("discord", "")]).await;
        let silent = bench.connector.serve().await;
        bench.until(LinkState::Connected).await;
        bench.until(LinkState::Waiting).await;
        assert_eq!(bench.view().await.last_error.as_deref(), Some("the connector went silent"));
        drop(silent);
    });
}

#[test]
fn peer_that_answers_pings_is_alive() {
    run(async {
        let timings = LinkTimings { ping: Duration::from_millis(40), silence: Duration::from_millis(400), ..quick() };
        let mut bench = Bench::with(timings, vec![identity("discord", "")]).await;
        let mut peer = bench.connector.serve().await;
        bench.until(LinkState::Connected).await;
        // Reading answers the pings.
        let read = tokio::time::timeout(Duration::from_secs(1), peer.read()).await;
        assert!(read.is_err(), "nothing but pings: {read:?}");
        assert_eq!(bench.view().await.generation, 1);
    });
}

#[test]
fn second_4401_after_a_handshake_revokes_until_the_credentials_change() {
    run(async {
        let (mut bench, mut peer) = Bench::connected().await;
        peer.close(4401, "unauthorized").await;
        let mut peer = bench.connector.serve().await;
        peer.close(4401, "unauthorized").await;
        bench.until(LinkState::Revoked).await;
        bench.connector.no_dial().await;
        assert_eq!(bench.view().await.state, LinkState::Revoked);
        bench.profile.borrow_mut().1.as_mut().unwrap().credentials = 2;
        bench.connector.serve().await;
        bench.until(LinkState::Connected).await;
    });
}

#[test]
fn upgrade_refused_with_403_counts_as_4401() {
    run(async {
        let (mut bench, mut peer) = Bench::connected().await;
        peer.close(4401, "unauthorized").await;
        bench.connector.refuse(403).await;
        bench.until(LinkState::Revoked).await;
        bench.connector.no_dial().await;
    });
}

#[test]
fn expired_is_not_revoked() {
    run(async {
        let (mut bench, mut peer) = Bench::connected().await;
        for _ in 0..3 {
            peer.close(4401, "expired").await;
            peer = bench.connector.serve().await;
            bench.until(LinkState::Connected).await;
        }
    });
}

#[test]
fn link_without_an_address_is_disabled_until_there_is_one() {
    run(async {
        let (mut bench, mut peer) = Bench::connected().await;
        let dial = std::mem::replace(&mut bench.profile.borrow_mut().1, Err(NoDial::NotSet));
        peer.close(1000, "").await;
        bench.until(LinkState::Disabled).await;
        bench.connector.no_dial().await;
        bench.profile.borrow_mut().1 = dial;
        bench.connector.serve().await;
    });
}

#[test]
fn undialable_address_is_named_in_the_view() {
    run(async {
        let (mut bench, mut peer) = Bench::connected().await;
        bench.profile.borrow_mut().1.as_mut().unwrap().url = "c.example".into();
        peer.close(1000, "").await;
        bench.until(LinkState::Disabled).await;
        assert!(bench.view().await.last_error.is_some());
    });
}

#[test]
fn leaving_link_waits_for_the_word_of_the_connector() {
    run(async {
        let (bench, mut peer) = Bench::connected().await;
        let answer = bench.link.send(GoIdle);
        assert_eq!(peer.frame().await, json!({"type": "going_idle"}));
        peer.say(json!({"type": "going_idle_ack"})).await;
        assert_eq!(within("the answer", answer).await.unwrap(), IdleAnswer::Acknowledged);
        assert_eq!(bench.view().await.state, LinkState::Idle);
        let result = bench.send("bye");
        assert_eq!(peer.frame().await["type"], "outbound", "replies still leave");
        drop(result);
        peer.close(1000, "").await;
        bench.connector.no_dial().await;
    });
}

#[test]
fn dormant_link_closes_and_comes_back() {
    run(async {
        let (bench, mut peer) = Bench::connected().await;
        let answer = bench.link.send(GoDormant);
        assert_eq!(peer.frame().await["type"], "going_idle");
        peer.say(json!({"type": "going_idle_ack"})).await;
        assert_eq!(within("the answer", answer).await.unwrap(), IdleAnswer::Acknowledged);
        assert_eq!(within("the close", peer.read()).await, Err(Some(1001)));
        drop(peer);
        bench.link.send(Wake).await.unwrap();
        bench.connector.serve().await;
    });
}

#[test]
fn idle_without_a_link_is_said_so() {
    run(async {
        let bench = Bench::new().await;
        bench.profile.borrow_mut().1 = Err(NoDial::NotSet);
        assert_eq!(bench.link.send(GoIdle).await.unwrap(), IdleAnswer::NotConnected);
    });
}

#[test]
fn stopped_link_says_goodbye() {
    /// Stops the actor as its runner would.
    struct Stop;
    impl Message for Stop {
        type Result = ();
    }
    impl Handler<Stop> for RelayActor {
        type Result = ();
        fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
            ctx.stop();
        }
    }
    run(async {
        let (bench, mut peer) = Bench::connected().await;
        let answer = bench.send("last");
        peer.frame().await;
        bench.link.send(Stop).await.unwrap();
        assert_eq!(within("the close", peer.read()).await, Err(Some(1001)));
        assert!(answer.await.ambiguous, "who waits is told");
        drop(peer);
        within("the end of the actor", async {
            while bench.link.connected() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        bench.connector.no_dial().await;
    });
}
