//! What must hold, and what must occur so that it holds of something.

use stateright::Property;

use super::Composed;
use super::connector::{ChatMessage, Content};
use super::world::{Broken, World};
use crate::settings::Interrupted;
use caduceus_contract::messages::ledger::{InboundState, OutboundState};

pub(super) const ANSWERED: &str = "an acknowledged event is answered, asked about or a dead letter";
pub(super) const MARKED: &str = "a reply that its chat has already is marked as a possible repeat";
pub(super) const SETTLED: &str = "a reply whose result is on disk is not sent again";
pub(super) const DELIVERED: &str = "a message that counts as delivered is in its chat";
pub(super) const DRAINED: &str = "no turn of a person starts after a drain was answered";
pub(super) const ORDERED: &str = "the turns of a session run one at a time and in order";
pub(super) const ONE_SOCKET: &str = "a link has one socket";
pub(super) const FINISHED: &str = "at rest every event is acknowledged";

pub(super) const REPEATED: &str = "a reply is delivered when it is sent again";
pub(super) const HELD: &str = "an event is held";
pub(super) const RUNS: &str = "a turn runs during a drain that was answered";
pub(super) const WAITS: &str = "a reply waits for its link";
pub(super) const ASKED: &str = "an interrupted event is asked about";

/// The properties of a model.
pub(super) fn all(model: &Composed) -> Vec<Property<Composed>> {
    let mut properties = vec![
        Property::always(ANSWERED, every_acknowledged_event_is_answered),
        Property::always(MARKED, |_, world: &World| world.broken != Some(Broken::RepeatWithoutMark)),
        Property::always(SETTLED, |_, world: &World| world.broken != Some(Broken::SentAfterSettled)),
        Property::always(DELIVERED, every_delivered_message_is_shown),
        Property::always(DRAINED, |_, world: &World| world.broken != Some(Broken::Admitted)),
        Property::always(ORDERED, |_, world: &World| world.broken != Some(Broken::Order)),
        Property::always(ONE_SOCKET, |_, world: &World| world.process.link.sockets() <= 1),
        Property::always(FINISHED, |model, world: &World| {
            !is_settled(world) || (0..model.events.len()).all(|event| world.connector.is_acknowledged(event))
        }),
        Property::sometimes(REPEATED, |_, world: &World| world.disk.has_repeated()),
        Property::sometimes(HELD, |model, world: &World| {
            (0..model.events.len()).any(|event| state(world, event) == Some(InboundState::Held))
        }),
        Property::sometimes(WAITS, |_, world: &World| {
            world.disk.replies().any(|(_, state)| state == OutboundState::Pending)
        }),
        Property::sometimes("everything is answered", |model, world: &World| {
            is_settled(world) && (0..model.events.len()).all(|event| world.connector.shows(Content::Reply(event)))
        }),
        Property::sometimes(RUNS, |_, world: &World| world.marker && !world.process.running.is_empty()),
    ];
    properties.push(match model.interrupted {
        Interrupted::Ask => Property::sometimes(ASKED, |model, world: &World| {
            (0..model.events.len()).any(|event| world.connector.shows(Content::Question(event)))
        }),
        Interrupted::Rerun | Interrupted::Drop => {
            Property::sometimes("an interrupted event is answered by its second turn", |_, world: &World| {
                world
                    .disk
                    .replies()
                    .any(|(action, state)| ChatMessage::parse(action).repeat && state == OutboundState::Delivered)
            })
        }
    });
    properties
}

/// Nothing is left to do, and no drain holds anything back.
fn is_settled(world: &World) -> bool {
    world.is_at_rest() && !world.process.gate.is_draining()
}

fn state(world: &World, event: usize) -> Option<InboundState> {
    world.disk.event(world.disk.row_of(&event.to_string())?).map(|row| row.state)
}

fn every_acknowledged_event_is_answered(model: &Composed, world: &World) -> bool {
    let is_answered = |event: &usize| {
        let shows = |content| world.connector.shows(content);
        shows(Content::Reply(*event))
            || shows(Content::Question(*event))
            || state(world, *event) == Some(InboundState::Dead)
    };
    let mut acknowledged = (0..model.events.len()).filter(|event| world.connector.is_acknowledged(*event));
    !is_settled(world) || acknowledged.all(|event| is_answered(&event))
}

fn every_delivered_message_is_shown(_: &Composed, world: &World) -> bool {
    let mut delivered = world.disk.replies().filter(|(_, state)| *state == OutboundState::Delivered);
    delivered.all(|(action, _)| world.connector.shows(ChatMessage::parse(action).content))
}
