//! The link against a connector on a real socket.

mod dead_letters;
mod dispatchers;
mod inbound;
mod media;
mod outbound;
mod peer;
mod rig;
mod waits;

use std::time::Duration;

use serde_json::json;

use super::super::timings::LinkTimings;
use super::*;
use crate::profile::messages::NoConnectParams;
use crate::relay::claims::ClaimRefused;
use crate::relay::gateway_key::GatewayKey;
use caduceus_contract::json::RawJson;
use caduceus_contract::messages::relay::{GoDormant, GoIdle, IdleAnswer, LinkState};
use caduceus_contract::profile_name::ProfileName;
use peer::descriptor;
use rig::{LinkBench, identity, quick};
use waits::{never, run, within};

#[test]
fn handshake_names_every_identity_and_keeps_the_descriptors() {
    run(async {
        let identities = vec![identity("discord", "b1"), identity("telegram", "")];
        let mut bench = LinkBench::with(quick(), identities);
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
        let platforms: Vec<_> =
            bench.view().await.descriptors.into_iter().map(|known| known.platform.clone()).collect();
        assert_eq!(platforms, ["discord", "telegram"]);
    });
}

#[test]
fn refused_descriptor_does_not_end_the_handshake() {
    run(async {
        let timings = LinkTimings { handshake: Duration::from_millis(100), ..quick() };
        let bench = LinkBench::with(timings, vec![identity("discord", "")]);
        let mut peer = bench.connector.accept().await;
        peer.send_json(json!({"type": "descriptor", "descriptor": {"platform": "discord"}})).await;
        let mut again = bench.connector.accept().await;
        assert_eq!(bench.view().await.skipped, 1);
        assert_eq!(again.frame().await["type"], "hello");
    });
}

#[test]
fn platforms_that_were_not_named_are_not_kept() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        for name in ["telegram", "discord\u{1b}[2J", "relay", "", &"x".repeat(900)] {
            peer.describe(name).await;
        }
        let mut large = descriptor("discord");
        large["platform_hint"] = "x".repeat(65 * 1024).into();
        peer.send_json(json!({"type": "descriptor", "descriptor": large})).await;
        let mut again = descriptor("discord");
        again["max_message_length"] = 77.into();
        peer.send_json(json!({"type": "descriptor", "descriptor": again})).await;
        peer.inbound("m", None).await;
        assert_eq!(bench.offer().await.0.descriptor.map(|known| known.max_message_length), Some(77));
        let view = bench.view().await;
        let platforms: Vec<_> = view.descriptors.iter().map(|known| known.platform.as_str()).collect();
        assert_eq!((platforms, view.skipped), (vec!["discord"], 6));
    });
}

#[test]
fn handshake_is_not_ended_by_a_descriptor_of_another_platform() {
    run(async {
        let timings = LinkTimings { handshake: Duration::from_millis(100), ..quick() };
        let bench = LinkBench::with(timings, vec![identity("discord", "")]);
        let mut peer = bench.connector.accept().await;
        peer.describe("telegram").await;
        bench.connector.accept().await;
        assert!(bench.view().await.descriptors.is_empty());
    });
}

#[test]
fn refused_upgrade_sets_the_time_of_the_next_dial() {
    run(async {
        let mut bench = LinkBench::new();
        for (status, head, ordered) in [
            (503, "retry-after: 1\r\n", true),
            (429, "Retry-After: 100\r\n", true),
            (503, "", false),
            (429, "retry-after: soon\r\n", false),
            (500, "retry-after: 100\r\n", false),
        ] {
            bench.connector.refuse_with(status, head).await;
            bench.until(LinkState::Waiting).await;
            let view = bench.view().await;
            assert!(view.last_error.unwrap().contains(&status.to_string()));
            if ordered {
                bench.connector.no_dial().await;
                // Any client can call /wake, so a wake does not override the wait that the connector requested.
                bench.link.send(Wake).await.unwrap();
                bench.connector.no_dial().await;
                if status == 429 {
                    return;
                }
            }
        }
    });
}

#[test]
fn socket_of_a_link_sends_without_delay() {
    run(async {
        let (bench, peer) = LinkBench::connected().await;
        let ours = peer.socket.get_ref().peer_addr().unwrap();
        let me = rustix::process::getpid();
        let me = rustix::process::pidfd_open(me, rustix::process::PidfdFlags::empty()).unwrap();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
            let number = entry.unwrap().file_name().to_str().unwrap().parse().unwrap();
            // Another test may have reused it since.
            let copy = rustix::process::pidfd_getfd(&me, number, rustix::process::PidfdGetfdFlags::empty());
            let Ok(copy) = copy else { continue };
            let local = rustix::net::getsockname(&copy).ok().and_then(|name| std::net::SocketAddr::try_from(name).ok());
            if local == Some(ours) {
                found.push(rustix::net::sockopt::tcp_nodelay(&copy).unwrap());
            }
        }
        assert_eq!(found, [true]);
        drop(bench);
    });
}

#[test]
fn link_with_lower_precedence_closes_and_waits_until_it_may_dial_again() {
    run(async {
        let gateway = GatewayKey::new("ws://c.example", "gw");
        let work = Some(ProfileName::parse("work").unwrap());
        let mut bench = LinkBench::owned(work.clone(), gateway.clone());
        let mut peer = bench.connector.serve().await;
        bench.until(LinkState::Connected).await;
        bench.claims.declare(&None, Some(gateway.clone()));
        never("a close", peer.read()).await;
        assert_eq!(bench.claims.take(&None, gateway.clone()).unwrap_err(), ClaimRefused::BeingReleased(work));
        assert_eq!(within("the close", peer.read()).await, Err(Some(1001)));
        drop(peer);
        bench.until(LinkState::Disabled).await;
        let first = bench.claims.take(&None, gateway).unwrap();
        bench.connector.no_dial().await;
        let reason = bench.view().await.last_error.unwrap();
        assert!(reason.contains("GATEWAY_RELAY_ID"), "{reason}");
        bench.claims.declare(&None, None);
        drop(first);
        bench.connector.serve().await;
        bench.until(LinkState::Connected).await;
    });
}

#[test]
fn closed_link_is_redialled_with_a_fresh_token() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
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
        let bench = LinkBench::with(timings, vec![identity("discord", "")]);
        let mut first = bench.connector.serve().await;
        let _second = bench.connector.accept().await;
        // The frames of the first connection are in the buffer of the test, and so is its end.
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
fn peer_that_answers_no_ping_is_disconnected() {
    run(async {
        let timings = LinkTimings { ping: Duration::from_millis(40), silence: Duration::from_millis(200), ..quick() };
        let mut bench = LinkBench::with(timings, vec![identity("discord", "")]);
        let silent = bench.connector.serve().await;
        bench.until(LinkState::Connected).await;
        bench.until(LinkState::Waiting).await;
        assert_eq!(bench.view().await.last_error.as_deref(), Some("the connector is silent"));
        drop(silent);
    });
}

#[test]
fn peer_that_answers_pings_stays_connected() {
    run(async {
        // Longer than a busy machine withholds the CPU.
        let silence = Duration::from_secs(2);
        let timings = LinkTimings { ping: Duration::from_millis(40), silence, ..quick() };
        let mut bench = LinkBench::with(timings, vec![identity("discord", "")]);
        let mut peer = bench.connector.serve().await;
        bench.until(LinkState::Connected).await;
        // Reading answers the pings.
        let read = tokio::time::timeout(silence + Duration::from_millis(500), peer.read()).await;
        assert!(read.is_err(), "nothing but pings: {read:?}");
        assert_eq!(bench.view().await.generation, 1);
    });
}

#[test]
fn second_4401_after_a_handshake_revokes_until_the_credentials_change() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
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
        let (mut bench, mut peer) = LinkBench::connected().await;
        peer.close(4401, "unauthorized").await;
        bench.connector.refuse(403).await;
        bench.until(LinkState::Revoked).await;
        bench.connector.no_dial().await;
    });
}

#[test]
fn expired_is_not_revoked() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
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
        let (mut bench, mut peer) = LinkBench::connected().await;
        let dial = std::mem::replace(&mut bench.profile.borrow_mut().1, Err(NoConnectParams::NotSet));
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
        let (mut bench, mut peer) = LinkBench::connected().await;
        bench.profile.borrow_mut().1.as_mut().unwrap().url = "c.example".into();
        peer.close(1000, "").await;
        bench.until(LinkState::Disabled).await;
        assert!(bench.view().await.last_error.is_some());
    });
}

#[test]
fn leaving_link_waits_for_the_acknowledgement() {
    run(async {
        let (bench, mut peer) = LinkBench::connected().await;
        let answer = bench.link.send(GoIdle);
        assert_eq!(peer.frame().await, json!({"type": "going_idle"}));
        peer.send_json(json!({"type": "going_idle_ack"})).await;
        assert_eq!(within("the answer", answer).await.unwrap(), IdleAnswer::Acknowledged);
        assert_eq!(bench.view().await.state, LinkState::Idle);
        let result = bench.send("bye");
        assert_eq!(peer.frame().await["type"], "outbound", "replies are still sent");
        drop(result);
        peer.close(1000, "").await;
        bench.connector.no_dial().await;
    });
}

#[test]
fn dormant_link_closes_and_dials_again() {
    run(async {
        let (bench, mut peer) = LinkBench::connected().await;
        let answer = bench.link.send(GoDormant);
        assert_eq!(peer.frame().await["type"], "going_idle");
        peer.send_json(json!({"type": "going_idle_ack"})).await;
        assert_eq!(within("the answer", answer).await.unwrap(), IdleAnswer::Acknowledged);
        assert_eq!(within("the close", peer.read()).await, Err(Some(1001)));
        drop(peer);
        bench.link.send(Wake).await.unwrap();
        bench.connector.serve().await;
    });
}

#[test]
fn idle_without_a_connection_is_answered_not_connected() {
    run(async {
        let bench = LinkBench::new();
        bench.profile.borrow_mut().1 = Err(NoConnectParams::NotSet);
        assert_eq!(bench.link.send(GoIdle).await.unwrap(), IdleAnswer::NotConnected);
    });
}

#[test]
fn stopped_link_completes_the_closing_handshake() {
    /// Stops the actor as its runner would.
    struct StopLink;
    impl Message for StopLink {
        type Result = ();
    }
    impl Handler<StopLink> for RelayActor {
        type Result = ();
        fn handle(&mut self, _: StopLink, ctx: &mut Self::Context) {
            ctx.stop();
        }
    }
    run(async {
        let (bench, mut peer) = LinkBench::connected().await;
        let answer = bench.send("last");
        peer.frame().await;
        bench.link.send(StopLink).await.unwrap();
        assert_eq!(within("the close", peer.read()).await, Err(Some(1001)));
        assert!(answer.await.ambiguous, "a pending send is answered");
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
