//! A token that changes under a running agent.

use std::fs::File;
use std::io::{BufRead, BufReader};

use caduceus_actors::profile::agent::messages::SpawnChild;
use caduceus_actors::turn::id::fresh_turn_id;
use caduceus_contract::messages::profile::TokenChanged;
use caduceus_contract::wire::event::Source;
use caduceus_supervision::Port;
use tokio::sync::mpsc;

use super::support::{Fixture, session};
use super::wait::CEILING;

#[actix::test]
async fn a_token_sent_to_an_agent_is_redacted_until_the_agent_has_ended() {
    let fixture = Fixture::new("agent:\n  backend: exec\n  command: [cat]\n  reply: jsonl\n  credentials: live\n");
    fixture.stub.state().token = Some("hch-at-the-first");
    let profile = fixture.profile("default", &[]);
    let order =
        SpawnChild { agent: fixture.agent(), turn: fresh_turn_id(), session: session(&Source::default()), attempt: 1 };
    let child = Port::from(profile.clone()).ask(order, CEILING).await.unwrap().unwrap();
    let (_sender, changes) = mpsc::channel(1);
    let serving = caduceus_supervision::spawn(child.stdin.serve(changes).unwrap());
    let change = async |token: Option<&str>| {
        let token = token.map(Into::into);
        Port::from(profile.clone()).ask(TokenChanged { token }, CEILING).await.unwrap();
    };

    change(Some("hch-at-the-second")).await;
    let mut stdout = BufReader::new(File::from(child.stdout));
    let reading = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        stdout.read_line(&mut line).map(|_| line)
    });
    let line = tokio::time::timeout(CEILING, reading).await.unwrap().unwrap().unwrap();
    assert!(line.contains("hch-at-the-second"), "{line}");
    // The grant is gone: the profile itself holds neither token any more.
    change(None).await;
    serving.abort();
    let written = "hch-at-the-first hch-at-the-second";
    assert_eq!(fixture.redactor.redact(written), "[redacted:HONCHO_API_KEY] [redacted:HONCHO_API_KEY]");
    let _ = serving.await;
    drop((child.lifeline, child.secrets));
    assert_eq!(fixture.redactor.redact(written), written);
}
