//! Which marks move a row: every state with every mark.

use super::transactions::{commit, events};
use super::*;
use crate::ledger::states::{INBOUND, OUTBOUND, inbound_code, outbound_code};
use crate::turn::id::fresh_turn_id;
use caduceus_contract::messages::batch::Batch;
use caduceus_contract::turn_id::TurnId;

/// A row for each state that an event is in, a column for each mark, in the order of [`INBOUND`]: `x` where the mark moves it.
const EVENT_MOVES: [&str; 8] = [
    "xxxxxxxx", // Received.
    ".x.xxxxx", // Running.
    "xxxxxxxx", // Held.
    "xx.xxxxx", // Interrupted: `/retry` runs it again.
    "........", // Done.
    "........", // Failed.
    "........", // Refused.
    "........", // Dead.
];

/// As [`EVENT_MOVES`], of replies.
const REPLY_MOVES: [&str; 6] = [
    "xxxxxx", // Pending.
    "xxxxxx", // Sending.
    ".xxxxx", // Ambiguous.
    "......", // Delivered.
    "......", // Refused.
    "......", // Dead.
];

fn moves(table: &[&str], from: usize, to: usize) -> bool {
    table[from].as_bytes()[to] == b'x'
}

/// What a transaction answers to `work`.
fn answer<S: Store, W: Work>(store: &mut S, work: W) -> Result<W::Answer, LedgerError> {
    commit(store, 1, &Batch(vec![work])).pop().expect("an answer to each")
}

pub(super) fn a_mark_that_comes_late_moves_no_event_back_and_none_out_of_a_final_state<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    let mut number = 0;
    for from in INBOUND {
        for to in INBOUND {
            for is_of_its_turn in [None, Some(true), Some(false)] {
                number += 1;
                let own = fresh_turn_id();
                let turn = is_of_its_turn.map(|is_own| if is_own { own } else { fresh_turn_id() });
                let recorded =
                    RecordInbound { state: from, turn: Some(own), note: Some("first".into()), ..event(number) };
                let Recorded::New(id) = commit(&mut store, 0, &recorded) else { panic!("it is new") };
                let late = MarkInbound { turn, note: Some("second".into()), ..mark(id, to) };
                let answer = answer(&mut store, late);
                let is_moved = moves(&EVENT_MOVES, inbound_code(from), inbound_code(to));
                let what = format!("{from:?} marked {to:?}, its own turn: {is_of_its_turn:?}");
                let is_start = to == InboundState::Running && !is_moved;
                assert_eq!(answer, if is_start { Err(LedgerError::Final { row: id.0 }) } else { Ok(()) }, "{what}");
                let mark = commit(&mut store, 2, &ReadMark(id));
                assert_eq!(mark.0, if is_moved { to } else { from }, "{what}");
                if !is_moved {
                    assert_eq!(
                        (mark.1, mark.2.as_deref()),
                        (Some(own), Some("first")),
                        "{what}: nothing of it changes"
                    );
                }
            }
        }
    }
    let counted = |store: &mut H::Store| INBOUND.map(|state| events(store, state).len());
    let before = counted(&mut store);
    drop(store);
    let mut store = home.open_store();
    assert_eq!(counted(&mut store), before, "the lists in memory are those on disk");
}

pub(super) fn a_mark_that_comes_late_moves_no_reply_back_and_none_out_of_a_final_state<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    for from in OUTBOUND {
        for to in OUTBOUND {
            let id = commit(&mut store, 0, &reply(None, from));
            let late = MarkOutbound { id, state: to, message_id: Some("m".into()), error: None };
            let answer = answer(&mut store, late);
            let is_moved = moves(&REPLY_MOVES, outbound_code(from), outbound_code(to));
            let is_start = to == OutboundState::Sending && !is_moved;
            assert_eq!(
                answer,
                if is_start { Err(LedgerError::Final { row: id.0 }) } else { Ok(()) },
                "{from:?} {to:?}"
            );
            let mark = commit(&mut store, 2, &ReadReplyMark(id));
            assert_eq!(mark, (if is_moved { to } else { from }, is_moved.then(|| "m".to_owned())), "{from:?} {to:?}");
        }
    }
}

pub(super) fn an_end_of_a_turn_that_comes_too_late_adds_nothing_to_the_conversation<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    let id = record(&writer, 1);
    let sent = wait(writer.ask(reply(Some(id), OutboundState::Sending))).unwrap();
    wait(writer.ask(mark(id, InboundState::Dead))).unwrap();
    let gone = MarkOutbound { id: sent, state: OutboundState::Dead, message_id: None, error: None };
    wait(writer.ask(gone)).unwrap();
    assert_eq!(wait(writer.ask(settle(id, sent))), Ok(()));
    let view = writer.view();
    assert_eq!((view.inbound, view.outbound), ([(InboundState::Dead, 1)].into(), [(OutboundState::Dead, 1)].into()));
    assert_eq!(wait(writer.ask(LoadHistory { session: session("chat"), limit: 10 })).unwrap(), []);
}

struct ReadMark(InboundId);

impl Work for ReadMark {
    type Answer = (InboundState, Option<TurnId>, Option<String>);

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<Self::Answer, Failure> {
        let mark = ledger.store.event_mark(self.0)?;
        Ok((mark.state, mark.turn, mark.note))
    }
}

struct ReadReplyMark(OutboundId);

impl Work for ReadReplyMark {
    type Answer = (OutboundState, Option<String>);

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<Self::Answer, Failure> {
        let mark = ledger.store.reply_mark(self.0)?;
        Ok((mark.state, mark.message_id))
    }
}
