//! While too many events wait, the link reads results and no more events than there are places for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::peer::Peer;
use super::rig::LinkBench;
use super::waits::{never, run, within};
use super::*;
use crate::relay::arrival::PLACES;
use caduceus_contract::messages::dispatch::NotRecorded;
use caduceus_supervision::spawn;

/// More events than there are places for.
const EVENTS: u32 = PLACES + 100;

/// A dispatcher for which too many events wait while `is_full`.
struct FullDispatch {
    is_full: Rc<Cell<bool>>,
    /// The ids of the events that it took, in order.
    taken: Rc<RefCell<Vec<String>>>,
}

impl FullDispatch {
    fn of(bench: &mut LinkBench) -> Self {
        let dispatch = Self { is_full: Rc::new(Cell::new(true)), taken: Rc::default() };
        let mut offered = std::mem::replace(&mut bench.offered, mpsc::unbounded_channel().1);
        let (is_full, taken) = (Rc::clone(&dispatch.is_full), Rc::clone(&dispatch.taken));
        drop(spawn(async move {
            while let Some((event, answer)) = offered.recv().await {
                let answered = if is_full.get() { Err(NotRecorded::TooManyWait) } else { Ok(()) };
                if answered.is_ok() {
                    taken.borrow_mut().extend(event.event.message_id.clone());
                }
                // The link may have been closed meanwhile.
                let _ = answer.send(answered);
            }
        }));
        dispatch
    }
}

async fn push(peer: &mut Peer, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        peer.inbound(&format!("m{number}"), Some(&format!("b{number}"))).await;
    }
}

async fn assert_acknowledged(peer: &mut Peer, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        assert_eq!(peer.frame().await, json!({"type": "inbound_ack", "bufferId": format!("b{number}")}));
    }
}

/// Reads an action, and returns its result, which is not sent yet.
async fn result_of_action(peer: &mut Peer) -> Value {
    let action = peer.frame().await;
    assert_eq!(action["type"], "outbound");
    json!({"type": "outbound_result", "requestId": action["requestId"], "result": {"success": true, "message_id": "1"}})
}

#[test]
fn results_are_read_while_too_many_events_wait_and_events_without_a_place_are_fetched_when_there_is_room() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let dispatch = FullDispatch::of(&mut bench);
        push(&mut peer, 0..EVENTS).await;
        let answer = bench.send("a reply");
        let result = result_of_action(&mut peer).await;
        // Behind all the events.
        peer.send_json(result).await;
        assert!(answer.await.success, "its result was read");
        // A frame of a later contract would be acknowledged at once, and that could be read as one of all before it.
        peer.send_json(json!({"type": "later", "bufferId": "x"})).await;
        never("an acknowledgement", peer.read()).await;
        assert_eq!(bench.view().await.state, LinkState::Connected);

        dispatch.is_full.set(false);
        assert_acknowledged(&mut peer, 0..PLACES).await;
        assert_eq!(within("the close", peer.read()).await, Err(Some(1001)));
        drop(peer);
        let mut peer = bench.connector.serve().await;
        push(&mut peer, PLACES..EVENTS).await;
        assert_acknowledged(&mut peer, PLACES..EVENTS).await;
        let expected: Vec<_> = (0..EVENTS).map(|number| format!("m{number}")).collect();
        assert_eq!(*dispatch.taken.borrow(), expected, "each once, in order");
        never("another close", peer.read()).await;
    });
}

#[test]
fn a_connection_is_not_replaced_while_an_action_waits_for_its_result() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let dispatch = FullDispatch::of(&mut bench);
        push(&mut peer, 0..EVENTS).await;
        let answer = bench.send("a reply");
        let result = result_of_action(&mut peer).await;
        dispatch.is_full.set(false);
        assert_acknowledged(&mut peer, 0..PLACES).await;
        never("a close", peer.read()).await;
        peer.send_json(result).await;
        assert!(answer.await.success);
        assert_eq!(within("the close", peer.read()).await, Err(Some(1001)));
    });
}

#[test]
fn few_events_are_kept_by_the_link_until_there_is_room_and_the_connection_stays() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let dispatch = FullDispatch::of(&mut bench);
        push(&mut peer, 0..PLACES).await;
        never("an acknowledgement", peer.read()).await;
        dispatch.is_full.set(false);
        assert_acknowledged(&mut peer, 0..PLACES).await;
        push(&mut peer, PLACES..EVENTS).await;
        assert_acknowledged(&mut peer, PLACES..EVENTS).await;
        assert_eq!(dispatch.taken.borrow().len(), EVENTS as usize);
    });
}
