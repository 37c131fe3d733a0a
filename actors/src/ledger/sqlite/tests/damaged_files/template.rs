//! The ledger that is damaged: rows of every state, replies, conversations, refusals, starts; and what is true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::ledger::LedgerWriter;
use crate::ledger::sqlite::SqliteStore;
use crate::ledger::sqlite::names::with_ending;
use crate::ledger::sqlite::tests::Home;
use crate::ledger::tests::{TestHome as _, append, close, event, load, mark, refused, reply, restart, session, wait};
use caduceus_contract::messages::batch::Batch;
use caduceus_contract::messages::ledger::*;
use caduceus_contract::share::DispatchShare;

/// Events in the file; the second half of them is in the log if there is one.
const EVENTS: u64 = 80;
pub(super) const CHATS: usize = 10;
pub(super) const EVERY_EVENT: [InboundState; 8] = [
    InboundState::Received,
    InboundState::Running,
    InboundState::Held,
    InboundState::Interrupted,
    InboundState::Done,
    InboundState::Failed,
    InboundState::Refused,
    InboundState::Dead,
];
pub(super) const EVERY_REPLY: [OutboundState; 6] = [
    OutboundState::Pending,
    OutboundState::Sending,
    OutboundState::Ambiguous,
    OutboundState::Delivered,
    OutboundState::Refused,
    OutboundState::Dead,
];

/// The files of a ledger, and its rows.
pub(super) struct Template {
    files: Vec<(&'static str, Vec<u8>)>,
    pub(super) inbound: BTreeMap<i64, InboundRow>,
    pub(super) outbound: BTreeMap<i64, OutboundRow>,
    /// The entries of each conversation.
    pub(super) history: Vec<Vec<String>>,
    /// The events that were recorded, with their rows.
    pub(super) recorded: Vec<(RecordInbound, InboundId)>,
    pub(super) had: States,
}

/// The states that rows had before.
#[derive(Default)]
pub(super) struct States {
    pub(super) inbound: BTreeSet<(i64, InboundState)>,
    pub(super) outbound: BTreeSet<(i64, OutboundState)>,
}

impl Template {
    /// As a killed process leaves it: half of it is in the log alone.
    pub(super) fn killed() -> Self {
        Self::make(false)
    }

    /// As a process leaves it that closes it.
    pub(super) fn closed() -> Self {
        Self::make(true)
    }

    fn make(is_closed: bool) -> Self {
        let home = Home::new();
        let mut had = States::default();
        let writer = home.open();
        let mut recorded = fill(&writer, 0..EVENTS / 2, &mut had);
        close(&writer);
        let writer = home.open();
        recorded.extend(fill(&writer, EVENTS / 2..EVENTS, &mut had));
        let (inbound, outbound) = rows(&writer);
        let history = (0..CHATS).map(|chat| load(&writer, &format!("chat-{chat}"), 100)).collect();
        if is_closed {
            close(&writer);
        }
        let files = ["", "-wal", "-synced"];
        let files =
            files.into_iter().filter_map(|ending| Some((ending, std::fs::read(with_ending(&home.path, ending)).ok()?)));
        let files: Vec<_> = files.collect();
        assert_eq!(files.len(), if is_closed { 2 } else { 3 }, "the log is there if the ledger is open");
        if !is_closed {
            close(&writer);
        }
        Self { files, inbound, outbound, history, recorded, had }
    }

    /// A new ledger with the same files.
    pub(super) fn copy(&self) -> Home {
        let home = Home::new();
        let now = SystemTime::now();
        for (ending, bytes) in &self.files {
            let path = with_ending(&home.path, ending);
            std::fs::write(&path, bytes).unwrap();
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(now).unwrap();
        }
        home
    }
}

/// Rows of each state by way of others, and conversations, a commit for each few of them.
fn fill(
    writer: &LedgerWriter<SqliteStore>,
    numbers: std::ops::Range<u64>,
    had: &mut States,
) -> Vec<(RecordInbound, InboundId)> {
    let chat = |number: u64| format!("chat-{}", number % CHATS as u64);
    let make = |number: u64| match EVERY_EVENT[usize::try_from(number % 8).unwrap()] {
        InboundState::Refused => refused(number, &chat(number)),
        _ => RecordInbound { session: session(&chat(number)), ..event(number) },
    };
    let events: Vec<RecordInbound> = numbers.clone().map(make).collect();
    let mut ids = Vec::new();
    for some in events.chunks(16) {
        for recorded in wait(writer.ask(Batch(some.to_vec()))).unwrap() {
            let Ok(Recorded::New(id)) = recorded else { panic!("{recorded:?}") };
            ids.push(id);
        }
    }
    for (number, id) in numbers.zip(&ids) {
        let state = EVERY_EVENT[usize::try_from(number % 8).unwrap()];
        if state == InboundState::Refused {
            had.inbound.insert((id.0, state));
            continue;
        }
        had.inbound.insert((id.0, InboundState::Received));
        if !matches!(state, InboundState::Received | InboundState::Held | InboundState::Dead) {
            had.inbound.insert((id.0, InboundState::Running));
            wait(writer.ask(mark(*id, InboundState::Running))).unwrap();
        }
        if !matches!(state, InboundState::Received | InboundState::Running) {
            wait(writer.ask(mark(*id, state))).unwrap();
        }
        let sent = wait(writer.ask(reply(Some(*id), OutboundState::Pending))).unwrap();
        let end = EVERY_REPLY[usize::try_from(number % 6).unwrap()];
        had.outbound.extend([(sent.0, OutboundState::Pending), (sent.0, OutboundState::Sending)]);
        if end != OutboundState::Pending {
            let sending = |state| MarkOutbound { id: sent, state, message_id: Some("m".to_owned()), error: None };
            wait(writer.ask(Batch(vec![sending(OutboundState::Sending), sending(end)]))).unwrap();
        }
        append(writer, &chat(number), &[&format!("question {number}"), &format!("answer {number}")], 14);
    }
    restart(writer, 1_000);
    events.into_iter().zip(ids).collect()
}

fn rows(writer: &LedgerWriter<SqliteStore>) -> (BTreeMap<i64, InboundRow>, BTreeMap<i64, OutboundRow>) {
    let list = ListInbound { share: DispatchShare::ALL, states: EVERY_EVENT.to_vec(), after: None, limit: usize::MAX };
    let inbound = wait(writer.ask(list)).unwrap().into_iter().map(|row| (row.id.0, row)).collect();
    let list = ListOutbound { states: EVERY_REPLY.to_vec(), after: None, limit: usize::MAX };
    let outbound = wait(writer.ask(list)).unwrap().into_iter().map(|row| (row.id.0, row)).collect();
    (inbound, outbound)
}
